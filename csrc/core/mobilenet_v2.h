/* MobileNetV2 (Sandler et al., arXiv:1801.04381) with Keras's names, paddings and rounding. */
#ifndef TL_CORE_MOBILENET_V2_H
#define TL_CORE_MOBILENET_V2_H

#include "core/graph.h"

typedef enum tl_pooling { TL_POOLING_NONE, TL_POOLING_AVERAGE, TL_POOLING_MAX } tl_pooling;

typedef struct tl_mobilenet_v2 {
    tl_shape input;     /* (height, width, channels), at least 32 x 32 */
    double alpha;       /* width multiplier, above 0 */
    bool include_top;   /* global average pooling and a dense layer of `classes` */
    tl_pooling pooling; /* of the features; only without the top */
    size_t classes;
    tl_function classifier_activation;
} tl_mobilenet_v2;

tl_status tl_mobilenet_v2_create(tl_graph **out, const tl_mobilenet_v2 *options);

#endif
