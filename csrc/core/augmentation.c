/* Draws as Keras's layers draw, from tlcore's own random numbers. */
#include "core/augmentation.h"

#include <math.h>
#include <string.h>

#include "core/random.h"

static float
uniform(uint64_t stream, uint64_t index, float low, float high)
{
    return low + (high - low) * tl_random_uniform(stream, index);
}

/* About the middle: the picture's centre stays where it is. */
static void
turn(float *m, const tl_shape *shape, float degrees)
{
    const float to_radian = (float)(3.14159265358979323846 / 180.0);
    const float angle = degrees * to_radian;
    const float cx = 0.5F * (float)(shape->dims[1] - 1);
    const float cy = 0.5F * (float)(shape->dims[0] - 1);
    m[0] = cosf(angle);
    m[1] = -sinf(angle);
    m[2] = cx - cx * m[0] - cy * m[1];
    m[3] = sinf(angle);
    m[4] = cosf(angle);
    m[5] = cy - cx * m[3] - cy * m[4];
}

static void
zoom(float *m, const tl_shape *shape, float vertical, float horizontal)
{
    m[0] = horizontal;
    m[2] = ((float)shape->dims[1] - 1.0F) / 2.0F * (1.0F - horizontal);
    m[4] = vertical;
    m[5] = ((float)shape->dims[0] - 1.0F) / 2.0F * (1.0F - vertical);
}

static void
draw_one(float *m, const tl_node *node, const tl_shape *shape, uint64_t stream, size_t row)
{
    const tl_augmentation *a = &node->augmentation;
    const uint64_t index = 2 * (uint64_t)row; /* two draws a picture */
    const float *f = a->factor;
    const float *w = a->width_factor;
    float first;
    switch (node->op) {
    case TL_OP_RANDOM_FLIP:
        m[0] = tl_random_uniform(stream, index) <= 0.5F ? 1.0F : 0.0F;
        break;
    case TL_OP_RANDOM_ROTATION:
        turn(m, shape, uniform(stream, index, f[0] * 360.0F, f[1] * 360.0F));
        break;
    case TL_OP_RANDOM_ZOOM:
        first = uniform(stream, index, 1.0F + f[0], 1.0F + f[1]);
        zoom(m, shape, first,
             a->width_follows ? first : uniform(stream, index + 1, 1.0F + w[0], 1.0F + w[1]));
        break;
    case TL_OP_RANDOM_TRANSLATION:
        m[0] = 1.0F;
        m[4] = 1.0F;
        m[5] = -uniform(stream, index, f[0], f[1]) * (float)shape->dims[0];
        m[2] = -uniform(stream, index + 1, w[0], w[1]) * (float)shape->dims[1];
        break;
    case TL_OP_RANDOM_CONTRAST:
        m[0] = uniform(stream, index, 1.0F - f[0], 1.0F + f[1]);
        break;
    default:
        m[0] = uniform(stream, index, f[0], f[1]) * (a->value_range[1] - a->value_range[0]);
        break;
    }
}

/* Where the pictures are larger than the crop in both directions anywhere, and otherwise where
 * Keras's smart_resize would begin. */
static void
draw_crop(float *m, const tl_node *node, const tl_shape *shape, uint64_t stream)
{
    const size_t *size = node->augmentation.size;
    if (shape->dims[0] > size[0] && shape->dims[1] > size[1]) {
        const float high = (float)(shape->dims[0] - size[0] + 1);
        const float wide = (float)(shape->dims[1] - size[1] + 1);
        m[0] = floorf(uniform(stream, 0, 0.0F, high));
        m[1] = floorf(uniform(stream, 1, 0.0F, wide));
        return;
    }
    const double height = (double)(shape->dims[1] * size[0]) / (double)size[1];
    const double width = (double)(shape->dims[0] * size[1]) / (double)size[0];
    const double most_height = (double)shape->dims[0];
    const double most_width = (double)shape->dims[1];
    m[0] = (float)floor((most_height - fmax(fmin(floor(height), most_height), 1.0)) / 2.0);
    m[1] = (float)floor((most_width - fmax(fmin(floor(width), most_width), 1.0)) / 2.0);
}

tl_status
tl_augmentation_draw(float *numbers, const tl_graph *graph, size_t node, uint64_t seed,
                     uint64_t batch, size_t rows)
{
    if (node >= graph->count || !tl_node_is_augmentation(&graph->nodes[node])) {
        return tl_fail(TL_BAD_VALUE, "node %zu is no layer that changes pictures at random",
                       node);
    }
    const tl_node *drawn = &graph->nodes[node];
    const tl_shape *shape = &graph->nodes[drawn->inputs[0]].shape;
    const bool seeded = drawn->augmentation.seeded;
    /* with a seed of its own a layer draws the same wherever it stands */
    const uint64_t stream =
        seeded ? tl_random_bits(tl_random_bits(drawn->augmentation.seed, 1), batch)
               : tl_random_bits(tl_random_bits(seed, node), batch);
    memset(numbers, 0, rows * TL_DRAWN * sizeof *numbers);
    for (size_t row = 0; row < rows; row++) {
        float *m = numbers + row * TL_DRAWN;
        if (drawn->op == TL_OP_RANDOM_CROP) {
            draw_crop(m, drawn, shape, stream);
        } else {
            draw_one(m, drawn, shape, stream, row);
        }
    }
    return TL_OK;
}
