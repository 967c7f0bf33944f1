/* Tiles, windows and rings: forward and backward of convolutions over a part of a batch. */
#include "kernels/training.h"

#include <string.h>

#include "core/arena.h"
#include "kernels/fused_plan.h"
#include "kernels/micro.h"

enum {
    TILE_FLOATS = 96 << 10, /* of a 1 x 1 convolution's tile: with weights, the second level */
    SHORTEST_TILE = 28,
    LONGEST_TILE = 504, /* and so are the sums of floats that are then added in double */
    MOMENT_PIXELS = 128,
    SUM_ROWS = 16,
    PASS_PIXELS = 64
};

static size_t
least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t
most(size_t a, size_t b)
{
    return a > b ? a : b;
}

static size_t
whole_vectors(size_t count, const tl_micro *micro)
{
    return (count + micro->width - 1) / micro->width * micro->width;
}

static bool
is_pointwise(const tl_layer *layer)
{
    const tl_padding *p = &layer->padding;
    return !layer->depthwise && layer->kernel[0] == 1 && layer->kernel[1] == 1 &&
           layer->strides[0] == 1 && layer->strides[1] == 1 &&
           p->top + p->bottom + p->left + p->right == 0;
}

/* --- the plan --------------------------------------------------------------------------- */

/* Sizes in floats and places of everything. */
typedef struct sizes {
    size_t in, out;       /* channels */
    size_t width, height; /* of the source with its padding */
    size_t window;        /* floats of one row of a window: kernel width x channels */
    size_t tile;          /* pixels of a 1 x 1 convolution's tile */
    size_t border;        /* pixels of zeros beside a row of a depthwise gradient */
    size_t pass_rows;     /* of a depthwise source gradient that are passed at once */
    /* packed */
    size_t forward_panels, backward_panels, bias, zeros;
    size_t packed_bytes;
    /* scratch */
    size_t src, inner, grad_src, column, sums;
    size_t scratch_bytes;
} sizes;

/* Bytes of a * b * c floats are added; the place is in floats. */
static tl_status
add_floats(tl_layout *layout, size_t *at, size_t a, size_t b, size_t c)
{
    tl_status status = TL_OK;
    size_t count;
    TL_TRY(tl_multiply(&count, a, b));
    TL_TRY(tl_multiply(&count, count, c));
    TL_TRY(tl_multiply(&count, count, sizeof(float)));
    TL_TRY(tl_layout_add(layout, at, count));
    *at /= sizeof(float);
done:
    return status;
}

static tl_status
size_up(sizes *s, const tl_layer *layer, const tl_micro *micro)
{
    tl_status status = TL_OK;
    tl_layout packed = {0};
    tl_layout scratch = {0};
    const size_t taps = layer->kernel[0] * layer->kernel[1];
    s->in = layer->src.dims[2];
    s->out = layer->dst.dims[2];
    s->height = layer->src.dims[0] + layer->padding.top + layer->padding.bottom;
    s->width = layer->src.dims[1] + layer->padding.left + layer->padding.right;
    s->window = layer->kernel[1] * s->in;
    s->border = layer->kernel[1];
    s->pass_rows = least(most(1, PASS_PIXELS / layer->src.dims[1]), layer->src.dims[0]);
    s->tile = most(SHORTEST_TILE, least(LONGEST_TILE, TILE_FLOATS / (2 * s->in + s->out)));
    s->tile = s->tile / TL_GROUP * TL_GROUP;

    const size_t zeros = whole_vectors(most(s->window, s->out), micro);
    TL_TRY(add_floats(&packed, &s->bias, whole_vectors(s->out, micro), 1, 1));
    TL_TRY(add_floats(&packed, &s->zeros, zeros, 1, 1));
    if (!layer->depthwise) {
        TL_TRY(add_floats(&packed, &s->forward_panels, layer->kernel[0], s->window,
                          whole_vectors(s->out, micro)));
        TL_TRY(add_floats(&packed, &s->backward_panels, layer->kernel[0], s->out,
                          whole_vectors(s->window, micro)));
    }
    if (layer->depthwise) {
        TL_TRY(add_floats(&scratch, &s->src, layer->kernel[0], s->width, s->in));
        TL_TRY(add_floats(&scratch, &s->inner, layer->kernel[0],
                          layer->dst.dims[1] + 2 * s->border, s->out));
        TL_TRY(add_floats(&scratch, &s->grad_src, s->pass_rows, layer->src.dims[1], s->in));
        TL_TRY(add_floats(&scratch, &s->column, taps, s->in, 1)); /* the taps' sums */
    } else if (is_pointwise(layer)) {
        TL_TRY(add_floats(&scratch, &s->src, s->tile, s->in, 1));
        TL_TRY(add_floats(&scratch, &s->inner, s->tile, s->out, 1));
        TL_TRY(add_floats(&scratch, &s->grad_src, s->tile, s->in, 1));
    } else {
        TL_TRY(add_floats(&scratch, &s->src, s->height, s->width, s->in));
        TL_TRY(add_floats(&scratch, &s->inner, layer->dst.dims[1], s->out, 1));
        TL_TRY(add_floats(&scratch, &s->grad_src, s->height, s->width, s->in));
        TL_TRY(add_floats(&scratch, &s->column, layer->dst.dims[1], s->window, 1));
    }
    TL_TRY(add_floats(&scratch, &s->sums, 4, most(s->in, s->out), 1));
    s->packed_bytes = packed.size;
    s->scratch_bytes = scratch.size;
done:
    return status;
}

static tl_status
plan(const tl_layer *layer, size_t *packed_bytes, size_t *scratch_bytes)
{
    sizes s = {0};
    const tl_status status = size_up(&s, layer, tl_fused_micro());
    if (status == TL_OK) {
        *packed_bytes = s.packed_bytes;
        *scratch_bytes = s.scratch_bytes;
    }
    return status;
}

/* --- packing and multiplying ------------------------------------------------------------ */

/* Panels of a matrix (depth, cols), whose elements lie so far apart. */
static void
pack_panels(float *dst, const float *src, size_t depth, size_t cols, size_t row_step,
            size_t col_step, const tl_micro *micro)
{
    const size_t panel = micro->widest_panel * micro->width;
    for (size_t n = 0; n < cols; n += panel) {
        const size_t some = least(panel, cols - n);
        const size_t wide = whole_vectors(some, micro);
        for (size_t k = 0; k < depth; k++) {
            const float *from = src + k * row_step + n * col_step;
            for (size_t c = 0; c < wide; c++) {
                dst[c] = c < some ? from[c * col_step] : 0;
            }
            dst += wide;
        }
    }
}

static void
pack(const tl_layer *layer, void *packed, const float *kernel, const float *bias)
{
    const tl_micro *micro = tl_fused_micro();
    sizes s = {0};
    float *floats = packed;
    (void)size_up(&s, layer, micro); /* went well in plan */
    memset(floats + s.bias, 0, whole_vectors(s.out, micro) * sizeof *floats);
    memset(floats + s.zeros, 0, whole_vectors(most(s.window, s.out), micro) * sizeof *floats);
    if (bias != NULL) {
        memcpy(floats + s.bias, bias, s.out * sizeof *floats);
    }
    if (layer->depthwise) {
        return;
    }
    pack_panels(floats + s.forward_panels, kernel, layer->kernel[0] * s.window, s.out, s.out, 1,
                micro);
    for (size_t i = 0; i < layer->kernel[0]; i++) { /* transposed, a row of the kernel each */
        pack_panels(floats + s.backward_panels + i * s.out * whole_vectors(s.window, micro),
                    kernel + i * s.window * s.out, s.out, s.window, 1, s.out, micro);
    }
}

/* A product of rows that lie `src_stride` apart, `src_step` from segment to segment, with
 * panels. */
typedef struct product {
    float *dst;
    size_t dst_stride;
    const float *src;
    size_t src_stride;
    size_t src_step;
    size_t segments;
    size_t depth;
    const float *panels;
    size_t cols;
    const float *bias;
    tl_function function;
    size_t pixels;
} product;

static void
multiply(const product *p, const tl_micro *micro)
{
    const size_t panel = micro->widest_panel * micro->width;
    const float *weights = p->panels;
    for (size_t n = 0; n < p->cols; n += panel) {
        const size_t some = least(panel, p->cols - n);
        const size_t wide = whole_vectors(some, micro);
        for (size_t first = 0; first < p->segments; first += TL_MAX_SEGMENTS) {
            tl_panel_job job = {
                .dst = p->dst + n,
                .dst_stride = p->dst_stride,
                .segments = least(TL_MAX_SEGMENTS, p->segments - first),
                .src_stride = p->src_stride,
                .depth = p->depth,
                .weights = weights + first * p->depth * wide,
                .vectors = wide / micro->width,
                .channels = some,
                .pixels = p->pixels,
                .bias = first == 0 ? p->bias + n : NULL,
                .function = first + TL_MAX_SEGMENTS < p->segments ? TL_LINEAR : p->function,
            };
            for (size_t i = 0; i < job.segments; i++) {
                job.src[i] = p->src + (first + i) * p->src_step;
            }
            micro->multiply(&job);
        }
        weights += p->segments * p->depth * wide;
    }
}

/* --- passes ----------------------------------------------------------------------------- */

static void
load(float *dst, const tl_view *src, size_t pixels, size_t channels)
{
    tl_fused_micro()->load(dst, src, pixels, channels);
}

/* The view from the pixel on. */
static tl_view
view_from(const tl_view *view, size_t first_pixel, size_t channels)
{
    tl_view behind = *view;
    behind.data += first_pixel * channels;
    return behind;
}

static void
merge_moments(tl_moments *moments, const float *sum, const float *squares, size_t pixels,
              size_t channels)
{
    const double count = (double)pixels;
    const double total = moments->count + count;
    const double share = count / total;
    const double weight = moments->count * share;
    for (size_t c = 0; c < channels; c++) {
        const double delta = (double)sum[c] / count - moments->mean[c];
        moments->mean[c] += delta * share;
        moments->squares[c] += (double)squares[c] + delta * delta * weight;
    }
    moments->count = total;
}

static void
take_moments(tl_moments *moments, const float *src, size_t pixels, size_t channels,
             float *scratch)
{
    for (size_t first = 0; first < pixels; first += LONGEST_TILE) {
        const size_t some = least(LONGEST_TILE, pixels - first);
        tl_fused_micro()->moments(scratch, scratch + channels, src + first * channels, some,
                                  channels);
        merge_moments(moments, scratch, scratch + channels, some, channels);
    }
}

static void
pass(const tl_gradient *to, const float *grad, size_t first_pixel, size_t pixels,
     size_t channels, float *scratch)
{
    const tl_micro *micro = tl_fused_micro();
    for (size_t done = 0; done < pixels; done += LONGEST_TILE) {
        const size_t some = least(LONGEST_TILE, pixels - done);
        const size_t at = (first_pixel + done) * channels;
        const float *from = grad + done * channels;
        float *dst = to->data + at;
        if (to->last) {
            memset(scratch, 0, 2 * channels * sizeof *scratch);
            micro->finish(dst, from, to, to->view.data + at, scratch, some, channels);
            for (size_t i = 0; to->sums != NULL && i < 2 * channels; i++) {
                to->sums[i] += (double)scratch[i];
            }
        } else if (to->adds) {
            for (size_t i = 0; i < some * channels; i++) {
                dst[i] += from[i];
            }
        } else {
            memcpy(dst, from, some * channels * sizeof *dst);
        }
    }
}

static void
take_inner(float *dst, const tl_inner *from, size_t first_pixel, size_t pixels, size_t channels)
{
    const size_t at = first_pixel * channels;
    if (from->scale == NULL) {
        memcpy(dst, from->gradient + at, pixels * channels * sizeof *dst);
        return;
    }
    tl_inner behind = *from;
    behind.gradient += at;
    behind.data += at;
    tl_fused_micro()->inner(dst, &behind, pixels, channels);
}

/* The sum of a tile first: a sum of all pixels, one by one, would round as often. */
static void
add_bias(float *grad_bias, const float *grad, size_t pixels, size_t channels, float *scratch)
{
    memset(scratch, 0, channels * sizeof *scratch);
    tl_fused_micro()->add_up(scratch, grad, pixels, channels);
    for (size_t c = 0; c < channels; c++) {
        grad_bias[c] += scratch[c];
    }
}

/* The same where it lies, if nothing need be computed. */
static const float *
inner_at(float *room, const tl_inner *from, size_t first_pixel, size_t pixels, size_t channels)
{
    if (from->scale == NULL) {
        return from->gradient + first_pixel * channels;
    }
    take_inner(room, from, first_pixel, pixels, channels);
    return room;
}

static const float *
view_at(float *room, const tl_view *view, size_t first_pixel, size_t pixels, size_t channels)
{
    const tl_view behind = view_from(view, first_pixel, channels);
    if (tl_view_is_plain(view)) {
        return behind.data;
    }
    load(room, &behind, pixels, channels);
    return room;
}

/* --- 1 x 1 ------------------------------------------------------------------------------ */

static void
pointwise_forward(const tl_layer *layer, const sizes *s, const tl_layer_forward *call)
{
    const tl_micro *micro = tl_fused_micro();
    const float *packed = call->packed;
    float *scratch = call->scratch;
    const size_t pixels = call->images * layer->src.dims[0] * layer->src.dims[1];
    for (size_t first = 0; first < pixels; first += s->tile) {
        const size_t some = least(s->tile, pixels - first);
        float *dst = call->dst + first * s->out;
        multiply(&(product){.dst = dst,
                            .dst_stride = s->out,
                            .src = view_at(scratch + s->src, &call->src, first, some, s->in),
                            .src_stride = s->in,
                            .segments = 1,
                            .depth = s->in,
                            .panels = packed + s->forward_panels,
                            .cols = s->out,
                            .bias = packed + s->bias,
                            .function = call->function,
                            .pixels = some},
                 micro);
        if (call->moments != NULL) {
            take_moments(call->moments, dst, some, s->out, scratch + s->sums);
        }
    }
}

static void
pointwise_backward(const tl_layer *layer, const sizes *s, const tl_layer_backward *call)
{
    const tl_micro *micro = tl_fused_micro();
    const float *packed = call->packed;
    float *scratch = call->scratch;
    const size_t pixels = call->images * layer->src.dims[0] * layer->src.dims[1];
    for (size_t first = 0; first < pixels; first += s->tile) {
        const size_t some = least(s->tile, pixels - first);
        const float *grad = inner_at(scratch + s->inner, &call->dst, first, some, s->out);
        if (call->grad_bias != NULL) {
            add_bias(call->grad_bias, grad, some, s->out, scratch + s->sums);
        }
        /* This brings both tiles near in their order; the kernel's gradient walks across. */
        if (call->src_gradient.data != NULL) {
            multiply(&(product){.dst = scratch + s->grad_src,
                                .dst_stride = s->in,
                                .src = grad,
                                .src_stride = s->out,
                                .segments = 1,
                                .depth = s->out,
                                .panels = packed + s->backward_panels,
                                .cols = s->in,
                                .bias = packed + s->zeros,
                                .pixels = some},
                     micro);
            pass(&call->src_gradient, scratch + s->grad_src, first, some, s->in,
                 scratch + s->sums);
        }
        if (call->grad_kernel != NULL) {
            micro->outer(&(tl_outer_job){
                .dst = call->grad_kernel,
                .dst_stride = s->out,
                .a = view_at(scratch + s->src, &call->src, first, some, s->in),
                .a_stride = s->in,
                .rows = s->in,
                .b = grad,
                .b_stride = s->out,
                .cols = s->out,
                .depth = some,
            });
        }
    }
}

/* --- windows ---------------------------------------------------------------------------- */

/* A row of the source between its zeros; `row` counts from the padding on. */
static void
load_padded_row(float *dst, const tl_layer *layer, const sizes *s, const tl_view *image,
                size_t row)
{
    const size_t left = layer->padding.left * s->in;
    const size_t inner = layer->src.dims[1];
    if (row < layer->padding.top || row - layer->padding.top >= layer->src.dims[0]) {
        memset(dst, 0, s->width * s->in * sizeof *dst);
        return;
    }
    const tl_view from = view_from(image, (row - layer->padding.top) * inner, s->in);
    memset(dst, 0, left * sizeof *dst);
    load(dst + left, &from, inner, s->in);
    memset(dst + left + inner * s->in, 0, layer->padding.right * s->in * sizeof *dst);
}

static tl_view
image_of(const tl_layer *layer, const sizes *s, const tl_view *src, size_t image)
{
    return view_from(src, image * layer->src.dims[0] * layer->src.dims[1], s->in);
}

/* Moments of the `pending` pixels in front of `end`, once there are enough of them or no more
 * will come. */
static void
take_row_moments(const tl_layer_forward *call, const sizes *s, const float *end,
                 size_t *pending, bool is_last)
{
    if (call->moments != NULL && (*pending >= MOMENT_PIXELS || is_last)) {
        take_moments(call->moments, end - *pending * s->out, *pending, s->out,
                     (float *)call->scratch + s->sums);
        *pending = 0;
    }
}

static void
windows_forward(const tl_layer *layer, const sizes *s, const tl_layer_forward *call)
{
    const tl_micro *micro = tl_fused_micro();
    const float *packed = call->packed;
    float *scratch = call->scratch;
    float *padded = scratch + s->src;
    const size_t row = s->width * s->in;
    const size_t height = layer->dst.dims[0];
    const size_t width = layer->dst.dims[1];
    size_t pending = 0; /* pixels whose moments are still to be taken */
    float *dst = call->dst;
    for (size_t n = 0; n < call->images; n++) {
        const tl_view image = image_of(layer, s, &call->src, n);
        for (size_t y = 0; y < s->height; y++) {
            load_padded_row(padded + y * row, layer, s, &image, y);
        }
        for (size_t y = 0; y < height; y++) {
            multiply(&(product){.dst = dst,
                                .dst_stride = s->out,
                                .src = padded + y * layer->strides[0] * row,
                                .src_stride = layer->strides[1] * s->in,
                                .src_step = row,
                                .segments = layer->kernel[0],
                                .depth = s->window,
                                .panels = packed + s->forward_panels,
                                .cols = s->out,
                                .bias = packed + s->bias,
                                .function = call->function,
                                .pixels = width},
                     micro);
            dst += width * s->out;
            pending += width;
            take_row_moments(call, s, dst, &pending, y + 1 == height && n + 1 == call->images);
        }
    }
}

/* Adds the windows' gradients of one row of outputs to the padded gradient of the source. */
static void
scatter_windows(float *padded, const float *column, const tl_layer *layer, const sizes *s)
{
    const size_t step = layer->strides[1] * s->in;
    for (size_t x = 0; x < layer->dst.dims[1]; x++) {
        float *dst = padded + x * step;
        for (size_t c = 0; c < s->window; c++) {
            dst[c] += column[x * s->window + c];
        }
    }
}

static void
windows_backward(const tl_layer *layer, const sizes *s, const tl_layer_backward *call)
{
    const tl_micro *micro = tl_fused_micro();
    const float *packed = call->packed;
    float *scratch = call->scratch;
    float *padded = scratch + s->src;
    float *grad_padded = scratch + s->grad_src;
    const size_t row = s->width * s->in;
    const size_t height = layer->dst.dims[0];
    const size_t width = layer->dst.dims[1];
    const size_t pixels = layer->src.dims[0] * layer->src.dims[1];
    for (size_t n = 0; n < call->images; n++) {
        const tl_view image = image_of(layer, s, &call->src, n);
        for (size_t y = 0; call->grad_kernel != NULL && y < s->height; y++) {
            load_padded_row(padded + y * row, layer, s, &image, y);
        }
        if (call->src_gradient.data != NULL) {
            memset(grad_padded, 0, s->height * row * sizeof *grad_padded);
        }
        for (size_t y = 0; y < height; y++) {
            const float *grad = inner_at(scratch + s->inner, &call->dst,
                                         (n * height + y) * width, width, s->out);
            if (call->grad_bias != NULL) {
                add_bias(call->grad_bias, grad, width, s->out, scratch + s->sums);
            }
            for (size_t i = 0; i < layer->kernel[0]; i++) {
                const size_t at = (y * layer->strides[0] + i) * row;
                if (call->grad_kernel != NULL) {
                    micro->outer(&(tl_outer_job){
                        .dst = call->grad_kernel + i * s->window * s->out,
                        .dst_stride = s->out,
                        .a = padded + at,
                        .a_stride = layer->strides[1] * s->in,
                        .rows = s->window,
                        .b = grad,
                        .b_stride = s->out,
                        .cols = s->out,
                        .depth = width,
                    });
                }
                if (call->src_gradient.data != NULL) {
                    multiply(&(product){.dst = scratch + s->column,
                                        .dst_stride = s->window,
                                        .src = grad,
                                        .src_stride = s->out,
                                        .segments = 1,
                                        .depth = s->out,
                                        .panels = packed + s->backward_panels +
                                                  i * s->out * whole_vectors(s->window, micro),
                                        .cols = s->window,
                                        .bias = packed + s->zeros,
                                        .pixels = width},
                             micro);
                    scatter_windows(grad_padded + at, scratch + s->column, layer, s);
                }
            }
        }
        for (size_t y = 0; call->src_gradient.data != NULL && y < layer->src.dims[0]; y++) {
            const size_t at = (y + layer->padding.top) * row + layer->padding.left * s->in;
            pass(&call->src_gradient, grad_padded + at, n * pixels + y * layer->src.dims[1],
                 layer->src.dims[1], s->in, scratch + s->sums);
        }
    }
}

/* --- depthwise -------------------------------------------------------------------------- */

/* Rows of the ring until `end`, where those before `*ready` lie already. */
static void
fill_ring(float *ring, size_t *ready, size_t end, const tl_layer *layer, const sizes *s,
          const tl_view *image)
{
    for (; *ready < end; (*ready)++) {
        load_padded_row(ring + *ready % layer->kernel[0] * s->width * s->in, layer, s, image,
                        *ready);
    }
}

/* One row of outputs. */
static void
depthwise_row(float *dst, const tl_layer *layer, const sizes *s, const float *ring, size_t y,
              const tl_layer_forward *call, const tl_micro *micro)
{
    const float *packed = call->packed;
    size_t left = layer->kernel[0] * layer->kernel[1];
    const size_t row = s->width * s->in;
    tl_taps_job job = {.dst = dst,
                       .dst_stride = s->in,
                       .src_stride = layer->strides[1] * s->in,
                       .bias = packed + s->bias,
                       .pixels = layer->dst.dims[1],
                       .channels = s->in};
    for (size_t i = 0; i < layer->kernel[0]; i++) {
        const float *from = ring + (y * layer->strides[0] + i) % layer->kernel[0] * row;
        for (size_t j = 0; j < layer->kernel[1]; j++) {
            job.src[job.taps] = from + j * s->in;
            job.weights[job.taps] = call->kernel + (i * layer->kernel[1] + j) * s->in;
            job.taps++;
            left--;
            if (job.taps == TL_MAX_TAPS || left == 0) {
                job.function = left == 0 ? call->function : TL_LINEAR;
                micro->taps(&job);
                job.taps = 0;
                job.bias = NULL; /* from now on dst is added to */
            }
        }
    }
}

static void
depthwise_forward(const tl_layer *layer, const sizes *s, const tl_layer_forward *call)
{
    const tl_micro *micro = tl_fused_micro();
    float *scratch = call->scratch;
    float *ring = scratch + s->src;
    const size_t height = layer->dst.dims[0];
    const size_t width = layer->dst.dims[1];
    size_t pending = 0;
    float *dst = call->dst;
    for (size_t n = 0; n < call->images; n++) {
        const tl_view image = image_of(layer, s, &call->src, n);
        size_t ready = 0;
        for (size_t y = 0; y < height; y++) {
            fill_ring(ring, &ready, y * layer->strides[0] + layer->kernel[0], layer, s, &image);
            depthwise_row(dst, layer, s, ring, y, call, micro);
            dst += width * s->out;
            pending += width;
            take_row_moments(call, s, dst, &pending, y + 1 == height && n + 1 == call->images);
        }
    }
}

/* What depthwise_backward keeps from row to row. */
typedef struct rows {
    const tl_layer *layer;
    const sizes *s;
    const tl_layer_backward *call;
    const tl_micro *micro;
    float *ring;      /* of the source, normalised, with its padding */
    float *inner;     /* ring of gradients of the outputs, between `border` zeros */
    size_t inner_row; /* floats */
    size_t image;
    size_t pending; /* rows of the source's gradient that are still to be passed */
} rows;

static void
give_kernel_row(const rows *r, size_t y, const float *grad)
{
    const tl_layer *layer = r->layer;
    const sizes *s = r->s;
    float *sums = (float *)r->call->scratch + s->column;
    tl_tap_sums_job job = {.src_stride = layer->strides[1] * s->in,
                           .grad = grad,
                           .pixels = layer->dst.dims[1],
                           .channels = s->in};
    for (size_t i = 0; i < layer->kernel[0]; i++) {
        const float *from =
            r->ring + (y * layer->strides[0] + i) % layer->kernel[0] * s->width * s->in;
        for (size_t j = 0; j < layer->kernel[1]; j++) {
            job.src[job.taps] = from + j * s->in;
            job.sums[job.taps] = sums + (i * layer->kernel[1] + j) * s->in;
            job.taps++;
            if (job.taps == TL_MAX_TAPS) {
                r->micro->tap_sums(&job);
                job.taps = 0;
            }
        }
    }
    r->micro->tap_sums(&job);
}

static void
flush_kernel(const rows *r)
{
    float *sums = (float *)r->call->scratch + r->s->column;
    const size_t count = r->layer->kernel[0] * r->layer->kernel[1] * r->s->in;
    for (size_t i = 0; i < count; i++) {
        r->call->grad_kernel[i] += sums[i];
    }
    memset(sums, 0, count * sizeof *sums);
}

/* Every strides[1]-th pixel of a row of the source's gradient, from padded column `first` on.
 */
static void
source_phase(const rows *r, float *dst, size_t row, size_t first, size_t pixels)
{
    const tl_layer *layer = r->layer;
    const sizes *s = r->s;
    const float *packed = r->call->packed;
    tl_taps_job job = {.dst = dst,
                       .dst_stride = layer->strides[1] * s->in,
                       .src_stride = s->in,
                       .bias = packed + s->zeros,
                       .pixels = pixels,
                       .channels = s->in};
    for (size_t i = row % layer->strides[0]; i < layer->kernel[0] && i <= row;
         i += layer->strides[0]) {
        const size_t y = (row - i) / layer->strides[0];
        if (y >= layer->dst.dims[0]) {
            continue;
        }
        const float *grads = r->inner + y % layer->kernel[0] * r->inner_row;
        for (size_t j = first % layer->strides[1]; j < layer->kernel[1];
             j += layer->strides[1]) {
            /* of the output (first - j) / stride, which may lie in the border */
            const size_t x = (first + s->border * layer->strides[1] - j) / layer->strides[1];
            job.src[job.taps] = grads + x * s->in;
            job.weights[job.taps] = r->call->kernel + (i * layer->kernel[1] + j) * s->in;
            job.taps++;
            if (job.taps == TL_MAX_TAPS) {
                r->micro->taps(&job);
                job.taps = 0;
                job.bias = NULL;
            }
        }
    }
    if (job.taps > 0 || job.bias != NULL) {
        r->micro->taps(&job);
    }
}

static void
pass_pending(rows *r, size_t end)
{
    const size_t width = r->layer->src.dims[1];
    float *scratch = r->call->scratch;
    if (r->pending > 0) {
        const size_t first = (r->image * r->layer->src.dims[0] + end - r->pending) * width;
        pass(&r->call->src_gradient, scratch + r->s->grad_src, first, r->pending * width,
             r->s->in, scratch + r->s->sums);
        r->pending = 0;
    }
}

/* The gradient of a row of the source; `row` counts from the padding on. */
static void
give_source_row(rows *r, size_t row)
{
    const tl_layer *layer = r->layer;
    const size_t left = layer->padding.left;
    const size_t width = layer->src.dims[1];
    const size_t step = layer->strides[1];
    float *dst = (float *)r->call->scratch + r->s->grad_src + r->pending * width * r->s->in;
    if (row < layer->padding.top || row - layer->padding.top >= layer->src.dims[0]) {
        return;
    }
    for (size_t phase = 0; phase < step && phase < width; phase++) {
        source_phase(r, dst + phase * r->s->in, row, left + phase,
                     (width - phase + step - 1) / step);
    }
    r->pending++;
    if (r->pending == r->s->pass_rows) {
        pass_pending(r, row - layer->padding.top + 1);
    }
}

static void
depthwise_image(rows *r)
{
    const tl_layer *layer = r->layer;
    const sizes *s = r->s;
    const tl_layer_backward *call = r->call;
    const tl_view image = image_of(layer, s, &call->src, r->image);
    const size_t height = layer->dst.dims[0];
    const size_t width = layer->dst.dims[1];
    const size_t step = layer->strides[0];
    size_t ready = 0;
    size_t row = 0;
    for (size_t y = 0; y < height; y++) {
        float *grad = r->inner + y % layer->kernel[0] * r->inner_row + s->border * s->in;
        take_inner(grad, &call->dst, (r->image * height + y) * width, width, s->in);
        if (call->grad_bias != NULL) {
            add_bias(call->grad_bias, grad, width, s->in, (float *)call->scratch + s->sums);
        }
        if (call->grad_kernel != NULL) {
            fill_ring(r->ring, &ready, y * step + layer->kernel[0], layer, s, &image);
            give_kernel_row(r, y, grad);
            if ((y + 1) % SUM_ROWS == 0 || y + 1 == height) {
                flush_kernel(r);
            }
        }
        /* these rows get nothing from later outputs */
        for (; call->src_gradient.data != NULL && row < (y + 1) * step; row++) {
            give_source_row(r, row);
        }
    }
    for (; call->src_gradient.data != NULL && row < layer->padding.top + layer->src.dims[0];
         row++) {
        give_source_row(r, row);
    }
    pass_pending(r, layer->src.dims[0]);
}

static void
depthwise_backward(const tl_layer *layer, const sizes *s, const tl_layer_backward *call)
{
    float *scratch = call->scratch;
    rows r = {.layer = layer,
              .s = s,
              .call = call,
              .micro = tl_fused_micro(),
              .ring = scratch + s->src,
              .inner = scratch + s->inner,
              .inner_row = (layer->dst.dims[1] + 2 * s->border) * s->in};
    memset(r.inner, 0, layer->kernel[0] * r.inner_row * sizeof *r.inner);
    memset(scratch + s->column, 0,
           layer->kernel[0] * layer->kernel[1] * s->in * sizeof *scratch);
    for (; r.image < call->images; r.image++) {
        depthwise_image(&r);
    }
}

/* --- who does what ---------------------------------------------------------------------- */

static void
forward(const tl_layer *layer, const tl_layer_forward *call)
{
    sizes s = {0};
    (void)size_up(&s, layer, tl_fused_micro()); /* went well in plan */
    if (layer->depthwise) {
        depthwise_forward(layer, &s, call);
    } else if (is_pointwise(layer)) {
        pointwise_forward(layer, &s, call);
    } else {
        windows_forward(layer, &s, call);
    }
}

static void
backward(const tl_layer *layer, const tl_layer_backward *call)
{
    sizes s = {0};
    (void)size_up(&s, layer, tl_fused_micro());
    if (layer->depthwise) {
        depthwise_backward(layer, &s, call);
    } else if (is_pointwise(layer)) {
        pointwise_backward(layer, &s, call);
    } else {
        windows_backward(layer, &s, call);
    }
}

const tl_train_ops tl_training_kernels = {
    .plan = plan,
    .pack = pack,
    .forward = forward,
    .backward = backward,
    .load = load,
    .moments = take_moments,
    .pass = pass,
    .inner = take_inner,
};
