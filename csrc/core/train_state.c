/* The optimizer's slots, planned as one block, and its step over all trained parameters. */
#include "core/train_state.h"

#include <string.h>

#include "core/arena.h"

struct tl_train_state {
    tl_network *network; /* borrowed */
    tl_optimizer optimizer;
    uint64_t iterations;
    size_t count; /* parameters that train */
    size_t width; /* slots of each */
    size_t *params;
    float *multipliers; /* one a trained parameter */
    float **slots;      /* count * width, views of the arena */
    tl_arena arena;
};

/* Points state->slots into one block of zeros. */
static tl_status
create_slots(tl_train_state *state)
{
    tl_status status = TL_OUT_OF_MEMORY;
    tl_layout layout = {0};
    const size_t total = state->count * state->width;
    size_t *offsets = tl_alloc(total, sizeof *offsets);
    state->slots = tl_alloc(total, sizeof(float *));
    if (offsets == NULL || state->slots == NULL) {
        goto done;
    }
    for (size_t i = 0; i < total; i++) {
        const tl_tensor *tensor =
            tl_network_tensor(state->network, state->params[i / state->width]);
        TL_TRY(tl_layout_add(&layout, &offsets[i], tensor->count * sizeof(float)));
    }
    TL_TRY(tl_arena_create(&state->arena, layout.size));
    for (size_t i = 0; i < total; i++) {
        const tl_tensor *tensor =
            tl_network_tensor(state->network, state->params[i / state->width]);
        state->slots[i] = tl_arena_at(&state->arena, offsets[i]);
        tl_arena_guard(&state->arena, offsets[i], tensor->count * sizeof(float));
    }
    status = TL_OK;
done:
    tl_free(offsets);
    return status;
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
    state->width = tl_optimizer_slots(optimizer);
    state->params = tl_alloc(param_count, sizeof *state->params);
    state->multipliers = tl_alloc(param_count, sizeof *state->multipliers);
    if (state->params == NULL || state->multipliers == NULL) {
        goto done;
    }
    for (size_t p = 0; p < param_count; p++) {
        if (trains[p]) {
            state->params[state->count] = p;
            state->multipliers[state->count] = multipliers == NULL ? 1 : multipliers[p];
            state->count++;
        }
    }
    TL_TRY(create_slots(state));

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
        tl_free(state->slots);
        tl_free(state->multipliers);
        tl_free(state->params);
        tl_free(state);
    }
}

void
tl_train_state_update(tl_train_state *state, const float *const *grads, float learning_rate)
{
    state->iterations++;
    for (size_t i = 0; i < state->count; i++) {
        const tl_tensor *tensor = tl_network_tensor(state->network, state->params[i]);
        float *slots[TL_MAX_SLOTS] = {NULL};
        for (size_t k = 0; k < state->width; k++) {
            slots[k] = state->slots[i * state->width + k];
        }
        tl_optimizer_update(&state->optimizer, tensor->data, slots, grads[state->params[i]],
                            tensor->count, learning_rate * state->multipliers[i],
                            state->iterations);
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
    *tensor = tl_network_tensor(state->network, state->params[index / state->width]);
    return state->slots[index];
}
