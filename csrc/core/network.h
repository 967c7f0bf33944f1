/* A graph bound to its parameters, and the programs that run stretches of it.
 *
 * A program is the lowered list from one node to another with its kernels, packed weights and
 * a free list of executors; it is made at its first use and kept. An executor is what one
 * thread needs to carry one image from start to stop: one small arena for all activations,
 * reused by every image. Running allocates nothing once as many executors exist as threads;
 * several callers at once may need half as many again.
 * A network keeps the eight programs that were used last. */
#ifndef TL_CORE_NETWORK_H
#define TL_CORE_NETWORK_H

#include <stddef.h>

#include "core/graph.h"
#include "core/lower.h"
#include "core/ops.h"
#include "core/parameters.h"

typedef struct tl_network tl_network;

/* Binds the graph's parameters, in node order, to the tensors of `groups`, one group after the
 * other. Copies the graph and shares the groups; `ops` must outlive the network.
 * TL_BAD_VALUE where a shape differs or the numbers of tensors do. */
tl_status tl_network_create(tl_network **out, const tl_graph *graph,
                            tl_parameters *const *groups, size_t group_count,
                            const tl_ops *ops);

/* The same for a graph that uses single tensors: parameter i is tensor picks[i] of groups[i],
 * which may be the same block as another one's. `count` is that of the graph's parameters. */
tl_status tl_network_create_picked(tl_network **out, const tl_graph *graph,
                                   tl_parameters *const *groups, const size_t *picks,
                                   size_t count, const tl_ops *ops);
void tl_network_destroy(tl_network *network);

const tl_graph *tl_network_graph(const tl_network *network);
const tl_ops *tl_network_ops(const tl_network *network);

/* The tensor bound to the graph's i-th parameter. */
const tl_tensor *tl_network_tensor(const tl_network *network, size_t param);

/* The numbers of all parameters, in order. */
const float *const *tl_network_data(const tl_network *network);

/* Locks all groups, in an order that cannot deadlock. */
void tl_network_lock_read(tl_network *network);
void tl_network_lock_write(tl_network *network);
void tl_network_unlock(tl_network *network);

/* Raises the version of the groups that hold these parameters, each once, and stamps the
 * parameters with it; call with the write lock. */
void tl_network_touch(tl_network *network, const bool *params);

/* Changes whenever any of its parameters does; call with a lock. */
unsigned long tl_network_version(const tl_network *network);

/* dst (count, shape of stop) <- src (count, shape of start), one image a thread or several
 * threads an image. Any number of threads may call at once. */
tl_status tl_network_run(tl_network *network, float *dst, const float *src, size_t count,
                         size_t start, size_t stop);

/* The same from floats or bytes. TL_BAD_VALUE for bytes where start is not the input, and for
 * images that are not finite where that is asked for. */
tl_status tl_network_run_images(tl_network *network, float *dst, const tl_images *src,
                                size_t count, size_t start, size_t stop);

/* Images that have been carried through the network from its input, each once however often
 * it is changed at random on the way. */
size_t tl_network_prefix_runs(const tl_network *network);

/* Where training starts: the last node whose value depends on neither a trainable parameter
 * nor randomness other than that of pictures, moved past every parameter-free node that it can
 * be, but not past the value that goes into the output's activation. `trainable`: one flag a
 * parameter. */
size_t tl_network_cut(const tl_network *network, const bool *trainable);

typedef struct tl_network_memory {
    size_t parameters; /* bytes of the tensors */
    size_t packed;     /* bytes of their packed copies */
    size_t executor;   /* bytes of activations and scratch, one a thread */
} tl_network_memory;

/* What running from start to stop needs. Makes the program, but runs nothing. */
tl_status tl_network_memory_plan(tl_network *network, tl_network_memory *memory, size_t start,
                                 size_t stop);

#endif
