/* The parameter arena and its owners. */
#include "core/parameters.h"

tl_status
tl_parameters_create(tl_parameters **out, const tl_shape *shapes, size_t count)
{
    tl_status status = TL_OUT_OF_MEMORY;
    tl_layout layout = {0};
    tl_parameters *parameters = NULL;
    size_t *offsets = tl_alloc(count, sizeof *offsets);
    if (offsets == NULL) {
        goto done;
    }
    parameters = tl_alloc(1, sizeof *parameters);
    if (parameters == NULL) {
        goto done;
    }
    TL_TRY(tl_rwlock_init(&parameters->lock));
    atomic_init(&parameters->references, 1);
    parameters->count = count;
    parameters->tensors = tl_alloc(count, sizeof *parameters->tensors);
    parameters->versions = tl_alloc(count, sizeof *parameters->versions);
    if (parameters->tensors == NULL || parameters->versions == NULL) {
        status = TL_OUT_OF_MEMORY;
        goto done;
    }
    for (size_t i = 0; i < count; i++) {
        tl_tensor *tensor = &parameters->tensors[i];
        tensor->shape = shapes[i];
        TL_TRY(tl_shape_count(&tensor->count, &shapes[i]));
        TL_TRY(tl_layout_add(&layout, &offsets[i], tensor->count * sizeof(float)));
    }
    TL_TRY(tl_arena_create(&parameters->arena, layout.size));
    for (size_t i = 0; i < count; i++) {
        tl_tensor *tensor = &parameters->tensors[i];
        tensor->data = tl_arena_at(&parameters->arena, offsets[i]);
        tl_arena_guard(&parameters->arena, offsets[i], tensor->count * sizeof(float));
    }

    *out = parameters; /* handed over */
    parameters = NULL;
done:
    tl_parameters_release(parameters);
    tl_free(offsets);
    return status;
}

tl_parameters *
tl_parameters_share(tl_parameters *parameters)
{
    atomic_fetch_add(&parameters->references, 1);
    return parameters;
}

void
tl_parameters_touch(tl_parameters *parameters, size_t index)
{
    parameters->versions[index] = ++parameters->version;
}

void
tl_parameters_release(tl_parameters *parameters)
{
    if (parameters == NULL || atomic_fetch_sub(&parameters->references, 1) > 1) {
        return;
    }
    tl_rwlock_clear(&parameters->lock);
    tl_arena_destroy(&parameters->arena);
    tl_free(parameters->versions);
    tl_free(parameters->tensors);
    tl_free(parameters);
}
