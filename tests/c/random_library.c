/* The checks for callers that have a name and bytes, such as hypothesis through ctypes. */
#include <stdio.h>
#include <string.h>

#include "check_graph.h"
#include "dnnl/backend.h"

/* 0: there was nothing to look at; 1: the promises are kept; 2: one is broken, text[size] says
 * which and describes the case; -1: no such check, or no memory. */
int random_library_try(const char *check, const unsigned char *bytes, size_t count, char *text,
                       size_t size);

static const struct {
    const char *name;
    case_check check;
} checks[] = {
    {"building", check_building}, {"lowering", check_lowering},   {"plan", check_plan},
    {"cut", check_cut},           {"reference", check_reference}, {"product", check_product},
    {"training", check_training},
};

int
random_library_try(const char *check, const unsigned char *bytes, size_t count, char *text,
                   size_t size)
{
    random_case c;
    case_check chosen = NULL;
    bool looked = false;
    for (size_t i = 0; i < sizeof checks / sizeof checks[0]; i++) {
        chosen = strcmp(checks[i].name, check) == 0 ? checks[i].check : chosen;
    }
    if (chosen == NULL || tl_dnnl_open() != TL_OK ||
        random_case_read(&c, bytes, count) != TL_OK) {
        return -1;
    }
    const char *fault = chosen(&c, &looked);
    if (fault != NULL) {
        const int used = snprintf(text, size, "%s\n", fault);
        if (used >= 0 && (size_t)used < size) {
            (void)random_case_describe(text + used, size - (size_t)used, &c);
        }
    }
    random_case_clear(&c);
    return fault != NULL ? 2 : looked;
}
