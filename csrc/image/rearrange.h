/* Pixels that keep their values: mirrored pictures and parts of pictures. */
#ifndef TL_IMAGE_REARRANGE_H
#define TL_IMAGE_REARRANGE_H

#include <stdbool.h>
#include <stddef.h>

/* dst <- src (height, width, channels), the columns or the rows, or both, in reverse order. */
void tl_flip(float *dst, const float *src, size_t height, size_t width, size_t channels,
             bool horizontal, bool vertical);

/* dst (height, width, channels) <- the part of src, which is src_width wide, that begins at
 * (top, left). */
void tl_cut_out(float *dst, const float *src, size_t src_width, size_t channels, size_t top,
                size_t left, size_t height, size_t width);

#endif
