/* Slots, gradient sums and averages, planned as one block, and a batch's step over them. */
#include "core/train_state.h"

#include <string.h>

#include "core/arena.h"

/* One parameter that trains. */
typedef struct trained {
    size_t param;
    float multiplier;
    float *slots[TL_MAX_SLOTS]; /* of the rule */
    float *sum;     /* of gradients since the last step; NULL without accumulation */
    float *average; /* NULL without EMA */
} trained;

struct tl_train_state {
    tl_network *network; /* borrowed */
    tl_optimizer optimizer;
    bool has_velocity; /* SGD with momentum: decided for good when the state is made */
    uint64_t iterations;
    size_t count;
    trained *params;
    size_t width; /* arrays of each */
    float **arrays;
    tl_arena arena;
};

static const tl_tensor *
tensor_of(const tl_train_state *state, size_t index)
{
    return tl_network_tensor(state->network, state->params[index].param);
}

static bool
accumulates(const tl_optimizer *optimizer)
{
    return optimizer->accumulation > 1;
}

/* Points all arrays into one block of zeros. */
static tl_status
create_arrays(tl_train_state *state)
{
    tl_status status = TL_OUT_OF_MEMORY;
    tl_layout layout = {0};
    const size_t total = state->count * state->width; /* fits: at most 4 a parameter */
    size_t *offsets = tl_alloc(total, sizeof *offsets);
    state->arrays = tl_alloc(total, sizeof(float *));
    if (offsets == NULL || state->arrays == NULL) {
        goto done;
    }
    for (size_t i = 0; i < total; i++) {
        const size_t count = tensor_of(state, i / state->width)->count;
        TL_TRY(tl_layout_add(&layout, &offsets[i], count * sizeof(float)));
    }
    TL_TRY(tl_arena_create(&state->arena, layout.size));
    for (size_t i = 0; i < total; i++) {
        const size_t count = tensor_of(state, i / state->width)->count;
        state->arrays[i] = tl_arena_at(&state->arena, offsets[i]);
        tl_arena_guard(&state->arena, offsets[i], count * sizeof(float));
    }
    status = TL_OK;
done:
    tl_free(offsets);
    return status;
}

/* Names the arrays of each parameter. */
static void
assign_arrays(tl_train_state *state)
{
    const size_t slots = tl_optimizer_slots(&state->optimizer);
    tl_network_lock_read(state->network);
    for (size_t i = 0; i < state->count; i++) {
        trained *one = &state->params[i];
        const tl_tensor *tensor = tensor_of(state, i);
        float **next = &state->arrays[i * state->width];
        for (size_t k = 0; k < slots; k++) {
            one->slots[k] = *next++;
        }
        if (accumulates(&state->optimizer)) {
            one->sum = *next++;
        }
        if (state->optimizer.use_ema) {
            /* Keras takes the weights at the first step alone; a parameter that is unfrozen
             * later must not begin from zero */
            one->average = *next++;
            memcpy(one->average, tensor->data, tensor->count * sizeof(float));
        }
    }
    tl_network_unlock(state->network);
}

tl_status
tl_train_state_create(tl_train_state **out, tl_network *network, const bool *trains,
                      const tl_optimizer *optimizer, const float *multipliers)
{
    tl_status status = TL_OUT_OF_MEMORY;
    const size_t param_count = tl_network_graph(network)->param_count;
    tl_train_state *state = tl_alloc(1, sizeof *state);
    if (state == NULL) {
        goto done;
    }
    state->network = network;
    state->optimizer = *optimizer;
    state->has_velocity = tl_optimizer_slots(optimizer) > 0;
    state->width = tl_optimizer_slots(optimizer) + (accumulates(optimizer) ? 1 : 0) +
                   (optimizer->use_ema ? 1 : 0);
    state->params = tl_alloc(param_count, sizeof *state->params);
    if (state->params == NULL) {
        goto done;
    }
    for (size_t p = 0; p < param_count; p++) {
        if (trains[p]) {
            state->params[state->count++] =
                (trained){.param = p, .multiplier = multipliers == NULL ? 1 : multipliers[p]};
        }
    }
    TL_TRY(create_arrays(state));
    assign_arrays(state);

    *out = state; /* handed over */
    state = NULL;
done:
    tl_train_state_destroy(state);
    return status;
}

void
tl_train_state_destroy(tl_train_state *state)
{
    if (state != NULL) {
        tl_arena_destroy(&state->arena);
        tl_free(state->arrays);
        tl_free(state->params);
        tl_free(state);
    }
}

/* sum += grad; in the batch that makes a step, sum = (sum + grad) / accumulation. */
static void
accumulate(float *sum, const float *grad, size_t count, float divisor)
{
    for (size_t i = 0; i < count; i++) {
        sum[i] = (sum[i] + grad[i]) / divisor;
    }
}

/* `step` counts steps before this one, with those that a sum of gradients is collected for. */
static void
update_average(const trained *one, const tl_tensor *tensor, const tl_optimizer *optimizer,
               uint64_t step)
{
    const float momentum = step == 0 ? 0.0F : optimizer->ema_momentum;
    const float share = 1.0F - momentum;
    for (size_t i = 0; i < tensor->count; i++) {
        one->average[i] = momentum * one->average[i] + share * tensor->data[i];
    }
}

void
tl_train_state_update(tl_train_state *state, const float *const *grads, float learning_rate)
{
    const tl_optimizer *optimizer = &state->optimizer;
    const uint64_t every = accumulates(optimizer) ? optimizer->accumulation : 1;
    const bool steps = (state->iterations + 1) % every == 0;
    const uint64_t step = state->iterations / every; /* Keras's optimizer.iterations */
    const uint64_t frequency = optimizer->ema_overwrite_frequency;

    for (size_t i = 0; i < state->count; i++) {
        const trained *one = &state->params[i];
        const tl_tensor *tensor = tensor_of(state, i);
        const float *grad = grads[one->param];
        if (one->sum != NULL) {
            accumulate(one->sum, grad, tensor->count, steps ? (float)every : 1.0F);
            grad = one->sum;
        }
        if (steps) {
            tl_optimizer_update(optimizer, tensor->data, one->slots, grad, tensor->count,
                                learning_rate * one->multiplier, step + 1);
        }
        if (steps && one->sum != NULL) {
            memset(one->sum, 0, tensor->count * sizeof(float));
        }
        if (one->average != NULL) { /* after every batch, also one without a step */
            update_average(one, tensor, optimizer, step);
        }
    }
    if (frequency != 0 && (step + 1) % frequency == 0) {
        tl_train_state_apply_averages(state);
    }
    state->iterations++;
}

tl_status
tl_train_state_set_momentum(tl_train_state *state, float momentum)
{
    if (state->optimizer.kind != TL_SGD || !(momentum >= 0 && momentum <= 1)) {
        return tl_fail(TL_BAD_VALUE, "momentum must be from 0 to 1, of an SGD, not %g",
                       (double)momentum);
    }
    if (momentum > 0 && !state->has_velocity) {
        return tl_fail(TL_BAD_VALUE,
                       "momentum=%g needs a model that was compiled with a momentum above 0: "
                       "call compile again",
                       (double)momentum);
    }
    state->optimizer.momentum = momentum;
    return TL_OK;
}

void
tl_train_state_apply_averages(tl_train_state *state)
{
    for (size_t i = 0; i < state->count; i++) {
        const tl_tensor *tensor = tensor_of(state, i);
        if (state->params[i].average != NULL) {
            memcpy(tensor->data, state->params[i].average, tensor->count * sizeof(float));
        }
    }
}

uint64_t
tl_train_state_iterations(const tl_train_state *state)
{
    return state->iterations;
}

void
tl_train_state_set_iterations(tl_train_state *state, uint64_t iterations)
{
    state->iterations = iterations;
}

size_t
tl_train_state_slot_count(const tl_train_state *state)
{
    return state->count * state->width;
}

float *
tl_train_state_slot(const tl_train_state *state, size_t index, const tl_tensor **tensor)
{
    *tensor = tensor_of(state, index / state->width);
    return state->arrays[index];
}
