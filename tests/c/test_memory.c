/* The out-of-memory loop (as SQLite's): the n-th allocation fails, for every n, until the whole
 * story succeeds. Every failure must be reported as one, leak nothing (LeakSanitizer judges),
 * and leave what existed before usable. */
#include "builders.h"
#include "check.h"
#include "core/arena.h"
#include "core/infer.h"
#include "core/mobilenet_v2.h"
#include "core/pool.h"
#include "core/train.h"
#include "dnnl/backend.h"
#include "image/pixels.h"
#include "kernels/plain.h"
#include "reference_ops.h"

enum { SIDE = 12, IMAGES = 3, MOST = 100000 };

/* pictures, and what small_graph pads them to: training may begin there */
static float src[IMAGES * (SIDE + 1) * (SIDE + 1) * 3];
static float dst[IMAGES * SIDE * SIDE * 3];

typedef tl_status (*story)(const tl_ops *ops);

/* Fails allocation 0, 1, 2 ... of the story. */
static void
fail_every_allocation(story tell, const tl_ops *ops)
{
    long n = 0;
    tl_status status = TL_OUT_OF_MEMORY;
    CHECK_OK(tell(ops)); /* without a failure first: the crew and oneDNN's caches are warm */
    for (; n < MOST && status != TL_OK; n++) {
        tl_alloc_fail_at(n);
        status = tell(ops);
        tl_alloc_fail_at(-1);
        CHECK(status == TL_OK || status == TL_OUT_OF_MEMORY);
    }
    CHECK(n > 5 && n < MOST);
}

static tl_status
create_mobilenet(const tl_ops *ops)
{
    tl_status status = TL_OK;
    tl_graph *graph = NULL;
    tl_parameters *parameters = NULL;
    tl_network *network = NULL;
    const tl_mobilenet_v2 options = {.input = tl_shape_3(32, 32, 3), .alpha = 0.35};
    TL_TRY(tl_mobilenet_v2_create(&graph, &options));
    TL_TRY(random_parameters(&parameters, graph, 1));
    TL_TRY(tl_network_create(&network, graph, &parameters, 1, ops));
done:
    tl_network_destroy(network);
    tl_parameters_release(parameters);
    tl_graph_destroy(graph);
    return status;
}

static tl_status
predict(const tl_ops *ops)
{
    tl_status status = TL_OK;
    tl_graph *graph = NULL;
    tl_parameters *parameters = NULL;
    tl_network *network = NULL;
    TL_TRY(small_graph(&graph, SIDE, SIDE));
    TL_TRY(random_parameters(&parameters, graph, 1));
    TL_TRY(tl_network_create(&network, graph, &parameters, 1, ops));
    TL_TRY(tl_network_run(network, dst, src, IMAGES, 0, graph->count - 1));
    tl_parameters_touch(parameters, 0);
    TL_TRY(tl_network_run(network, dst, src, IMAGES, 0, graph->count - 1));
done:
    tl_network_destroy(network);
    tl_parameters_release(parameters);
    tl_graph_destroy(graph);
    return status;
}

static tl_status
train(const tl_ops *ops)
{
    tl_status status = TL_OK;
    tl_graph *graph = NULL;
    tl_parameters *parameters = NULL;
    tl_network *network = NULL;
    tl_trainer *trainer = NULL;
    bool trainable[64] = {false};
    static float features[IMAGES * SIDE * SIDE * 10];
    const float targets[IMAGES] = {0, 1, 2};
    float outputs[IMAGES * 4];
    double value;
    TL_TRY(small_graph(&graph, SIDE, SIDE));
    TL_TRY(random_parameters(&parameters, graph, 1));
    TL_TRY(tl_network_create(&network, graph, &parameters, 1, ops));
    for (size_t i = graph->param_count - 4; i < graph->param_count; i++) {
        trainable[i] = true;
    }
    const size_t cut = tl_network_cut(network, trainable);
    const tl_trainer_plan plan = {
        .start = cut,
        .trainable = trainable,
        .loss = {TL_SPARSE_CATEGORICAL_CROSSENTROPY, false},
        .optimizer = {.kind = TL_ADAM, .beta_1 = 0.9, .beta_2 = 0.999, .epsilon = 1e-7F}};
    TL_TRY(tl_trainer_create(&trainer, network, &plan));
    TL_TRY(tl_network_run(network, features, src, IMAGES, 0, cut));
    const tl_batch two = {.inputs = features, .targets = targets, .rows = 2};
    const tl_batch three = {.inputs = features, .targets = targets, .rows = 3};
    TL_TRY(tl_trainer_step(trainer, &value, outputs, &two, 0.01F));
    TL_TRY(tl_trainer_step(trainer, &value, outputs, &three, 0.01F));
    TL_TRY(tl_trainer_evaluate(trainer, &value, outputs, &three));
done:
    tl_trainer_destroy(trainer);
    tl_network_destroy(network);
    tl_parameters_release(parameters);
    tl_graph_destroy(graph);
    return status;
}

/* All of a network with convolutions and batch norms: with the statistics of batches, and with
 * stored ones where no gamma is trained. */
static tl_status
train_all(const tl_ops *ops, bool statistics)
{
    tl_status status = TL_OK;
    tl_graph *graph = NULL;
    tl_parameters *parameters = NULL;
    tl_network *network = NULL;
    tl_trainer *trainer = NULL;
    bool trainable[64] = {false};
    const float targets[IMAGES] = {0, 1, 2};
    float outputs[IMAGES * 4];
    double value;
    size_t bytes;
    const float *const *gradients;
    TL_TRY(small_graph(&graph, SIDE, SIDE));
    TL_TRY(random_parameters(&parameters, graph, 1));
    TL_TRY(tl_network_create(&network, graph, &parameters, 1, ops));
    for (size_t i = 0; i < graph->count; i++) {
        const tl_node *node = &graph->nodes[i];
        const bool norm = node->op == TL_OP_BATCH_NORMALIZATION;
        for (size_t k = 0; k < node->param_count && k < 2; k++) {
            trainable[node->first_param + k] = statistics || !norm || k == 1;
        }
    }
    const tl_trainer_plan plan = {.trainable = trainable,
                                  .loss = {TL_SPARSE_CATEGORICAL_CROSSENTROPY, false},
                                  .optimizer = {.kind = TL_SGD, .momentum = 0.5F}};
    const tl_batch two = {.inputs = src, .targets = targets, .rows = 2};
    const tl_batch three = {.inputs = src, .targets = targets, .rows = 3};
    TL_TRY(tl_trainer_create(&trainer, network, &plan));
    TL_TRY(tl_trainer_memory(trainer, 2, &bytes));
    TL_TRY(tl_trainer_step(trainer, &value, outputs, &two, 0.01F));
    TL_TRY(tl_trainer_gradients(trainer, &value, outputs, &three, &gradients));
    TL_TRY(tl_trainer_step(trainer, &value, outputs, &three, 0.01F));
    TL_TRY(tl_trainer_evaluate(trainer, &value, outputs, &three));
done:
    tl_trainer_destroy(trainer);
    tl_network_destroy(network);
    tl_parameters_release(parameters);
    tl_graph_destroy(graph);
    return status;
}

static tl_status
train_with_statistics(const tl_ops *ops)
{
    return train_all(ops, true);
}

static tl_status
train_without_statistics(const tl_ops *ops)
{
    return train_all(ops, false);
}

static void
test_create_survives_every_failure(void)
{
    fail_every_allocation(create_mobilenet, &product_ops);
}

static void
test_predict_survives_every_failure(void)
{
    fail_every_allocation(predict, &product_ops);
    fail_every_allocation(predict, &reference_ops);
}

static void
test_train_survives_every_failure(void)
{
    fail_every_allocation(train, &product_ops);
    fail_every_allocation(train, &reference_ops);
    fail_every_allocation(train_with_statistics, &product_ops);
    fail_every_allocation(train_with_statistics, &reference_ops);
    fail_every_allocation(train_without_statistics, &product_ops);
}

/* A network whose first run failed for want of memory runs once there is some. */
static void
test_a_failed_network_recovers(void)
{
    tl_graph *graph = NULL;
    tl_parameters *parameters = NULL;
    tl_network *network = NULL;
    CHECK_OK(small_graph(&graph, SIDE, SIDE));
    CHECK_OK(random_parameters(&parameters, graph, 1));
    CHECK_OK(tl_network_create(&network, graph, &parameters, 1, &product_ops));
    for (long n = 0; n < 15; n += 3) {
        tl_alloc_fail_at(n);
        CHECK(tl_network_run(network, dst, src, 1, 0, graph->count - 1) == TL_OUT_OF_MEMORY);
        tl_alloc_fail_at(-1);
    }
    /* the first image makes one thread's executor, the second is shared out and makes another's
     */
    CHECK_OK(tl_network_run(network, dst, src, 1, 0, graph->count - 1));
    CHECK_OK(tl_network_run(network, dst, src, 1, 0, graph->count - 1));
    tl_alloc_fail_at(0); /* a warm network allocates nothing */
    CHECK_OK(tl_network_run(network, dst, src, 1, 0, graph->count - 1));
    tl_alloc_fail_at(-1);
    tl_network_destroy(network);
    tl_parameters_release(parameters);
    tl_graph_destroy(graph);
}

/* --- every entry point alone ------------------------------------------------------------ */

enum { LONG_CHAIN = 40 };

/* What must exist before an entry point can be called; made anew for every failure. */
typedef struct stage {
    const tl_ops *ops;
    tl_graph *graph;
    tl_graph *part; /* fits behind the graph's output */
    tl_parameters *parameters;
    tl_network *network;
    tl_trainer *trainer;
    tl_program *program;
    tl_kernel kernel; /* of `block` */
    const tl_backend *backend;
    bool prepared;
    tl_lowered *lowered;
    tl_block block;
    tl_arena packed;
    const float *tensors[64];
    bool trainable[64];
    size_t cut;
} stage;

static void
stage_clear(stage *s)
{
    if (s->prepared) {
        s->backend->release(&s->kernel);
    }
    tl_arena_destroy(&s->packed);
    tl_lowered_destroy(s->lowered);
    tl_program_destroy(s->program);
    tl_trainer_destroy(s->trainer);
    tl_network_destroy(s->network);
    tl_parameters_release(s->parameters);
    tl_graph_destroy(s->part);
    tl_graph_destroy(s->graph);
}

/* A chain that grows over the graph's room for nodes when it is extended. */
static tl_status
chain(tl_graph **out, const tl_shape *shape)
{
    tl_status status = TL_OK;
    size_t x = 0;
    TL_TRY(tl_graph_create(out, "part", shape));
    for (int i = 0; i < LONG_CHAIN; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "link%d", i);
        TL_TRY(add_node(*out, &x, (tl_node){.op = TL_OP_ACTIVATION}, name, x, TL_NONE));
    }
done:
    return status;
}

static void
stage_set(stage *s, const tl_ops *ops, bool all)
{
    const tl_loss loss = {TL_SPARSE_CATEGORICAL_CROSSENTROPY, false};
    *s = (stage){.ops = ops, .backend = ops->backends[0]};
    CHECK_OK(small_graph(&s->graph, SIDE, SIDE));
    CHECK_OK(chain(&s->part, &s->graph->nodes[s->graph->count - 1].shape));
    CHECK_OK(random_parameters(&s->parameters, s->graph, 1));
    CHECK_OK(tl_network_create(&s->network, s->graph, &s->parameters, 1, ops));
    for (size_t p = 0; p < s->graph->param_count; p++) {
        s->trainable[p] = p + 4 >= s->graph->param_count;
        s->tensors[p] = s->parameters->tensors[p].data;
    }
    for (size_t i = 0; all && i < s->graph->count; i++) {
        for (size_t k = 0; k < s->graph->nodes[i].param_count && k < 2; k++) {
            s->trainable[s->graph->nodes[i].first_param + k] = true;
        }
    }
    s->cut = tl_network_cut(s->network, s->trainable);
    const tl_trainer_plan plan = {.start = s->cut,
                                  .trainable = s->trainable,
                                  .loss = loss,
                                  .optimizer = {.kind = TL_SGD, .momentum = 0.5F}};
    CHECK_OK(tl_trainer_create(&s->trainer, s->network, &plan));
    CHECK_OK(tl_program_create(&s->program, s->graph, ops, 0, s->graph->count - 1));
    CHECK_OK(tl_lower(&s->lowered, s->graph, 0, s->graph->count - 1));
    s->block = (tl_block){&s->lowered->steps[0], 1}; /* a convolution */
    CHECK_OK(s->backend->prepare(&s->kernel, &s->block));
    s->prepared = true;
    CHECK_OK(tl_arena_create(&s->packed, s->kernel.packed_bytes + s->kernel.scratch_bytes +
                                             2 * TL_ALIGNMENT));
}

/* One call of an entry point, which on failure must leave what it would fill as it was. */
typedef tl_status (*entry_point)(stage *s);

static tl_status
call_graph_create(stage *s)
{
    tl_graph *made = NULL;
    const tl_status status = tl_graph_create(&made, "input", &s->graph->nodes[0].shape);
    CHECK((made != NULL) == (status == TL_OK));
    tl_graph_destroy(made);
    return status;
}

/* More nodes than there is room for: the graph must move. */
static tl_status
call_graph_add(stage *s)
{
    tl_status status = TL_OK;
    for (int i = 0; status == TL_OK && i < LONG_CHAIN; i++) {
        char name[32];
        size_t id = 99;
        const size_t before = s->graph->count;
        (void)snprintf(name, sizeof name, "added%zu", before);
        status = add_node(s->graph, &id, (tl_node){.op = TL_OP_ACTIVATION}, name, before - 1,
                          TL_NONE);
        CHECK(s->graph->count == before + (status == TL_OK));
        CHECK(id == (status == TL_OK ? before : 99));
    }
    return status;
}

static tl_status
call_graph_extend(stage *s)
{
    size_t id = 99;
    const size_t before = s->graph->count;
    const tl_status status = tl_graph_extend(s->graph, &id, s->part, before - 1, false);
    CHECK(s->graph->count == before + (status == TL_OK ? LONG_CHAIN : 0));
    CHECK(id == (status == TL_OK ? s->graph->count - 1 : 99));
    return status;
}

static tl_status
call_graph_copy(stage *s)
{
    tl_graph *made = NULL;
    const tl_status status = tl_graph_copy(&made, s->graph);
    CHECK((made != NULL) == (status == TL_OK));
    tl_graph_destroy(made);
    return status;
}

static tl_status
call_mobilenet_v2_create(stage *s)
{
    tl_graph *made = NULL;
    const tl_mobilenet_v2 options = {.input = tl_shape_3(32, 32, 3),
                                     .alpha = 0.35,
                                     .include_top = true,
                                     .classes = 7,
                                     .classifier_activation = TL_SOFTMAX};
    const tl_status status = tl_mobilenet_v2_create(&made, &options);
    (void)s;
    CHECK((made != NULL) == (status == TL_OK));
    tl_graph_destroy(made);
    return status;
}

static tl_status
call_lower(stage *s)
{
    tl_lowered *made = NULL;
    const tl_status status = tl_lower(&made, s->graph, 0, s->graph->count - 1);
    CHECK((made != NULL) == (status == TL_OK));
    tl_lowered_destroy(made);
    return status;
}

static tl_status
call_parameters_create(stage *s)
{
    tl_parameters *made = NULL;
    const tl_shape shapes[] = {s->graph->nodes[0].shape, tl_shape_1(5)};
    const tl_status status = tl_parameters_create(&made, shapes, 2);
    CHECK((made != NULL) == (status == TL_OK));
    tl_parameters_release(made);
    return status;
}

static tl_status
call_network_create(stage *s)
{
    tl_network *made = NULL;
    const tl_status status = tl_network_create(&made, s->graph, &s->parameters, 1, s->ops);
    CHECK((made != NULL) == (status == TL_OK));
    tl_network_destroy(made);
    return status;
}

static tl_status
call_network_run(stage *s)
{
    const size_t output = tl_network_graph(s->network)->count - 1;
    return tl_network_run(s->network, dst, src, IMAGES, 0, output);
}

static tl_status
call_network_memory_plan(stage *s)
{
    tl_network_memory memory = {1, 2, 3};
    const tl_status status = tl_network_memory_plan(s->network, &memory, 2, s->cut);
    CHECK(status == TL_OK || (memory.parameters == 1 && memory.packed == 2));
    return status;
}

static tl_status
call_trainer_create(stage *s)
{
    tl_trainer *made = NULL;
    const tl_trainer_plan plan = {.start = s->cut,
                                  .trainable = s->trainable,
                                  .loss = {TL_SPARSE_CATEGORICAL_CROSSENTROPY, false},
                                  .optimizer = {.kind = TL_ADAM, .epsilon = 1e-7F}};
    const tl_status status = tl_trainer_create(&made, s->network, &plan);
    CHECK((made != NULL) == (status == TL_OK));
    tl_trainer_destroy(made);
    return status;
}

static const float labels[IMAGES] = {0, 1, 2};

/* A failed step has moved nothing. */
static tl_status
call_trainer_step(stage *s)
{
    double value = -1;
    const tl_batch batch = {.inputs = src, .targets = labels, .rows = IMAGES};
    const tl_parameters *all = s->parameters;
    float before[64];
    for (size_t p = 0; p < all->count; p++) {
        before[p] = all->tensors[p].data[0];
    }
    const uint64_t iterations = tl_trainer_iterations(s->trainer);
    const tl_status status = tl_trainer_step(s->trainer, &value, dst, &batch, 0.1F);
    CHECK((value == -1) == (status != TL_OK));
    for (size_t p = 0; status != TL_OK && p < all->count; p++) {
        CHECK(all->tensors[p].data[0] == before[p]);
    }
    CHECK(tl_trainer_iterations(s->trainer) == iterations + (status == TL_OK));
    return status;
}

static tl_status
call_trainer_memory(stage *s)
{
    size_t bytes = 77;
    const tl_status status = tl_trainer_memory(s->trainer, 3, &bytes);
    CHECK((bytes == 77) == (status != TL_OK));
    return status;
}

static tl_status
call_trainer_evaluate(stage *s)
{
    double value = -1;
    const tl_batch batch = {.inputs = src, .targets = labels, .rows = IMAGES};
    const tl_status status = tl_trainer_evaluate(s->trainer, &value, dst, &batch);
    CHECK((value == -1) == (status != TL_OK));
    return status;
}

static tl_status
call_program_create(stage *s)
{
    tl_program *made = NULL;
    const tl_status status = tl_program_create(&made, s->graph, s->ops, 0, s->cut);
    CHECK((made != NULL) == (status == TL_OK));
    tl_program_destroy(made);
    return status;
}

static tl_status
call_program_pack_and_run(stage *s)
{
    tl_status status = TL_OK;
    TL_TRY(tl_program_pack(s->program, s->tensors));
    TL_TRY(tl_program_run(s->program, dst, &(tl_images){.numbers = src}, IMAGES));
done:
    return status;
}

static tl_status
call_backend_prepare(stage *s)
{
    tl_kernel made = {.packed_bytes = 77};
    const tl_status status = s->backend->prepare(&made, &s->block);
    if (status == TL_OK) {
        s->backend->release(&made);
    } else {
        CHECK(made.state == NULL && made.packed_bytes == 77);
    }
    return status;
}

static tl_status
call_backend_pack(stage *s)
{
    const float weights[10 * 27] = {1};
    const float bias[10] = {1};
    const float *all_weights[] = {weights};
    const float *all_biases[] = {bias};
    CHECK(tl_step_kernel_count(s->block.steps) == 10 * 27);
    CHECK(tl_step_bias_count(s->block.steps) == 10);
    return s->backend->pack(&s->kernel, &s->block, s->packed.base, all_weights, all_biases);
}

static tl_status
call_backend_bind(stage *s)
{
    void *made = NULL;
    const size_t behind = (s->kernel.packed_bytes + TL_ALIGNMENT) / TL_ALIGNMENT * TL_ALIGNMENT;
    const tl_status status =
        s->backend->bind(&made, &s->kernel, s->packed.base, s->packed.base + behind);
    CHECK((made != NULL) == (status == TL_OK));
    if (made != NULL) {
        s->backend->unbind(made);
    }
    return status;
}

static tl_status
call_arena_create(stage *s)
{
    tl_arena arena = {NULL, 77};
    const tl_status status = tl_arena_create(&arena, 1000);
    (void)s;
    CHECK(status == TL_OK || arena.size == 77);
    if (status == TL_OK) {
        tl_arena_destroy(&arena);
    }
    return status;
}

static tl_status
call_grow(stage *s)
{
    char *small = tl_alloc(3, 1);
    char *large = small == NULL ? NULL : tl_grow(small, 3, 300, 1);
    (void)s;
    tl_free(large == NULL ? small : large);
    return large == NULL ? TL_OUT_OF_MEMORY : TL_OK;
}

static void
fail_every_allocation_of(entry_point call, const tl_ops *ops, long least, bool all)
{
    long n = 0;
    for (tl_status status = TL_OUT_OF_MEMORY; status != TL_OK && n < MOST; n++) {
        stage s;
        stage_set(&s, ops, all);
        tl_alloc_fail_at(n);
        status = call(&s);
        tl_alloc_fail_at(-1);
        CHECK(status == TL_OK || status == TL_OUT_OF_MEMORY);
        if (status != TL_OK) {
            CHECK_OK(call(&s)); /* what existed is usable still */
        }
        CHECK_OK(call_network_run(&s));
        stage_clear(&s);
    }
    CHECK(n > least && n < MOST); /* the last call met no failure any more */
}

static void
test_every_entry_point_survives_every_failure(void)
{
    const struct {
        entry_point call;
        long least; /* allocations that it makes, at least */
    } calls[] = {
        {call_graph_create, 2},         {call_graph_add, 1},
        {call_graph_extend, 1},         {call_graph_copy, 2},
        {call_mobilenet_v2_create, 4},  {call_lower, 5},
        {call_parameters_create, 4},    {call_network_create, 8},
        {call_network_run, 15},         {call_network_memory_plan, 10},
        {call_trainer_create, 6},       {call_trainer_step, 1},
        {call_trainer_evaluate, 10},    {call_program_create, 8},
        {call_program_pack_and_run, 8}, {call_backend_pack, 0},
        {call_arena_create, 1},         {call_grow, 2},
    };
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        fail_every_allocation_of(calls[i].call, &product_ops, calls[i].least, false);
        fail_every_allocation_of(calls[i].call, &reference_ops, calls[i].least, false);
    }
    /* where convolutions and batch norms train, a failure leaves moving statistics alone, too
     */
    fail_every_allocation_of(call_trainer_create, &product_ops, 10, true);
    fail_every_allocation_of(call_trainer_step, &product_ops, 5, true);
    fail_every_allocation_of(call_trainer_memory, &product_ops, 2, true);
    fail_every_allocation_of(call_trainer_evaluate, &product_ops, 10, true);
    fail_every_allocation_of(call_backend_prepare, &product_ops, 1, false);
    fail_every_allocation_of(call_backend_prepare, &reference_ops, 0, false);
    fail_every_allocation_of(call_backend_bind, &product_ops, 1, false);
    fail_every_allocation_of(call_backend_bind, &reference_ops, 0, false);
}

static tl_status
do_nothing(void *context, size_t index)
{
    (void)context;
    (void)index;
    return TL_OK;
}

/* These are promised to work where nothing is left to allocate. */
static void
test_what_allocates_nothing(void)
{
    stage s;
    const tl_pixel_map map = {1, 1, 0};
    const uint8_t pixels[3] = {1, 2, 3};
    const tl_tensor *tensor = NULL;
    const tl_gemm product = {.m = 1, .n = 2, .k = 3};
    tl_param_spec specs[TL_MAX_NODE_PARAMS];
    stage_set(&s, &product_ops, false);
    CHECK_OK(call_trainer_step(&s));
    CHECK_OK(s.ops->gemm(dst, src, src, &product)); /* this thread holds ballast from now on */
    tl_alloc_fail_at(0);
    CHECK_OK(call_trainer_step(&s)); /* as many rows as before */
    CHECK_OK(tl_pool_set_threads(3));
    CHECK_OK(tl_pool_run(do_nothing, NULL, 10));
    CHECK_OK(tl_pool_set_threads(2));
    CHECK(tl_network_cut(s.network, s.trainable) == s.cut);
    CHECK(tl_trainer_slot_count(s.trainer) == 4);
    CHECK(tl_trainer_slot(s.trainer, 0, &tensor) != NULL && tensor != NULL);
    CHECK(tl_node_params(s.graph, &s.graph->nodes[2], specs) == 1);
    CHECK_OK(s.ops->gemm(dst, src, src, &product));
    tl_network_lock_write(s.network);
    tl_network_touch(s.network, s.trainable);
    tl_network_unlock(s.network);
    tl_pixels_to_float(dst, pixels, 1, 3, 3, &map);
    CHECK(tl_parameters_share(s.parameters) == s.parameters);
    tl_parameters_release(s.parameters);
    CHECK(tl_alloc(1, 1) == NULL); /* the failure was still to come */
    tl_alloc_fail_at(-1);
    stage_clear(&s);
}

int
main(void)
{
    CHECK_OK(tl_dnnl_open());
    RUN(test_create_survives_every_failure);
    RUN(test_predict_survives_every_failure);
    RUN(test_train_survives_every_failure);
    RUN(test_a_failed_network_recovers);
    RUN(test_every_entry_point_survives_every_failure);
    RUN(test_what_allocates_nothing);
    tl_pool_close();
    return REPORT();
}
