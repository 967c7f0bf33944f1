/* tlcore._core.Graph and mobilenet_v2(). */
#include "binding.h"

#include <math.h>
#include <string.h>

#include "core/mobilenet_v2.h"

/* --- attributes in ---------------------------------------------------------------------- */

static int
read_same(bool *same, PyObject *value)
{
    const char *text;
    if (tl_text_from(&text, value, "padding") < 0) {
        return -1;
    }
    *same = strcmp(text, "same") == 0;
    if (!*same && strcmp(text, "valid") != 0) {
        PyErr_Format(PyExc_ValueError, "padding must be \"same\" or \"valid\", not \"%s\"",
                     text);
        return -1;
    }
    return 0;
}

/* `text` as a function; `none`: what else the argument may be, in front of the names. */
static int
function_from(tl_function *function, const char *text, const char *argument, const char *none)
{
    char allowed[256];
    size_t used = 0;
    if (tl_function_from_name(function, text)) {
        return 0;
    }
    for (int i = 0; i < TL_FUNCTION_COUNT; i++) {
        used += (size_t)PyOS_snprintf(allowed + used, sizeof allowed - used, "%s%s",
                                      i == 0 ? "" : ", ", tl_function_name((tl_function)i));
    }
    PyErr_Format(PyExc_ValueError, "%s must be %sone of %s, not \"%s\"", argument, none,
                 allowed, text);
    return -1;
}

static int
read_function(tl_function *function, PyObject *value)
{
    const char *text;
    if (tl_text_from(&text, value, "function") < 0) {
        return -1;
    }
    return function_from(function, text, "function", "");
}

static int
read_padding(tl_padding *padding, PyObject *value)
{
    size_t rows[2];
    size_t cols[2];
    PyObject *pair = tl_items_from(value, "padding", "two pairs of integers");
    int result = -1;
    if (pair == NULL) {
        return -1;
    }
    if (PyTuple_GET_SIZE(pair) != 2) {
        PyErr_Format(PyExc_ValueError,
                     "padding must be ((top, bottom), (left, right)), not %zd items",
                     PyTuple_GET_SIZE(pair));
    } else if (tl_pair_from(rows, PyTuple_GET_ITEM(pair, 0), "padding") == 0 &&
               tl_pair_from(cols, PyTuple_GET_ITEM(pair, 1), "padding") == 0) {
        *padding = (tl_padding){rows[0], rows[1], cols[0], cols[1]};
        result = 0;
    }
    Py_DECREF(pair);
    return result;
}

/* One attribute of a convolution. 1: no such attribute. */
static int
read_convolution(tl_convolution *c, const char *name, PyObject *value, bool depthwise)
{
    if (strcmp(name, "filters") == 0 && !depthwise) {
        return tl_size_from(&c->filters, value, name);
    }
    if (strcmp(name, "kernel_size") == 0) {
        return tl_pair_from(c->kernel, value, name);
    }
    if (strcmp(name, "strides") == 0) {
        return tl_pair_from(c->strides, value, name);
    }
    if (strcmp(name, "padding") == 0) {
        return read_same(&c->same, value);
    }
    if (strcmp(name, "use_bias") == 0) {
        return tl_flag_from(&c->use_bias, value);
    }
    return 1;
}

/* One attribute of a pooling with a window. 1: no such attribute. */
static int
read_window(tl_node *node, const char *name, PyObject *value)
{
    if (strcmp(name, "pool_size") == 0) {
        return tl_pair_from(node->window.pool, value, name);
    }
    if (strcmp(name, "strides") == 0) {
        return tl_pair_from(node->window.strides, value, name);
    }
    return strcmp(name, "padding") == 0 ? read_same(&node->window.same, value) : 1;
}

static int
read_batch_normalization(tl_node *node, const char *name, PyObject *value)
{
    if (strcmp(name, "epsilon") == 0) {
        return tl_float_from(&node->batch_normalization.epsilon, value, name);
    }
    return strcmp(name, "momentum") == 0
               ? tl_float_from(&node->batch_normalization.momentum, value, name)
               : 1;
}

static int
read_attribute(tl_node *node, const char *name, PyObject *value)
{
    if (strcmp(name, "inference") == 0) {
        return tl_flag_from(&node->inference, value);
    }
    switch (node->op) {
    case TL_OP_CONV2D:
    case TL_OP_DEPTHWISE_CONV2D:
        return read_convolution(&node->convolution, name, value,
                                node->op == TL_OP_DEPTHWISE_CONV2D);
    case TL_OP_BATCH_NORMALIZATION:
        return read_batch_normalization(node, name, value);
    case TL_OP_MAX_POOLING2D:
    case TL_OP_AVERAGE_POOLING2D:
        return read_window(node, name, value);
    case TL_OP_RELU:
        if (strcmp(name, "max_value") == 0) {
            return value == Py_None ? 0 : tl_float_from(&node->relu.max_value, value, name);
        }
        return 1;
    case TL_OP_ACTIVATION:
        return strcmp(name, "function") == 0 ? read_function(&node->activation.function, value)
                                             : 1;
    case TL_OP_ZERO_PADDING2D:
        return strcmp(name, "padding") == 0 ? read_padding(&node->padding, value) : 1;
    case TL_OP_GLOBAL_AVERAGE_POOLING2D:
    case TL_OP_GLOBAL_MAX_POOLING2D:
        return strcmp(name, "keepdims") == 0 ? tl_flag_from(&node->pooling.keepdims, value) : 1;
    case TL_OP_DENSE:
        if (strcmp(name, "units") == 0) {
            return tl_size_from(&node->dense.units, value, name);
        }
        return strcmp(name, "use_bias") == 0 ? tl_flag_from(&node->dense.use_bias, value) : 1;
    case TL_OP_DROPOUT:
    case TL_OP_SPATIAL_DROPOUT2D:
        return strcmp(name, "rate") == 0 ? tl_float_from(&node->dropout.rate, value, name) : 1;
    default:
        return tl_picture_attribute_from(node, name, value);
    }
}

static void
set_defaults(tl_node *node)
{
    switch (node->op) {
    case TL_OP_CONV2D:
    case TL_OP_DEPTHWISE_CONV2D:
        node->convolution = (tl_convolution){0, {0, 0}, {1, 1}, false, true};
        break;
    case TL_OP_BATCH_NORMALIZATION:
        node->batch_normalization.epsilon = 1e-3F;
        node->batch_normalization.momentum = 0.99F;
        break;
    case TL_OP_RELU:
        node->relu.max_value = INFINITY;
        break;
    case TL_OP_DENSE:
        node->dense.use_bias = true;
        break;
    default:
        break;
    }
}

/* --- attributes out --------------------------------------------------------------------- */

static PyObject *
attributes_of(const tl_node *node)
{
    const tl_convolution *c = &node->convolution;
    const char *same = c->same ? "same" : "valid";
    switch (node->op) {
    case TL_OP_CONV2D:
        return Py_BuildValue("{s:n,s:(nn),s:(nn),s:s,s:N}", "filters", (Py_ssize_t)c->filters,
                             "kernel_size", (Py_ssize_t)c->kernel[0], (Py_ssize_t)c->kernel[1],
                             "strides", (Py_ssize_t)c->strides[0], (Py_ssize_t)c->strides[1],
                             "padding", same, "use_bias", PyBool_FromLong(c->use_bias));
    case TL_OP_DEPTHWISE_CONV2D:
        return Py_BuildValue("{s:(nn),s:(nn),s:s,s:N}", "kernel_size", (Py_ssize_t)c->kernel[0],
                             (Py_ssize_t)c->kernel[1], "strides", (Py_ssize_t)c->strides[0],
                             (Py_ssize_t)c->strides[1], "padding", same, "use_bias",
                             PyBool_FromLong(c->use_bias));
    case TL_OP_BATCH_NORMALIZATION:
        return Py_BuildValue("{s:d,s:d}", "epsilon", (double)node->batch_normalization.epsilon,
                             "momentum", (double)node->batch_normalization.momentum);
    case TL_OP_MAX_POOLING2D:
    case TL_OP_AVERAGE_POOLING2D:
        return Py_BuildValue("{s:(nn),s:(nn),s:s}", "pool_size",
                             (Py_ssize_t)node->window.pool[0], (Py_ssize_t)node->window.pool[1],
                             "strides", (Py_ssize_t)node->window.strides[0],
                             (Py_ssize_t)node->window.strides[1], "padding",
                             node->window.same ? "same" : "valid");
    case TL_OP_RELU:
        if (isinf(node->relu.max_value)) {
            return Py_BuildValue("{s:O}", "max_value", Py_None);
        }
        return Py_BuildValue("{s:d}", "max_value", (double)node->relu.max_value);
    case TL_OP_ACTIVATION:
        return Py_BuildValue("{s:s}", "function", tl_function_name(node->activation.function));
    case TL_OP_ZERO_PADDING2D:
        return Py_BuildValue("{s:((nn)(nn))}", "padding", (Py_ssize_t)node->padding.top,
                             (Py_ssize_t)node->padding.bottom, (Py_ssize_t)node->padding.left,
                             (Py_ssize_t)node->padding.right);
    case TL_OP_GLOBAL_AVERAGE_POOLING2D:
    case TL_OP_GLOBAL_MAX_POOLING2D:
        return Py_BuildValue("{s:N}", "keepdims", PyBool_FromLong(node->pooling.keepdims));
    case TL_OP_DENSE:
        return Py_BuildValue("{s:n,s:N}", "units", (Py_ssize_t)node->dense.units, "use_bias",
                             PyBool_FromLong(node->dense.use_bias));
    case TL_OP_DROPOUT:
    case TL_OP_SPATIAL_DROPOUT2D:
        return Py_BuildValue("{s:d}", "rate", (double)node->dropout.rate);
    default:
        return tl_picture_attributes_to(node);
    }
}

static PyObject *
parameters_of(const tl_graph *graph, const tl_node *node)
{
    tl_param_spec specs[TL_MAX_NODE_PARAMS];
    const size_t count = tl_node_params(graph, node, specs);
    PyObject *result = PyTuple_New((Py_ssize_t)count);
    for (size_t i = 0; result != NULL && i < count; i++) {
        /* N hands the new objects over, also when one of them is NULL */
        PyObject *spec = Py_BuildValue("{s:s,s:N,s:N}", "name", specs[i].name, "shape",
                                       tl_shape_to(&specs[i].shape), "trainable",
                                       PyBool_FromLong(specs[i].trainable));
        if (spec == NULL) {
            Py_CLEAR(result);
            break;
        }
        PyTuple_SET_ITEM(result, (Py_ssize_t)i, spec);
    }
    return result;
}

static PyObject *
node_to_dict(const tl_graph *graph, const tl_node *node)
{
    return Py_BuildValue("{s:s,s:s,s:N,s:N,s:N,s:N,s:N}", "op", tl_op_name(node->op), "name",
                         node->name, "inputs", tl_sizes_to(node->inputs, node->input_count),
                         "output_shape", tl_shape_to(&node->shape), "attributes",
                         attributes_of(node), "inference", PyBool_FromLong(node->inference),
                         "parameters", parameters_of(graph, node));
}

/* --- the type --------------------------------------------------------------------------- */

static PyObject *
graph_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"input_shape", "name", NULL};
    PyObject *shape_object;
    const char *name = "input";
    tl_shape shape;
    GraphObject *self = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|s:Graph", names, &shape_object, &name) ||
        tl_shape_from(&shape, shape_object, "input_shape") < 0) {
        return NULL;
    }
    if (strlen(name) >= TL_NAME_SIZE) {
        PyErr_Format(PyExc_ValueError, "name must be shorter than %d bytes", TL_NAME_SIZE);
        return NULL;
    }
    self = (GraphObject *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    tl_detail_clear();
    const tl_status status = tl_graph_create(&self->graph, name, &shape);
    if (status != TL_OK) {
        tl_raise(state_of((PyObject *)self), status);
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

PyObject *
tl_graph_wrap(module_state *state, tl_graph *graph)
{
    GraphObject *self = (GraphObject *)state->graph_type->tp_alloc(state->graph_type, 0);
    if (self == NULL) {
        tl_graph_destroy(graph);
        return NULL;
    }
    self->graph = graph;
    return (PyObject *)self;
}

static int
graph_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    return 0;
}

static void
graph_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    tl_graph_destroy(((GraphObject *)self)->graph);
    type->tp_free(self);
    Py_DECREF(type);
}

static int
fill_inputs(tl_node *node, PyObject *inputs)
{
    PyObject *items = tl_items_from(inputs, "inputs", "integers");
    int result = -1;
    if (items == NULL) {
        return -1;
    }
    if (PyTuple_GET_SIZE(items) > TL_MAX_INPUTS) {
        PyErr_Format(PyExc_ValueError, "inputs must hold at most %d nodes, not %zd",
                     TL_MAX_INPUTS, PyTuple_GET_SIZE(items));
        goto done;
    }
    node->input_count = (size_t)PyTuple_GET_SIZE(items);
    for (size_t i = 0; i < node->input_count; i++) {
        PyObject *item = PyTuple_GET_ITEM(items, (Py_ssize_t)i);
        char place[16];
        (void)PyOS_snprintf(place, sizeof place, "inputs[%zu]", i);
        if (tl_size_from(&node->inputs[i], item, place) < 0) {
            goto done;
        }
    }
    result = 0;
done:
    Py_DECREF(items);
    return result;
}

/* Graph.add(op, name, inputs, **attributes) -> index */
static PyObject *
graph_add(PyObject *op, PyObject *args, PyObject *kwargs)
{
    GraphObject *self = (GraphObject *)op;
    const char *kind;
    const char *name;
    PyObject *inputs;
    PyObject *key;
    PyObject *value;
    Py_ssize_t position = 0;
    size_t id;
    tl_node node = {.op = TL_OP_COUNT};

    if (!PyArg_ParseTuple(args, "ssO:add", &kind, &name, &inputs)) {
        return NULL;
    }
    if (!tl_op_from_name(&node.op, kind)) {
        PyErr_Format(PyExc_ValueError, "op \"%s\" is not one that tlcore has", kind);
        return NULL;
    }
    if (strlen(name) >= sizeof node.name) {
        PyErr_Format(PyExc_ValueError,
                     "name must be shorter than %zu bytes, but \"%.40s...\" is "
                     "longer",
                     sizeof node.name, name);
        return NULL;
    }
    memcpy(node.name, name, strlen(name) + 1);
    set_defaults(&node);
    if (fill_inputs(&node, inputs) < 0) {
        return NULL;
    }
    while (kwargs != NULL && PyDict_Next(kwargs, &position, &key, &value)) {
        const char *attribute;
        const int failed = tl_text_from(&attribute, key, "the name of an attribute") < 0
                               ? -1
                               : read_attribute(&node, attribute, value);
        if (failed > 0) {
            PyErr_Format(PyExc_TypeError, "%s \"%s\" has no attribute %U", kind, name, key);
        }
        if (failed != 0) {
            return NULL;
        }
    }
    tl_detail_clear();
    const tl_status status = tl_graph_add(self->graph, &id, &node);
    return status == TL_OK ? PyLong_FromSize_t(id) : tl_raise(state_of(op), status);
}

/* Graph.extend(other, input, inference=False) -> index */
static PyObject *
graph_extend(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"other", "input", "inference", NULL};
    GraphObject *self = (GraphObject *)op;
    PyObject *other;
    PyObject *input_object;
    PyObject *inference_object = Py_False;
    bool inference;
    size_t input;
    size_t id;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!O|O:extend", names,
                                     state_of(op)->graph_type, &other, &input_object,
                                     &inference_object) ||
        tl_size_from(&input, input_object, "input") < 0 ||
        tl_flag_from(&inference, inference_object) < 0) {
        return NULL;
    }
    if (other == op) {
        PyErr_SetString(PyExc_ValueError, "other must be another graph, not this one");
        return NULL;
    }
    tl_detail_clear();
    const tl_status status =
        tl_graph_extend(self->graph, &id, ((GraphObject *)other)->graph, input, inference);
    return status == TL_OK ? PyLong_FromSize_t(id) : tl_raise(state_of(op), status);
}

static PyObject *
graph_nodes(PyObject *op, void *unused)
{
    const tl_graph *graph = ((GraphObject *)op)->graph;
    const size_t count = graph->count;
    PyObject *list = PyList_New((Py_ssize_t)count);
    (void)unused;
    for (size_t i = 0; list != NULL && i < count; i++) {
        /* a copy: the collector may run code that adds nodes, which moves them */
        const tl_node copy = graph->nodes[i];
        PyObject *node = node_to_dict(graph, &copy);
        if (node == NULL) {
            Py_CLEAR(list);
            break;
        }
        PyList_SET_ITEM(list, (Py_ssize_t)i, node);
    }
    return list;
}

static Py_ssize_t
graph_length(PyObject *op)
{
    return (Py_ssize_t)((GraphObject *)op)->graph->count;
}

static PyMethodDef graph_methods[] = {
    {"add", (PyCFunction)(void (*)(void))graph_add, METH_VARARGS | METH_KEYWORDS,
     "Append a node and return its index."},
    {"extend", (PyCFunction)(void (*)(void))graph_extend, METH_VARARGS | METH_KEYWORDS,
     "Append a copy of another graph behind one of this graph's nodes."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef graph_getset[] = {
    {"nodes", graph_nodes, NULL, "The nodes in topological order.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot graph_slots[] = {
    {Py_tp_doc, "Nodes in topological order. Node 0 is the input; the last is the output."},
    {Py_tp_new, graph_new},
    {Py_tp_dealloc, graph_dealloc},
    {Py_tp_traverse, graph_traverse},
    {Py_tp_methods, graph_methods},
    {Py_tp_getset, graph_getset},
    {Py_sq_length, graph_length},
    {0, NULL},
};

PyType_Spec tl_graph_spec = {
    .name = "tlcore._core.Graph",
    .basicsize = sizeof(GraphObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = graph_slots,
};

/* --- mobilenet_v2 ----------------------------------------------------------------------- */

static int
read_pooling(tl_pooling *pooling, const char *text)
{
    if (text == NULL) {
        *pooling = TL_POOLING_NONE;
    } else if (strcmp(text, "avg") == 0) {
        *pooling = TL_POOLING_AVERAGE;
    } else if (strcmp(text, "max") == 0) {
        *pooling = TL_POOLING_MAX;
    } else {
        PyErr_Format(PyExc_ValueError, "pooling must be None, \"avg\" or \"max\", not \"%s\"",
                     text);
        return -1;
    }
    return 0;
}

PyObject *
tl_mobilenet_v2_method(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"input_shape", "alpha",   "include_top",
                            "pooling",     "classes", "classifier_activation",
                            NULL};
    module_state *state = PyModule_GetState(module);
    PyObject *shape = NULL;
    PyObject *alpha = NULL;
    PyObject *classes_object = NULL;
    const char *pooling = NULL;
    const char *activation = "softmax";
    int include_top = 1;
    long long classes = 1000;
    tl_graph *graph = NULL;
    tl_mobilenet_v2 options = {.input = tl_shape_3(224, 224, 3), .alpha = 1.0};

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|OOpzOz:mobilenet_v2", names, &shape,
                                     &alpha, &include_top, &pooling, &classes_object,
                                     &activation) ||
        (shape != NULL && tl_shape_from(&options.input, shape, "input_shape") < 0) ||
        (alpha != NULL && tl_number_from(&options.alpha, alpha, "alpha") < 0) ||
        (classes_object != NULL &&
         tl_integer_from(&classes, classes_object, 1, PY_SSIZE_T_MAX, "classes") < 0) ||
        read_pooling(&options.pooling, pooling) < 0) {
        return NULL;
    }
    if (activation != NULL && function_from(&options.classifier_activation, activation,
                                            "classifier_activation", "None or ") < 0) {
        return NULL;
    }
    options.include_top = include_top != 0;
    options.classes = (size_t)classes;
    tl_detail_clear();
    const tl_status status = tl_mobilenet_v2_create(&graph, &options);
    return status == TL_OK ? tl_graph_wrap(state, graph) : tl_raise(state, status);
}
