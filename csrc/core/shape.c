/* Shapes and checked sizes. */
#include "core/shape.h"

#include <assert.h>

bool
tl_shape_equal(const tl_shape *a, const tl_shape *b)
{
    if (a->rank != b->rank) {
        return false;
    }
    for (size_t i = 0; i < a->rank; i++) {
        if (a->dims[i] != b->dims[i]) {
            return false;
        }
    }
    return true;
}

tl_status
tl_multiply(size_t *product, size_t a, size_t b)
{
    size_t result;
    if (__builtin_mul_overflow(a, b, &result)) {
        return tl_fail(TL_OUT_OF_MEMORY, "a size of %zu times %zu does not fit memory", a, b);
    }
    *product = result;
    return TL_OK;
}

tl_status
tl_shape_count(size_t *count, const tl_shape *shape)
{
    tl_status status = TL_OK;
    size_t result = 1;
    size_t bytes;
    if (shape->rank > TL_MAX_RANK) {
        return tl_fail(TL_BAD_VALUE, "a shape has at most %d dimensions, not %zu", TL_MAX_RANK,
                       shape->rank);
    }
    for (size_t i = 0; i < shape->rank; i++) {
        TL_TRY(tl_multiply(&result, result, shape->dims[i]));
    }
    TL_TRY(tl_multiply(&bytes, result, sizeof(float)));
    *count = result;
done:
    return status;
}

size_t
tl_shape_elements(const tl_shape *shape)
{
    size_t count = 1;
    for (size_t i = 0; i < shape->rank; i++) {
        count *= shape->dims[i];
    }
    return count;
}

size_t
tl_shape_channels(const tl_shape *shape)
{
    assert(shape->rank > 0);
    return shape->dims[shape->rank - 1];
}

void
tl_same_padding(size_t *before, size_t *behind, size_t size, size_t kernel, size_t stride)
{
    assert(size > 0 && kernel > 0 && stride > 0);
    const size_t outputs = (size + stride - 1) / stride;
    const size_t reach = (outputs - 1) * stride + kernel;
    const size_t total = reach > size ? reach - size : 0;
    *before = total / 2;
    *behind = total - total / 2;
}

size_t
tl_convolved(size_t size, size_t kernel, size_t stride, size_t before, size_t behind)
{
    assert(stride > 0);
    const size_t padded = size + before + behind;
    return padded < kernel ? 0 : (padded - kernel) / stride + 1;
}
