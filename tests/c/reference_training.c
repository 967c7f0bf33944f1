/* Naive loops: nothing shared with the product's kernels but the structs of their contract. */
#include "reference_training.h"

#include <math.h>

/* --- views ------------------------------------------------------------------------------ */

/* What the function of the view is applied to. */
static double
before_function(const tl_view *view, size_t pixel, size_t c, size_t channels)
{
    const double z = (double)view->data[pixel * channels + c];
    return view->mean == NULL
               ? z
               : (z - (double)view->mean[c]) * (double)view->scale[c] + (double)view->shift[c];
}

static double
activated(double y, tl_function function)
{
    if (function == TL_LINEAR || y != y) {
        return y;
    }
    return function == TL_RELU6 ? fmin(fmax(y, 0), 6) : fmax(y, 0);
}

static double
value_of(const tl_view *view, size_t pixel, size_t c, size_t channels)
{
    return activated(before_function(view, pixel, c, channels), view->function);
}

static void
load(float *dst, const tl_view *src, size_t pixels, size_t channels)
{
    for (size_t i = 0; i < pixels * channels; i++) {
        dst[i] = (float)value_of(src, i / channels, i % channels, channels);
    }
}

static double
inner_of(const tl_inner *from, size_t pixel, size_t c, size_t channels)
{
    const size_t at = pixel * channels + c;
    double grad = (double)from->gradient[at];
    if (from->scale != NULL) {
        grad *= (double)from->scale[c];
    }
    if (from->offset != NULL) {
        grad -= (double)from->offset[c] +
                ((double)from->data[at] - (double)from->mean[c]) * (double)from->slope[c];
    }
    return grad;
}

static void
take_inner(float *dst, const tl_inner *from, size_t first_pixel, size_t pixels, size_t channels)
{
    for (size_t i = 0; i < pixels * channels; i++) {
        dst[i] = (float)inner_of(from, first_pixel + i / channels, i % channels, channels);
    }
}

/* One number's gradient, to whoever wants it. */
static void
give(const tl_gradient *to, double grad, size_t pixel, size_t c, size_t channels)
{
    float *dst = &to->data[pixel * channels + c];
    grad += to->adds ? (double)*dst : 0;
    if (to->last) {
        const double y = before_function(&to->view, pixel, c, channels);
        const bool passes = to->view.function == TL_LINEAR ||
                            (y > 0 && (to->view.function == TL_RELU || y < 6));
        grad = passes ? grad : 0;
    }
    *dst = (float)grad;
    if (to->last && to->sums != NULL) {
        const double z = (double)to->view.data[pixel * channels + c];
        to->sums[c] += grad;
        to->sums[channels + c] += grad * (z - (double)to->view.mean[c]);
    }
}

static void
pass(const tl_gradient *to, const float *grad, size_t first_pixel, size_t pixels,
     size_t channels, float *scratch)
{
    (void)scratch;
    for (size_t i = 0; i < pixels * channels; i++) {
        give(to, (double)grad[i], first_pixel + i / channels, i % channels, channels);
    }
}

/* All numbers so far had this mean and sum of squared deviations; now there are more. */
static void
take_moments(tl_moments *moments, const float *src, size_t pixels, size_t channels,
             float *scratch)
{
    const double total = moments->count + (double)pixels;
    (void)scratch;
    for (size_t c = 0; c < channels; c++) {
        double mean = moments->count * moments->mean[c];
        for (size_t p = 0; p < pixels; p++) {
            mean += (double)src[p * channels + c];
        }
        mean /= total;
        const double moved = moments->mean[c] - mean;
        double squares = moments->squares[c] + moments->count * moved * moved;
        for (size_t p = 0; p < pixels; p++) {
            const double off = (double)src[p * channels + c] - mean;
            squares += off * off;
        }
        moments->mean[c] = mean;
        moments->squares[c] = squares;
    }
    moments->count = total;
}

/* --- convolutions ----------------------------------------------------------------------- */

/* One product of a convolution: which numbers it takes, and what it goes into. */
typedef struct term {
    size_t src_pixel, dst_pixel; /* of an image */
    size_t in, out;              /* channels */
    size_t weight;
} term;

typedef void (*visit)(void *context, const term *t);

/* Every product of one image's convolution. */
static void
for_each_term(const tl_layer *layer, visit each, void *context)
{
    const size_t *s = layer->src.dims;
    const size_t *d = layer->dst.dims;
    const size_t ins = layer->depthwise ? 1 : s[2];
    for (size_t i = 0; i < d[0] * d[1]; i++) {
        for (size_t tap = 0; tap < layer->kernel[0] * layer->kernel[1]; tap++) {
            const size_t y = i / d[1] * layer->strides[0] + tap / layer->kernel[1];
            const size_t x = i % d[1] * layer->strides[1] + tap % layer->kernel[1];
            if (y < layer->padding.top || y - layer->padding.top >= s[0] ||
                x < layer->padding.left || x - layer->padding.left >= s[1]) {
                continue;
            }
            term t = {.src_pixel = (y - layer->padding.top) * s[1] + x - layer->padding.left,
                      .dst_pixel = i};
            for (size_t k = 0; k < ins * d[2]; k++) {
                t.out = k % d[2];
                t.in = layer->depthwise ? t.out : k / d[2];
                t.weight = tap * ins * d[2] + k;
                each(context, &t);
            }
        }
    }
}

/* Sums of one image lie in scratch. */
typedef struct sums {
    const tl_layer *layer;
    double *src; /* the view's values */
    double *dst; /* outputs, or their gradients */
    double *grad_src;
    double *grad_kernel;
    const float *kernel;
} sums;

static tl_status
plan(const tl_layer *layer, size_t *packed_bytes, size_t *scratch_bytes)
{
    tl_status status = TL_OK;
    size_t src;
    size_t dst;
    size_t taps;
    size_t bytes;
    TL_TRY(tl_shape_count(&src, &layer->src));
    TL_TRY(tl_shape_count(&dst, &layer->dst));
    TL_TRY(tl_multiply(&taps, layer->kernel[0], layer->kernel[1]));
    TL_TRY(tl_multiply(&taps, taps, layer->src.dims[2]));
    TL_TRY(tl_multiply(&taps, taps, layer->depthwise ? 1 : layer->dst.dims[2]));
    if (__builtin_add_overflow(src, src, &src) || __builtin_add_overflow(src, dst, &src) ||
        __builtin_add_overflow(src, taps, &src)) {
        return tl_fail(TL_OUT_OF_MEMORY, "a convolution of more than 2^64 numbers");
    }
    TL_TRY(tl_multiply(&bytes, src, sizeof(double)));
    *packed_bytes = 1; /* read by nobody */
    *scratch_bytes = bytes;
done:
    return status;
}

static void
pack(const tl_layer *layer, void *packed, const float *kernel, const float *bias)
{
    (void)layer;
    (void)packed;
    (void)kernel;
    (void)bias;
}

static sums
lay_out(const tl_layer *layer, void *scratch, const float *kernel)
{
    const size_t src = tl_shape_elements(&layer->src);
    double *numbers = scratch;
    sums s = {.layer = layer, .kernel = kernel, .src = numbers};
    s.grad_src = s.src + src;
    s.dst = s.grad_src + src;
    s.grad_kernel = s.dst + tl_shape_elements(&layer->dst);
    return s;
}

static void
read_image(const sums *s, const tl_view *src, size_t image)
{
    const size_t channels = s->layer->src.dims[2];
    const size_t pixels = s->layer->src.dims[0] * s->layer->src.dims[1];
    for (size_t i = 0; i < pixels * channels; i++) {
        s->src[i] = value_of(src, image * pixels + i / channels, i % channels, channels);
    }
}

static void
add_product(void *context, const term *t)
{
    const sums *s = context;
    s->dst[t->dst_pixel * s->layer->dst.dims[2] + t->out] +=
        s->src[t->src_pixel * s->layer->src.dims[2] + t->in] * (double)s->kernel[t->weight];
}

static void
forward(const tl_layer *layer, const tl_layer_forward *call)
{
    const size_t count = tl_shape_elements(&layer->dst);
    const size_t channels = layer->dst.dims[2];
    sums s = lay_out(layer, call->scratch, call->kernel);
    for (size_t n = 0; n < call->images; n++) {
        read_image(&s, &call->src, n);
        for (size_t i = 0; i < count; i++) {
            s.dst[i] = call->bias == NULL ? 0 : (double)call->bias[i % channels];
        }
        for_each_term(layer, add_product, &s);
        for (size_t i = 0; i < count; i++) {
            call->dst[n * count + i] = (float)activated(s.dst[i], call->function);
        }
    }
    if (call->moments != NULL) {
        take_moments(call->moments, call->dst, call->images * count / channels, channels, NULL);
    }
}

static void
give_back(void *context, const term *t)
{
    const sums *s = context;
    const double grad = s->dst[t->dst_pixel * s->layer->dst.dims[2] + t->out];
    const size_t at = t->src_pixel * s->layer->src.dims[2] + t->in;
    s->grad_src[at] += grad * (double)s->kernel[t->weight];
    s->grad_kernel[t->weight] += grad * s->src[at];
}

static void
backward(const tl_layer *layer, const tl_layer_backward *call)
{
    const size_t in = layer->src.dims[2];
    const size_t out = layer->dst.dims[2];
    const size_t src_pixels = layer->src.dims[0] * layer->src.dims[1];
    const size_t dst_pixels = layer->dst.dims[0] * layer->dst.dims[1];
    sums s = lay_out(layer, call->scratch, call->kernel);
    for (size_t n = 0; n < call->images; n++) {
        read_image(&s, &call->src, n);
        for (size_t i = 0; i < src_pixels * in; i++) {
            s.grad_src[i] = 0;
        }
        for (size_t i = 0; i < tl_layer_kernel_count(layer); i++) {
            s.grad_kernel[i] = call->grad_kernel == NULL ? 0 : (double)call->grad_kernel[i];
        }
        for (size_t i = 0; i < dst_pixels * out; i++) {
            s.dst[i] = inner_of(&call->dst, n * dst_pixels + i / out, i % out, out);
        }
        for_each_term(layer, give_back, &s);
        for (size_t i = 0; call->grad_kernel != NULL && i < tl_layer_kernel_count(layer); i++) {
            call->grad_kernel[i] = (float)s.grad_kernel[i];
        }
        for (size_t c = 0; call->grad_bias != NULL && c < out; c++) {
            double sum = (double)call->grad_bias[c];
            for (size_t p = 0; p < dst_pixels; p++) {
                sum += s.dst[p * out + c];
            }
            call->grad_bias[c] = (float)sum;
        }
        for (size_t i = 0; call->src_gradient.data != NULL && i < src_pixels * in; i++) {
            give(&call->src_gradient, s.grad_src[i], n * src_pixels + i / in, i % in, in);
        }
    }
}

const tl_train_ops reference_training = {
    .plan = plan,
    .pack = pack,
    .forward = forward,
    .backward = backward,
    .load = load,
    .moments = take_moments,
    .pass = pass,
    .inner = take_inner,
};
