/* Programs and executors: the memory plan, the packed weights, and the walk over the steps. */
#include "core/infer.h"

#include <assert.h>
#include <stdatomic.h>
#include <string.h>

#include "core/arena.h"
#include "core/pool.h"

/* Steps that one kernel runs. */
typedef struct stage {
    tl_block block;
    size_t value; /* its last step: the value that it makes */
    const tl_backend *backend;
    tl_kernel kernel;
    bool prepared;
    size_t packed_offset;
} stage;

typedef struct executor {
    struct executor *next; /* in the free list */
    tl_arena arena;        /* activations, what phases share, scratch */
    void **bindings;       /* one a stage */
    atomic_size_t *begun;  /* one a phase: which parts of an image that is shared out have */
    atomic_size_t done;    /* parts of it that have ended */
} executor;

struct tl_program {
    tl_lowered *lowered;
    stage *stages;
    size_t stage_count;
    size_t phase_count; /* of all stages */
    tl_arena packed;
    size_t packed_bytes;
    tl_lifetime *places; /* one a step: of its value, in stages from writing to last reading.
                            What lies within a block has no bytes. */
    size_t activation_bytes; /* of an executor; what follows lies at these offsets */
    size_t input_offset;     /* floats made from bytes, for kernels that cannot read these */
    bool makes_floats;       /* there is such a kernel */
    bool checks_finite;      /* some kernel does so with the whole input */
    size_t shared_offset;
    size_t scratch_offset;
    size_t executor_bytes;
    size_t src_count; /* floats of one image at start and at stop */
    size_t dst_count;
    tl_mutex lock; /* of the free list */
    executor *free;
    bool sharing;             /* a call holds leaders: one at a time */
    unsigned long generation; /* of the free list: see pool.h */
    bool shares;              /* most of its steps can be shared out among threads */
};

/* --- the memory plan -------------------------------------------------------------------- */

static void
note_read(tl_program *program, size_t value, size_t reader)
{
    if (value != TL_NONE && program->places[value].last < reader) {
        program->places[value].last = reader;
    }
}

/* When each value is written and last read. Where a residual dies in the kernel that adds it in
 * place, both share one place. */
static void
plan_lifetimes(tl_program *program)
{
    for (size_t i = 0; i < program->stage_count; i++) {
        const stage *made = &program->stages[i];
        const tl_step *last = &made->block.steps[made->block.count - 1];
        tl_lifetime *at = &program->places[made->value];
        at->bytes = tl_shape_elements(&last->dst_shape) * sizeof(float);
        at->first = i;
        at->last = i;
        note_read(program, made->block.steps[0].src, i);
        if (last->has_residual) {
            note_read(program, last->residual, i);
        }
        for (size_t k = 0; k < last->other_count; k++) {
            note_read(program, last->others[k], i);
        }
    }
}

/* The value that the stage may overwrite with its own, or TL_NONE. */
static size_t
taken_over(const tl_program *program, size_t index)
{
    const stage *made = &program->stages[index];
    const tl_step *step = &made->block.steps[0];
    if (!made->kernel.adds_in_place || !step->has_residual || step->residual == TL_NONE ||
        program->places[step->residual].last != index || step->residual == step->src) {
        return TL_NONE;
    }
    return step->residual;
}

static tl_status
place_value(tl_program *program, size_t index, size_t *end)
{
    const size_t value = program->stages[index].value;
    const size_t over = taken_over(program, index);
    if (over != TL_NONE) {
        program->places[value].offset = program->places[over].offset;
        return TL_OK;
    }
    return tl_lifetime_place(program->places, value, end);
}

/* Whether the step reads what comes in beside or behind its src. */
static bool
reads_input_late(const tl_step *step)
{
    bool reads = step->has_residual && step->residual == TL_NONE;
    for (size_t k = 0; k < step->other_count; k++) {
        reads = reads || step->others[k] == TL_NONE;
    }
    return reads;
}

/* Whether bytes can come in, and some kernel that reads them cannot. */
static bool
needs_floats(const tl_program *program, bool from_input)
{
    for (size_t i = 0; from_input && i < program->stage_count; i++) {
        const stage *made = &program->stages[i];
        const tl_step *last = &made->block.steps[made->block.count - 1];
        if ((made->block.steps[0].src == TL_NONE && !made->kernel.takes_pixels) ||
            reads_input_late(last)) {
            return true;
        }
    }
    return false;
}

static tl_status
plan_memory(tl_program *program, bool from_input)
{
    tl_status status = TL_OK;
    tl_layout executor_layout = {0};
    tl_layout packed_layout = {0};
    size_t offset;
    size_t activations = 0;
    size_t shared = 0;
    size_t scratch = 0;
    size_t shareable = 0; /* steps */

    plan_lifetimes(program);
    for (size_t i = 0; i < program->stage_count; i++) {
        stage *made = &program->stages[i];
        TL_TRY(place_value(program, i, &activations));
        scratch = made->kernel.scratch_bytes > scratch ? made->kernel.scratch_bytes : scratch;
        shared = made->kernel.shared_bytes > shared ? made->kernel.shared_bytes : shared;
        TL_TRY(tl_layout_add(&packed_layout, &made->packed_offset, made->kernel.packed_bytes));
        assert(!made->kernel.adds_in_place || made->kernel.phases == 0);
        program->phase_count += made->kernel.phases == 0 ? 1 : made->kernel.phases;
        shareable += made->kernel.phases == 0 ? 0 : made->block.count;
        program->checks_finite |=
            made->block.steps[0].src == TL_NONE && made->kernel.checks_finite;
    }
    TL_TRY(tl_layout_add(&executor_layout, &offset, activations));
    program->activation_bytes = activations;
    program->shares = 2 * shareable >= program->lowered->count;
    program->makes_floats = needs_floats(program, from_input);
    TL_TRY(tl_layout_add(&executor_layout, &program->input_offset,
                         program->makes_floats ? program->src_count * sizeof(float) : 0));
    TL_TRY(tl_layout_add(&executor_layout, &program->shared_offset, shared));
    TL_TRY(tl_layout_add(&executor_layout, &program->scratch_offset, scratch));
    program->executor_bytes = executor_layout.size;
    program->packed_bytes = packed_layout.size;
done:
    return status;
}

/* --- making a program ------------------------------------------------------------------- */

/* The first backend that takes the chain's first step, and how many with it. */
static size_t
find_backend(const tl_backend **backend, const tl_ops *ops, const tl_block *chain)
{
    for (size_t i = 0; i < ops->count; i++) {
        const size_t taken = ops->backends[i]->takes(chain);
        if (taken > 0) {
            *backend = ops->backends[i];
            return taken;
        }
    }
    return 0;
}

/* How many steps follow each other from `first` on, each the only reader of the one before;
 * no more than a block can have. `readers`: of each step's value. */
static size_t
chain_length(const tl_lowered *lowered, const size_t *readers, size_t first)
{
    size_t count = 1;
    while (count < TL_MAX_BLOCK && first + count < lowered->count &&
           lowered->steps[first + count].src == first + count - 1 &&
           lowered->steps[first + count].residual != first + count - 1 &&
           lowered->steps[first + count].other_count == 0 && readers[first + count - 1] == 1) {
        count++;
    }
    return count;
}

static tl_status
choose_backends(tl_program *program, const tl_graph *graph, const tl_ops *ops)
{
    tl_status status = TL_OK;
    const tl_lowered *lowered = program->lowered;
    size_t *readers = tl_alloc(lowered->count, sizeof *readers);
    if (readers == NULL) {
        return TL_OUT_OF_MEMORY;
    }
    for (size_t i = 0; i < lowered->count; i++) {
        const tl_step *step = &lowered->steps[i];
        if (step->src != TL_NONE) {
            readers[step->src]++;
        }
        if (step->has_residual && step->residual != TL_NONE) {
            readers[step->residual]++;
        }
        for (size_t k = 0; k < step->other_count; k++) {
            if (step->others[k] != TL_NONE) {
                readers[step->others[k]]++;
            }
        }
    }
    for (size_t i = 0; i < lowered->count;) {
        stage *made = &program->stages[program->stage_count];
        const tl_block chain = {&lowered->steps[i], chain_length(lowered, readers, i)};
        const size_t taken = find_backend(&made->backend, ops, &chain);
        if (taken == 0) {
            status = tl_fail(TL_UNSUPPORTED, "nothing can run the %s \"%s\"",
                             tl_step_kind_name(chain.steps->kind),
                             graph->nodes[chain.steps->node].name);
            goto done;
        }
        made->block = (tl_block){chain.steps, taken};
        i += taken;
        made->value = i - 1;
        program->stage_count++;
    }
done:
    tl_free(readers);
    return status;
}

static tl_status
prepare_stage(void *context, size_t i)
{
    tl_program *program = context;
    stage *made = &program->stages[i];
    const tl_status status = made->backend->prepare(&made->kernel, &made->block);
    made->prepared = status == TL_OK;
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
    program->stages = tl_alloc(count, sizeof *program->stages);
    program->places = tl_alloc(count, sizeof *program->places);
    if (program->stages == NULL || program->places == NULL) {
        status = TL_OUT_OF_MEMORY;
        goto done;
    }
    program->src_count = tl_shape_elements(&graph->nodes[start].shape);
    program->dst_count = tl_shape_elements(&graph->nodes[stop].shape);
    TL_TRY(choose_backends(program, graph, ops));
    TL_TRY(tl_pool_run(prepare_stage, program, program->stage_count));
    TL_TRY(plan_memory(program, start == 0));
    TL_TRY(tl_arena_create(&program->packed, program->packed_bytes));
    for (size_t i = 0; i < program->stage_count; i++) {
        tl_arena_guard(&program->packed, program->stages[i].packed_offset,
                       program->stages[i].kernel.packed_bytes);
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
pack_stage(void *context, size_t i)
{
    tl_status status = TL_OK;
    const packing *job = context;
    const tl_program *program = job->program;
    const stage *made = &program->stages[i];
    const tl_block *block = &made->block;
    const float *weights[TL_MAX_BLOCK] = {NULL};
    const float *biases[TL_MAX_BLOCK] = {NULL};
    float *folded[TL_MAX_BLOCK] = {NULL};

    for (size_t k = 0; k < block->count; k++) {
        const size_t count = tl_step_kernel_count(&block->steps[k]);
        if (count == 0) {
            continue;
        }
        folded[k] = tl_alloc(count + tl_step_bias_count(&block->steps[k]), sizeof(float));
        if (folded[k] == NULL) {
            status = TL_OUT_OF_MEMORY;
            goto done;
        }
        tl_step_fold(&block->steps[k], folded[k], folded[k] + count, job->tensors);
        weights[k] = folded[k];
        biases[k] = folded[k] + count;
    }
    if (made->kernel.packed_bytes > 0) {
        TL_TRY(made->backend->pack(&made->kernel, block,
                                   tl_arena_at(&program->packed, made->packed_offset), weights,
                                   biases));
    }
done:
    for (size_t k = 0; k < block->count; k++) {
        tl_free(folded[k]);
    }
    return status;
}

tl_status
tl_program_pack(tl_program *program, const float *const *tensors)
{
    packing job = {program, tensors};
    return tl_pool_run(pack_stage, &job, program->stage_count);
}

/* --- executors -------------------------------------------------------------------------- */

static void
executor_destroy(const tl_program *program, executor *e)
{
    if (e == NULL) {
        return;
    }
    for (size_t i = 0; e->bindings != NULL && i < program->stage_count; i++) {
        if (e->bindings[i] != NULL) {
            program->stages[i].backend->unbind(e->bindings[i]);
        }
    }
    tl_free(e->bindings);
    tl_free(e->begun);
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
    e->bindings = tl_alloc(program->stage_count, sizeof *e->bindings);
    e->begun = tl_alloc(program->phase_count, sizeof *e->begun);
    if (e->bindings == NULL || e->begun == NULL) {
        goto done;
    }
    TL_TRY(tl_arena_create(&e->arena, program->executor_bytes));
    tl_arena_guard(&e->arena, 0, program->activation_bytes);
    for (size_t i = 0; i < program->stage_count; i++) {
        const stage *made = &program->stages[i];
        TL_TRY(made->backend->bind(&e->bindings[i], &made->kernel,
                                   tl_arena_at(&program->packed, made->packed_offset),
                                   tl_arena_at(&e->arena, program->scratch_offset)));
    }

    *out = e; /* handed over */
    e = NULL;
    status = TL_OK;
done:
    executor_destroy(program, e);
    return status;
}

/* In the child of a fork: what the parent had; holds program->lock. */
static void
forget_parent(tl_program *program)
{
    if (program->generation != tl_generation()) {
        program->free = NULL; /* may have been cut in half by the fork */
        program->sharing = false;
        program->generation = tl_generation();
    }
}

/* An executor from the free list, or a new one. */
static tl_status
executor_take(executor **out, tl_program *program)
{
    tl_mutex_lock(&program->lock);
    forget_parent(program);
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
    for (size_t i = 0; i < program->stage_count; i++) {
        if (program->stages[i].prepared) {
            program->stages[i].backend->release(&program->stages[i].kernel);
        }
    }
    tl_arena_destroy(&program->packed);
    tl_free(program->places);
    tl_free(program->stages);
    tl_lowered_destroy(program->lowered);
    tl_mutex_clear(&program->lock);
    tl_free(program);
}

/* --- running ---------------------------------------------------------------------------- */

typedef struct running {
    tl_program *program;
    float *dst;
    tl_images src;
    size_t shared;     /* images that are shared out; 0: each thread carries its own */
    size_t parts;      /* into so many */
    executor *leaders; /* one for each of them, whose activations all its threads use */
} running;

/* One image: where it comes from, where its values lie, where it goes. */
typedef struct image {
    const tl_program *program;
    const executor *values; /* activations and what phases share */
    const executor *own;    /* scratch and bindings of the thread that runs */
    float *dst;
    tl_images src;
} image;

/* Address of a step's value: the last one's is the caller's, the others' the executor's. */
static float *
value_at(const image *x, size_t step)
{
    return step + 1 == x->program->lowered->count
               ? x->dst
               : tl_arena_at(&x->values->arena, x->program->places[step].offset);
}

/* Fills in all of `work` but what part of the stage is meant. */
static void
describe_work(tl_work *work, const image *x, const stage *made)
{
    const tl_step *last = &made->block.steps[made->block.count - 1];
    const size_t src = made->block.steps[0].src;
    const float *input = x->src.numbers != NULL
                             ? x->src.numbers
                             : tl_arena_at(&x->values->arena, x->program->input_offset);
    work->dst = value_at(x, made->value);
    work->src = src == TL_NONE ? input : value_at(x, src);
    if (src == TL_NONE && made->kernel.takes_pixels) {
        work->pixels = x->src.pixels;
        work->values = x->src.values;
    }
    work->finite = src == TL_NONE && made->kernel.checks_finite && x->src.finite;
    if (last->has_residual) {
        work->residual = last->residual == TL_NONE ? input : value_at(x, last->residual);
    }
    for (size_t k = 0; k < last->other_count; k++) {
        work->others[k] = last->others[k] == TL_NONE ? input : value_at(x, last->others[k]);
    }
    work->shared = tl_arena_at(&x->values->arena, x->program->shared_offset);
}

static tl_status
run_stage(const image *x, size_t i, tl_work *work)
{
    const stage *made = &x->program->stages[i];
    describe_work(work, x, made);
    if (made->kernel.adds_in_place && work->residual != NULL && work->residual != work->dst) {
        memcpy(work->dst, work->residual, x->program->places[made->value].bytes);
    }
    return made->backend->forward(&made->kernel, &made->block, x->own->bindings[i], work);
}

/* Bytes -> floats for the kernels that cannot read bytes. */
static void
make_floats(const image *x)
{
    const tl_program *program = x->program;
    float *to = tl_arena_at(&x->values->arena, program->input_offset);
    if (x->src.numbers != NULL || !program->makes_floats) {
        return;
    }
    for (size_t i = 0; i < program->src_count; i++) {
        to[i] = x->src.values[x->src.pixels[i]];
    }
}

/* Where the caller asks for it, and no kernel does it on the way. */
static tl_status
check_finite(const image *x)
{
    const uint32_t exponent = 0x7f800000U;
    const float *numbers = x->src.numbers;
    uint32_t found = 0;
    if (numbers == NULL || !x->src.finite || x->program->checks_finite) {
        return TL_OK;
    }
    for (size_t i = 0; i < x->program->src_count; i++) {
        uint32_t bits;
        memcpy(&bits, &numbers[i], sizeof bits);
        found |= (bits & exponent) == exponent;
    }
    return found == 0 ? TL_OK : tl_fail(TL_BAD_VALUE, TL_NOT_FINITE);
}

static tl_status
run_alone(const image *x)
{
    tl_status status = TL_OK;
    TL_TRY(check_finite(x));
    make_floats(x);
    for (size_t i = 0; i < x->program->stage_count; i++) {
        tl_work work = {.whole = true};
        TL_TRY(run_stage(x, i, &work));
    }
done:
    return status;
}

/* Waits until `parts` parts of the image have ended. Seldom long: all threads work on the same
 * few microseconds; whoever was put to sleep meanwhile gets the processor. */
static void
wait_for(const executor *leader, size_t parts)
{
    unsigned turn = 0;
    while (atomic_load_explicit(&leader->done, memory_order_acquire) < parts) {
        tl_pool_pause(turn++);
    }
}

/* The part that this thread does next in a phase: its own, or one that nobody has begun. */
static size_t
claim_part(atomic_size_t *begun, size_t parts, size_t own)
{
    for (size_t i = 0; i < parts; i++) {
        const size_t part = (own + i) % parts;
        const size_t bit = (size_t)1 << part;
        if ((atomic_fetch_or(begun, bit) & bit) == 0) {
            return part;
        }
    }
    return TL_NONE;
}

/* Takes part in an image as the `member`-th of its threads. A phase begins when all parts of
 * those before it have ended; who begins a part ends it, so that nobody waits for a thread that
 * has not come yet. */
static tl_status
run_shared(const image *x, executor *leader, size_t member, size_t parts)
{
    tl_status status = member == 0 ? check_finite(x) : TL_OK;
    size_t before = 0; /* parts of the phases so far */
    size_t phase = 0;
    for (size_t i = 0; i < x->program->stage_count; i++) {
        const tl_kernel *kernel = &x->program->stages[i].kernel;
        const size_t phases = kernel->phases == 0 ? 1 : kernel->phases;
        for (size_t k = 0; k < phases; k++, phase++) {
            const size_t units = kernel->phases == 0 ? 1 : kernel->units[k];
            const size_t cut = units < parts ? units : parts;
            size_t part;
            wait_for(leader, before);
            while ((part = claim_part(&leader->begun[phase], cut, member)) != TL_NONE) {
                tl_work work = {.whole = cut == 1 && phases == 1,
                                .phase = k,
                                .begin = part * units / cut,
                                .end = (part + 1) * units / cut};
                const tl_status done = run_stage(x, i, &work);
                status = status == TL_OK ? done : status; /* the others wait for this part */
                atomic_fetch_add_explicit(&leader->done, 1, memory_order_release);
            }
            before += cut;
        }
    }
    return status;
}

static image
describe_image(const running *job, size_t index, const executor *values, const executor *own)
{
    return (image){.program = job->program,
                   .values = values,
                   .own = own,
                   .dst = job->dst + index * job->program->dst_count,
                   .src = tl_images_from(&job->src, index * job->program->src_count)};
}

/* An image a thread. */
static tl_status
run_image(void *context, size_t i)
{
    const running *job = context;
    executor *own = NULL;
    tl_status status = executor_take(&own, job->program);
    if (status == TL_OK) {
        const image x = describe_image(job, i, own, own);
        status = run_alone(&x);
        executor_give_back(job->program, own);
    }
    return status;
}

/* A thread's share of an image. The image's first thread has its leader's scratch. */
static tl_status
run_part(void *context, size_t i)
{
    const running *job = context;
    const size_t index = i % job->shared;
    const size_t member = i / job->shared;
    executor *leader = job->leaders;
    executor *own = NULL;
    for (size_t k = 0; k < index; k++) {
        leader = leader->next;
    }
    if (member > 0) {
        const tl_status status = executor_take(&own, job->program);
        if (status != TL_OK) {
            return status;
        }
    }
    const image x = describe_image(job, index, leader, own != NULL ? own : leader);
    const tl_status status = run_shared(&x, leader, member, job->parts);
    if (own != NULL) {
        executor_give_back(job->program, own);
    }
    return status;
}

/* Leaders for the shared images, if there are so many free executors: none is made for it, so
 * that there are no more than threads need, and while no other call has any. */
static bool
take_leaders(running *job)
{
    tl_program *program = job->program;
    size_t found = 0;
    tl_fork_guard_enter(); /* a forked child frees what it finds in the list */
    tl_mutex_lock(&program->lock);
    forget_parent(program);
    for (const executor *e = program->free; e != NULL && found < job->shared; e = e->next) {
        found++;
    }
    const bool taken = found == job->shared && !program->sharing;
    for (size_t i = 0; taken && i < job->shared; i++) {
        executor *e = program->free;
        program->free = e->next;
        e->next = job->leaders;
        job->leaders = e;
    }
    program->sharing = program->sharing || taken;
    tl_mutex_unlock(&program->lock);
    tl_fork_guard_leave();
    return taken;
}

static void
give_back_leaders(running *job)
{
    tl_fork_guard_enter();
    while (job->leaders != NULL) {
        executor *next = job->leaders->next;
        executor_give_back(job->program, job->leaders);
        job->leaders = next;
    }
    tl_mutex_lock(&job->program->lock);
    job->program->sharing = false;
    tl_mutex_unlock(&job->program->lock);
    tl_fork_guard_leave();
}

/* Fewer images than threads: several threads to each, if nobody else needs the crew. */
static tl_status
run_few(running *job, size_t count)
{
    const size_t most = sizeof(size_t) * 8; /* bits of `begun` */
    const size_t parts = tl_pool_idle() / count;
    job->shared = count;
    job->parts = parts < most ? parts : most;
    if (parts < 2 || !job->program->shares || !take_leaders(job)) {
        return tl_pool_run(run_image, job, count);
    }
    size_t index = 0;
    for (executor *leader = job->leaders; leader != NULL; leader = leader->next) {
        for (size_t i = 0; i < job->program->phase_count; i++) {
            atomic_store(&leader->begun[i], 0);
        }
        atomic_store(&leader->done, 0);
        const image x = describe_image(job, index++, leader, leader);
        make_floats(&x);
    }
    const tl_status status = tl_pool_run(run_part, job, count * job->parts);
    give_back_leaders(job);
    return status;
}

/* Where start is stop. */
static tl_status
copy_images(const tl_program *program, float *dst, const tl_images *src, size_t count)
{
    tl_status status = TL_OK;
    for (size_t i = 0; i < count; i++) {
        const image x = {.program = program,
                         .src = tl_images_from(src, i * program->src_count)};
        TL_TRY(check_finite(&x));
    }
    for (size_t i = 0; src->numbers == NULL && i < count * program->dst_count; i++) {
        dst[i] = src->values[src->pixels[i]];
    }
    if (src->numbers != NULL) {
        memcpy(dst, src->numbers, count * program->dst_count * sizeof *dst);
    }
done:
    return status;
}

tl_status
tl_program_run(tl_program *program, float *dst, const tl_images *src, size_t count)
{
    running job = {.program = program, .dst = dst, .src = *src};
    if (program->lowered->count == 0) {
        return copy_images(program, dst, src, count);
    }
    /* Whole rounds of the crew carry an image a thread; what is left over is shared out. */
    const size_t threads = tl_pool_threads();
    const size_t rounds = program->shares ? count - count % threads : count;
    tl_status status = tl_pool_run(run_image, &job, rounds);
    if (status == TL_OK && rounds < count) {
        job.dst += rounds * program->dst_count;
        job.src = tl_images_from(src, rounds * program->src_count);
        status = run_few(&job, count - rounds);
    }
    return status;
}
