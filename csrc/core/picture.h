/* The attributes of Keras's layers for pictures, as Keras 3 runs them on TensorFlow.
 *
 * Zeros are allowed for none of them: whoever makes such a node sets everything. */
#ifndef TL_CORE_PICTURE_H
#define TL_CORE_PICTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TL_MAX_RESCALED = 4 };

typedef enum tl_interpolation {
    TL_INTERPOLATION_NONE,
    TL_NEAREST,
    TL_BILINEAR,
    TL_BICUBIC,
    TL_LANCZOS3,
    TL_LANCZOS5,
    TL_AREA,
    TL_INTERPOLATION_COUNT
} tl_interpolation;

/* What lies beyond the border of a picture that is turned, zoomed or moved. */
typedef enum tl_fill_mode {
    TL_FILL_NONE,
    TL_FILL_CONSTANT,
    TL_FILL_NEAREST,
    TL_FILL_REFLECT,
    TL_FILL_WRAP,
    TL_FILL_MODE_COUNT
} tl_fill_mode;

typedef struct tl_rescaling {
    size_t count; /* of numbers: 1 for all channels, or one a channel */
    float scale[TL_MAX_RESCALED];
    float offset[TL_MAX_RESCALED];
} tl_rescaling;

typedef struct tl_resizing {
    size_t size[2]; /* height, width */
    tl_interpolation interpolation;
    bool antialias;
    bool crops; /* to the aspect ratio of `size`, first */
    bool pads;  /* to it, with fill_value */
    float fill_value;
} tl_resizing;

/* Of every random layer; what a layer does not have is not looked at. */
typedef struct tl_augmentation {
    bool seeded; /* by a seed of its own; otherwise by the model's */
    uint64_t seed;
    bool horizontal, vertical; /* flip */
    /* Smallest and largest: of a turn; of the height's zoom and shift; of contrast and of
     * brightness. */
    float factor[2];
    float width_factor[2];
    bool width_follows; /* zoom: the width's factor is the height's */
    tl_fill_mode fill_mode;
    tl_interpolation interpolation; /* nearest or bilinear */
    float fill_value;
    float value_range[2]; /* contrast and brightness stay within it */
    size_t size[2];       /* crop */
} tl_augmentation;

/* A part of a picture, or a picture with a border around it, whose top and left are negative
 * then. */
typedef struct tl_region {
    ptrdiff_t top, left;
    size_t height, width;
} tl_region;

#endif
