/* Losses and gradients of random heads against differences. */
#include "fuzz.h"

FUZZ_CHECKS(check_training)
