/* All that happens to one picture between decoding and the network, in Keras's order: affine
 * transformation, channel shift, flips, brightness, scaling, samplewise and featurewise
 * standardisation. Keras: ImageDataGenerator.apply_transform and .standardize.
 *
 *   TL_TRY(tl_transform_begin(&job, &transform, dst, src, type, h, w, c));
 *   while (!tl_transform_is_done(&job)) {
 *       TL_TRY(tl_transform_advance(&job, values, shared));
 *   }
 *
 * A job allocates nothing and owns nothing: everything it points to must outlive it. */
#ifndef TL_IMAGE_TRANSFORM_H
#define TL_IMAGE_TRANSFORM_H

#include "image/affine.h"

typedef struct tl_transform {
    bool moves; /* by `affine` */
    tl_affine affine;
    bool flips_rows, flips_cols;
    bool shifts_channels; /* adds channel_shift, within the picture's own lowest and highest */
    float channel_shift;
    bool brightens; /* by this factor, through uint8 as Pillow does it */
    float brightness;
    bool stretches; /* to 0..255 before it, whatever the values are */
    bool maps;      /* by `map`, then times `rescale` */
    tl_pixel_map map;
    float rescale;
    bool centers, normalizes; /* by the picture's own mean, deviation + 1e-6 */
    const float *mean;        /* channels, subtracted; or NULL */
    const float *divisor;     /* channels, divided by; or NULL */
} tl_transform;

typedef struct tl_transform_job {
    tl_transform how;
    tl_affine_job affine;
    tl_pixel_type result;
    int pass;              /* which of transform.c's */
    size_t row;            /* next one of this pass */
    float lowest, highest; /* of the values before this pass */
    float made[2];         /* of those that it has made, so far */
    float mean, divisor;   /* of the picture */
} tl_transform_job;

/* Checks and prepares; nothing is written yet. float64 pictures may only be moved and flipped;
 * uint8 stays uint8 (`result`) if it is flipped and no more. Pixels of uint8 begin every `step`
 * bytes, others have no gaps. TL_BAD_VALUE names what is wrong. */
tl_status tl_transform_begin(tl_transform_job *job, const tl_transform *how, void *dst,
                             tl_pixel_type result, const void *src, tl_pixel_type type,
                             size_t step, size_t height, size_t width, size_t channels);

bool tl_transform_is_done(const tl_transform_job *job);

/* Goes on by at least a row and at most about `values` numbers of the picture; `shared`: with
 * the crew, which is for callers that are not one of many. */
tl_status tl_transform_advance(tl_transform_job *job, size_t values, bool shared);

#endif
