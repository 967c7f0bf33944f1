/* Fused blocks as a backend: which ones it takes, how they can be shared out. */
#include "kernels/fused.h"

#include <string.h>

#include "core/arena.h"
#include "kernels/choices.h"
#include "kernels/fused_run.h"

static tl_preference preference = TL_PREFER_TABLE;

static const char *const names[] = {
    [TL_PREFER_TABLE] = "table",
    [TL_PREFER_FUSED] = "fused",
    [TL_PREFER_SEPARATE] = "separate",
    [TL_PREFER_ONEDNN] = "onednn",
};

bool
tl_fused_prefer(const char *name)
{
    for (tl_preference p = TL_PREFER_TABLE; p <= TL_PREFER_ONEDNN; p++) {
        if (strcmp(name, names[p]) == 0) {
            preference = p;
            return true;
        }
    }
    return false;
}

const char *
tl_fused_preferred(void)
{
    return names[preference];
}

static size_t
takes(const tl_block *chain)
{
    const tl_block first = {chain->steps, 1};
    const tl_block block = {chain->steps, tl_fused_match(chain)};
    if (block.count == 0 || preference == TL_PREFER_ONEDNN) {
        return 0;
    }
    if (preference == TL_PREFER_FUSED) {
        return block.count;
    }
    if (preference == TL_PREFER_SEPARATE) {
        return tl_fused_match(&first);
    }
    switch (tl_choose(tl_fused_micro()->isa, &block)) {
    case TL_CHOICE_ONEDNN:
        return 0;
    case TL_CHOICE_SEPARATE:
        return tl_fused_match(&first);
    default:
        return block.count;
    }
}

/* --- kernels ---------------------------------------------------------------------------- */

/* Rows where they are independent; panels, and then groups of pixels, where all rows are done
 * chunk by chunk: cut by rows, threads would compute the rows at the cut twice. */
static void
share_out(tl_kernel *kernel, const tl_fused *p)
{
    kernel->phases = 1;
    kernel->units[0] = p->pools ? p->out.count : p->out_height;
    if (p->by_chunks) {
        kernel->phases = 2;
        kernel->units[0] = p->middle.count;
        kernel->units[1] = p->out.count * tl_fused_groups(p);
        kernel->shared_bytes = p->out_height * p->out_width * p->middle.padded * sizeof(float);
    }
}

/* Whether every row of the source is copied in. */
static bool
reads_all(const tl_fused *p)
{
    const tl_step *step = p->produce;
    const size_t rows =
        p->depthwise != NULL ? tl_fused_needed_rows(p, p->out_height) : p->out_height;
    const size_t end = rows == 0 ? 0 : (rows - 1) * step->strides[0] + step->kernel[0];
    return end >= p->in.top + p->in.height && step->strides[0] <= step->kernel[0];
}

static tl_status
prepare(tl_kernel *kernel, const tl_block *block)
{
    tl_status status = TL_OUT_OF_MEMORY;
    tl_fused *plan = tl_alloc(1, sizeof *plan);
    tl_kernel made = {0};
    if (plan == NULL) {
        goto done;
    }
    TL_TRY(tl_fused_plan(plan, block, tl_fused_micro()));
    made.packed_bytes = plan->packed_floats * sizeof(float);
    made.scratch_bytes = plan->scratch_floats * sizeof(float);
    made.takes_pixels = plan->edged;
    made.checks_finite = plan->edged && reads_all(plan);
    share_out(&made, plan);
    made.state = plan; /* handed over */
    plan = NULL;
    *kernel = made;
done:
    tl_free(plan);
    return status;
}

static void
release(tl_kernel *kernel)
{
    tl_free(kernel->state);
    kernel->state = NULL;
}

typedef struct binding {
    const float *packed;
    float *scratch;
} binding;

static tl_status
bind(void **out, const tl_kernel *kernel, void *packed, void *scratch)
{
    binding *b = tl_alloc(1, sizeof *b);
    (void)kernel;
    if (b == NULL) {
        return TL_OUT_OF_MEMORY;
    }
    *b = (binding){packed, scratch};
    *out = b;
    return TL_OK;
}

static void
unbind(void *bound)
{
    tl_free(bound);
}

static tl_status
forward(const tl_kernel *kernel, const tl_block *block, void *bound, const tl_work *work)
{
    const binding *b = bound;
    (void)block;
    return tl_fused_forward(kernel, b->packed, b->scratch, work);
}

const tl_backend tl_fused_backend = {
    .name = "fused",
    .takes = takes,
    .prepare = prepare,
    .release = release,
    .pack = tl_fused_pack,
    .bind = bind,
    .unbind = unbind,
    .forward = forward,
};
