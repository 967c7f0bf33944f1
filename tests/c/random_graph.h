/* Turns any string of bytes into a network and a way of using it, for libFuzzer, for hypothesis
 * and for the test programs alike.
 *
 * Most bytes make sensible nodes: every op, small shapes, branches that an add joins again, one
 * graph extended by another. Some make absurd ones, with numbers from the edges of their
 * types. What tl_graph_add and tl_graph_extend promise is checked on the way. */
#ifndef TL_TESTS_RANDOM_GRAPH_H
#define TL_TESTS_RANDOM_GRAPH_H

#include "core/network.h"

typedef struct random_case {
    tl_graph *graph;    /* owned */
    size_t start, stop; /* start <= stop */
    size_t batch;       /* 1 to 5 */
    size_t threads;     /* 1 to 4 */
    unsigned seed;      /* of parameters and inputs */
    unsigned choices;   /* whatever else a check wants to vary */
    char fault[512];    /* a broken promise, or "" */
} random_case;

/* TL_OK, or TL_OUT_OF_MEMORY; *out is to be cleared in the first case only. */
tl_status random_case_read(random_case *out, const unsigned char *bytes, size_t count);
void random_case_clear(random_case *c);

/* Whether running it takes little memory and time: a fuzzer wants many runs, not large ones. */
bool random_case_is_small(const random_case *c);

/* One line a node, for a report. Returns text[size]. */
const char *random_case_describe(char *text, size_t size, const random_case *c);

#endif
