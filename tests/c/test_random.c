/* Random graphs against the naive graph: a fixed sample of what tests/fuzz searches without
 * end. test_random [cases]      how many graphs to try; TLCORE_FUZZ_CASES says so, too */
#include <stdlib.h>

#include "check.h"
#include "check_graph.h"
#include "core/pool.h"
#include "core/random.h"
#include "dnnl/backend.h"

enum { MOST_BYTES = 120 };

static size_t cases = 400;

/* Applies the check to `cases` strings of random bytes. */
static void
try_cases(case_check check, uint64_t stream, size_t least)
{
    unsigned char bytes[MOST_BYTES];
    static char text[8192];
    size_t seen = 0;
    for (size_t n = 0; n < cases && !this_test_failed; n++) {
        random_case c;
        bool looked = false;
        const size_t count = tl_random_bits(stream, n) % MOST_BYTES;
        for (size_t i = 0; i < count; i++) {
            bytes[i] = (unsigned char)tl_random_bits(stream + n + 1, i);
        }
        CHECK_OK(random_case_read(&c, bytes, count));
        const char *fault = check(&c, &looked);
        if (fault != NULL) {
            (void)printf("case %zu: %s\n%s\n", n, fault,
                         random_case_describe(text, sizeof text, &c));
        }
        CHECK(fault == NULL);
        seen += looked;
        random_case_clear(&c);
    }
    CHECK(100 * seen >= least * cases); /* most cases must have something to look at */
}

static void
test_random_graphs_are_built_as_promised(void)
{
    try_cases(check_building, 1, 100);
}

static void
test_random_graphs_are_lowered_in_order(void)
{
    try_cases(check_lowering, 2, 100);
}

static void
test_plans_of_random_graphs(void)
{
    try_cases(check_plan, 7, 75);
}

static void
test_cuts_of_random_graphs(void)
{
    try_cases(check_cut, 3, 75);
}

static void
test_random_graphs_by_reference_loops(void)
{
    try_cases(check_reference, 4, 60);
}

static void
test_random_graphs_by_the_product(void)
{
    try_cases(check_product, 5, 60);
}

static void
test_random_graphs_have_the_gradients_of_their_losses(void)
{
    try_cases(check_training, 6, 30);
    try_cases(check_training, 8, 30);
}

int
main(int argc, char **argv)
{
    const char *asked = argc > 1 ? argv[1] : getenv("TLCORE_FUZZ_CASES");
    if (asked != NULL) {
        cases = strtoul(asked, NULL, 10);
    }
    CHECK_OK(tl_dnnl_open());
    RUN(test_random_graphs_are_built_as_promised);
    RUN(test_random_graphs_are_lowered_in_order);
    RUN(test_plans_of_random_graphs);
    RUN(test_cuts_of_random_graphs);
    RUN(test_random_graphs_by_reference_loops);
    RUN(test_random_graphs_by_the_product);
    RUN(test_random_graphs_have_the_gradients_of_their_losses);
    (void)printf(
        "worst errors in units of what is allowed: forward %.3g, gradient %.3g, output "
        "of a step %.3g, moving statistics %.3g; allowed of a gradient, over the "
        "largest: %.3g\n",
        worst_margins.forward, worst_margins.gradient, worst_margins.output,
        worst_margins.statistics, worst_margins.allowed);
    tl_pool_close();
    return REPORT();
}
