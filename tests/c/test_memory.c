/* The out-of-memory loop (as SQLite's): the n-th allocation fails, for every n, until the whole
 * story succeeds. Every failure must be reported as one, leak nothing (LeakSanitizer judges),
 * and leave what existed before usable. */
#include "builders.h"
#include "check.h"
#include "core/arena.h"
#include "core/mobilenet_v2.h"
#include "core/pool.h"
#include "core/train.h"
#include "dnnl/backend.h"
#include "reference_ops.h"

enum { SIDE = 12, IMAGES = 3, MOST = 100000 };

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
    static float src[IMAGES * SIDE * SIDE * 3];
    float dst[IMAGES * 4];
    TL_TRY(small_graph(&graph, SIDE, SIDE));
    TL_TRY(random_parameters(&parameters, graph, 1));
    TL_TRY(tl_network_create(&network, graph, &parameters, 1, ops));
    TL_TRY(tl_network_run(network, dst, src, IMAGES, 0, graph->count - 1));
    parameters->version++;
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
    static float src[IMAGES * SIDE * SIDE * 3];
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
    const tl_batch two = {features, targets, NULL, 2};
    const tl_batch three = {features, targets, NULL, 3};
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
}

/* A network whose first run failed for want of memory runs once there is some. */
static void
test_a_failed_network_recovers(void)
{
    tl_graph *graph = NULL;
    tl_parameters *parameters = NULL;
    tl_network *network = NULL;
    static float src[SIDE * SIDE * 3];
    float dst[4];
    CHECK_OK(small_graph(&graph, SIDE, SIDE));
    CHECK_OK(random_parameters(&parameters, graph, 1));
    CHECK_OK(tl_network_create(&network, graph, &parameters, 1, &product_ops));
    for (long n = 0; n < 30; n += 5) {
        tl_alloc_fail_at(n);
        CHECK(tl_network_run(network, dst, src, 1, 0, graph->count - 1) == TL_OUT_OF_MEMORY);
        tl_alloc_fail_at(-1);
    }
    CHECK_OK(tl_network_run(network, dst, src, 1, 0, graph->count - 1));
    tl_alloc_fail_at(0); /* a warm network allocates nothing */
    CHECK_OK(tl_network_run(network, dst, src, 1, 0, graph->count - 1));
    tl_alloc_fail_at(-1);
    tl_network_destroy(network);
    tl_parameters_release(parameters);
    tl_graph_destroy(graph);
}

int
main(void)
{
    CHECK_OK(tl_dnnl_open());
    RUN(test_create_survives_every_failure);
    RUN(test_predict_survives_every_failure);
    RUN(test_train_survives_every_failure);
    RUN(test_a_failed_network_recovers);
    tl_pool_close();
    return REPORT();
}
