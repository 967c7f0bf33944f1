/* Rows of an affine transformation as every CPU can do them. */
#include "image/affine.h"

#define TARGET
#define ROWS tl_affine_rows_portable
#define BLEND_RGB_BYTES(dst, src, width, step, found, count) 0
#define BLEND_RGB_FLOATS(dst, src, width, found, count) 0
#include "image/affine_rows.h"
