/* What training keeps from batch to batch beside the weights, and what it does with a batch's
 * gradients: Keras 3's gradient accumulation, update rule and moving averages (EMA), in the
 * order and with the numbers of keras/src/optimizers/base_optimizer.py. One caller at a time.
 */
#ifndef TL_CORE_TRAIN_STATE_H
#define TL_CORE_TRAIN_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/network.h"
#include "core/optimizer.h"

typedef struct tl_train_state tl_train_state;

/* Arrays for every parameter that trains: zeros, and averages that begin as the weights.
 * `trains`: one flag a parameter of the network; `multipliers`: of the learning rate, one a
 * parameter, NULL where all are 1; both are copied. The network must outlive the state. */
tl_status tl_train_state_create(tl_train_state **out, tl_network *network, const bool *trains,
                                const tl_optimizer *optimizer, const float *multipliers);
void tl_train_state_destroy(tl_train_state *state);

/* One batch with grads[p], of the tensor's size, one a parameter of the network; those of
 * parameters that do not train are not looked at. The caller holds the write lock and the fork
 * guard, and touches the network afterwards. */
void tl_train_state_update(tl_train_state *state, const float *const *grads,
                           float learning_rate);

/* SGD's momentum from the next update on. TL_BAD_VALUE where that would need arrays that the
 * state does not have. */
tl_status tl_train_state_set_momentum(tl_train_state *state, float momentum);

/* The weights become their averages, if there are any; the caller does as for an update. */
void tl_train_state_apply_averages(tl_train_state *state);

/* Batches so far; with accumulation, only every so-many-th of them made a step. */
uint64_t tl_train_state_iterations(const tl_train_state *state);
void tl_train_state_set_iterations(tl_train_state *state, uint64_t iterations);

/* All arrays of one tensor stand together: the rule's slots (m, v or momentum, if any), the sum
 * of gradients with accumulation, the average with EMA. `index` below the count. */
size_t tl_train_state_slot_count(const tl_train_state *state);
float *tl_train_state_slot(const tl_train_state *state, size_t index, const tl_tensor **tensor);

#endif
