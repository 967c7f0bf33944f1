/* What a network is: nodes in topological order, each with its inputs and parameters.
 *
 *   tl_graph *graph;
 *   TL_TRY(tl_graph_create(&graph, "input", &shape));               node 0
 *   TL_TRY(tl_graph_add(graph, &id, &(tl_node){.op = TL_OP_DENSE, .name = "dense",
 *                                              .inputs = {0}, .input_count = 1,
 *                                              .dense = {.units = 10, .use_bias = true}}));
 *
 * A graph holds no numbers but attributes; weights live in tl_parameters (parameters.h). */
#ifndef TL_CORE_GRAPH_H
#define TL_CORE_GRAPH_H

#include <stdbool.h>
#include <stddef.h>

#include "core/picture.h"
#include "core/shape.h"
#include "core/status.h"

enum { TL_NAME_SIZE = 128, TL_MAX_INPUTS = 8, TL_MAX_NODE_PARAMS = 4 };

typedef enum tl_op {
    TL_OP_INPUT,
    TL_OP_CONV2D,
    TL_OP_DEPTHWISE_CONV2D,
    TL_OP_BATCH_NORMALIZATION,
    TL_OP_RELU,
    TL_OP_ACTIVATION,
    TL_OP_ADD,
    TL_OP_ZERO_PADDING2D,
    TL_OP_GLOBAL_AVERAGE_POOLING2D,
    TL_OP_GLOBAL_MAX_POOLING2D,
    TL_OP_FLATTEN,
    TL_OP_DENSE,
    TL_OP_DROPOUT,
    TL_OP_CONCATENATE, /* along the last axis */
    TL_OP_MAX_POOLING2D,
    TL_OP_AVERAGE_POOLING2D, /* over the pixels that exist, without the padding */
    TL_OP_SPATIAL_DROPOUT2D, /* dropout of whole channels */
    /* of pictures: picture.h; the random ones do something in training only */
    TL_OP_RESCALING,
    TL_OP_RESIZING,
    TL_OP_CENTER_CROP,
    TL_OP_RANDOM_FLIP,
    TL_OP_RANDOM_ROTATION,
    TL_OP_RANDOM_ZOOM,
    TL_OP_RANDOM_TRANSLATION,
    TL_OP_RANDOM_CONTRAST,
    TL_OP_RANDOM_BRIGHTNESS,
    TL_OP_RANDOM_CROP,
    TL_OP_COUNT
} tl_op;

/* Keras 3's `keras.activations`, by its names; activation.h computes them. */
typedef enum tl_function {
    TL_LINEAR,
    TL_RELU,
    TL_RELU6,
    TL_SIGMOID,
    TL_SOFTMAX,
    TL_TANH,
    TL_ELU,
    TL_SELU,
    TL_SOFTPLUS,
    TL_SOFTSIGN,
    TL_SILU, /* swish */
    TL_GELU, /* by erf */
    TL_HARD_SIGMOID,
    TL_HARD_SILU,  /* hard_swish */
    TL_LEAKY_RELU, /* slope 0.2 */
    TL_EXPONENTIAL,
    TL_MISH,
    TL_LOG_SOFTMAX,
    TL_FUNCTION_COUNT
} tl_function;

typedef struct tl_convolution {
    size_t filters; /* of a depthwise node: left 0, it is the number of input channels */
    size_t kernel[2];
    size_t strides[2];
    bool same; /* padding="same", otherwise "valid" */
    bool use_bias;
} tl_convolution;

typedef struct tl_node {
    tl_op op;
    char name[TL_NAME_SIZE];
    size_t inputs[TL_MAX_INPUTS];
    size_t input_count;
    /* Called with training=False: batch norm uses its stored statistics and dropout passes
     * values through, also while training. */
    bool inference;
    union {
        tl_convolution convolution; /* conv2d, depthwise_conv2d */
        struct {
            float epsilon;
            float momentum; /* share of the old moving statistics that a training step keeps */
        } batch_normalization;
        struct {
            float max_value; /* INFINITY: no limit */
        } relu;
        struct {
            tl_function function;
        } activation;
        tl_padding padding;
        struct {
            bool keepdims;
        } pooling; /* the global ones */
        struct {
            size_t pool[2];
            size_t strides[2];
            bool same;
        } window; /* max_pooling2d, average_pooling2d */
        struct {
            size_t units;
            bool use_bias;
        } dense;
        struct {
            float rate;
        } dropout; /* both kinds */
        tl_rescaling rescaling;
        tl_resizing resizing;         /* of center_crop only the size */
        tl_augmentation augmentation; /* random pictures */
    };
    /* filled in by tl_graph_add */
    tl_shape shape;     /* of the value it makes */
    size_t first_param; /* index of its first parameter in the whole graph */
    size_t param_count;
} tl_node;

/* One parameter tensor of a node. The order within a node is Keras's. */
typedef struct tl_param_spec {
    const char *name; /* "kernel", "bias", "gamma", ... */
    tl_shape shape;
    bool trainable; /* moving statistics never are */
} tl_param_spec;

typedef struct tl_graph {
    tl_node *nodes;
    size_t count;
    size_t capacity;
    size_t param_count;
} tl_graph;

tl_status tl_graph_create(tl_graph **out, const char *name, const tl_shape *shape);
void tl_graph_destroy(tl_graph *graph);
tl_status tl_graph_copy(tl_graph **out, const tl_graph *graph);

/* Checks the node, computes its shape and parameters, and appends it.
 * TL_BAD_VALUE names what does not fit; the graph is then unchanged. */
tl_status tl_graph_add(tl_graph *graph, size_t *id, const tl_node *node);

/* Appends a copy of `other`, with `input` in place of its input node; *id is its output. With
 * `inference` every copied node is in inference mode, otherwise those that were. */
tl_status tl_graph_extend(tl_graph *graph, size_t *id, const tl_graph *other, size_t input,
                          bool inference);

/* Fills specs[] (room for TL_MAX_NODE_PARAMS) and returns how many there are. */
size_t tl_node_params(const tl_graph *graph, const tl_node *node, tl_param_spec *specs);

/* Padding of a convolution, or of a pooling window, from its attributes and its input's shape.
 */
tl_padding tl_convolution_padding(const tl_convolution *convolution, const tl_shape *input);
tl_padding tl_window_padding(const tl_node *node, const tl_shape *input);

/* Whether a training step draws random numbers for the node. Random pictures are made in front
 * of it: see tl_node_is_augmentation. */
bool tl_node_is_random(const tl_node *node);

/* Whether fit changes pictures at random here. */
bool tl_node_is_augmentation(const tl_node *node);

/* Keras-like names, as the facade and error messages use them. */
const char *tl_op_name(tl_op op);
bool tl_op_from_name(tl_op *op, const char *name);
const char *tl_function_name(tl_function function);
bool tl_function_from_name(tl_function *function, const char *name);

/* True where the node's value at a place of its input depends on nothing but attributes. */
bool tl_op_has_params(tl_op op);

#endif
