/* Gradients by finite differences, losses, update rules, and steps that lower the loss. */
#include "builders.h"
#include "check.h"
#include "core/activation.h"
#include "core/arena.h"
#include "core/pool.h"
#include "core/train.h"
#include "dnnl/backend.h"
#include "reference_ops.h"

enum { ROWS = 6, FEATURES = 5, CLASSES = 3 };

/* input -> dense 4 -> `hidden` -> `pooling` of an image -> dense 3 -> `output` */
static tl_status
head_graph(tl_graph **out, const tl_shape *input, tl_function hidden, tl_op pooling,
           tl_function output)
{
    tl_status status = TL_OK;
    tl_graph *graph = NULL;
    size_t x = 0;
    TL_TRY(tl_graph_create(&graph, "input", input));
    TL_TRY(add_node(graph, &x, (tl_node){.op = TL_OP_DENSE, .dense = {4, true}}, "hidden", x,
                    TL_NONE));
    TL_TRY(add_node(graph, &x, (tl_node){.op = TL_OP_ACTIVATION, .activation = {hidden}},
                    "hidden/activation", x, TL_NONE));
    if (input->rank == 3) {
        TL_TRY(add_node(graph, &x, (tl_node){.op = pooling}, "pooling", x, TL_NONE));
    }
    TL_TRY(add_node(graph, &x, (tl_node){.op = TL_OP_DENSE, .dense = {CLASSES, true}}, "scores",
                    x, TL_NONE));
    if (output != TL_LINEAR) {
        TL_TRY(add_node(graph, &x, (tl_node){.op = TL_OP_ACTIVATION, .activation = {output}},
                        "scores/activation", x, TL_NONE));
    }
    *out = graph;
    graph = NULL;
done:
    tl_graph_destroy(graph);
    return status;
}

static void
make_targets(float *targets, tl_loss_kind kind)
{
    memset(targets, 0, ROWS * CLASSES * sizeof *targets);
    for (size_t r = 0; r < ROWS; r++) {
        if (kind == TL_SPARSE_CATEGORICAL_CROSSENTROPY) {
            targets[r] = (float)(r % CLASSES);
        } else {
            targets[r * CLASSES + r % CLASSES] = 1;
        }
    }
}

/* The gradient that one step of plain SGD with rate 1 took, against central differences of
 * the loss, for every weight of the head. */
static void
check_gradients(const tl_shape *input, tl_op pooling, tl_function output, tl_loss loss)
{
    tl_graph *graph = NULL;
    tl_parameters *parameters = NULL;
    tl_network *network = NULL;
    tl_trainer *trainer = NULL;
    const bool trainable[4] = {true, true, true, true};
    const tl_trainer_plan plan = {
        .start = 0, .trainable = trainable, .loss = loss, .optimizer = {.kind = TL_SGD}};
    const size_t count = ROWS * tl_shape_elements(input);
    float *inputs = tl_alloc(count, sizeof *inputs);
    float targets[ROWS * CLASSES];
    float weights[ROWS];
    float outputs[ROWS * CLASSES];
    double value;
    const tl_batch batch = {
        .inputs = inputs, .targets = targets, .weights = weights, .rows = ROWS};

    random_numbers(inputs, count, 4);
    for (size_t i = 0; pooling == TL_OP_GLOBAL_MAX_POOLING2D && i < count; i++) {
        /* all pixels of a row alike: every maximum is a tie */
        inputs[i] = inputs[i / tl_shape_elements(input) * tl_shape_elements(input) +
                           i % tl_shape_channels(input)];
    }
    random_numbers(weights, ROWS, 5);
    make_targets(targets, loss.kind);
    CHECK_OK(head_graph(&graph, input, TL_SIGMOID, pooling, output));
    CHECK_OK(random_parameters(&parameters, graph, 6));
    CHECK_OK(tl_network_create(&network, graph, &parameters, 1, &reference_ops));
    CHECK_OK(tl_trainer_create(&trainer, network, &plan));
    for (size_t t = 0; !this_test_failed && t < parameters->count; t++) {
        tl_tensor *tensor = &parameters->tensors[t];
        for (size_t i = 0; i < tensor->count; i++) {
            const float kept = tensor->data[i];
            const double h = 1e-2;
            double up;
            double down;
            static float saved[4][256];
            for (size_t k = 0; k < 4; k++) {
                memcpy(saved[k], parameters->tensors[k].data,
                       parameters->tensors[k].count * sizeof(float));
            }
            CHECK_OK(tl_trainer_step(trainer, &value, outputs, &batch, 1.0F));
            const double gradient = (double)kept - (double)tensor->data[i];
            for (size_t k = 0; k < 4; k++) {
                memcpy(parameters->tensors[k].data, saved[k],
                       parameters->tensors[k].count * sizeof(float));
            }
            tensor->data[i] = kept + (float)h;
            tl_parameters_touch(parameters, t);
            CHECK_OK(tl_trainer_evaluate(trainer, &up, outputs, &batch));
            tensor->data[i] = kept - (float)h;
            tl_parameters_touch(parameters, t);
            CHECK_OK(tl_trainer_evaluate(trainer, &down, outputs, &batch));
            tensor->data[i] = kept;
            tl_parameters_touch(parameters, t);
            CHECK_NEAR(gradient, (up - down) / (2 * h), 2e-4);
        }
    }
    tl_trainer_destroy(trainer);
    tl_network_destroy(network);
    tl_parameters_release(parameters);
    tl_graph_destroy(graph);
    tl_free(inputs);
}

static void
test_gradients_of_every_loss(void)
{
    const tl_shape flat = tl_shape_1(FEATURES);
    const tl_function outputs[] = {TL_LINEAR, TL_SIGMOID, TL_SOFTMAX};
    for (int kind = 0; kind < TL_LOSS_COUNT; kind++) {
        check_gradients(&flat, TL_OP_FLATTEN, TL_LINEAR, (tl_loss){(tl_loss_kind)kind, true});
        for (size_t i = 1; i < 3; i++) {
            check_gradients(&flat, TL_OP_FLATTEN, outputs[i],
                            (tl_loss){(tl_loss_kind)kind, false});
        }
    }
}

/* Where no sigmoid or softmax tells the logits, the loss is taken from probabilities. */
static void
test_gradients_from_probabilities(void)
{
    enum { COUNT = ROWS * CLASSES };
    float outputs[COUNT];
    float targets[COUNT];
    float grad[COUNT];
    const double h = 1e-3;
    for (int kind = 0; kind < TL_LOSS_COUNT; kind++) {
        const tl_loss loss = {(tl_loss_kind)kind, false};
        double value;
        double up;
        double down;
        random_numbers(outputs, COUNT, 8);
        for (size_t i = 0; i < COUNT; i++) {
            outputs[i] = 0.5F + 0.4F * outputs[i];
        }
        make_targets(targets, loss.kind);
        tl_loss_compute(&loss, &value, grad, outputs, targets, NULL, ROWS, CLASSES, ROWS);
        for (size_t i = 0; i < COUNT; i++) {
            const float kept = outputs[i];
            outputs[i] = kept + (float)h;
            tl_loss_compute(&loss, &up, NULL, outputs, targets, NULL, ROWS, CLASSES, ROWS);
            outputs[i] = kept - (float)h;
            tl_loss_compute(&loss, &down, NULL, outputs, targets, NULL, ROWS, CLASSES, ROWS);
            outputs[i] = kept;
            CHECK_NEAR(grad[i], (up - down) / (2 * h), 1e-3);
        }
        outputs[0] = 0; /* clipped: finite, and flat */
        tl_loss_compute(&loss, &value, grad, outputs, targets, NULL, ROWS, CLASSES, ROWS);
        CHECK(isfinite(value) && isfinite(grad[0]));
    }
}

static void
test_gradients_through_pooling_and_rows(void)
{
    const tl_shape image = tl_shape_3(2, 3, FEATURES);
    const tl_loss loss = {TL_CATEGORICAL_CROSSENTROPY, false};
    check_gradients(&image, TL_OP_GLOBAL_AVERAGE_POOLING2D, TL_SOFTMAX, loss);
    check_gradients(&image, TL_OP_GLOBAL_MAX_POOLING2D, TL_SOFTMAX, loss);
}

static void
test_losses_have_known_values(void)
{
    const float logits[3] = {0, 0, 0};
    const float one_hot[3] = {0, 1, 0};
    const float label[1] = {1};
    const float extreme[3] = {200, -200, 0};
    double value;
    tl_loss_compute(&(tl_loss){TL_CATEGORICAL_CROSSENTROPY, true}, &value, NULL, logits,
                    one_hot, NULL, 1, 3, 1);
    CHECK_NEAR(value, log(3.0), 1e-6);
    tl_loss_compute(&(tl_loss){TL_SPARSE_CATEGORICAL_CROSSENTROPY, true}, &value, NULL, logits,
                    label, NULL, 1, 3, 1);
    CHECK_NEAR(value, log(3.0), 1e-6);
    tl_loss_compute(&(tl_loss){TL_BINARY_CROSSENTROPY, true}, &value, NULL, logits, one_hot,
                    NULL, 1, 3, 1);
    CHECK_NEAR(value, log(2.0), 1e-6);
    tl_loss_compute(&(tl_loss){TL_BINARY_CROSSENTROPY, true}, &value, NULL, extreme, one_hot,
                    NULL, 1, 3, 1);
    CHECK_NEAR(value, (400 + log(2.0)) / 3, 1e-5);
}

static void
test_losses_refuse_bad_targets(void)
{
    const float nan_target[3] = {0, NAN, 0};
    const float label[2] = {0, 3};
    CHECK(tl_loss_check(&(tl_loss){TL_CATEGORICAL_CROSSENTROPY, true}, nan_target, 1, 3) ==
          TL_BAD_VALUE);
    CHECK(tl_loss_check(&(tl_loss){TL_SPARSE_CATEGORICAL_CROSSENTROPY, true}, label, 2, 3) ==
          TL_BAD_VALUE);
    CHECK_OK(tl_loss_check(&(tl_loss){TL_SPARSE_CATEGORICAL_CROSSENTROPY, true}, label, 2, 4));
}

static void
test_update_rules(void)
{
    float weight = 1;
    float m = 0;
    float v = 0;
    const float grad = 0.5F;
    float *const slots[TL_MAX_SLOTS] = {&m, &v};
    const tl_optimizer sgd = {.kind = TL_SGD, .momentum = 0.9F};
    const tl_optimizer nesterov = {.kind = TL_SGD, .momentum = 0.9F, .nesterov = true};
    const tl_optimizer adam = {
        .kind = TL_ADAM, .beta_1 = 0.9, .beta_2 = 0.999, .epsilon = 1e-7F};
    tl_optimizer_update(&sgd, &weight, slots, &grad, 1, 0.1F, 1);
    tl_optimizer_update(&sgd, &weight, slots, &grad, 1, 0.1F, 2);
    CHECK_NEAR(weight, 1 - 0.05 - (0.9 * 0.05 + 0.05), 1e-6);
    weight = 1;
    m = 0;
    tl_optimizer_update(&nesterov, &weight, slots, &grad, 1, 0.1F, 1);
    CHECK_NEAR(weight, 1 - 0.9 * 0.05 - 0.05, 1e-6);
    weight = 1;
    m = 0;
    tl_optimizer_update(&adam, &weight, slots, &grad, 1, 0.1F, 1);
    CHECK_NEAR(weight, 1 - 0.1, 1e-4); /* the first step is the rate, whatever the gradient */
    CHECK(tl_optimizer_slots(&sgd) == 1 && tl_optimizer_slots(&adam) == 2);
    CHECK(tl_optimizer_slots(&(tl_optimizer){.kind = TL_SGD}) == 0);
}

/* Trains the head of small_graph on separable features, by the product's products. */
static void
test_steps_lower_the_loss(void)
{
    tl_graph *graph = NULL;
    tl_parameters *parameters = NULL;
    tl_network *network = NULL;
    tl_trainer *trainer = NULL;
    bool trainable[64] = {false};
    size_t gap = 0;
    float inputs[ROWS * 10];
    float targets[ROWS * 4] = {0};
    float outputs[ROWS * 4];
    double before;
    double value;
    double after;
    CHECK_OK(small_graph(&graph, 12, 12));
    for (size_t i = 0; i < graph->count; i++) {
        gap = strcmp(graph->nodes[i].name, "gap") == 0 ? i : gap;
    }
    for (size_t i = graph->nodes[gap].first_param; i < graph->param_count; i++) {
        trainable[i] = true;
    }
    random_numbers(inputs, ROWS * 10, 3);
    for (size_t r = 0; r < ROWS; r++) {
        targets[r * 4 + r % 4] = 1;
        inputs[r * 10 + r % 4] += 2;
    }
    const tl_trainer_plan plan = {
        .start = gap,
        .trainable = trainable,
        .loss = {TL_CATEGORICAL_CROSSENTROPY, false},
        .optimizer = {.kind = TL_ADAM, .beta_1 = 0.9, .beta_2 = 0.999, .epsilon = 1e-7F},
        .seed = 1};
    const tl_batch batch = {.inputs = inputs, .targets = targets, .rows = ROWS};
    CHECK_OK(random_parameters(&parameters, graph, 2));
    CHECK_OK(tl_network_create(&network, graph, &parameters, 1, &product_ops));
    CHECK_OK(tl_trainer_create(&trainer, network, &plan));
    CHECK_OK(tl_trainer_evaluate(trainer, &before, outputs, &batch));
    for (int i = 0; i < 60; i++) {
        CHECK_OK(tl_trainer_step(trainer, &value, outputs, &batch, 0.05F));
    }
    CHECK_OK(tl_trainer_evaluate(trainer, &after, outputs, &batch));
    CHECK(after < 0.5 * before);
    CHECK(tl_trainer_iterations(trainer) == 60);
    CHECK(tl_trainer_slot_count(trainer) == 8);
    tl_trainer_destroy(trainer);
    tl_network_destroy(network);
    tl_parameters_release(parameters);
    tl_graph_destroy(graph);
}

/* The output's activation may read a value before `start`: nothing leads there from it. */
static void
test_a_start_behind_the_logits_is_refused(void)
{
    tl_graph *graph = NULL;
    tl_parameters *parameters = NULL;
    tl_network *network = NULL;
    tl_trainer *trainer = NULL;
    size_t logits = 0;
    size_t aside = 0;
    size_t output = 0;
    const tl_shape flat = tl_shape_1(FEATURES);
    const bool trainable[4] = {true, true, true, true};
    const tl_node dense = {.op = TL_OP_DENSE, .dense = {CLASSES, true}};
    CHECK_OK(tl_graph_create(&graph, "input", &flat));
    CHECK_OK(add_node(graph, &logits, dense, "logits", 0, TL_NONE));
    CHECK_OK(add_node(graph, &aside, dense, "aside", logits, TL_NONE));
    CHECK_OK(add_node(graph, &output,
                      (tl_node){.op = TL_OP_ACTIVATION, .activation = {TL_SOFTMAX}}, "scores",
                      logits, TL_NONE));
    CHECK_OK(random_parameters(&parameters, graph, 2));
    CHECK_OK(tl_network_create(&network, graph, &parameters, 1, &reference_ops));
    const tl_trainer_plan plan = {
        .start = aside, .trainable = trainable, .loss = {TL_CATEGORICAL_CROSSENTROPY, false}};
    CHECK(tl_trainer_create(&trainer, network, &plan) == TL_BAD_VALUE && trainer == NULL);
    CHECK(strstr(tl_detail(), "\"aside\"") != NULL);
    tl_network_destroy(network);
    tl_parameters_release(parameters);
    tl_graph_destroy(graph);
}

int
main(void)
{
    CHECK_OK(tl_dnnl_open());
    RUN(test_gradients_of_every_loss);
    RUN(test_gradients_from_probabilities);
    RUN(test_gradients_through_pooling_and_rows);
    RUN(test_losses_have_known_values);
    RUN(test_losses_refuse_bad_targets);
    RUN(test_update_rules);
    RUN(test_steps_lower_the_loss);
    RUN(test_a_start_behind_the_logits_is_refused);
    tl_pool_close();
    return REPORT();
}
