/* Programs and memory plans for any shapes, by both sets of operations. */
#include "fuzz.h"

FUZZ_CHECKS(check_plan)
