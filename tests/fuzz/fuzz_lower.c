/* tl_lower from any node to any, and the cut. */
#include "fuzz.h"

FUZZ_CHECKS(check_lowering, check_cut)
