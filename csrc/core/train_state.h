/* What training keeps from step to step beside the weights: the optimizer's slots of every
 * trained parameter, and the count of steps. One caller at a time. */
#ifndef TL_CORE_TRAIN_STATE_H
#define TL_CORE_TRAIN_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/network.h"
#include "core/optimizer.h"

typedef struct tl_train_state tl_train_state;

/* Zeroed arrays for every parameter that trains. `trains`: one flag a parameter of the network;
 * `multipliers`: of the learning rate, one a parameter, NULL where all are 1; both are copied.
 * The network must outlive the state. */
tl_status tl_train_state_create(tl_train_state **out, tl_network *network, const bool *trains,
                                const tl_optimizer *optimizer, const float *multipliers);
void tl_train_state_destroy(tl_train_state *state);

/* One step from grads[p], of the tensor's size, one a parameter; those of parameters that do
 * not train are not looked at. The caller holds the write lock and the fork guard, and touches
 * the network afterwards. */
void tl_train_state_update(tl_train_state *state, const float *const *grads,
                           float learning_rate);

/* Steps taken so far. */
uint64_t tl_train_state_iterations(const tl_train_state *state);
void tl_train_state_set_iterations(tl_train_state *state, uint64_t iterations);

/* The optimizer's arrays, all slots of one tensor together (m0, v0, m1, v1, ...). */
size_t tl_train_state_slot_count(const tl_train_state *state);
float *tl_train_state_slot(const tl_train_state *state, size_t index, const tl_tensor **tensor);

#endif
