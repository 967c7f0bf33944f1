/* A second implementation of core/train_ops.h: straight from its sentences, one number at a
 * time in double. */
#ifndef TL_TESTS_REFERENCE_TRAINING_H
#define TL_TESTS_REFERENCE_TRAINING_H

#include "core/train_ops.h"

extern const tl_train_ops reference_training;

#endif
