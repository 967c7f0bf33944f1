/* A test program in three calls:
 *
 *   static void test_something(void) { CHECK(1 + 1 == 2); }
 *   int main(void) { RUN(test_something); return REPORT(); }
 *
 * prints each failed check with its place, then "N passed, N failed" (tests, not checks). */
#ifndef TL_TESTS_CHECK_H
#define TL_TESTS_CHECK_H

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "core/status.h"

/* In sanitizer builds too a refused allocation answers NULL. */
const char *__asan_default_options(void);
const char *__tsan_default_options(void);

const char *
__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

const char *
__tsan_default_options(void)
{
    return "allocator_may_return_null=1:die_after_fork=0";
}

static int tests_passed;
static int tests_failed;
static bool this_test_failed;

#define CHECK(condition)                                                                       \
    do {                                                                                       \
        if (!(condition)) {                                                                    \
            this_test_failed = true;                                                           \
            (void)printf("%s:%d: %s\n", __FILE__, __LINE__, #condition);                       \
        }                                                                                      \
    } while (0)

#define CHECK_OK(call)                                                                         \
    do {                                                                                       \
        const tl_status check_status = (call);                                                 \
        if (check_status != TL_OK) {                                                           \
            this_test_failed = true;                                                           \
            (void)printf("%s:%d: %s: %s: %s\n", __FILE__, __LINE__, #call,                     \
                         tl_status_text(check_status), tl_detail());                           \
        }                                                                                      \
    } while (0)

/* |a - b| <= tolerance * max(1, |b|) */
#define CHECK_NEAR(a, b, tolerance)                                                            \
    do {                                                                                       \
        const double check_a = (double)(a);                                                    \
        const double check_b = (double)(b);                                                    \
        if (!(fabs(check_a - check_b) <= (tolerance) * fmax(1.0, fabs(check_b)))) {            \
            this_test_failed = true;                                                           \
            (void)printf("%s:%d: %s = %.9g, but %s = %.9g\n", __FILE__, __LINE__, #a, check_a, \
                         #b, check_b);                                                         \
        }                                                                                      \
    } while (0)

#define RUN(test)                                                                              \
    do {                                                                                       \
        this_test_failed = false;                                                              \
        test();                                                                                \
        tests_passed += !this_test_failed;                                                     \
        tests_failed += this_test_failed;                                                      \
        if (this_test_failed) {                                                                \
            (void)printf("FAILED %s\n", #test);                                                \
        }                                                                                      \
    } while (0)

#define REPORT()                                                                               \
    (printf("%d passed, %d failed\n", tests_passed, tests_failed), tests_failed != 0)

#endif
