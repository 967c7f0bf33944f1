/* Checks and shapes of layers for pictures. Sizes are computed in the number formats that Keras
 * computes them in, which decide about the last pixel. */
#include "core/picture_node.h"

#include <math.h>
#include <string.h>

static const char *const interpolation_names[TL_INTERPOLATION_COUNT] = {
    [TL_INTERPOLATION_NONE] = "none",
    [TL_NEAREST] = "nearest",
    [TL_BILINEAR] = "bilinear",
    [TL_BICUBIC] = "bicubic",
    [TL_LANCZOS3] = "lanczos3",
    [TL_LANCZOS5] = "lanczos5",
    [TL_AREA] = "area",
};

static const char *const fill_mode_names[TL_FILL_MODE_COUNT] = {
    [TL_FILL_NONE] = "none",       [TL_FILL_CONSTANT] = "constant",
    [TL_FILL_NEAREST] = "nearest", [TL_FILL_REFLECT] = "reflect",
    [TL_FILL_WRAP] = "wrap",
};

const char *
tl_interpolation_name(tl_interpolation interpolation)
{
    return interpolation_names[interpolation];
}

bool
tl_interpolation_from_name(tl_interpolation *interpolation, const char *name)
{
    for (int i = 1; i < TL_INTERPOLATION_COUNT; i++) {
        if (strcmp(interpolation_names[i], name) == 0) {
            *interpolation = (tl_interpolation)i;
            return true;
        }
    }
    return false;
}

const char *
tl_fill_mode_name(tl_fill_mode mode)
{
    return fill_mode_names[mode];
}

bool
tl_fill_mode_from_name(tl_fill_mode *mode, const char *name)
{
    for (int i = 1; i < TL_FILL_MODE_COUNT; i++) {
        if (strcmp(fill_mode_names[i], name) == 0) {
            *mode = (tl_fill_mode)i;
            return true;
        }
    }
    return false;
}

/* --- checks ----------------------------------------------------------------------------- */

static tl_status
refuse(const tl_node *node, const char *what)
{
    return tl_fail(TL_BAD_VALUE, "%s \"%s\" needs %s", tl_op_name(node->op), node->name, what);
}

static bool
in_order(const float pair[2], float least, float most)
{
    return pair[0] <= pair[1] && pair[0] >= least && pair[1] <= most;
}

static tl_status
check_size(const tl_node *node, const size_t size[2])
{
    const size_t limit = 1 << 16;
    if (size[0] < 1 || size[0] > limit || size[1] < 1 || size[1] > limit) {
        return tl_fail(TL_BAD_VALUE,
                       "%s \"%s\" needs a height and a width from 1 to %zu, not %zu and %zu",
                       tl_op_name(node->op), node->name, limit, size[0], size[1]);
    }
    return TL_OK;
}

static tl_status
check_rescaling(const tl_node *node, const tl_shape *input)
{
    const tl_rescaling *r = &node->rescaling;
    const size_t channels = tl_shape_channels(input);
    if (r->count != 1 && (r->count != channels || r->count > TL_MAX_RESCALED)) {
        return tl_fail(TL_BAD_VALUE,
                       "rescaling \"%s\" needs 1 number, or one for each of the %zu channels "
                       "of its input if these are at most %d, not %zu",
                       node->name, channels, TL_MAX_RESCALED, r->count);
    }
    for (size_t i = 0; i < r->count; i++) {
        if (!isfinite(r->scale[i]) || !isfinite(r->offset[i])) {
            return refuse(node, "finite numbers");
        }
    }
    return TL_OK;
}

static tl_status
check_resizing(const tl_node *node)
{
    const tl_resizing *r = &node->resizing;
    if (r->interpolation <= TL_INTERPOLATION_NONE ||
        r->interpolation >= TL_INTERPOLATION_COUNT) {
        return refuse(node, "an interpolation");
    }
    if (r->crops && r->pads) {
        return refuse(node, "either to crop or to pad, not both");
    }
    return isfinite(r->fill_value) ? TL_OK : refuse(node, "a finite fill_value");
}

static tl_status
check_warp(const tl_node *node, float least, float most)
{
    const tl_augmentation *a = &node->augmentation;
    if (a->fill_mode <= TL_FILL_NONE || a->fill_mode >= TL_FILL_MODE_COUNT) {
        return refuse(node, "a fill_mode");
    }
    if (a->interpolation != TL_NEAREST && a->interpolation != TL_BILINEAR) {
        return refuse(node, "the interpolation nearest or bilinear");
    }
    if (!isfinite(a->fill_value)) {
        return refuse(node, "a finite fill_value");
    }
    if (!in_order(a->factor, least, most) || !in_order(a->width_factor, least, most)) {
        return refuse(node, "factors in order and within their bounds");
    }
    return TL_OK;
}

static tl_status
check_light(const tl_node *node, float most)
{
    const tl_augmentation *a = &node->augmentation;
    if (!in_order(a->factor, -most, most)) {
        return refuse(node, "factors in order and within their bounds");
    }
    if (!(a->value_range[0] < a->value_range[1]) || !isfinite(a->value_range[0]) ||
        !isfinite(a->value_range[1])) {
        return refuse(node, "a value_range of two finite numbers, the smaller one first");
    }
    return TL_OK;
}

tl_status
tl_picture_shape(tl_shape *shape, const tl_node *node, const tl_shape *input)
{
    tl_status status = TL_OK;
    const float far = 1 << 16; /* beyond it float32 tells no pixels apart */
    const size_t *size = NULL;
    switch (node->op) {
    case TL_OP_RESCALING:
        TL_TRY(check_rescaling(node, input));
        break;
    case TL_OP_RESIZING:
        TL_TRY(check_resizing(node));
        size = node->resizing.size;
        break;
    case TL_OP_CENTER_CROP:
        size = node->resizing.size;
        break;
    case TL_OP_RANDOM_CROP:
        size = node->augmentation.size;
        break;
    case TL_OP_RANDOM_FLIP:
        if (!node->augmentation.horizontal && !node->augmentation.vertical) {
            return refuse(node, "an axis to flip");
        }
        break;
    case TL_OP_RANDOM_ROTATION:
        TL_TRY(check_warp(node, -far, far));
        break;
    case TL_OP_RANDOM_ZOOM:
    case TL_OP_RANDOM_TRANSLATION:
        TL_TRY(check_warp(node, -1, 1));
        break;
    default:
        TL_TRY(check_light(node, far));
        break;
    }
    if (size != NULL) {
        TL_TRY(check_size(node, size));
    }
    *shape = size == NULL ? *input : tl_shape_3(size[0], size[1], input->dims[2]);
done:
    return status;
}

/* --- parts of pictures ------------------------------------------------------------------ */

static size_t
between(size_t value, size_t least, size_t most)
{
    return value < least ? least : value > most ? most : value;
}

/* The largest part in the middle that has the aspect ratio of `size`: Keras's smart_resize,
 * which divides in double, and its resize, which divides in float32. */
static tl_region
middle(const tl_shape *input, const size_t size[2], bool in_double)
{
    const double wide = (double)(input->dims[1] * size[0]);
    const double high = (double)(input->dims[0] * size[1]);
    const double height =
        in_double ? wide / (double)size[1] : (double)((float)wide / (float)size[1]);
    const double width =
        in_double ? high / (double)size[0] : (double)((float)high / (float)size[0]);
    tl_region region = {.height = between((size_t)height, 1, input->dims[0]),
                        .width = between((size_t)width, 1, input->dims[1])};
    region.top = (ptrdiff_t)((input->dims[0] - region.height) / 2);
    region.left = (ptrdiff_t)((input->dims[1] - region.width) / 2);
    return region;
}

/* The picture with a border that gives it the aspect ratio of `size`, but for a pixel: both
 * sides get as much. */
static tl_region
framed(const tl_shape *input, const size_t size[2])
{
    const float wide = (float)(input->dims[1] * size[0]) / (float)size[1];
    const float high = (float)(input->dims[0] * size[1]) / (float)size[0];
    const size_t height = between((size_t)wide, input->dims[0], SIZE_MAX);
    const size_t width = between((size_t)high, input->dims[1], SIZE_MAX);
    const size_t above = (height - input->dims[0]) / 2;
    const size_t before = (width - input->dims[1]) / 2;
    return (tl_region){-(ptrdiff_t)above, -(ptrdiff_t)before, input->dims[0] + 2 * above,
                       input->dims[1] + 2 * before};
}

tl_region
tl_picture_region(const tl_node *node, const tl_shape *input)
{
    const size_t *size =
        node->op == TL_OP_RANDOM_CROP ? node->augmentation.size : node->resizing.size;
    if (node->op == TL_OP_RESIZING) {
        return node->resizing.crops  ? middle(input, size, false)
               : node->resizing.pads ? framed(input, size)
                                     : (tl_region){0, 0, input->dims[0], input->dims[1]};
    }
    if (node->op == TL_OP_CENTER_CROP && input->dims[0] >= size[0] &&
        input->dims[1] >= size[1]) {
        return (tl_region){(ptrdiff_t)((input->dims[0] - size[0]) / 2),
                           (ptrdiff_t)((input->dims[1] - size[1]) / 2), size[0], size[1]};
    }
    return middle(input, size, true);
}

tl_resizing
tl_picture_resizing(const tl_node *node)
{
    const tl_resizing middle = {.size = {node->shape.dims[0], node->shape.dims[1]},
                                .interpolation = TL_BILINEAR};
    return node->op == TL_OP_RESIZING ? node->resizing : middle;
}

bool
tl_node_resizes(const tl_node *node)
{
    return node->op == TL_OP_RESIZING || node->op == TL_OP_CENTER_CROP ||
           (node->op == TL_OP_RANDOM_CROP && node->inference);
}

tl_region
tl_picture_cut_out(const tl_node *node, const tl_shape *input, size_t top, size_t left)
{
    const size_t *size = node->augmentation.size;
    const size_t y = between(top, 0, input->dims[0] - 1);
    const size_t x = between(left, 0, input->dims[1] - 1);
    return (tl_region){(ptrdiff_t)y, (ptrdiff_t)x, between(size[0], 1, input->dims[0] - y),
                       between(size[1], 1, input->dims[1] - x)};
}
