/* L-BFGS as a machine that is told one value at a time. */
#include "core/lbfgs.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "core/arena.h"
#include "core/shape.h"

enum { VECTORS = 5 + 2 * TL_LBFGS_MEMORY, LANES = 8, TRIALS = 40 };

static const double DESCENT = 1e-4;   /* of what the slope promises, at least so much */
static const double CURVATURE = 0.9;  /* of the slope, at most so much is left */
static const double ROUNDING = 1e-13; /* of a value: differences below it mean nothing */

struct tl_lbfgs {
    size_t count;
    tl_lbfgs_limits limits;
    double *point, *gradient;          /* of the trial */
    double *origin, *slope;            /* where the line begins, and the gradient there */
    double *direction;                 /* of the line */
    double *steps[TL_LBFGS_MEMORY];    /* differences of points, */
    double *changes[TL_LBFGS_MEMORY];  /* of gradients, */
    double curvature[TL_LBFGS_MEMORY]; /* and their products */
    size_t kept, next;                 /* pairs in use; where the next one goes */
    double value, promised;            /* at the origin, and the slope along the direction */
    double low, high, trial;           /* the bracket along the line; high 0: none yet */
    double low_value, low_slope;       /* at `low` */
    size_t trials, iterations;
    bool begun;
};

tl_status
tl_lbfgs_create(tl_lbfgs **out, size_t count, const tl_lbfgs_limits *limits)
{
    tl_status status = TL_OUT_OF_MEMORY;
    size_t padded;
    size_t size;
    tl_lbfgs *search = tl_alloc(1, sizeof *search);
    if (search == NULL) {
        goto done;
    }
    search->count = count;
    search->limits = *limits;
    if (count > SIZE_MAX - LANES) {
        goto done;
    }
    padded = (count + LANES - 1) / LANES * LANES;
    TL_TRY(tl_multiply(&size, padded, VECTORS));
    search->point = tl_alloc(size, sizeof(double));
    if (search->point == NULL) {
        status = TL_OUT_OF_MEMORY;
        goto done;
    }
    search->gradient = search->point + padded;
    search->origin = search->point + 2 * padded;
    search->slope = search->point + 3 * padded;
    search->direction = search->point + 4 * padded;
    for (size_t i = 0; i < TL_LBFGS_MEMORY; i++) {
        search->steps[i] = search->point + (5 + 2 * i) * padded;
        search->changes[i] = search->point + (6 + 2 * i) * padded;
    }
    *out = search;
    search = NULL;
    status = TL_OK;
done:
    tl_lbfgs_destroy(search);
    return status;
}

void
tl_lbfgs_destroy(tl_lbfgs *search)
{
    if (search != NULL) {
        tl_free(search->point);
        tl_free(search);
    }
}

double *
tl_lbfgs_point(tl_lbfgs *search)
{
    return search->point;
}

double *
tl_lbfgs_gradient(tl_lbfgs *search)
{
    return search->gradient;
}

double
tl_lbfgs_value(const tl_lbfgs *search)
{
    return search->value;
}

size_t
tl_lbfgs_iterations(const tl_lbfgs *search)
{
    return search->iterations;
}

/* Sums of lanes, so that the compiler may use vectors and the order is still ours. */
static double
dot(const double *a, const double *b, size_t count)
{
    double sums[LANES] = {0};
    double sum = 0;
    size_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        for (size_t l = 0; l < LANES; l++) {
            sums[l] += a[i + l] * b[i + l];
        }
    }
    for (; i < count; i++) {
        sum += a[i] * b[i];
    }
    for (size_t l = 0; l < LANES; l++) {
        sum += sums[l];
    }
    return sum;
}

static void
add_scaled(double *dst, const double *src, double factor, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        dst[i] += factor * src[i];
    }
}

static double
largest(const double *values, size_t count)
{
    double most = 0;
    for (size_t i = 0; i < count; i++) {
        most = fmax(most, fabs(values[i]));
    }
    return most;
}

/* The trial becomes the origin of the next line; what the step has told about curvature is
 * kept in place of the oldest. */
static void
accept(tl_lbfgs *s, double value)
{
    if (s->begun) {
        double *step = s->steps[s->next];
        double *change = s->changes[s->next];
        for (size_t i = 0; i < s->count; i++) {
            step[i] = s->point[i] - s->origin[i];
            change[i] = s->gradient[i] - s->slope[i];
        }
        const double product = dot(step, change, s->count);
        if (product > 1e-12 * dot(change, change, s->count)) {
            s->curvature[s->next] = product;
            s->next = (s->next + 1) % TL_LBFGS_MEMORY;
            s->kept += s->kept < TL_LBFGS_MEMORY;
        }
        s->iterations++;
    }
    s->begun = true;
    s->value = value;
    memcpy(s->origin, s->point, s->count * sizeof(double));
    memcpy(s->slope, s->gradient, s->count * sizeof(double));
}

/* direction <- -(inverse Hessian as the kept pairs tell it) gradient: the two loops. */
static void
find_direction(tl_lbfgs *s)
{
    double shares[TL_LBFGS_MEMORY];
    for (size_t i = 0; i < s->count; i++) {
        s->direction[i] = -s->slope[i];
    }
    for (size_t back = 1; back <= s->kept; back++) {
        const size_t at = (s->next + TL_LBFGS_MEMORY - back) % TL_LBFGS_MEMORY;
        shares[at] = dot(s->steps[at], s->direction, s->count) / s->curvature[at];
        add_scaled(s->direction, s->changes[at], -shares[at], s->count);
    }
    if (s->kept > 0) {
        const size_t at = (s->next + TL_LBFGS_MEMORY - 1) % TL_LBFGS_MEMORY;
        const double scale = s->curvature[at] / dot(s->changes[at], s->changes[at], s->count);
        for (size_t i = 0; i < s->count; i++) {
            s->direction[i] *= scale;
        }
    }
    for (size_t back = s->kept; back >= 1; back--) {
        const size_t at = (s->next + TL_LBFGS_MEMORY - back) % TL_LBFGS_MEMORY;
        const double share = dot(s->changes[at], s->direction, s->count) / s->curvature[at];
        add_scaled(s->direction, s->steps[at], shares[at] - share, s->count);
    }
}

static void
move_to(tl_lbfgs *s, double trial)
{
    s->trial = trial;
    for (size_t i = 0; i < s->count; i++) {
        s->point[i] = s->origin[i] + trial * s->direction[i];
    }
}

/* A new line from the origin. False where no direction leads down. */
static bool
begin_line(tl_lbfgs *s)
{
    find_direction(s);
    s->promised = dot(s->direction, s->slope, s->count);
    if (!(s->promised < 0) && s->kept > 0) {
        s->kept = 0;
        find_direction(s);
        s->promised = dot(s->direction, s->slope, s->count);
    }
    if (!(s->promised < 0)) {
        return false;
    }
    s->low = 0;
    s->high = 0;
    s->low_value = s->value;
    s->low_slope = s->promised;
    s->trials = 0;
    move_to(s, s->kept > 0 ? 1 : 1 / fmax(1, sqrt(-s->promised)));
    return true;
}

/* Where the parabola through both ends has its lowest point, kept off the ends. */
static double
inside(const tl_lbfgs *s, double high_value)
{
    const double width = s->high - s->low;
    const double bend = (high_value - s->low_value) / width - s->low_slope;
    const double share = -s->low_slope / (2 * bend);
    return s->low + width * (share >= 0.1 && share <= 0.9 ? share : 0.5);
}

/* The end of a search at its best point. */
static tl_lbfgs_state
end(tl_lbfgs *s, tl_lbfgs_state state)
{
    memcpy(s->point, s->origin, s->count * sizeof(double));
    memcpy(s->gradient, s->slope, s->count * sizeof(double));
    return state;
}

/* Narrows or widens the bracket after a trial that was not accepted. */
static tl_lbfgs_state
try_again(tl_lbfgs *s, double value, double slope, bool low_enough)
{
    if (++s->trials >= TRIALS) {
        if (s->kept == 0) {
            return end(s, TL_LBFGS_EXACT);
        }
        s->kept = 0; /* once more, straight down */
        return begin_line(s) ? TL_LBFGS_GOES_ON : end(s, TL_LBFGS_EXACT);
    }
    if (low_enough) {
        s->low = s->trial;
        s->low_value = value;
        s->low_slope = slope;
    } else {
        s->high = s->trial;
    }
    if (s->high == 0) {
        move_to(s, 3 * s->trial);
    } else if (low_enough || !isfinite(value)) {
        move_to(s, (s->low + s->high) / 2);
    } else {
        move_to(s, inside(s, value));
    }
    return TL_LBFGS_GOES_ON;
}

tl_lbfgs_state
tl_lbfgs_tell(tl_lbfgs *s, double value)
{
    if (s->begun) {
        const double slope = dot(s->direction, s->gradient, s->count);
        const bool finite = isfinite(value) && isfinite(slope);
        const bool descends = value <= s->value + DESCENT * s->trial * s->promised;
        /* near the end differences of values are rounding, slopes still tell */
        const bool level = value <= s->value + ROUNDING * fabs(s->value) &&
                           slope <= (2 * DESCENT - 1) * s->promised;
        const bool low_enough = finite && (descends || level);
        if (!low_enough || slope < CURVATURE * s->promised) {
            return try_again(s, value, slope, low_enough);
        }
    } else if (!isfinite(value)) {
        s->value = value;
        return TL_LBFGS_EXACT;
    }
    accept(s, value);
    if (largest(s->slope, s->count) <= s->limits.tolerance) {
        return end(s, TL_LBFGS_CONVERGED);
    }
    if (s->iterations >= s->limits.iterations) {
        return end(s, TL_LBFGS_LIMITED);
    }
    return begin_line(s) ? TL_LBFGS_GOES_ON : end(s, TL_LBFGS_EXACT);
}
