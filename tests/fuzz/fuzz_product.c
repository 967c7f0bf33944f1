/* What users run, by oneDNN, against the naive graph. */
#include "fuzz.h"

FUZZ_CHECKS(check_product)
