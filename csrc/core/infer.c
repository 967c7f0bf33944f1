/* Programs and executors: the memory plan, the packed weights, and the walk over the steps. */
#include "core/infer.h"

#include <string.h>

#include "core/arena.h"
#include "core/pool.h"

/* Where a step's value lies within an executor's arena. */
typedef struct place {
    size_t offset;
    size_t bytes;
    size_t first; /* step that writes it */
    size_t last;  /* last step that reads it */
} place;

typedef struct executor {
    struct executor *next; /* in the free list */
    tl_arena arena;        /* activations, then scratch */
    void **bindings;       /* one a step */
} executor;

struct tl_program {
    tl_lowered *lowered;
    const tl_backend **backends; /* who runs each step */
    tl_kernel *kernels;
    bool *prepared;
    size_t *packed_offsets;
    tl_arena packed;
    size_t packed_bytes;
    place *places;
    size_t activation_bytes; /* of an executor; its scratch follows */
    size_t scratch_offset;
    size_t executor_bytes;
    size_t src_count; /* floats of one image at start and at stop */
    size_t dst_count;
    tl_mutex lock; /* of the free list */
    executor *free;
    unsigned long generation; /* of the free list: see pool.h */
};

/* --- the memory plan -------------------------------------------------------------------- */

static void
note_read(tl_program *program, size_t value, size_t reader)
{
    if (value != TL_NONE && program->places[value].last < reader) {
        program->places[value].last = reader;
    }
}

/* When each value is written and last read. A convolution's residual is added to in place:
 * where its value dies there, both share one place. */
static void
plan_lifetimes(tl_program *program)
{
    const size_t count = program->lowered->count;
    for (size_t i = 0; i < count; i++) {
        const tl_step *step = &program->lowered->steps[i];
        program->places[i].bytes = tl_shape_elements(&step->dst_shape) * sizeof(float);
        program->places[i].first = i;
        program->places[i].last = i;
        note_read(program, step->src, i);
        if (step->has_residual) {
            note_read(program, step->residual, i);
        }
    }
}

/* The value that `step` may overwrite with its own, or TL_NONE. */
static size_t
taken_over(const tl_program *program, size_t index)
{
    const tl_step *step = &program->lowered->steps[index];
    if (!step->has_residual || step->kind != TL_STEP_CONV2D || step->residual == TL_NONE ||
        program->places[step->residual].last != index || step->residual == step->src) {
        return TL_NONE;
    }
    return step->residual;
}

static bool
live_together(const place *a, const place *b)
{
    return a->first <= b->last && b->first <= a->last;
}

/* First fit: the lowest offset at which no value that lives at the same time lies. */
static tl_status
place_value(tl_program *program, size_t index, size_t *end)
{
    place *mine = &program->places[index];
    const size_t over = taken_over(program, index);
    if (over != TL_NONE) {
        mine->offset = program->places[over].offset;
        return TL_OK;
    }
    size_t offset = 0;
    if (mine->bytes > SIZE_MAX / 4) { /* leaves room for the sums below */
        return tl_fail(TL_OUT_OF_MEMORY, "a plan of more than 2^62 bytes of memory");
    }
    for (size_t i = 0; i < index;) {
        const place *other = &program->places[i];
        const bool clash = live_together(mine, other) &&
                           offset < other->offset + other->bytes &&
                           other->offset < offset + mine->bytes;
        if (clash) {
            offset =
                (other->offset + other->bytes + TL_ALIGNMENT - 1) / TL_ALIGNMENT * TL_ALIGNMENT;
            i = 0; /* the new offset may meet an earlier one */
        } else {
            i++;
        }
    }
    if (offset > SIZE_MAX / 2) {
        return tl_fail(TL_OUT_OF_MEMORY, "a plan of more than 2^64 bytes of memory");
    }
    mine->offset = offset;
    if (offset + mine->bytes > *end) {
        *end = offset + mine->bytes;
    }
    return TL_OK;
}

static tl_status
plan_memory(tl_program *program)
{
    tl_status status = TL_OK;
    tl_layout executor_layout = {0};
    tl_layout packed_layout = {0};
    size_t offset;
    size_t activations = 0;
    size_t scratch = 0;

    plan_lifetimes(program);
    for (size_t i = 0; i < program->lowered->count; i++) {
        TL_TRY(place_value(program, i, &activations));
        if (program->kernels[i].scratch_bytes > scratch) {
            scratch = program->kernels[i].scratch_bytes;
        }
        TL_TRY(tl_layout_add(&packed_layout, &program->packed_offsets[i],
                             program->kernels[i].packed_bytes));
    }
    TL_TRY(tl_layout_add(&executor_layout, &offset, activations));
    program->activation_bytes = activations;
    TL_TRY(tl_layout_add(&executor_layout, &program->scratch_offset, scratch));
    program->executor_bytes = executor_layout.size;
    program->packed_bytes = packed_layout.size;
done:
    return status;
}

/* --- making a program ------------------------------------------------------------------- */

static const tl_backend *
find_backend(const tl_ops *ops, const tl_step *step)
{
    for (size_t i = 0; i < ops->count; i++) {
        if (ops->backends[i]->offers(step)) {
            return ops->backends[i];
        }
    }
    return NULL;
}

static tl_status
choose_backends(tl_program *program, const tl_graph *graph, const tl_ops *ops)
{
    for (size_t i = 0; i < program->lowered->count; i++) {
        const tl_step *step = &program->lowered->steps[i];
        program->backends[i] = find_backend(ops, step);
        if (program->backends[i] == NULL) {
            return tl_fail(TL_UNSUPPORTED, "nothing can run the %s \"%s\"",
                           tl_step_kind_name(step->kind), graph->nodes[step->node].name);
        }
    }
    return TL_OK;
}

static tl_status
prepare_step(void *context, size_t i)
{
    tl_program *program = context;
    tl_status status =
        program->backends[i]->prepare(&program->kernels[i], &program->lowered->steps[i]);
    program->prepared[i] = status == TL_OK;
    return status;
}

tl_status
tl_program_create(tl_program **out, const tl_graph *graph, const tl_ops *ops, size_t start,
                  size_t stop)
{
    tl_status status = TL_OUT_OF_MEMORY;
    tl_program *program = tl_alloc(1, sizeof *program);
    if (program == NULL) {
        goto done;
    }
    TL_TRY(tl_mutex_init(&program->lock));
    program->generation = tl_generation();
    TL_TRY(tl_lower(&program->lowered, graph, start, stop));

    const size_t count = program->lowered->count;
    program->backends = tl_alloc(count, sizeof *program->backends);
    program->kernels = tl_alloc(count, sizeof *program->kernels);
    program->prepared = tl_alloc(count, sizeof *program->prepared);
    program->packed_offsets = tl_alloc(count, sizeof *program->packed_offsets);
    program->places = tl_alloc(count, sizeof *program->places);
    if (program->backends == NULL || program->kernels == NULL || program->prepared == NULL ||
        program->packed_offsets == NULL || program->places == NULL) {
        status = TL_OUT_OF_MEMORY;
        goto done;
    }
    program->src_count = tl_shape_elements(&graph->nodes[start].shape);
    program->dst_count = tl_shape_elements(&graph->nodes[stop].shape);
    TL_TRY(choose_backends(program, graph, ops));
    TL_TRY(tl_pool_run(prepare_step, program, count));
    TL_TRY(plan_memory(program));
    TL_TRY(tl_arena_create(&program->packed, program->packed_bytes));
    for (size_t i = 0; i < count; i++) {
        tl_arena_guard(&program->packed, program->packed_offsets[i],
                       program->kernels[i].packed_bytes);
    }

    *out = program; /* handed over */
    program = NULL;
done:
    tl_program_destroy(program);
    return status;
}

size_t
tl_program_packed_bytes(const tl_program *program)
{
    return program->packed_bytes;
}

size_t
tl_program_executor_bytes(const tl_program *program)
{
    return program->executor_bytes;
}

/* --- weights ---------------------------------------------------------------------------- */

typedef struct packing {
    tl_program *program;
    const float *const *tensors;
} packing;

static tl_status
pack_step(void *context, size_t i)
{
    tl_status status = TL_OK;
    const packing *job = context;
    const tl_program *program = job->program;
    const tl_step *step = &program->lowered->steps[i];
    const size_t kernel_count = tl_step_kernel_count(step);
    float *folded = NULL;

    if (kernel_count == 0) {
        goto done;
    }
    folded = tl_alloc(kernel_count + tl_step_bias_count(step), sizeof *folded);
    if (folded == NULL) {
        status = TL_OUT_OF_MEMORY;
        goto done;
    }
    tl_step_fold(step, folded, folded + kernel_count, job->tensors);
    TL_TRY(program->backends[i]->pack(&program->kernels[i], step,
                                      tl_arena_at(&program->packed, program->packed_offsets[i]),
                                      folded, folded + kernel_count));
done:
    tl_free(folded);
    return status;
}

tl_status
tl_program_pack(tl_program *program, const float *const *tensors)
{
    packing job = {program, tensors};
    return tl_pool_run(pack_step, &job, program->lowered->count);
}

/* --- executors -------------------------------------------------------------------------- */

static void
executor_destroy(const tl_program *program, executor *e)
{
    if (e == NULL) {
        return;
    }
    for (size_t i = 0; e->bindings != NULL && i < program->lowered->count; i++) {
        if (e->bindings[i] != NULL) {
            program->backends[i]->unbind(e->bindings[i]);
        }
    }
    tl_free(e->bindings);
    tl_arena_destroy(&e->arena);
    tl_free(e);
}

static tl_status
executor_create(executor **out, const tl_program *program)
{
    tl_status status = TL_OUT_OF_MEMORY;
    executor *e = tl_alloc(1, sizeof *e);
    if (e == NULL) {
        goto done;
    }
    e->bindings = tl_alloc(program->lowered->count, sizeof *e->bindings);
    if (e->bindings == NULL) {
        goto done;
    }
    TL_TRY(tl_arena_create(&e->arena, program->executor_bytes));
    tl_arena_guard(&e->arena, 0, program->activation_bytes);
    for (size_t i = 0; i < program->lowered->count; i++) {
        TL_TRY(program->backends[i]->bind(
            &e->bindings[i], &program->kernels[i],
            tl_arena_at(&program->packed, program->packed_offsets[i]),
            tl_arena_at(&e->arena, program->scratch_offset)));
    }

    *out = e; /* handed over */
    e = NULL;
    status = TL_OK;
done:
    executor_destroy(program, e);
    return status;
}

/* An executor from the free list, or a new one. */
static tl_status
executor_take(executor **out, tl_program *program)
{
    tl_mutex_lock(&program->lock);
    if (program->generation != tl_generation()) {
        program->free = NULL; /* of the parent process; may have been cut in half by the fork */
        program->generation = tl_generation();
    }
    executor *e = program->free;
    if (e != NULL) {
        program->free = e->next;
    }
    tl_mutex_unlock(&program->lock);
    if (e == NULL) {
        return executor_create(out, program);
    }
    *out = e;
    return TL_OK;
}

static void
executor_give_back(tl_program *program, executor *e)
{
    tl_mutex_lock(&program->lock);
    e->next = program->free;
    program->free = e;
    tl_mutex_unlock(&program->lock);
}

void
tl_program_destroy(tl_program *program)
{
    if (program == NULL) {
        return;
    }
    while (program->free != NULL) {
        executor *next = program->free->next;
        executor_destroy(program, program->free);
        program->free = next;
    }
    for (size_t i = 0; program->prepared != NULL && i < program->lowered->count; i++) {
        if (program->prepared[i]) {
            program->backends[i]->release(&program->kernels[i]);
        }
    }
    tl_arena_destroy(&program->packed);
    tl_free(program->places);
    tl_free(program->packed_offsets);
    tl_free(program->prepared);
    tl_free(program->kernels);
    tl_free(program->backends);
    tl_lowered_destroy(program->lowered);
    tl_mutex_clear(&program->lock);
    tl_free(program);
}

/* --- running ---------------------------------------------------------------------------- */

typedef struct running {
    tl_program *program;
    float *dst;
    const float *src;
} running;

/* Address of a step's value: the last one's is the caller's, the others' the executor's. */
static float *
value_at(const tl_program *program, const executor *e, size_t step, float *dst)
{
    return step + 1 == program->lowered->count
               ? dst
               : tl_arena_at(&e->arena, program->places[step].offset);
}

static tl_status
walk_steps(const tl_program *program, const executor *e, float *dst, const float *src)
{
    tl_status status = TL_OK;
    for (size_t i = 0; i < program->lowered->count; i++) {
        const tl_step *step = &program->lowered->steps[i];
        float *to = value_at(program, e, i, dst);
        const float *from = step->src == TL_NONE ? src : value_at(program, e, step->src, dst);
        const float *residual = NULL;
        if (step->has_residual) {
            residual =
                step->residual == TL_NONE ? src : value_at(program, e, step->residual, dst);
            if (step->kind == TL_STEP_CONV2D && residual != to) {
                memcpy(to, residual, program->places[i].bytes);
            }
        }
        TL_TRY(program->backends[i]->forward(&program->kernels[i], step, e->bindings[i], to,
                                             from, residual));
    }
done:
    return status;
}

static tl_status
run_image(void *context, size_t i)
{
    const running *job = context;
    tl_program *program = job->program;
    executor *e;
    tl_status status = executor_take(&e, program);
    if (status != TL_OK) {
        return status;
    }
    status = walk_steps(program, e, job->dst + i * program->dst_count,
                        job->src + i * program->src_count);
    executor_give_back(program, e);
    return status;
}

tl_status
tl_program_run(tl_program *program, float *dst, const float *src, size_t count)
{
    running job = {program, dst, src};
    if (program->lowered->count == 0) {
        memcpy(dst, src, count * program->dst_count * sizeof *dst);
        return TL_OK;
    }
    return tl_pool_run(run_image, &job, count);
}
