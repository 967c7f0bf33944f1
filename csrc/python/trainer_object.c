/* tlcore._core.Trainer: one C call a batch. */
#include "binding.h"

#include <string.h>

static int
read_number(PyObject *dict, const char *key, double *out)
{
    PyObject *value = PyDict_GetItemString(dict, key); /* borrowed */
    if (value == NULL) {
        return 0; /* the default stays */
    }
    const double number = PyFloat_AsDouble(value);
    if (number == -1.0 && PyErr_Occurred()) {
        return -1;
    }
    *out = number;
    return 0;
}

static int
read_optimizer(tl_optimizer *optimizer, PyObject *dict)
{
    PyObject *name = PyDict_GetItemString(dict, "name"); /* borrowed */
    PyObject *nesterov = PyDict_GetItemString(dict, "nesterov");
    const char *text = name == NULL ? "" : PyUnicode_AsUTF8(name);
    double momentum = 0;
    double epsilon = 1e-7;
    if (text == NULL) {
        return -1;
    }
    *optimizer = (tl_optimizer){.beta_1 = 0.9, .beta_2 = 0.999};
    if (strcmp(text, "adam") == 0) {
        optimizer->kind = TL_ADAM;
    } else if (strcmp(text, "sgd") == 0) {
        optimizer->kind = TL_SGD;
    } else {
        PyErr_Format(PyExc_ValueError, "optimizer name must be \"adam\" or \"sgd\", not \"%s\"",
                     text);
        return -1;
    }
    if (nesterov != NULL) {
        const int truth = PyObject_IsTrue(nesterov);
        if (truth < 0) {
            return -1;
        }
        optimizer->nesterov = truth != 0;
    }
    if (read_number(dict, "momentum", &momentum) < 0 ||
        read_number(dict, "beta_1", &optimizer->beta_1) < 0 ||
        read_number(dict, "beta_2", &optimizer->beta_2) < 0 ||
        read_number(dict, "epsilon", &epsilon) < 0) {
        return -1;
    }
    optimizer->momentum = (float)momentum;
    optimizer->epsilon = (float)epsilon;
    return 0;
}

static PyObject *
trainer_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"network",     "start",     "trainable", "loss",
                            "from_logits", "optimizer", "seed",      NULL};
    module_state *state = PyType_GetModuleState(type);
    PyObject *network;
    PyObject *trainable_object;
    PyObject *optimizer;
    const char *loss;
    Py_ssize_t start;
    int from_logits;
    unsigned long long seed;
    TrainerObject *self = NULL;
    bool *trainable = NULL;
    tl_trainer_plan plan = {0};

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!nOspO!K:Trainer", names,
                                     state->network_type, &network, &start, &trainable_object,
                                     &loss, &from_logits, &PyDict_Type, &optimizer, &seed)) {
        return NULL;
    }
    if (!tl_loss_from_name(&plan.loss.kind, loss)) {
        return PyErr_Format(PyExc_ValueError,
                            "loss must be binary_crossentropy, categorical_crossentropy or "
                            "sparse_categorical_crossentropy, not \"%s\"",
                            loss);
    }
    if (start < 0) {
        return PyErr_Format(PyExc_ValueError, "start must not be negative, but is %zd", start);
    }
    if (read_optimizer(&plan.optimizer, optimizer) < 0) {
        return NULL;
    }
    tl_network *core = ((NetworkObject *)network)->network;
    trainable =
        tl_flags_from(trainable_object, tl_network_graph(core)->param_count, "trainable");
    if (trainable == NULL) {
        return NULL;
    }
    plan.start = (size_t)start;
    plan.trainable = trainable;
    plan.loss.from_logits = from_logits != 0;
    plan.seed = seed;

    self = (TrainerObject *)type->tp_alloc(type, 0);
    if (self == NULL) {
        goto done;
    }
    self->network = (NetworkObject *)Py_NewRef(network);
    tl_detail_clear();
    tl_status status = tl_mutex_init(&self->lock);
    self->has_lock = status == TL_OK;
    if (status == TL_OK) {
        status = tl_trainer_create(&self->trainer, core, &plan);
    }
    if (status != TL_OK) {
        tl_raise(state, status);
        Py_CLEAR(self);
    }
done:
    PyMem_Free(trainable);
    return (PyObject *)self;
}

static int
trainer_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(((TrainerObject *)op)->network);
    return 0;
}

static void
trainer_dealloc(PyObject *op)
{
    TrainerObject *self = (TrainerObject *)op;
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    tl_trainer_destroy(self->trainer);
    if (self->has_lock) {
        tl_mutex_clear(&self->lock);
    }
    Py_XDECREF(self->network);
    type->tp_free(op);
    Py_DECREF(type);
}

/* --- batches ---------------------------------------------------------------------------- */

/* The arrays of one call, owned until release_batch. */
typedef struct batch_arrays {
    PyArrayObject *inputs, *targets, *weights, *outputs;
    tl_batch batch;
} batch_arrays;

static void
release_batch(batch_arrays *arrays)
{
    Py_CLEAR(arrays->inputs);
    Py_CLEAR(arrays->targets);
    Py_CLEAR(arrays->weights);
    Py_CLEAR(arrays->outputs);
}

/* y as (rows, columns) float32; the sparse loss and one output also take (rows,). */
static PyArrayObject *
read_targets(TrainerObject *self, PyObject *y)
{
    const tl_shape columns = tl_shape_1(tl_trainer_target_cols(self->trainer));
    const tl_shape none = {0, {0, 0, 0, 0}};
    PyArrayObject *array = (PyArrayObject *)PyArray_FromAny(y, NULL, 0, 0, 0, NULL);
    PyArrayObject *targets = NULL;
    if (array != NULL) {
        const bool flat = PyArray_NDIM(array) == 1 && columns.dims[0] == 1;
        targets = tl_rows_from((PyObject *)array, flat ? &none : &columns, "y");
    }
    Py_XDECREF(array);
    return targets;
}

static int
read_batch(TrainerObject *self, batch_arrays *arrays, PyObject *x, PyObject *y,
           PyObject *sample_weight)
{
    const tl_graph *graph = tl_network_graph(self->network->network);
    const tl_shape none = {0, {0, 0, 0, 0}};
    const tl_shape outputs = tl_shape_1(tl_trainer_output_cols(self->trainer));
    arrays->inputs = tl_rows_from(x, &graph->nodes[tl_trainer_start(self->trainer)].shape, "x");
    if (arrays->inputs == NULL) {
        return -1;
    }
    arrays->targets = read_targets(self, y);
    if (arrays->targets == NULL) {
        return -1;
    }
    const npy_intp rows = PyArray_DIM(arrays->inputs, 0);
    if (PyArray_DIM(arrays->targets, 0) != rows) {
        PyErr_Format(PyExc_ValueError, "y must have as many rows as x, %zd, not %zd",
                     (Py_ssize_t)rows, (Py_ssize_t)PyArray_DIM(arrays->targets, 0));
        return -1;
    }
    if (sample_weight != NULL && sample_weight != Py_None) {
        arrays->weights = tl_rows_from(sample_weight, &none, "sample_weight");
        if (arrays->weights == NULL) {
            return -1;
        }
        if (PyArray_DIM(arrays->weights, 0) != rows) {
            PyErr_Format(PyExc_ValueError,
                         "sample_weight must have as many rows as x, %zd, not %zd",
                         (Py_ssize_t)rows, (Py_ssize_t)PyArray_DIM(arrays->weights, 0));
            return -1;
        }
    }
    arrays->outputs = tl_new_array(rows, &outputs);
    if (arrays->outputs == NULL) {
        return -1;
    }
    arrays->batch = (tl_batch){
        .inputs = PyArray_DATA(arrays->inputs),
        .targets = PyArray_DATA(arrays->targets),
        .weights = arrays->weights == NULL ? NULL : PyArray_DATA(arrays->weights),
        .rows = (size_t)rows,
    };
    return 0;
}

/* (loss, outputs), or the exception of a failed call. */
static PyObject *
batch_result(PyObject *op, const batch_arrays *arrays, tl_status status, double loss)
{
    if (status != TL_OK) {
        return tl_raise(state_of(op), status);
    }
    return Py_BuildValue("(dO)", loss, arrays->outputs);
}

/* Trainer.train_batch(x, y, sample_weight=None, learning_rate=0.001) -> (loss, outputs) */
static PyObject *
trainer_train_batch(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"x", "y", "sample_weight", "learning_rate", NULL};
    TrainerObject *self = (TrainerObject *)op;
    PyObject *x;
    PyObject *y;
    PyObject *sample_weight = NULL;
    PyObject *result = NULL;
    double learning_rate = 0.001;
    double loss = 0;
    tl_status status;
    batch_arrays arrays = {0};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|Od:train_batch", names, &x, &y,
                                     &sample_weight, &learning_rate)) {
        return NULL;
    }
    if (read_batch(self, &arrays, x, y, sample_weight) == 0) {
        Py_BEGIN_ALLOW_THREADS
        tl_mutex_lock(&self->lock);
        tl_detail_clear();
        status = tl_trainer_step(self->trainer, &loss, PyArray_DATA(arrays.outputs),
                                 &arrays.batch, (float)learning_rate);
        tl_mutex_unlock(&self->lock);
        Py_END_ALLOW_THREADS
        result = batch_result(op, &arrays, status, loss);
    }
    release_batch(&arrays);
    return result;
}

/* Trainer.evaluate_batch(x, y, sample_weight=None) -> (loss, outputs) */
static PyObject *
trainer_evaluate_batch(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"x", "y", "sample_weight", NULL};
    TrainerObject *self = (TrainerObject *)op;
    PyObject *x;
    PyObject *y;
    PyObject *sample_weight = NULL;
    PyObject *result = NULL;
    double loss = 0;
    tl_status status;
    batch_arrays arrays = {0};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|O:evaluate_batch", names, &x, &y,
                                     &sample_weight)) {
        return NULL;
    }
    if (read_batch(self, &arrays, x, y, sample_weight) == 0) {
        Py_BEGIN_ALLOW_THREADS
        tl_detail_clear();
        status = tl_trainer_evaluate(self->trainer, &loss, PyArray_DATA(arrays.outputs),
                                     &arrays.batch);
        Py_END_ALLOW_THREADS
        result = batch_result(op, &arrays, status, loss);
    }
    release_batch(&arrays);
    return result;
}

/* --- state ------------------------------------------------------------------------------ */

static PyObject *
trainer_iterations(PyObject *op, void *unused)
{
    TrainerObject *self = (TrainerObject *)op;
    uint64_t iterations;
    (void)unused;
    Py_BEGIN_ALLOW_THREADS
    tl_mutex_lock(&self->lock);
    iterations = tl_trainer_iterations(self->trainer);
    tl_mutex_unlock(&self->lock);
    Py_END_ALLOW_THREADS
    return PyLong_FromUnsignedLongLong(iterations);
}

/* Trainer.get_state() -> (iterations, slots) */
static PyObject *
trainer_get_state(PyObject *op, PyObject *unused)
{
    TrainerObject *self = (TrainerObject *)op;
    const size_t count = tl_trainer_slot_count(self->trainer);
    PyObject *slots = PyList_New((Py_ssize_t)count);
    uint64_t iterations;
    (void)unused;
    for (size_t i = 0; slots != NULL && i < count; i++) {
        const tl_tensor *tensor;
        (void)tl_trainer_slot(self->trainer, i, &tensor);
        PyArrayObject *copy = tl_new_array(-1, &tensor->shape);
        if (copy == NULL) {
            Py_CLEAR(slots);
            break;
        }
        PyList_SET_ITEM(slots, (Py_ssize_t)i, (PyObject *)copy);
    }
    if (slots == NULL) {
        return NULL;
    }
    /* the list is ours alone; a step in another thread must not show half done */
    Py_BEGIN_ALLOW_THREADS
    tl_mutex_lock(&self->lock);
    for (size_t i = 0; i < count; i++) {
        const tl_tensor *tensor;
        const float *slot = tl_trainer_slot(self->trainer, i, &tensor);
        memcpy(PyArray_DATA((PyArrayObject *)PyList_GET_ITEM(slots, (Py_ssize_t)i)), slot,
               tensor->count * sizeof *slot);
    }
    iterations = tl_trainer_iterations(self->trainer);
    tl_mutex_unlock(&self->lock);
    Py_END_ALLOW_THREADS
    return Py_BuildValue("(KN)", (unsigned long long)iterations, slots);
}

/* A float32 array with as many elements as the tensor. */
static PyArrayObject *
slot_from(PyObject *object, const tl_tensor *tensor, size_t index)
{
    PyArrayObject *array = (PyArrayObject *)PyArray_FROM_OTF(
        object, NPY_FLOAT32, NPY_ARRAY_IN_ARRAY | NPY_ARRAY_FORCECAST);
    if (array != NULL && (size_t)PyArray_SIZE(array) != tensor->count) {
        PyErr_Format(PyExc_ValueError, "slots must give slot %zu %zu numbers, not %zd", index,
                     tensor->count, (Py_ssize_t)PyArray_SIZE(array));
        Py_CLEAR(array);
    }
    return array;
}

/* Trainer.set_state(iterations, slots): all or none */
static PyObject *
trainer_set_state(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"iterations", "slots", NULL};
    TrainerObject *self = (TrainerObject *)op;
    const size_t count = tl_trainer_slot_count(self->trainer);
    const tl_tensor *tensor;
    long long iterations;
    PyObject *sequence;
    PyObject *arrays = NULL; /* owned: converted first, copied once all fit */
    PyObject *result = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "LO:set_state", names, &iterations,
                                     &sequence)) {
        return NULL;
    }
    if (iterations < 0) {
        return PyErr_Format(PyExc_ValueError, "iterations must not be negative, but is %lld",
                            iterations);
    }
    arrays = PySequence_List(sequence);
    if (arrays == NULL) {
        return NULL;
    }
    if ((size_t)PyList_GET_SIZE(arrays) != count) {
        PyErr_Format(PyExc_ValueError, "slots must hold %zu arrays, not %zd", count,
                     PyList_GET_SIZE(arrays));
        goto done;
    }
    for (size_t i = 0; i < count; i++) {
        (void)tl_trainer_slot(self->trainer, i, &tensor);
        PyArrayObject *array = slot_from(PyList_GET_ITEM(arrays, (Py_ssize_t)i), tensor, i);
        if (array == NULL || PyList_SetItem(arrays, (Py_ssize_t)i, (PyObject *)array) < 0) {
            goto done;
        }
    }
    Py_BEGIN_ALLOW_THREADS
    tl_mutex_lock(&self->lock);
    tl_fork_guard_enter();
    for (size_t i = 0; i < count; i++) {
        float *slot = tl_trainer_slot(self->trainer, i, &tensor);
        memcpy(slot, PyArray_DATA((PyArrayObject *)PyList_GET_ITEM(arrays, (Py_ssize_t)i)),
               tensor->count * sizeof *slot);
    }
    tl_trainer_set_iterations(self->trainer, (uint64_t)iterations);
    tl_fork_guard_leave();
    tl_mutex_unlock(&self->lock);
    Py_END_ALLOW_THREADS
    result = Py_NewRef(Py_None);
done:
    Py_DECREF(arrays);
    return result;
}

static PyMethodDef trainer_methods[] = {
    {"train_batch", (PyCFunction)(void (*)(void))trainer_train_batch,
     METH_VARARGS | METH_KEYWORDS, "One step; the loss before it and the outputs."},
    {"evaluate_batch", (PyCFunction)(void (*)(void))trainer_evaluate_batch,
     METH_VARARGS | METH_KEYWORDS, "Loss and outputs in inference mode."},
    {"get_state", trainer_get_state, METH_NOARGS, "Iterations and the optimizer's slots."},
    {"set_state", (PyCFunction)(void (*)(void))trainer_set_state, METH_VARARGS | METH_KEYWORDS,
     "Put iterations and slots back, all or none."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef trainer_getset[] = {
    {"iterations", trainer_iterations, NULL, "Steps taken so far.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot trainer_slots[] = {
    {Py_tp_doc, "Loss, gradients and optimizer for the nodes after start."},
    {Py_tp_new, trainer_new},
    {Py_tp_dealloc, trainer_dealloc},
    {Py_tp_traverse, trainer_traverse},
    {Py_tp_methods, trainer_methods},
    {Py_tp_getset, trainer_getset},
    {0, NULL},
};

PyType_Spec tl_trainer_spec = {
    .name = "tlcore._core.Trainer",
    .basicsize = sizeof(TrainerObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = trainer_slots,
};
