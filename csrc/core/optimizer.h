/* Update rules with Keras 3's numbers, computed in float32 as Keras computes them.
 *
 * SGD:  m = momentum m - lr g; w += m   (Nesterov: w += momentum m - lr g)
 * Adam: Kingma, Ba, arXiv:1412.6980, in the epsilon-hat form of keras.optimizers.Adam. */
#ifndef TL_CORE_OPTIMIZER_H
#define TL_CORE_OPTIMIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TL_MAX_SLOTS = 2 };

typedef enum tl_optimizer_kind { TL_SGD, TL_ADAM } tl_optimizer_kind;

typedef struct tl_optimizer {
    tl_optimizer_kind kind;
    float momentum; /* SGD */
    bool nesterov;
    double beta_1, beta_2; /* Adam; Keras takes 1 - beta in double, then rounds it */
    float epsilon;
    /* What train_state.c adds around the rule. */
    uint64_t accumulation; /* batches whose gradients make one step; 0 and 1: each its own */
    bool use_ema;          /* moving averages of the weights */
    float ema_momentum;
    uint64_t ema_overwrite_frequency; /* steps; 0: never */
} tl_optimizer;

/* Arrays of the tensor's size that the rule keeps from step to step: 0, 1 or 2. */
size_t tl_optimizer_slots(const tl_optimizer *optimizer);

/* One step of one tensor. `step` counts from 1. */
void tl_optimizer_update(const tl_optimizer *optimizer, float *weights,
                         float *const slots[TL_MAX_SLOTS], const float *grad, size_t count,
                         float learning_rate, uint64_t step);

#endif
