/* Gradients by finite differences, losses, update rules, and steps that lower the loss; then
 * whole networks: the same bits again, on any crew, in turns, interrupted and forked. */
#include <pthread.h>
#include <stdint.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

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

/* --- whole networks --------------------------------------------------------------------- */

/* So much work a row that a batch is shared out among threads (SMALL_WORK in train_parts.c). */
enum { SIDE = 32, SIDE_NUMBERS = SIDE * SIDE * 3, BATCH = 23, MOST_BATCH = 30, SCORES = 4 };

typedef enum how { BATCH_STATISTICS, STORED_STATISTICS } how;
static const how ways[] = {BATCH_STATISTICS, STORED_STATISTICS};

/* small_graph, all of which trains; with stored statistics all but its batch norms. */
typedef struct course {
    tl_graph *graph;
    tl_parameters *parameters;
    tl_network *network;
    tl_trainer *trainer;
    bool trainable[64];
    float *inputs, *targets, *outputs;
} course;

static void
course_set(course *c, how way, size_t rows)
{
    *c = (course){0};
    CHECK_OK(small_graph(&c->graph, SIDE, SIDE));
    CHECK_OK(random_parameters(&c->parameters, c->graph, 12));
    CHECK_OK(tl_network_create(&c->network, c->graph, &c->parameters, 1, &product_ops));
    for (size_t i = 0; i < c->graph->count; i++) {
        tl_node *node = &c->graph->nodes[i];
        const bool norm = node->op == TL_OP_BATCH_NORMALIZATION;
        for (size_t k = 0; k < node->param_count && k < 2; k++) {
            c->trainable[node->first_param + k] = !norm || way == BATCH_STATISTICS;
        }
    }
    const tl_trainer_plan plan = {.trainable = c->trainable,
                                  .loss = {TL_SPARSE_CATEGORICAL_CROSSENTROPY, false},
                                  .seed = 5};
    CHECK_OK(tl_trainer_create(&c->trainer, c->network, &plan));
    c->inputs = tl_alloc(rows * SIDE_NUMBERS, sizeof(float));
    c->targets = tl_alloc(rows, sizeof(float));
    c->outputs = tl_alloc(rows * SCORES, sizeof(float));
    random_numbers(c->inputs, rows * SIDE_NUMBERS, 13);
    for (size_t r = 0; r < rows; r++) {
        c->targets[r] = (float)(r % SCORES);
    }
}

static void
course_clear(course *c)
{
    tl_trainer_destroy(c->trainer);
    tl_network_destroy(c->network);
    tl_parameters_release(c->parameters);
    tl_graph_destroy(c->graph);
    tl_free(c->outputs);
    tl_free(c->targets);
    tl_free(c->inputs);
}

static tl_batch
course_batch(const course *c, size_t rows)
{
    return (tl_batch){.inputs = c->inputs, .targets = c->targets, .rows = rows};
}

static double
course_step(course *c, size_t rows)
{
    double value = NAN;
    const tl_batch batch = course_batch(c, rows);
    CHECK_OK(tl_trainer_step(c->trainer, &value, c->outputs, &batch, 0.05F));
    return value;
}

static bool
same_weights(const tl_parameters *a, const tl_parameters *b)
{
    for (size_t p = 0; p < a->count; p++) {
        if (memcmp(a->tensors[p].data, b->tensors[p].data,
                   a->tensors[p].count * sizeof(float)) != 0) {
            return false;
        }
    }
    return true;
}

/* The same seed, data and number of threads: the same bits, whatever batches came between that
 * made no step. */
static void
test_steps_repeat_bit_for_bit(void)
{
    for (size_t threads = 1; threads <= 3; threads++) {
        CHECK_OK(tl_pool_set_threads(threads));
        for (size_t w = 0; w < 2; w++) {
            course one;
            course two;
            double value;
            const float *const *gradients;
            course_set(&one, ways[w], MOST_BATCH);
            course_set(&two, ways[w], MOST_BATCH);
            for (int i = 0; i < 3; i++) {
                const size_t between[] = {MOST_BATCH, 1, 5};
                const tl_batch other = course_batch(&two, between[i]);
                const double here = course_step(&one, BATCH);
                CHECK_OK(
                    tl_trainer_gradients(two.trainer, &value, two.outputs, &other, &gradients));
                CHECK(here == course_step(&two, BATCH));
                CHECK(memcmp(one.outputs, two.outputs, BATCH * SCORES * sizeof(float)) == 0);
                CHECK(same_weights(one.parameters, two.parameters));
            }
            course_clear(&two);
            course_clear(&one);
        }
    }
}

/* The farthest that a gradient of the one is off from the other's, over the largest of its
 * tensor. */
static double
farthest(const float *const *given, const float *const *expected, const tl_parameters *all)
{
    double worst = 0;
    for (size_t p = 0; p < all->count; p++) {
        double largest = 1e-3;
        double off = 0;
        for (size_t i = 0; expected[p] != NULL && i < all->tensors[p].count; i++) {
            largest = fmax(largest, fabs((double)expected[p][i]));
            off = fmax(off, fabs((double)given[p][i] - (double)expected[p][i]));
        }
        worst = fmax(worst, off / largest);
    }
    return worst;
}

static void
test_threads_agree_to_rounding(void)
{
    for (size_t w = 0; w < 2; w++) {
        course c[3];
        double values[3];
        const float *const *gradients[3];
        for (size_t i = 0; i < 3; i++) {
            course_set(&c[i], ways[w], BATCH);
            const tl_batch batch = course_batch(&c[i], BATCH);
            CHECK_OK(tl_pool_set_threads(i + 1));
            CHECK_OK(tl_trainer_gradients(c[i].trainer, &values[i], c[i].outputs, &batch,
                                          &gradients[i]));
            CHECK_NEAR(values[i], values[0], 1e-6);
            CHECK(farthest(gradients[i], gradients[0], c[i].parameters) < 1e-3);
        }
        for (size_t i = 0; i < 3; i++) {
            CHECK_OK(tl_pool_set_threads(i + 1));
            (void)course_step(&c[i], BATCH);
            for (size_t p = 0; p < c[i].parameters->count; p++) {
                for (size_t k = 0; k < c[i].parameters->tensors[p].count; k++) {
                    CHECK_NEAR(c[i].parameters->tensors[p].data[k],
                               c[0].parameters->tensors[p].data[k], 2e-6);
                }
            }
        }
        for (size_t i = 0; i < 3; i++) {
            course_clear(&c[i]);
        }
    }
}

/* With batch statistics or stored ones, training lowers the loss; what is frozen stays. */
static void
test_whole_networks_learn(void)
{
    CHECK_OK(tl_pool_set_threads(2));
    for (size_t w = 0; w < 2; w++) {
        course c;
        course before;
        course_set(&c, ways[w], 8);
        course_set(&before, ways[w], 8);
        const double first = course_step(&c, 8);
        double value = first;
        for (int i = 0; i < 120; i++) {
            value = course_step(&c, 8);
        }
        CHECK(value < 0.85 * first);
        for (size_t i = 0; i < c.graph->count; i++) {
            const tl_node *node = &c.graph->nodes[i];
            for (size_t k = 0; k < node->param_count; k++) {
                const tl_tensor *tensor = &c.parameters->tensors[node->first_param + k];
                const tl_tensor *old = &before.parameters->tensors[node->first_param + k];
                const bool norm = node->op == TL_OP_BATCH_NORMALIZATION;
                const bool same =
                    memcmp(tensor->data, old->data, tensor->count * sizeof(float)) == 0;
                CHECK(same == (norm && ways[w] == STORED_STATISTICS));
            }
        }
        course_clear(&before);
        course_clear(&c);
    }
}

/* --- a few rows at a time --------------------------------------------------------------- */

/* Layers so large that a part takes its rows in turns (MICRO_FLOATS in train_parts.c). */
static tl_status
large_graph(tl_graph **out)
{
    tl_status status = TL_OK;
    tl_graph *graph = NULL;
    size_t x = 0;
    const tl_shape shape = tl_shape_3(112, 112, 2);
    const tl_node stem = {.op = TL_OP_CONV2D, .convolution = {40, {1, 1}, {1, 1}, true, false}};
    const tl_node depthwise = {.op = TL_OP_DEPTHWISE_CONV2D,
                               .convolution = {0, {3, 3}, {1, 1}, true, true}};
    const tl_node norm = {.op = TL_OP_BATCH_NORMALIZATION,
                          .inference = true,
                          .batch_normalization = {1e-3F, 0.9F}};
    TL_TRY(tl_graph_create(&graph, "input", &shape));
    TL_TRY(add_node(graph, &x, stem, "stem", x, TL_NONE));
    TL_TRY(add_node(graph, &x, norm, "stem_BN", x, TL_NONE));
    for (int i = 0; i < 4; i++) {
        char name[24];
        (void)snprintf(name, sizeof name, "depthwise%d", i);
        TL_TRY(add_node(graph, &x, depthwise, name, x, TL_NONE));
    }
    TL_TRY(add_node(graph, &x, (tl_node){.op = TL_OP_GLOBAL_AVERAGE_POOLING2D}, "gap", x,
                    TL_NONE));
    TL_TRY(add_node(graph, &x, (tl_node){.op = TL_OP_DENSE, .dense = {CLASSES, true}}, "scores",
                    x, TL_NONE));
    *out = graph;
    graph = NULL;
done:
    tl_graph_destroy(graph);
    return status;
}

/* The gradient of a batch is the mean of those of its rows, also where it was taken in turns:
 * nothing is lost, taken twice or put elsewhere. */
static void
test_turns_add_up_to_the_batch(void)
{
    enum { IMAGES = 7 };
    tl_graph *graph = NULL;
    tl_parameters *parameters = NULL;
    tl_network *network = NULL;
    tl_trainer *whole = NULL;
    tl_trainer *alone = NULL;
    bool trainable[64];
    double sum = 0;
    double value;
    float outputs[IMAGES * CLASSES];
    float single[CLASSES];
    const float *const *gradients;
    const float *const *of_row;
    const float targets[IMAGES] = {0, 1, 2, 1, 0, 2, 2};
    float *means[64] = {NULL};
    memset(trainable, true, sizeof trainable);
    const tl_trainer_plan plan = {.trainable = trainable,
                                  .loss = {TL_SPARSE_CATEGORICAL_CROSSENTROPY, true}};
    CHECK_OK(tl_pool_set_threads(1));
    CHECK_OK(large_graph(&graph));
    const size_t numbers = tl_shape_elements(&graph->nodes[0].shape);
    float *inputs = tl_alloc(IMAGES * numbers, sizeof *inputs);
    random_numbers(inputs, IMAGES * numbers, 3);
    CHECK_OK(random_parameters(&parameters, graph, 4));
    CHECK_OK(tl_network_create(&network, graph, &parameters, 1, &product_ops));
    CHECK_OK(tl_trainer_create(&whole, network, &plan));
    CHECK_OK(tl_trainer_create(&alone, network, &plan));
    for (size_t r = 0; r < IMAGES; r++) {
        const tl_batch row = {
            .inputs = inputs + r * numbers, .targets = targets + r, .rows = 1};
        CHECK_OK(tl_trainer_gradients(alone, &value, single, &row, &of_row));
        sum += value;
        for (size_t p = 0; p < parameters->count; p++) {
            const size_t count = parameters->tensors[p].count;
            means[p] = means[p] == NULL ? tl_alloc(count, sizeof(float)) : means[p];
            for (size_t i = 0; i < count && of_row[p] != NULL; i++) {
                means[p][i] += of_row[p][i] / IMAGES;
            }
        }
        memcpy(outputs + r * CLASSES, single, sizeof single);
    }
    float again[IMAGES * CLASSES];
    const tl_batch batch = {.inputs = inputs, .targets = targets, .rows = IMAGES};
    CHECK_OK(tl_trainer_gradients(whole, &value, again, &batch, &gradients));
    CHECK_NEAR(value, sum / IMAGES, 1e-6);
    for (size_t i = 0; i < IMAGES * CLASSES; i++) {
        CHECK_NEAR(again[i], outputs[i], 1e-6);
    }
    CHECK(farthest(gradients, (const float *const *)means, parameters) < 2e-5);
    size_t bytes;
    size_t of_one;
    CHECK_OK(tl_trainer_memory(whole, IMAGES, &bytes));
    CHECK_OK(tl_trainer_memory(whole, 1, &of_one));
    CHECK(bytes < (IMAGES - 1) * of_one); /* there were turns */
    for (size_t p = 0; p < parameters->count; p++) {
        tl_free(means[p]);
    }
    tl_free(inputs);
    tl_trainer_destroy(alone);
    tl_trainer_destroy(whole);
    tl_network_destroy(network);
    tl_parameters_release(parameters);
    tl_graph_destroy(graph);
}

/* --- memory ----------------------------------------------------------------------------- */

/* The Makefile lets these stand before the product's: bytes in arenas. */
static size_t arena_bytes;

tl_status __real_tl_arena_create(tl_arena *arena, size_t size);
void __real_tl_arena_destroy(tl_arena *arena);
tl_status __wrap_tl_arena_create(tl_arena *arena, size_t size);
void __wrap_tl_arena_destroy(tl_arena *arena);

tl_status
__wrap_tl_arena_create(tl_arena *arena, size_t size)
{
    const tl_status status = __real_tl_arena_create(arena, size);
    if (status == TL_OK) {
        __atomic_add_fetch(&arena_bytes, size, __ATOMIC_RELAXED);
    }
    return status;
}

void
__wrap_tl_arena_destroy(tl_arena *arena)
{
    __atomic_sub_fetch(&arena_bytes, arena->size, __ATOMIC_RELAXED);
    __real_tl_arena_destroy(arena);
}

static void
test_memory_is_what_is_told(void)
{
    for (size_t threads = 1; threads <= 3; threads++) {
        CHECK_OK(tl_pool_set_threads(threads));
        for (size_t w = 0; w < 2; w++) {
            course c;
            size_t before = 0;
            size_t most = 0;
            course_set(&c, ways[w], MOST_BATCH);
            tl_trainer_destroy(c.trainer);
            const size_t without = arena_bytes;
            const tl_trainer_plan plan = {.trainable = c.trainable,
                                          .loss = {TL_SPARSE_CATEGORICAL_CROSSENTROPY, false}};
            CHECK_OK(tl_trainer_create(&c.trainer, c.network, &plan));
            const size_t rows[] = {1, 2, 7, 20, MOST_BATCH, 3};
            for (size_t i = 0; i < 6; i++) {
                size_t bytes;
                const size_t created = arena_bytes;
                CHECK_OK(tl_trainer_memory(c.trainer, rows[i], &bytes));
                CHECK(arena_bytes == created);
                CHECK(rows[i] == 3 ? bytes < before : bytes > before);
                before = bytes;
                most = most < bytes ? bytes : most;
                (void)course_step(&c, rows[i]);
                CHECK(arena_bytes - without == most); /* room for the largest batch stays */
            }
            size_t bytes = 7;
            if (ways[w] == BATCH_STATISTICS) { /* otherwise in turns */
                CHECK(tl_trainer_memory(c.trainer, SIZE_MAX / 2, &bytes) == TL_OUT_OF_MEMORY);
                CHECK(bytes == 7);
            }
            course_clear(&c);
        }
    }
}

/* --- interruptions and forks ------------------------------------------------------------ */

typedef struct answering {
    course *c;
    size_t asked;
    bool stop; /* what is answered */
    bool sets; /* sets other weights at the first question */
} answering;

static void
set_weights(course *c)
{
    tl_network_lock_write(c->network);
    for (size_t p = 0; p < c->parameters->count; p++) {
        for (size_t i = 0; i < c->parameters->tensors[p].count; i++) {
            c->parameters->tensors[p].data[i] *= 1.25F;
        }
    }
    tl_network_touch(c->network, c->trainable);
    tl_network_unlock(c->network);
}

static bool
answer(void *context)
{
    answering *a = context;
    if (a->sets && a->asked == 0) {
        set_weights(a->c);
    }
    a->asked++;
    return a->stop;
}

/* A batch that takes long enough for a question, however fast the machine; 0: none does. */
static size_t
find_long_batch(how way)
{
    for (size_t rows = 64; rows <= 16384; rows *= 4) {
        course c;
        course_set(&c, way, rows);
        double value;
        answering a = {.c = &c};
        tl_batch batch = course_batch(&c, rows);
        batch.interrupted = answer;
        batch.context = &a;
        CHECK_OK(tl_trainer_step(c.trainer, &value, c.outputs, &batch, 0.05F));
        course_clear(&c);
        if (a.asked > 0) {
            return 2 * rows; /* for good measure */
        }
    }
    return 0;
}

static void
test_interruptions_change_nothing(void)
{
    CHECK_OK(tl_pool_set_threads(2));
    for (size_t w = 0; w < 2; w++) {
        const size_t rows = find_long_batch(ways[w]);
        course c;
        course other;
        double value = -1;
        CHECK(rows > 0);
        course_set(&c, ways[w], rows);
        course_set(&other, ways[w], rows);
        answering a = {.c = &c, .stop = true};
        tl_batch batch = course_batch(&c, rows);
        batch.interrupted = answer;
        batch.context = &a;
        CHECK(tl_trainer_step(c.trainer, &value, c.outputs, &batch, 0.05F) == TL_INTERRUPTED);
        CHECK(a.asked == 1 && value == -1 && tl_trainer_iterations(c.trainer) == 0);
        CHECK(same_weights(c.parameters, other.parameters));
        CHECK(course_step(&c, rows) == course_step(&other, rows));
        CHECK(same_weights(c.parameters, other.parameters));

        a = (answering){.c = &c, .sets = true}; /* the step begins again */
        CHECK_OK(tl_trainer_step(c.trainer, &value, c.outputs, &batch, 0.05F));
        CHECK(a.asked > 0);
        set_weights(&other);
        CHECK(value == course_step(&other, rows));
        CHECK(same_weights(c.parameters, other.parameters));
        course_clear(&other);
        course_clear(&c);
    }
}

typedef struct stepping {
    course *c;
    _Atomic bool stop;
} stepping;

static void *
step_on(void *context)
{
    stepping *s = context;
    while (!s->stop) {
        double value;
        const tl_batch batch = course_batch(s->c, BATCH);
        if (tl_trainer_step(s->c->trainer, &value, s->c->outputs, &batch, 0.05F) != TL_OK) {
            break;
        }
    }
    return NULL;
}

/* What a child finds of a trainer that another thread was stepping with: the weights of whole
 * steps, and one that steps on as it would have done. */
static int
look_at_child(course *c, how way)
{
    const uint64_t steps = tl_trainer_iterations(c->trainer);
    course other;
    course_set(&other, way, BATCH);
    for (uint64_t i = 0; i < steps; i++) {
        (void)course_step(&other, BATCH);
    }
    CHECK(same_weights(c->parameters, other.parameters));
    CHECK(course_step(c, BATCH) == course_step(&other, BATCH));
    CHECK(same_weights(c->parameters, other.parameters));
    course_clear(&other);
    return this_test_failed ? 1 : 0;
}

static void
test_forks_between_steps_and_amid_them(void)
{
    enum { FORKS = 6 };
    CHECK_OK(tl_pool_set_threads(2));
    for (size_t w = 0; w < 2; w++) {
        course c;
        course_set(&c, ways[w], BATCH);
        stepping s = {.c = &c};
        pthread_t thread;
        (void)course_step(&c, BATCH);
        CHECK(pthread_create(&thread, NULL, step_on, &s) == 0);
        for (int i = 0; i < FORKS; i++) {
            int status = -1;
            (void)nanosleep(&(struct timespec){0, (i * 7919 + 1000) * 1000L}, NULL);
            (void)fflush(stdout);
            const pid_t pid = fork();
            if (pid == 0) {
                _exit(look_at_child(&c, ways[w]));
            }
            CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
        }
        s.stop = true;
        CHECK(pthread_join(thread, NULL) == 0);
        CHECK(tl_trainer_iterations(c.trainer) > 1);
        CHECK(look_at_child(&c, ways[w]) == 0);
        course_clear(&c);
    }
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
    RUN(test_steps_repeat_bit_for_bit);
    RUN(test_threads_agree_to_rounding);
    RUN(test_whole_networks_learn);
    RUN(test_turns_add_up_to_the_batch);
    RUN(test_memory_is_what_is_told);
    RUN(test_interruptions_change_nothing);
    RUN(test_forks_between_steps_and_amid_them);
    tl_pool_close();
    return REPORT();
}
