/* The state of training against the same rules in double, and creating it without memory. */
#include "builders.h"
#include "check.h"
#include "core/arena.h"
#include "core/train_state.h"
#include "reference_ops.h"

enum { KERNEL = 6, BIAS = 2, MOST = 1000 };

/* powf(beta_2) loses bits in 1 - it, in Keras as here: a few millionths of a step of 0.05. */
static const double TOLERANCE = 1e-5;

static tl_graph *graph;
static tl_parameters *parameters;
static tl_network *network;

static const bool both[2] = {true, true};
static const tl_optimizer adam = {
    .kind = TL_ADAM, .beta_1 = 0.9, .beta_2 = 0.999, .epsilon = 1e-7F};

/* input 3 -> dense 2 */
static void
open_network(void)
{
    const tl_shape flat = tl_shape_1(3);
    size_t x = 0;
    CHECK_OK(tl_graph_create(&graph, "input", &flat));
    CHECK_OK(add_node(graph, &x, (tl_node){.op = TL_OP_DENSE, .dense = {BIAS, true}}, "scores",
                      x, TL_NONE));
    CHECK_OK(random_parameters(&parameters, graph, 6));
    CHECK_OK(tl_network_create(&network, graph, &parameters, 1, &reference_ops));
}

static void
close_network(void)
{
    tl_network_destroy(network);
    tl_parameters_release(parameters);
    tl_graph_destroy(graph);
    network = NULL;
    parameters = NULL;
    graph = NULL;
}

/* One weight with all that Keras keeps of it, in double. */
typedef struct mirror {
    double weight, m, v, sum, average;
} mirror;

static void
mirror_step(mirror *w, const tl_optimizer *o, double grad, double rate, int batch)
{
    const int every = o->accumulation > 1 ? (int)o->accumulation : 1;
    const int step = batch / every;
    const double momentum = step == 0 ? 0 : (double)o->ema_momentum;
    w->sum += grad;
    if ((batch + 1) % every == 0) {
        const double g = w->sum / every;
        w->sum = 0;
        if (o->kind == TL_ADAM) {
            w->m = o->beta_1 * w->m + (1 - o->beta_1) * g;
            w->v = o->beta_2 * w->v + (1 - o->beta_2) * g * g;
            w->weight -= rate * sqrt(1 - pow(o->beta_2, step + 1)) /
                         (1 - pow(o->beta_1, step + 1)) * w->m /
                         (sqrt(w->v) + (double)o->epsilon);
        } else {
            w->m = (double)o->momentum * w->m - rate * g;
            w->weight += o->nesterov ? (double)o->momentum * w->m - rate * g : w->m;
        }
    }
    w->average = momentum * w->average + (1 - momentum) * w->weight;
    if (o->use_ema && o->ema_overwrite_frequency != 0 &&
        (step + 1) % (int)o->ema_overwrite_frequency == 0) {
        w->weight = w->average;
    }
}

/* Twelve batches of random gradients; the bias learns at half the rate. */
static void
check_rule(const tl_optimizer *optimizer)
{
    const float multipliers[2] = {1, 0.5F};
    float grads[2][KERNEL];
    const float *const pointers[2] = {grads[0], grads[1]};
    mirror mirrors[2][KERNEL] = {{{0}}};
    tl_train_state *state = NULL;
    open_network();
    CHECK_OK(tl_train_state_create(&state, network, both, optimizer, multipliers));
    for (size_t t = 0; t < 2; t++) {
        for (size_t i = 0; i < parameters->tensors[t].count; i++) {
            mirrors[t][i].weight = (double)parameters->tensors[t].data[i];
        }
    }
    for (int batch = 0; !this_test_failed && batch < 12; batch++) {
        random_numbers(grads[0], KERNEL, 10 + 2 * (unsigned)batch);
        random_numbers(grads[1], BIAS, 11 + 2 * (unsigned)batch);
        tl_network_lock_write(network);
        tl_train_state_update(state, pointers, 0.05F);
        tl_network_unlock(network);
        CHECK(tl_train_state_iterations(state) == (uint64_t)batch + 1);
        for (size_t t = 0; t < 2; t++) {
            for (size_t i = 0; i < parameters->tensors[t].count; i++) {
                mirror_step(&mirrors[t][i], optimizer, (double)grads[t][i],
                            (t == 0 ? 1 : 0.5) * (double)0.05F, batch);
                CHECK_NEAR(parameters->tensors[t].data[i], mirrors[t][i].weight, TOLERANCE);
            }
        }
    }
    tl_network_lock_write(network);
    tl_train_state_apply_averages(state);
    tl_network_unlock(network);
    for (size_t t = 0; t < 2; t++) {
        for (size_t i = 0; i < parameters->tensors[t].count; i++) {
            const mirror *w = &mirrors[t][i];
            CHECK_NEAR(parameters->tensors[t].data[i],
                       optimizer->use_ema ? w->average : w->weight, TOLERANCE);
        }
    }
    tl_train_state_destroy(state);
    close_network();
}

static void
test_rules_with_accumulation_and_averages(void)
{
    const tl_optimizer rules[] = {
        {.kind = TL_SGD},
        {.kind = TL_SGD, .momentum = 0.9F},
        {.kind = TL_SGD, .momentum = 0.9F, .nesterov = true},
        adam,
    };
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        for (uint64_t accumulation = 0; accumulation < 4; accumulation++) {
            for (uint64_t frequency = 0; frequency < 4; frequency++) {
                tl_optimizer rule = rules[i];
                rule.accumulation = accumulation;
                check_rule(&rule);
                rule.use_ema = true;
                rule.ema_momentum = 0.7F;
                rule.ema_overwrite_frequency = frequency;
                check_rule(&rule);
            }
        }
    }
}

/* A factor of 0 stops the weights, not what the optimizer keeps of them. */
static void
test_a_factor_of_zero_moves_slots_alone(void)
{
    const float multipliers[2] = {0, 1};
    float grads[2][KERNEL];
    float before[KERNEL];
    const float *const pointers[2] = {grads[0], grads[1]};
    tl_train_state *state = NULL;
    const tl_tensor *tensor;
    open_network();
    random_numbers(grads[0], KERNEL, 1);
    random_numbers(grads[1], BIAS, 2);
    memcpy(before, parameters->tensors[0].data, sizeof before);
    const float bias = parameters->tensors[1].data[0];
    CHECK_OK(tl_train_state_create(&state, network, both, &adam, multipliers));
    tl_network_lock_write(network);
    tl_train_state_update(state, pointers, 0.1F);
    tl_network_unlock(network);
    CHECK(memcmp(before, parameters->tensors[0].data, sizeof before) == 0);
    CHECK(parameters->tensors[1].data[0] != bias);
    CHECK(tl_train_state_slot_count(state) == 4);
    CHECK_NEAR(tl_train_state_slot(state, 0, &tensor)[0], 0.1F * grads[0][0], 1e-7);
    CHECK(tensor->count == KERNEL);
    CHECK(tl_train_state_slot(state, 2, &tensor) != NULL && tensor->count == BIAS);
    tl_train_state_destroy(state);
    close_network();
}

/* Gradients of what does not train are not looked at; averages begin as the weights. */
static void
test_only_what_trains_has_arrays(void)
{
    const bool trains[2] = {false, true};
    const tl_optimizer all = {.kind = TL_ADAM,
                              .beta_1 = 0.9,
                              .beta_2 = 0.999,
                              .accumulation = 2,
                              .use_ema = true,
                              .ema_momentum = 0.5F};
    const float grad[BIAS] = {1, 2};
    const float *const pointers[2] = {NULL, grad};
    tl_train_state *state = NULL;
    const tl_tensor *tensor;
    open_network();
    CHECK_OK(tl_train_state_create(&state, network, trains, &all, NULL));
    CHECK(tl_train_state_slot_count(state) == 4);
    const float *sum = tl_train_state_slot(state, 2, &tensor);
    const float *average = tl_train_state_slot(state, 3, &tensor);
    CHECK(memcmp(average, parameters->tensors[1].data, BIAS * sizeof(float)) == 0);
    tl_network_lock_write(network);
    tl_train_state_update(state, pointers, 0.1F);
    CHECK(sum[0] == 1 && sum[1] == 2);
    tl_train_state_update(state, pointers, 0.1F);
    CHECK(sum[0] == 0 && sum[1] == 0);
    tl_network_unlock(network);
    tl_train_state_destroy(state);
    close_network();
}

static void
test_create_survives_every_failure(void)
{
    tl_train_state *state = NULL;
    tl_status status = TL_OUT_OF_MEMORY;
    long n = 0;
    tl_optimizer all = adam;
    all.accumulation = 2;
    all.use_ema = true;
    open_network();
    for (; n < MOST && status != TL_OK; n++) {
        tl_alloc_fail_at(n);
        status = tl_train_state_create(&state, network, both, &all, NULL);
        tl_alloc_fail_at(-1);
        CHECK(status == TL_OK || (status == TL_OUT_OF_MEMORY && state == NULL));
    }
    CHECK(n > 4 && n < MOST);
    tl_train_state_destroy(state);
    tl_train_state_destroy(NULL);
    close_network();
}

int
main(void)
{
    RUN(test_rules_with_accumulation_and_averages);
    RUN(test_a_factor_of_zero_moves_slots_alone);
    RUN(test_only_what_trains_has_arrays);
    RUN(test_create_survives_every_failure);
    return REPORT();
}
