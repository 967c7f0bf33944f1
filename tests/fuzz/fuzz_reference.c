/* Lowering, executors and places by naive loops, against the naive graph: fast. */
#include "fuzz.h"

FUZZ_CHECKS(check_reference)
