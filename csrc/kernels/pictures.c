/* From nodes and steps to csrc/image, which knows neither. */
#include "kernels/pictures.h"

#include <math.h>

#include "core/arena.h"
#include "core/augmentation.h"
#include "core/picture_node.h"
#include "core/pool.h"
#include "image/photometric.h"
#include "image/projective.h"
#include "image/rearrange.h"
#include "image/resize.h"

static const tl_resize_method methods[TL_INTERPOLATION_COUNT] = {
    [TL_NEAREST] = TL_RESIZE_NEAREST,   [TL_BILINEAR] = TL_RESIZE_BILINEAR,
    [TL_BICUBIC] = TL_RESIZE_BICUBIC,   [TL_LANCZOS3] = TL_RESIZE_LANCZOS3,
    [TL_LANCZOS5] = TL_RESIZE_LANCZOS5, [TL_AREA] = TL_RESIZE_AREA,
};

static const tl_beyond beyonds[TL_FILL_MODE_COUNT] = {
    [TL_FILL_CONSTANT] = TL_BEYOND_CONSTANT,
    [TL_FILL_NEAREST] = TL_BEYOND_NEAREST,
    [TL_FILL_REFLECT] = TL_BEYOND_REFLECT,
    [TL_FILL_WRAP] = TL_BEYOND_WRAP,
};

static tl_resize_plan
plan_of(const tl_shape *src, const tl_region *region, const tl_resizing *how)
{
    return (tl_resize_plan){
        .src = {src->dims[0], src->dims[1]},
        .dst = {how->size[0], how->size[1]},
        .channels = src->dims[2],
        .start = {region->top, region->left},
        .part = {region->height, region->width},
        .fill_value = how->fill_value,
        .method = methods[how->interpolation],
        .antialias = how->antialias,
    };
}

/* --- steps of inference ----------------------------------------------------------------- */

static size_t
takes(const tl_block *chain)
{
    const tl_step_kind kind = chain->steps[0].kind;
    return kind == TL_STEP_RESCALING || kind == TL_STEP_CROP || kind == TL_STEP_RESIZING;
}

static tl_status
prepare(tl_kernel *kernel, const tl_block *block)
{
    tl_status status = TL_OK;
    const tl_step *step = &block->steps[0];
    tl_resize *resize = NULL;
    size_t scratch = 0;
    if (step->kind == TL_STEP_RESIZING) {
        const tl_resize_plan plan = plan_of(&step->src_shape, &step->region, &step->resizing);
        TL_TRY(tl_resize_create(&resize, &plan));
        TL_TRY(tl_multiply(&scratch, tl_resize_scratch(resize), sizeof(float)));
    }
    *kernel = (tl_kernel){.state = resize, /* handed over */
                          .scratch_bytes = scratch,
                          .takes_pixels = step->kind == TL_STEP_RESCALING};
    resize = NULL;
done:
    tl_resize_destroy(resize);
    return status;
}

static void
release(tl_kernel *kernel)
{
    tl_resize_destroy(kernel->state);
}

static tl_status
bind(void **binding, const tl_kernel *kernel, void *packed, void *scratch)
{
    (void)kernel;
    (void)packed;
    *binding = scratch;
    return TL_OK;
}

static void
unbind(void *binding)
{
    (void)binding; /* the executor's */
}

static void
rescale(const tl_step *step, const tl_work *work)
{
    const tl_rescaling *r = &step->rescaling;
    const size_t channels = tl_shape_channels(&step->src_shape);
    const size_t count = tl_shape_elements(&step->src_shape);
    if (work->pixels == NULL) {
        tl_rescale(work->dst, work->src, count / channels, channels, r->scale, r->offset,
                   r->count);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        work->dst[i] = work->values[work->pixels[i]];
    }
    tl_rescale(work->dst, work->dst, count / channels, channels, r->scale, r->offset, r->count);
}

static tl_status
forward(const tl_kernel *kernel, const tl_block *block, void *binding, const tl_work *work)
{
    const tl_step *step = &block->steps[0];
    if (step->kind == TL_STEP_RESCALING) {
        rescale(step, work);
    } else if (step->kind == TL_STEP_CROP) {
        tl_cut_out(work->dst, work->src, step->src_shape.dims[1], step->src_shape.dims[2],
                   (size_t)step->region.top, (size_t)step->region.left, step->region.height,
                   step->region.width);
    } else {
        tl_resize_run(kernel->state, work->dst, work->src, binding);
    }
    return TL_OK;
}

const tl_backend tl_pictures_backend = {
    .name = "pictures",
    .takes = takes,
    .prepare = prepare,
    .release = release,
    .pack = NULL, /* there are no weights: never called */
    .bind = bind,
    .unbind = unbind,
    .forward = forward,
};

/* --- training --------------------------------------------------------------------------- */

tl_status
tl_pictures_resize(float *dst, const float *src, const tl_node *node, const tl_shape *input,
                   size_t rows, bool back)
{
    tl_status status = TL_OK;
    const tl_region region = tl_picture_region(node, input);
    const tl_resizing how = tl_picture_resizing(node);
    const size_t before = tl_shape_elements(input);
    const size_t behind = tl_shape_elements(&node->shape);
    tl_resize_plan plan = plan_of(input, &region, &how);
    tl_resize *resize = NULL;
    float *scratch = NULL;
    if (region.height == how.size[0] && region.width == how.size[1]) {
        plan.method = TL_RESIZE_NEAREST; /* each pixel as it is */
    }
    TL_TRY(tl_resize_create(&resize, &plan));
    scratch = tl_alloc(tl_resize_scratch(resize), sizeof *scratch);
    if (scratch == NULL) {
        status = TL_OUT_OF_MEMORY;
        goto done;
    }
    for (size_t r = 0; r < rows; r++) {
        if (back) {
            tl_resize_back(resize, dst + r * before, src + r * behind, scratch);
        } else {
            tl_resize_run(resize, dst + r * behind, src + r * before, scratch);
        }
    }
done:
    tl_free(scratch);
    tl_resize_destroy(resize);
    return status;
}

/* --- changes at random ------------------------------------------------------------------ */

typedef struct change {
    const tl_node *node;
    const tl_shape *shape; /* of its input */
    float *dst;
    const float *src;
    const float *numbers;
} change;

/* A drawn place as an index; whatever it is, one. */
static size_t
index_from(float x)
{
    return x >= 1 ? (size_t)fminf(x, 1e6F) : 0;
}

static tl_status
cut_out(float *dst, const float *src, const change *job, const float *numbers)
{
    tl_status status = TL_OK;
    const tl_shape *shape = job->shape;
    const tl_region region =
        tl_picture_cut_out(job->node, shape, index_from(numbers[0]), index_from(numbers[1]));
    const size_t *size = job->node->augmentation.size;
    tl_resize *resize = NULL;
    float *scratch = NULL;
    if (region.height == size[0] && region.width == size[1]) {
        tl_cut_out(dst, src, shape->dims[1], shape->dims[2], (size_t)region.top,
                   (size_t)region.left, size[0], size[1]);
        return TL_OK;
    }
    const tl_resizing how = {.size = {size[0], size[1]}, .interpolation = TL_BILINEAR};
    const tl_resize_plan plan = plan_of(shape, &region, &how);
    TL_TRY(tl_resize_create(&resize, &plan));
    scratch = tl_alloc(tl_resize_scratch(resize), sizeof *scratch);
    if (scratch == NULL) {
        status = TL_OUT_OF_MEMORY;
        goto done;
    }
    tl_resize_run(resize, dst, src, scratch);
done:
    tl_free(scratch);
    tl_resize_destroy(resize);
    return status;
}

static tl_status
change_one(void *context, size_t i)
{
    const change *job = context;
    const tl_augmentation *a = &job->node->augmentation;
    const size_t *dims = job->shape->dims;
    const size_t count = tl_shape_elements(job->shape);
    const float *src = job->src + i * count;
    const float *numbers = job->numbers + i * TL_DRAWN;
    float *dst = job->dst + i * tl_shape_elements(&job->node->shape);
    const bool flipped = numbers[0] != 0;
    switch (job->node->op) {
    case TL_OP_RANDOM_FLIP:
        tl_flip(dst, src, dims[0], dims[1], dims[2], a->horizontal && flipped,
                a->vertical && flipped);
        break;
    case TL_OP_RANDOM_CONTRAST:
        tl_contrast(dst, src, dims[0] * dims[1], dims[2], numbers[0], a->value_range);
        break;
    case TL_OP_RANDOM_BRIGHTNESS:
        tl_brighten(dst, src, count, numbers[0], a->value_range);
        break;
    case TL_OP_RANDOM_CROP:
        return cut_out(dst, src, job, numbers);
    default:
        tl_projective_run(dst, src,
                          &(tl_projective){.height = dims[0],
                                           .width = dims[1],
                                           .channels = dims[2],
                                           .beyond = beyonds[a->fill_mode],
                                           .bilinear = a->interpolation == TL_BILINEAR,
                                           .fill_value = a->fill_value},
                          numbers);
        break;
    }
    return TL_OK;
}

tl_status
tl_pictures_change(float *dst, const float *src, const tl_graph *graph, size_t node,
                   const float *numbers, size_t count)
{
    if (node >= graph->count || !tl_node_is_augmentation(&graph->nodes[node])) {
        return tl_fail(TL_BAD_VALUE, "node %zu is no layer that changes pictures at random",
                       node);
    }
    change job = {.node = &graph->nodes[node],
                  .shape = &graph->nodes[graph->nodes[node].inputs[0]].shape,
                  .dst = dst,
                  .src = src,
                  .numbers = numbers};
    return tl_pool_run(change_one, &job, count);
}
