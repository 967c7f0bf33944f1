/* Affine transformation: the choice of kernel, and the one pixel that needs every rule. Kernels
 * do what lies inside (affine_rows.h) and leave odd pixels to this. */
#include "image/affine.h"

#include <math.h>
#include <string.h>

#include "core/cpu.h"
#include "image/affine_fold.h"

static const struct {
    const char *name;
    tl_edge_mode mode;
} fill_modes[] = {
    {"nearest", TL_EDGE_NEAREST},
    {"constant", TL_EDGE_CONSTANT},
    {"reflect", TL_EDGE_REFLECT},
    {"wrap", TL_EDGE_WRAP},
    {"mirror", TL_EDGE_MIRROR},
    {"grid-mirror", TL_EDGE_REFLECT},
    {"grid-constant", TL_EDGE_GRID_CONSTANT},
    {"grid-wrap", TL_EDGE_GRID_WRAP},
};

bool
tl_edge_mode_named(tl_edge_mode *mode, const char *name)
{
    for (size_t i = 0; i < sizeof fill_modes / sizeof fill_modes[0]; i++) {
        if (strcmp(name, fill_modes[i].name) == 0) {
            *mode = fill_modes[i].mode;
            return true;
        }
    }
    return false;
}

tl_status
tl_affine_check(const tl_affine *affine)
{
    for (size_t i = 0; i < 6; i++) {
        /* so that no coordinate overflows, whatever the size of the picture */
        if (!(fabs(affine->m[i]) <= 1e200)) {
            return tl_fail(TL_BAD_VALUE,
                           "matrix must hold finite numbers of at most 1e200, not %g",
                           affine->m[i]);
        }
    }
    if (affine->order != 0 && affine->order != 1) {
        return tl_fail(TL_BAD_VALUE, "order must be 0 or 1, not %d", affine->order);
    }
    return TL_OK;
}

/* Where a coordinate means that may lie outside 0..last. */
static double
mapped(double x, double last, tl_edge_mode mode)
{
    if (last == 0 || mode == TL_EDGE_NEAREST) {
        return x < 0 ? 0 : x > last ? last : x;
    }
    return tl_affine_fold(x, last, mode);
}

/* The two samples that a coordinate lies between, and their weights; for order 0 one. */
typedef struct taps {
    size_t at[2];
    bool outside[2]; /* it is cval that is meant */
    double weights[2];
} taps;

static size_t
sample(double x, double last, tl_edge_mode mode)
{
    /* a coordinate that lost all digits may map beyond any edge */
    const double at = trunc(mapped(x, last, mode));
    return (size_t)(at < 0 ? 0 : at > last ? last : at);
}

/* False where the pixel is cval. */
static bool
find_taps(taps *found, double x, size_t size, const tl_affine *affine)
{
    const double last = (double)(size - 1);
    const tl_edge_mode fill = affine->fill;
    if (fill == TL_EDGE_CONSTANT && !(x >= 0 && x <= last)) {
        return false;
    }
    if (fill != TL_EDGE_NEAREST && fill != TL_EDGE_GRID_CONSTANT) {
        x = mapped(x, last, fill);
    }
    /* blending at the last sample asks for one behind it, with the weight 0 */
    const tl_edge_mode edge =
        fill == TL_EDGE_CONSTANT || fill == TL_EDGE_WRAP ? TL_EDGE_MIRROR : fill;
    const double start = floor(affine->order == 0 ? x + 0.5 : x);
    for (int i = 0; i <= affine->order; i++) {
        found->outside[i] =
            fill == TL_EDGE_GRID_CONSTANT && !(start + i >= 0 && start + i <= last);
        found->at[i] = found->outside[i] ? 0 : sample(start + i, last, edge);
    }
    found->weights[0] = affine->order == 0 ? 1 : 1 - (x - start);
    found->weights[1] = 1 - found->weights[0];
    return true;
}

static double
value_at(const tl_affine_job *job, size_t at)
{
    switch (job->type) {
    case TL_UINT8:
        return ((const uint8_t *)job->src)[at];
    case TL_FLOAT32:
        return (double)((const float *)job->src)[at];
    default:
        return ((const double *)job->src)[at];
    }
}

void
tl_affine_pixel(void *dst, const tl_affine_job *job, size_t to, double y, double x)
{
    const int order = job->affine.order;
    taps rows;
    taps cols;
    const bool inside = find_taps(&rows, y, job->height, &job->affine) &&
                        find_taps(&cols, x, job->width, &job->affine);
    for (size_t c = 0; c < job->channels; c++) {
        double sum = inside ? 0 : job->affine.cval;
        for (int a = 0; inside && a <= order; a++) {
            for (int b = 0; b <= order; b++) {
                const size_t at = (rows.at[a] * job->width + cols.at[b]) * job->step + c;
                double value =
                    rows.outside[a] || cols.outside[b] ? job->affine.cval : value_at(job, at);
                if (order > 0) {
                    value *= rows.weights[a];
                    value *= cols.weights[b];
                }
                sum += value;
            }
        }
        if (job->type == TL_FLOAT64) {
            ((double *)dst)[to * job->channels + c] = sum;
        } else {
            ((float *)dst)[to * job->channels + c] = (float)sum;
        }
    }
}

void
tl_affine_rows(const tl_affine_job *job, size_t first, size_t last)
{
    tl_affine_rows_function *rows = tl_affine_rows_portable;
#if defined(__x86_64__)
    const tl_isa isa = tl_cpu_isa();
    if (isa == TL_ISA_AVX512) {
        rows = tl_affine_rows_avx512;
    } else if (isa == TL_ISA_AVX2) {
        rows = tl_affine_rows_avx2;
    }
#endif
    rows(job, first, last);
}
