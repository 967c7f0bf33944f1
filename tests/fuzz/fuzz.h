/* One libFuzzer target in one line: FUZZ_CHECKS(check_a, check_b) applies checks of
 * tests/c/check_graph.h to the case that the bytes mean, and ends the process on a broken
 * promise, which is how libFuzzer learns of it. */
#ifndef TL_TESTS_FUZZ_H
#define TL_TESTS_FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "check_graph.h"
#include "core/status.h"
#include "dnnl/backend.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);
const char *__asan_default_options(void);

/* A refused allocation answers NULL, as outside the sanitizer. */
const char *
__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    return tl_dnnl_open() == TL_OK ? 0 : 1;
}

static inline void
fuzz_broken(const char *fault)
{
    (void)fprintf(stderr, "BROKEN: %s\n", fault);
    abort();
}

static inline void
fuzz_case(const uint8_t *bytes, size_t count, const case_check *checks, size_t check_count)
{
    random_case c;
    bool looked;
    if (random_case_read(&c, bytes, count) != TL_OK) {
        return; /* out of memory */
    }
    for (size_t i = 0; i < check_count; i++) {
        const char *fault = checks[i](&c, &looked);
        if (fault != NULL) {
            static char text[8192];
            (void)fprintf(stderr, "%s\n", random_case_describe(text, sizeof text, &c));
            fuzz_broken(fault);
        }
    }
    random_case_clear(&c);
}

#define FUZZ_CHECKS(...)                                                                       \
    int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)                             \
    {                                                                                          \
        const case_check checks[] = {__VA_ARGS__};                                             \
        fuzz_case(bytes, count, checks, sizeof checks / sizeof checks[0]);                     \
        return 0;                                                                              \
    }

#endif
