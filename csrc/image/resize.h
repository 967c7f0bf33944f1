/* Pictures of another size, as TensorFlow's tf.image.resize makes them.
 *
 *   TL_TRY(tl_resize_create(&resize, &plan));        once: which pixels weigh how much
 *   tl_resize_run(resize, dst, src, scratch);        any thread, scratch of its own
 *
 * The part of the source that is resized may reach beyond the picture: there it is filled. */
#ifndef TL_IMAGE_RESIZE_H
#define TL_IMAGE_RESIZE_H

#include <stdbool.h>
#include <stddef.h>

#include "core/status.h"
#include "image/taps.h"

typedef struct tl_resize_plan {
    size_t src[2]; /* height, width */
    size_t dst[2];
    size_t channels;
    ptrdiff_t start[2]; /* of the part: top, left; negative outside the picture */
    size_t part[2];     /* its height and width */
    float fill_value;
    tl_resize_method method;
    bool antialias; /* not looked at by nearest and area */
} tl_resize_plan;

typedef struct tl_resize tl_resize;

tl_status tl_resize_create(tl_resize **out, const tl_resize_plan *plan);
void tl_resize_destroy(tl_resize *resize);

/* How many floats of scratch a run needs. */
size_t tl_resize_scratch(const tl_resize *resize);

/* dst (height, width, channels) <- src (height, width, channels). */
void tl_resize_run(const tl_resize *resize, float *dst, const float *src, float *scratch);

/* grad_src += what grad_dst, the gradient of dst, means for src. */
void tl_resize_back(const tl_resize *resize, float *grad_src, const float *grad_dst,
                    float *scratch);

#endif
