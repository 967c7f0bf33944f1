/* tlcore._core.Network: a graph bound to parameters, run over batches. */
#include "binding.h"

#include <string.h>

#include "core/arena.h"
#include "core/lower.h"
#include "core/pool.h"
#include "dnnl/backend.h"
#include "image/pixels.h"
#include "kernels/fused.h"
#include "kernels/pictures.h"
#include "kernels/plain.h"
#include "kernels/training.h"

static const tl_backend *const backends[] = {&tl_fused_backend, &tl_dnnl_backend,
                                             &tl_pictures_backend, &tl_plain_backend};
static const tl_ops ops = {backends, sizeof backends / sizeof backends[0], tl_dnnl_gemm,
                           tl_pictures_resize, &tl_training_kernels};

/* No C call runs longer than about this without a look at the signals. */
static const double SLICE_SECONDS = 0.1;

static void
release_groups(tl_parameters **groups, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        tl_parameters_release(groups[i]);
    }
    PyMem_Free(groups);
}

static tl_parameters **
groups_from(PyObject *sequence, PyTypeObject *type, size_t *count)
{
    tl_parameters **groups = NULL;
    PyObject *items = tl_items_from(sequence, "parameters", "Parameters");
    if (items == NULL) {
        return NULL;
    }
    *count = (size_t)PyTuple_GET_SIZE(items);
    groups = PyMem_Calloc(*count + 1, sizeof(tl_parameters *));
    if (groups == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    for (size_t i = 0; i < *count; i++) {
        PyObject *item = PyTuple_GET_ITEM(items, (Py_ssize_t)i);
        if (!PyObject_TypeCheck(item, type)) {
            PyErr_Format(PyExc_TypeError, "parameters must hold Parameters, not %.100s",
                         Py_TYPE(item)->tp_name);
            release_groups(groups, i);
            groups = NULL;
            goto done;
        }
        /* shared: the sequence may be the only owner of what it yields */
        groups[i] = tl_parameters_share(((ParametersObject *)item)->parameters);
    }
done:
    Py_DECREF(items);
    return groups;
}

/* The tensors that `sequence` picks, one of each of `count` groups; NULL with an exception. */
static size_t *
picks_from(PyObject *sequence, size_t count)
{
    size_t *picks = NULL;
    PyObject *items = tl_items_from(sequence, "picks", "integers");
    if (items == NULL) {
        return NULL;
    }
    if ((size_t)PyTuple_GET_SIZE(items) != count) {
        PyErr_Format(PyExc_ValueError,
                     "picks must hold one index for each of %zu parameters, "
                     "not %zd",
                     count, PyTuple_GET_SIZE(items));
        goto done;
    }
    picks = PyMem_Calloc(count + 1, sizeof *picks);
    if (picks == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    for (size_t i = 0; i < count; i++) {
        if (tl_size_from(&picks[i], PyTuple_GET_ITEM(items, (Py_ssize_t)i), "picks") < 0) {
            PyMem_Free(picks);
            picks = NULL;
            goto done;
        }
    }
done:
    Py_DECREF(items);
    return picks;
}

static PyObject *
network_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"graph", "parameters", "picks", NULL};
    module_state *state = PyType_GetModuleState(type);
    PyObject *graph;
    PyObject *sequence;
    PyObject *picks_object = Py_None;
    size_t *picks = NULL;
    size_t count;
    NetworkObject *self = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!O|O:Network", names, state->graph_type,
                                     &graph, &sequence, &picks_object)) {
        return NULL;
    }
    tl_parameters **groups = groups_from(sequence, state->parameters_type, &count);
    if (groups == NULL) {
        return NULL;
    }
    if (picks_object != Py_None) {
        picks = picks_from(picks_object, count);
        if (picks == NULL) {
            goto done;
        }
    }
    self = (NetworkObject *)type->tp_alloc(type, 0);
    if (self != NULL) {
        const tl_graph *nodes = ((GraphObject *)graph)->graph;
        tl_detail_clear();
        const tl_status status =
            picks == NULL
                ? tl_network_create(&self->network, nodes, groups, count, &ops)
                : tl_network_create_picked(&self->network, nodes, groups, picks, count, &ops);
        if (status != TL_OK) {
            tl_raise(state, status);
            Py_CLEAR(self);
        }
    }
done:
    PyMem_Free(picks);
    release_groups(groups, count);
    return (PyObject *)self;
}

static int
network_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    return 0;
}

static void
network_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    tl_network_destroy(((NetworkObject *)self)->network);
    type->tp_free(self);
    Py_DECREF(type);
}

/* Nodes from start to stop. */
typedef struct stretch {
    size_t start, stop;
} stretch;

/* From the arguments start and stop, each NULL where it was left out; stop -1 is the output. */
static int
read_stretch(stretch *out, const NetworkObject *self, PyObject *start, PyObject *stop)
{
    const long long last = (long long)tl_network_graph(self->network)->count - 1;
    long long first_node = 0;
    long long last_node = -1;
    if ((start != NULL && tl_integer_from(&first_node, start, 0, last, "start") < 0) ||
        (stop != NULL && tl_integer_from(&last_node, stop, -1, last, "stop") < 0)) {
        return -1;
    }
    if (last_node == -1) {
        last_node = last;
    }
    if (first_node > last_node) {
        PyErr_Format(PyExc_ValueError, "start must not lie behind stop, but is %lld and %lld",
                     first_node, last_node);
        return -1;
    }
    *out = (stretch){(size_t)first_node, (size_t)last_node};
    return 0;
}

/* The arguments (start=0, stop=-1) of a method. */
static int
parse_stretch(stretch *out, const NetworkObject *self, PyObject *args, PyObject *kwargs,
              const char *format)
{
    static char *names[] = {"start", "stop", NULL};
    PyObject *start = NULL;
    PyObject *stop = NULL;
    return PyArg_ParseTupleAndKeywords(args, kwargs, format, names, &start, &stop)
               ? read_stretch(out, self, start, stop)
               : -1;
}

/* How many rows take about SLICE_SECONDS, in whole rounds of the crew. */
static size_t
slice_at(double pace, size_t threads)
{
    const double fitting = pace * SLICE_SECONDS;
    const size_t limit = fitting > 1e9 ? (size_t)1e9 : (size_t)fitting;
    return limit < threads ? threads : limit / threads * threads;
}

/* The first slice: as the last run of the same nodes went, or two rounds to see how it goes. */
static size_t
first_slice(const NetworkObject *self, const stretch *nodes, size_t threads)
{
    const bool known =
        self->pace > 0 && self->pace_start == nodes->start && self->pace_stop == nodes->stop;
    return known ? slice_at(self->pace, threads) : 2 * threads;
}

/* The next slice; at most eight times this one, which may have been too short to tell. */
static size_t
next_slice(NetworkObject *self, const stretch *nodes, size_t rows, double elapsed,
           size_t threads)
{
    const double pace = (double)rows / (elapsed > 1e-6 ? elapsed : 1e-6);
    if (rows >= threads) {
        self->pace = pace;
        self->pace_start = nodes->start;
        self->pace_stop = nodes->stop;
    }
    const size_t limit = slice_at(pace, threads);
    return limit > 8 * rows && rows >= threads ? 8 * rows : limit;
}

/* What each byte means: the arguments divide, scale, offset of Network.run. */
typedef struct byte_meaning {
    float values[256];
    bool given; /* any of the arguments was */
} byte_meaning;

static int
read_meaning(byte_meaning *out, PyObject *divide, PyObject *scale, PyObject *offset)
{
    uint8_t bytes[256];
    double numbers[3] = {1, 1, 0};
    if ((divide != NULL && tl_number_from(&numbers[0], divide, "divide") < 0) ||
        (scale != NULL && tl_number_from(&numbers[1], scale, "scale") < 0) ||
        (offset != NULL && tl_number_from(&numbers[2], offset, "offset") < 0)) {
        return -1;
    }
    const tl_pixel_map map = {(float)numbers[0], (float)numbers[1], (float)numbers[2]};
    for (size_t i = 0; i < 256; i++) {
        bytes[i] = (uint8_t)i;
    }
    tl_pixels_to_float(out->values, bytes, 256, 1, 1, &map);
    out->given = divide != NULL || scale != NULL || offset != NULL;
    return 0;
}

/* The images of x: bytes where it is an array of them and `start` is the input, else floats.
 * `meaning` must live as long. */
static PyArrayObject *
images_from(tl_images *images, PyObject *x, size_t start, const tl_shape *shape,
            const byte_meaning *meaning)
{
    const bool bytes = PyArray_Check(x) && PyArray_TYPE((PyArrayObject *)x) == NPY_UINT8;
    PyArrayObject *rows = NULL;
    if (bytes && start == 0) {
        rows = tl_byte_rows_from((PyArrayObject *)x, shape, "x");
        if (rows != NULL) {
            *images = (tl_images){.pixels = PyArray_DATA(rows), .values = meaning->values};
        }
        return rows;
    }
    if (meaning->given) {
        PyErr_SetString(PyExc_ValueError,
                        "divide, scale and offset tell what bytes mean: x must "
                        "be a uint8 array, and start 0");
        return NULL;
    }
    rows = tl_rows_from(x, shape, "x");
    if (rows != NULL) {
        *images = (tl_images){.numbers = PyArray_DATA(rows)};
    }
    return rows;
}

/* Network.run(x, start=0, stop=-1, *, divide=1, scale=1, offset=0, finite=False) -> values of
 * stop. New array, or NULL with an exception. */
static PyObject *
network_run(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"x", "start", "stop", "divide", "scale", "offset", "finite", NULL};
    NetworkObject *self = (NetworkObject *)op;
    PyObject *x;
    PyObject *start = NULL;
    PyObject *stop = NULL;
    PyObject *divide = NULL;
    PyObject *scale = NULL;
    PyObject *offset = NULL;
    PyObject *finite = NULL;
    bool must_be_finite = false;
    byte_meaning meaning;
    tl_images images;
    stretch nodes;
    PyArrayObject *src = NULL; /* owned */
    PyArrayObject *dst = NULL; /* owned, and the result once it is filled */
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|OO$OOOO:run", names, &x, &start, &stop,
                                     &divide, &scale, &offset, &finite) ||
        read_stretch(&nodes, self, start, stop) < 0 ||
        read_meaning(&meaning, divide, scale, offset) < 0 ||
        (finite != NULL && tl_flag_from(&must_be_finite, finite) < 0)) {
        return NULL;
    }
    const tl_graph *graph = tl_network_graph(self->network);
    const tl_shape *src_shape = &graph->nodes[nodes.start].shape;
    const tl_shape *dst_shape = &graph->nodes[nodes.stop].shape;
    const size_t src_count = tl_shape_elements(src_shape);
    const size_t dst_count = tl_shape_elements(dst_shape);
    src = images_from(&images, x, nodes.start, src_shape, &meaning);
    if (src == NULL) {
        goto done;
    }
    images.finite = must_be_finite;
    const size_t rows = (size_t)PyArray_DIM(src, 0);
    dst = tl_new_array((npy_intp)rows, dst_shape);
    if (dst == NULL) {
        goto done;
    }
    const size_t threads = tl_pool_threads();
    size_t slice = first_slice(self, &nodes, threads);
    for (size_t row = 0; row < rows;) {
        const size_t count = rows - row < slice ? rows - row : slice;
        const tl_images some = tl_images_from(&images, row * src_count);
        tl_status status;
        double elapsed;
        tl_detail_clear();
        Py_BEGIN_ALLOW_THREADS
        elapsed = -tl_seconds();
        status =
            tl_network_run_images(self->network, (float *)PyArray_DATA(dst) + row * dst_count,
                                  &some, count, nodes.start, nodes.stop);
        elapsed += tl_seconds();
        Py_END_ALLOW_THREADS
        if (status != TL_OK) {
            tl_raise(state_of(op), status);
            Py_CLEAR(dst);
            goto done;
        }
        row += count;
        if (row < rows && PyErr_CheckSignals() < 0) {
            Py_CLEAR(dst);
            goto done;
        }
        slice = next_slice(self, &nodes, count, elapsed, threads);
    }
done:
    Py_XDECREF(src);
    return (PyObject *)dst;
}

/* Network.cut(trainable) -> node */
static PyObject *
network_cut(PyObject *op, PyObject *arg)
{
    NetworkObject *self = (NetworkObject *)op;
    bool *trainable =
        tl_flags_from(arg, tl_network_graph(self->network)->param_count, "trainable");
    if (trainable == NULL) {
        return NULL;
    }
    const size_t cut = tl_network_cut(self->network, trainable);
    PyMem_Free(trainable);
    return PyLong_FromSize_t(cut);
}

/* --- the lowered list ------------------------------------------------------------------- */

static PyObject *
step_index(size_t step)
{
    return step == TL_NONE ? PyLong_FromLong(-1) : PyLong_FromSize_t(step);
}

/* Shape of a step's kernel in Keras's layout. */
static tl_shape
kernel_shape(const tl_step *step)
{
    const size_t in = tl_shape_channels(&step->src_shape);
    const size_t out = tl_shape_channels(&step->dst_shape);
    switch (step->kind) {
    case TL_STEP_CONV2D:
        return (tl_shape){4, {step->kernel[0], step->kernel[1], in, out}};
    case TL_STEP_DEPTHWISE_CONV2D:
        return (tl_shape){4, {step->kernel[0], step->kernel[1], in, 1}};
    case TL_STEP_DENSE:
        return (tl_shape){2, {in, out, 0, 0}};
    default:
        return tl_shape_1(in);
    }
}

/* (kernel, bias), folded; (None, None) for a step without weights. */
static PyObject *
folded_weights(const tl_step *step, const float *const *tensors)
{
    const tl_shape shape = kernel_shape(step);
    const tl_shape bias_shape = tl_shape_1(tl_step_bias_count(step));
    if (tl_step_kernel_count(step) == 0) {
        return Py_BuildValue("(OO)", Py_None, Py_None);
    }
    PyArrayObject *kernel = tl_new_array(-1, &shape);
    PyArrayObject *bias = tl_new_array(-1, &bias_shape);
    if (kernel != NULL && bias != NULL) {
        tl_step_fold(step, PyArray_DATA(kernel), PyArray_DATA(bias), tensors);
    }
    return Py_BuildValue("(NN)", kernel, bias); /* handed over; NULL if one of them is */
}

/* All steps that a step reads: its src, then a residual or what is put together with it. */
static PyObject *
step_inputs(const tl_step *step)
{
    const size_t count = (step->has_residual ? 2U : 1U) + step->other_count;
    PyObject *inputs = PyTuple_New((Py_ssize_t)count);
    for (size_t i = 0; inputs != NULL && i < count; i++) {
        const size_t from = i == 0               ? step->src
                            : step->has_residual ? step->residual
                                                 : step->others[i - 1];
        PyObject *index = step_index(from);
        if (index == NULL) {
            Py_CLEAR(inputs);
            break;
        }
        PyTuple_SET_ITEM(inputs, (Py_ssize_t)i, index);
    }
    return inputs;
}

static PyObject *
step_to_dict(NetworkObject *self, const tl_step *step, const float *const *tensors)
{
    PyObject *result = NULL;
    PyObject *weights = folded_weights(step, tensors);
    PyObject *inputs = step_inputs(step);
    if (weights != NULL && inputs != NULL) {
        result = Py_BuildValue(
            "{s:s,s:s,s:O,s:N,s:N,s:O,s:O,s:(nn),s:(nn),s:((nn)(nn)),s:s,s:N}", "op",
            tl_step_kind_name(step->kind), "name",
            tl_network_graph(self->network)->nodes[step->node].name, "inputs", inputs,
            "input_shape", tl_shape_to(&step->src_shape), "output_shape",
            tl_shape_to(&step->dst_shape), "kernel", PyTuple_GET_ITEM(weights, 0), "bias",
            PyTuple_GET_ITEM(weights, 1), "window", (Py_ssize_t)step->kernel[0],
            (Py_ssize_t)step->kernel[1], "strides", (Py_ssize_t)step->strides[0],
            (Py_ssize_t)step->strides[1], "padding", (Py_ssize_t)step->padding.top,
            (Py_ssize_t)step->padding.bottom, (Py_ssize_t)step->padding.left,
            (Py_ssize_t)step->padding.right, "activation", tl_function_name(step->function),
            "attributes", tl_picture_step_to(step));
    }
    Py_XDECREF(inputs);
    Py_XDECREF(weights);
    return result;
}

/* Copies of all parameters, in the graph's order and of one moment; the pointers lie in front
 * of what they point to, all is freed with one PyMem_Free. */
static const float **
copy_tensors(tl_network *network)
{
    const size_t count = tl_network_graph(network)->param_count;
    size_t floats = 0;
    for (size_t i = 0; i < count; i++) {
        floats += tl_network_tensor(network, i)->count;
    }
    const float **data = PyMem_Malloc(count * sizeof *data + floats * sizeof **data + 1);
    if (data == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    float *at = (float *)(void *)(data + count);
    Py_BEGIN_ALLOW_THREADS
    tl_network_lock_read(network);
    for (size_t i = 0; i < count; i++) {
        const tl_tensor *tensor = tl_network_tensor(network, i);
        memcpy(at, tensor->data, tensor->count * sizeof *at);
        data[i] = at;
        at += tensor->count;
    }
    tl_network_unlock(network);
    Py_END_ALLOW_THREADS
    return data;
}

/* Network.lowered(start=0, stop=-1) -> list of steps */
static PyObject *
network_lowered(PyObject *op, PyObject *args, PyObject *kwargs)
{
    NetworkObject *self = (NetworkObject *)op;
    stretch nodes;
    tl_lowered *lowered = NULL;
    const float **data = NULL;
    PyObject *list = NULL;
    if (parse_stretch(&nodes, self, args, kwargs, "|OO:lowered") < 0) {
        return NULL;
    }
    data = copy_tensors(self->network);
    if (data == NULL) {
        return NULL;
    }
    tl_detail_clear();
    const tl_status status =
        tl_lower(&lowered, tl_network_graph(self->network), nodes.start, nodes.stop);
    if (status != TL_OK) {
        tl_raise(state_of(op), status);
        goto done;
    }
    list = PyList_New(0);
    for (size_t i = 0; list != NULL && i < lowered->count; i++) {
        PyObject *step = step_to_dict(self, &lowered->steps[i], data);
        if (step == NULL || PyList_Append(list, step) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(step);
    }
done:
    tl_lowered_destroy(lowered);
    PyMem_Free(data);
    return list;
}

/* Network.memory(start=0, stop=-1) -> dict of bytes */
static PyObject *
network_memory(PyObject *op, PyObject *args, PyObject *kwargs)
{
    NetworkObject *self = (NetworkObject *)op;
    stretch nodes;
    tl_status status;
    tl_network_memory memory;
    if (parse_stretch(&nodes, self, args, kwargs, "|OO:memory") < 0) {
        return NULL;
    }
    tl_detail_clear();
    Py_BEGIN_ALLOW_THREADS
    status = tl_network_memory_plan(self->network, &memory, nodes.start, nodes.stop);
    Py_END_ALLOW_THREADS
    if (status != TL_OK) {
        return tl_raise(state_of(op), status);
    }
    return Py_BuildValue("{s:n,s:n,s:n}", "parameters", (Py_ssize_t)memory.parameters, "packed",
                         (Py_ssize_t)memory.packed, "executor", (Py_ssize_t)memory.executor);
}

static PyObject *
network_prefix_runs(PyObject *op, void *unused)
{
    (void)unused;
    return PyLong_FromSize_t(tl_network_prefix_runs(((NetworkObject *)op)->network));
}

static PyMethodDef network_methods[] = {
    {"run", (PyCFunction)(void (*)(void))network_run, METH_VARARGS | METH_KEYWORDS,
     "Values of node stop for a batch of values of node start."},
    {"draw", (PyCFunction)(void (*)(void))tl_network_draw_method, METH_VARARGS | METH_KEYWORDS,
     "What a layer that changes pictures at random draws for a batch."},
    {"change", (PyCFunction)(void (*)(void))tl_network_change_method,
     METH_VARARGS | METH_KEYWORDS, "Values of such a layer, given what was drawn."},
    {"cut", network_cut, METH_O, "The node after which training starts."},
    {"lowered", (PyCFunction)(void (*)(void))network_lowered, METH_VARARGS | METH_KEYWORDS,
     "The list of steps that inference runs, with folded weights."},
    {"memory", (PyCFunction)(void (*)(void))network_memory, METH_VARARGS | METH_KEYWORDS,
     "Bytes that running from start to stop needs."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef network_getset[] = {
    {"prefix_runs", network_prefix_runs, NULL,
     "Images that have been carried through the network from its input so far.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot network_slots[] = {
    {Py_tp_doc, "A graph bound to the parameters of its nodes, in node order."},
    {Py_tp_new, network_new},
    {Py_tp_dealloc, network_dealloc},
    {Py_tp_traverse, network_traverse},
    {Py_tp_methods, network_methods},
    {Py_tp_getset, network_getset},
    {0, NULL},
};

PyType_Spec tl_network_spec = {
    .name = "tlcore._core.Network",
    .basicsize = sizeof(NetworkObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = network_slots,
};
