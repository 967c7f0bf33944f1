/* tl_graph_add, tl_graph_extend, tl_graph_copy with any attributes. */
#include "fuzz.h"

FUZZ_CHECKS(check_building)
