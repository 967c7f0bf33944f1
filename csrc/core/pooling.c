/* Averages and maxima, there and back. */
#include "core/pooling.h"

#include <string.h>

static float
larger(float a, float b)
{
    return b > a || b != b ? b : a;
}

/* --- windows ---------------------------------------------------------------------------- */

/* The part of a window that lies within the picture. */
typedef struct part {
    size_t top, bottom, left, right;
} part;

/* Along one axis: begin < end. */
static void
clip(size_t *begin, size_t *end, size_t at, size_t pool, size_t before, size_t size)
{
    *begin = at > before ? at - before : 0;
    *end = at + pool - before < size ? at + pool - before : size;
}

static part
part_at(const tl_pooling_window *w, size_t y, size_t x)
{
    part p;
    clip(&p.top, &p.bottom, y * w->strides[0], w->pool[0], w->padding.top, w->src.dims[0]);
    clip(&p.left, &p.right, x * w->strides[1], w->pool[1], w->padding.left, w->src.dims[1]);
    return p;
}

/* One output pixel: all channels of the window's pixels, row by row. */
static void
pool_part(float *dst, const float *src, const tl_pooling_window *w, const part *p)
{
    const size_t channels = w->src.dims[2];
    const size_t width = w->src.dims[1];
    memcpy(dst, src + (p->top * width + p->left) * channels, channels * sizeof *dst);
    for (size_t y = p->top; y < p->bottom; y++) {
        for (size_t x = y == p->top ? p->left + 1 : p->left; x < p->right; x++) {
            const float *pixel = src + (y * width + x) * channels;
            for (size_t c = 0; c < channels; c++) {
                dst[c] = w->average ? dst[c] + pixel[c] : larger(dst[c], pixel[c]);
            }
        }
    }
    const float pixels = (float)((p->bottom - p->top) * (p->right - p->left));
    for (size_t c = 0; w->average && c < channels; c++) {
        dst[c] /= pixels;
    }
}

void
tl_pooling_forward(float *dst, const float *src, const tl_pooling_window *window)
{
    for (size_t y = 0; y < window->dst.dims[0]; y++) {
        for (size_t x = 0; x < window->dst.dims[1]; x++) {
            const part p = part_at(window, y, x);
            pool_part(dst, src, window, &p);
            dst += window->dst.dims[2];
        }
    }
}

static void
spread_part(float *grad_src, const float *grad_dst, const tl_pooling_window *w, const part *p)
{
    const size_t channels = w->src.dims[2];
    const float pixels = (float)((p->bottom - p->top) * (p->right - p->left));
    for (size_t y = p->top; y < p->bottom; y++) {
        for (size_t x = p->left; x < p->right; x++) {
            float *to = grad_src + (y * w->src.dims[1] + x) * channels;
            for (size_t c = 0; c < channels; c++) {
                to[c] += grad_dst[c] / pixels;
            }
        }
    }
}

static void
give_to_largest(float *grad_src, const float *grad_dst, const float *src,
                const tl_pooling_window *w, const part *p)
{
    const size_t channels = w->src.dims[2];
    for (size_t c = 0; c < channels; c++) {
        size_t best = (p->top * w->src.dims[1] + p->left) * channels + c;
        for (size_t y = p->top; y < p->bottom; y++) {
            for (size_t x = p->left; x < p->right; x++) {
                const size_t at = (y * w->src.dims[1] + x) * channels + c;
                best = src[at] > src[best] ? at : best;
            }
        }
        grad_src[best] += grad_dst[c];
    }
}

void
tl_pooling_backward(float *grad_src, const float *grad_dst, const float *src,
                    const tl_pooling_window *window)
{
    for (size_t y = 0; y < window->dst.dims[0]; y++) {
        for (size_t x = 0; x < window->dst.dims[1]; x++) {
            const part p = part_at(window, y, x);
            if (window->average) {
                spread_part(grad_src, grad_dst, window, &p);
            } else {
                give_to_largest(grad_src, grad_dst, src, window, &p);
            }
            grad_dst += window->dst.dims[2];
        }
    }
}

/* --- the whole picture ------------------------------------------------------------------ */

void
tl_global_pooling_forward(float *dst, const float *src, size_t pixels, size_t channels,
                          bool average)
{
    memcpy(dst, src, channels * sizeof *dst);
    for (size_t p = 1; p < pixels; p++) {
        for (size_t c = 0; average && c < channels; c++) {
            dst[c] += src[p * channels + c];
        }
        for (size_t c = 0; !average && c < channels; c++) {
            dst[c] = larger(dst[c], src[p * channels + c]);
        }
    }
    for (size_t c = 0; average && c < channels; c++) {
        dst[c] /= (float)pixels;
    }
}

void
tl_global_pooling_backward(float *grad_src, const float *grad_dst, const float *dst,
                           const float *src, size_t pixels, size_t channels, bool average)
{
    for (size_t p = 0; average && p < pixels; p++) {
        for (size_t c = 0; c < channels; c++) {
            grad_src[p * channels + c] += grad_dst[c] / (float)pixels;
        }
    }
    for (size_t c = 0; !average && c < channels; c++) {
        size_t ties = 0;
        for (size_t p = 0; p < pixels; p++) {
            ties += src[p * channels + c] == dst[c];
        }
        for (size_t p = 0; p < pixels; p++) {
            if (src[p * channels + c] == dst[c]) {
                grad_src[p * channels + c] += grad_dst[c] / (float)ties;
            }
        }
    }
}
