/* tlcore._core.Trainer: one C call a batch. */
#include "binding.h"

#include <math.h>
#include <string.h>

/* Dropout's streams are numbered 4096 * iterations + node, in 64 bits. */
static const long long MOST_ITERATIONS = (1LL << 52) - 1;

/* A number of batches or steps; 0 turns off what it is for. */
static int
read_count(uint64_t *count, PyObject *value, const char *key)
{
    long long number;
    if (tl_integer_from(&number, value, 0, MOST_ITERATIONS, key) < 0) {
        return -1;
    }
    *count = (uint64_t)number;
    return 0;
}

static int
read_setting(tl_optimizer *optimizer, const char *key, PyObject *value)
{
    double number;
    if (strcmp(key, "name") == 0) {
        return 0; /* read before the others */
    }
    if (optimizer->kind == TL_SGD && strcmp(key, "nesterov") == 0) {
        return tl_flag_from(&optimizer->nesterov, value);
    }
    if (strcmp(key, "use_ema") == 0) {
        return tl_flag_from(&optimizer->use_ema, value);
    }
    if (strcmp(key, "gradient_accumulation_steps") == 0) {
        return read_count(&optimizer->accumulation, value, key);
    }
    if (strcmp(key, "ema_overwrite_frequency") == 0) {
        return read_count(&optimizer->ema_overwrite_frequency, value, key);
    }
    if (tl_number_from(&number, value, key) < 0) {
        return -1;
    }
    if (optimizer->kind == TL_SGD && strcmp(key, "momentum") == 0) {
        optimizer->momentum = (float)number;
    } else if (optimizer->kind == TL_ADAM && strcmp(key, "beta_1") == 0) {
        optimizer->beta_1 = number;
    } else if (optimizer->kind == TL_ADAM && strcmp(key, "beta_2") == 0) {
        optimizer->beta_2 = number;
    } else if (optimizer->kind == TL_ADAM && strcmp(key, "epsilon") == 0) {
        optimizer->epsilon = (float)number;
    } else if (strcmp(key, "ema_momentum") == 0) {
        optimizer->ema_momentum = (float)number;
    } else {
        PyErr_Format(PyExc_ValueError, "optimizer \"%s\" has no setting \"%s\"",
                     optimizer->kind == TL_SGD ? "sgd" : "adam", key);
        return -1;
    }
    return 0;
}

static int
read_kind(tl_optimizer_kind *kind, PyObject *settings)
{
    const char *text = "";
    PyObject *key = PyUnicode_FromString("name");
    PyObject *name = key == NULL ? NULL : PyDict_GetItemWithError(settings, key); /* borrowed */
    Py_XDECREF(key);
    if ((name == NULL && PyErr_Occurred()) ||
        (name != NULL && tl_text_from(&text, name, "optimizer name") < 0)) {
        return -1;
    }
    if (strcmp(text, "adam") == 0) {
        *kind = TL_ADAM;
    } else if (strcmp(text, "sgd") == 0) {
        *kind = TL_SGD;
    } else {
        PyErr_Format(PyExc_ValueError, "optimizer name must be \"adam\" or \"sgd\", not \"%s\"",
                     text);
        return -1;
    }
    return 0;
}

static int
read_optimizer(tl_optimizer *optimizer, PyObject *dict)
{
    PyObject *settings = PyDict_Copy(dict); /* owned: a value's __float__ may change the dict */
    PyObject *key;
    PyObject *value;
    Py_ssize_t position = 0;
    int result = -1;
    *optimizer =
        (tl_optimizer){.beta_1 = 0.9, .beta_2 = 0.999, .epsilon = 1e-7F, .ema_momentum = 0.99F};
    if (settings == NULL || read_kind(&optimizer->kind, settings) < 0) {
        goto done;
    }
    while (PyDict_Next(settings, &position, &key, &value)) {
        const char *text;
        if (tl_text_from(&text, key, "the name of an optimizer's setting") < 0 ||
            read_setting(optimizer, text, value) < 0) {
            goto done;
        }
    }
    result = 0;
done:
    Py_XDECREF(settings);
    return result;
}

/* One number of at least 0 a parameter, to be freed with PyMem_Free; or NULL with an
 * exception. */
static float *
numbers_from(PyObject *object, size_t count, const char *name)
{
    float *numbers = NULL;
    float *filled = NULL;
    PyObject *items = tl_items_from(object, name, "numbers"); /* owned */
    if (items == NULL) {
        return NULL;
    }
    if ((size_t)PyTuple_GET_SIZE(items) != count) {
        PyErr_Format(PyExc_ValueError, "%s must hold %zu numbers, one a parameter, not %zd",
                     name, count, PyTuple_GET_SIZE(items));
        goto done;
    }
    numbers = PyMem_Calloc(count + 1, sizeof *numbers);
    if (numbers == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    for (size_t i = 0; i < count; i++) {
        PyObject *item = PyTuple_GET_ITEM(items, (Py_ssize_t)i);
        char argument[64];
        double number;
        (void)PyOS_snprintf(argument, sizeof argument, "%s[%zu]", name, i);
        if (tl_number_from(&number, item, argument) < 0) {
            goto done;
        }
        if (!(number >= 0 && isfinite((float)number))) {
            PyErr_Format(PyExc_ValueError, "%s must be a finite number of at least 0, not %R",
                         argument, item);
            goto done;
        }
        numbers[i] = (float)number;
    }
    filled = numbers;
    numbers = NULL;
done:
    PyMem_Free(numbers);
    Py_DECREF(items);
    return filled;
}

static PyObject *
trainer_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"network",   "start", "trainable",   "loss",      "from_logits",
                            "optimizer", "seed",  "multipliers", "momentums", NULL};
    module_state *state = PyType_GetModuleState(type);
    PyObject *network;
    PyObject *trainable_object;
    PyObject *optimizer;
    PyObject *start;
    PyObject *seed_object;
    PyObject *multipliers_object = Py_None;
    PyObject *momentums_object = Py_None;
    const char *loss;
    int from_logits;
    long long seed;
    TrainerObject *self = NULL;
    bool *trainable = NULL;
    float *multipliers = NULL;
    float *momentums = NULL;
    tl_trainer_plan plan = {0};

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!OOspO!O|OO:Trainer", names,
                                     state->network_type, &network, &start, &trainable_object,
                                     &loss, &from_logits, &PyDict_Type, &optimizer,
                                     &seed_object, &multipliers_object, &momentums_object) ||
        tl_size_from(&plan.start, start, "start") < 0 ||
        tl_integer_from(&seed, seed_object, 0, LLONG_MAX, "seed") < 0) {
        return NULL;
    }
    if (!tl_loss_from_name(&plan.loss.kind, loss)) {
        return PyErr_Format(PyExc_ValueError,
                            "loss must be binary_crossentropy, categorical_crossentropy or "
                            "sparse_categorical_crossentropy, not \"%s\"",
                            loss);
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
    plan.trainable = trainable;
    const size_t count = tl_network_graph(core)->param_count;
    if (multipliers_object != Py_None) {
        multipliers = numbers_from(multipliers_object, count, "multipliers");
        if (multipliers == NULL) {
            goto done;
        }
    }
    if (momentums_object != Py_None) {
        momentums = numbers_from(momentums_object, count, "momentums");
        if (momentums == NULL) {
            goto done;
        }
    }
    plan.multipliers = multipliers;
    plan.momentums = momentums;
    plan.loss.from_logits = from_logits != 0;
    plan.seed = (uint64_t)seed;

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
    PyMem_Free(momentums);
    PyMem_Free(multipliers);
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

/* Looks at the signals, from within a call that has given the GIL away. */
static bool
has_signal(void *unused)
{
    const PyGILState_STATE gil = PyGILState_Ensure();
    const bool raised = PyErr_CheckSignals() < 0;
    (void)unused;
    PyGILState_Release(gil);
    return raised;
}

/* Trainer.train_batch(x, y, sample_weight=None, learning_rate=0.001, momentum=None) ->
 * (loss, outputs) */
static PyObject *
trainer_train_batch(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"x", "y", "sample_weight", "learning_rate", "momentum", NULL};
    TrainerObject *self = (TrainerObject *)op;
    PyObject *x;
    PyObject *y;
    PyObject *sample_weight = NULL;
    PyObject *rate = NULL;
    PyObject *inertia = Py_None;
    PyObject *result = NULL;
    double learning_rate = 0.001;
    double momentum = 0;
    double loss = 0;
    tl_status status = TL_OK;
    batch_arrays arrays = {0};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|OOO:train_batch", names, &x, &y,
                                     &sample_weight, &rate, &inertia) ||
        (rate != NULL && tl_number_from(&learning_rate, rate, "learning_rate") < 0) ||
        (inertia != Py_None && tl_number_from(&momentum, inertia, "momentum") < 0)) {
        return NULL;
    }
    if (read_batch(self, &arrays, x, y, sample_weight) == 0) {
        arrays.batch.interrupted = has_signal;
        Py_BEGIN_ALLOW_THREADS
        tl_mutex_lock(&self->lock);
        tl_detail_clear();
        if (inertia != Py_None) {
            status = tl_trainer_set_momentum(self->trainer, (float)momentum);
        }
        if (status == TL_OK) {
            status = tl_trainer_step(self->trainer, &loss, PyArray_DATA(arrays.outputs),
                                     &arrays.batch, (float)learning_rate);
        }
        tl_mutex_unlock(&self->lock);
        Py_END_ALLOW_THREADS
        result = batch_result(op, &arrays, status, loss);
    }
    release_batch(&arrays);
    return result;
}

/* The arrays of (x, y, sample_weight=None); `format` ends in the method's name. */
static int
parse_batch(TrainerObject *self, batch_arrays *arrays, PyObject *args, PyObject *kwargs,
            const char *format)
{
    static char *names[] = {"x", "y", "sample_weight", NULL};
    PyObject *x;
    PyObject *y;
    PyObject *sample_weight = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, format, names, &x, &y, &sample_weight)) {
        return -1;
    }
    return read_batch(self, arrays, x, y, sample_weight);
}

/* Trainer.evaluate_batch(x, y, sample_weight=None) -> (loss, outputs) */
static PyObject *
trainer_evaluate_batch(PyObject *op, PyObject *args, PyObject *kwargs)
{
    TrainerObject *self = (TrainerObject *)op;
    PyObject *result = NULL;
    double loss = 0;
    tl_status status;
    batch_arrays arrays = {0};
    if (parse_batch(self, &arrays, args, kwargs, "OO|O:evaluate_batch") == 0) {
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

/* A copy of each gradient, None for parameters that are not trained. */
static PyObject *
copy_gradients(TrainerObject *self, const float *const *gradients)
{
    const size_t count = tl_network_graph(self->network->network)->param_count;
    PyObject *list = PyList_New((Py_ssize_t)count);
    for (size_t i = 0; list != NULL && i < count; i++) {
        const tl_tensor *tensor = tl_network_tensor(self->network->network, i);
        PyObject *copy = Py_NewRef(Py_None);
        if (gradients[i] != NULL) {
            Py_SETREF(copy, (PyObject *)tl_new_array(-1, &tensor->shape));
            if (copy == NULL) {
                Py_CLEAR(list);
                break;
            }
            memcpy(PyArray_DATA((PyArrayObject *)copy), gradients[i],
                   tensor->count * sizeof **gradients);
        }
        PyList_SET_ITEM(list, (Py_ssize_t)i, copy);
    }
    return list;
}

/* Trainer.gradients(x, y, sample_weight=None) -> (loss, [gradient or None, ...]) */
static PyObject *
trainer_gradients(PyObject *op, PyObject *args, PyObject *kwargs)
{
    TrainerObject *self = (TrainerObject *)op;
    PyObject *list = NULL;
    const float *const *gradients = NULL;
    double loss = 0;
    tl_status status;
    batch_arrays arrays = {0};
    if (parse_batch(self, &arrays, args, kwargs, "OO|O:gradients") == 0) {
        arrays.batch.interrupted = has_signal;
        Py_BEGIN_ALLOW_THREADS
        tl_mutex_lock(&self->lock);
        tl_detail_clear();
        status = tl_trainer_gradients(self->trainer, &loss, PyArray_DATA(arrays.outputs),
                                      &arrays.batch, &gradients);
        Py_END_ALLOW_THREADS
        if (status == TL_OK) {
            list = copy_gradients(self, gradients);
        } else {
            tl_raise(state_of(op), status);
        }
        tl_mutex_unlock(&self->lock);
    }
    release_batch(&arrays);
    return list == NULL ? NULL : Py_BuildValue("(dN)", loss, list);
}

/* Trainer.memory(rows) -> bytes */
static PyObject *
trainer_memory(PyObject *op, PyObject *arg)
{
    TrainerObject *self = (TrainerObject *)op;
    size_t rows;
    size_t bytes;
    if (tl_size_from(&rows, arg, "rows") < 0) {
        return NULL;
    }
    tl_detail_clear();
    const tl_status status = tl_trainer_memory(self->trainer, rows, &bytes);
    return status == TL_OK ? PyLong_FromSize_t(bytes) : tl_raise(state_of(op), status);
}

/* Trainer.profile() -> [(name, forward seconds, backward seconds), ...] */
static PyObject *
trainer_profile(PyObject *op, PyObject *unused)
{
    TrainerObject *self = (TrainerObject *)op;
    PyObject *list = PyList_New(0);
    tl_unit_time time;
    (void)unused;
    for (size_t i = 0; list != NULL && tl_trainer_time(self->trainer, i, &time); i++) {
        PyObject *entry = Py_BuildValue("(sdd)", time.name, time.forward, time.backward);
        if (entry == NULL || PyList_Append(list, entry) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(entry);
    }
    return list;
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

static PyArrayObject *
slot_from(TrainerObject *self, size_t index, PyObject *object)
{
    const tl_tensor *tensor;
    char argument[64];
    (void)tl_trainer_slot(self->trainer, index, &tensor);
    (void)PyOS_snprintf(argument, sizeof argument, "slot %zu", index);
    return tl_array_from(object, &tensor->shape, argument);
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
    PyObject *iterations_object;
    PyObject *sequence;
    PyObject *slots = NULL;  /* owned tuple of what came */
    PyObject *arrays = NULL; /* owned list: converted first, copied once all fit */
    PyObject *result = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO:set_state", names, &iterations_object,
                                     &sequence) ||
        tl_integer_from(&iterations, iterations_object, 0, MOST_ITERATIONS, "iterations") < 0) {
        return NULL;
    }
    slots = tl_items_from(sequence, "slots", "arrays");
    if (slots == NULL) {
        return NULL;
    }
    if ((size_t)PyTuple_GET_SIZE(slots) != count) {
        PyErr_Format(PyExc_ValueError, "slots must hold %zu arrays, not %zd", count,
                     PyTuple_GET_SIZE(slots));
        goto done;
    }
    arrays = PyList_New((Py_ssize_t)count);
    for (size_t i = 0; arrays != NULL && i < count; i++) {
        PyArrayObject *array = slot_from(self, i, PyTuple_GET_ITEM(slots, (Py_ssize_t)i));
        if (array == NULL) {
            goto done;
        }
        PyList_SET_ITEM(arrays, (Py_ssize_t)i, (PyObject *)array);
    }
    if (arrays == NULL) {
        goto done;
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
    Py_XDECREF(arrays);
    Py_DECREF(slots);
    return result;
}

/* Trainer.apply_averages(): the weights become their moving averages */
static PyObject *
trainer_apply_averages(PyObject *op, PyObject *unused)
{
    TrainerObject *self = (TrainerObject *)op;
    (void)unused;
    Py_BEGIN_ALLOW_THREADS
    tl_mutex_lock(&self->lock);
    tl_trainer_apply_averages(self->trainer);
    tl_mutex_unlock(&self->lock);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyMethodDef trainer_methods[] = {
    {"train_batch", (PyCFunction)(void (*)(void))trainer_train_batch,
     METH_VARARGS | METH_KEYWORDS, "One step; the loss before it and the outputs."},
    {"evaluate_batch", (PyCFunction)(void (*)(void))trainer_evaluate_batch,
     METH_VARARGS | METH_KEYWORDS, "Loss and outputs in inference mode."},
    {"gradients", (PyCFunction)(void (*)(void))trainer_gradients, METH_VARARGS | METH_KEYWORDS,
     "The loss and its gradients; nothing changes."},
    {"memory", trainer_memory, METH_O, "Bytes that batches of so many rows need."},
    {"profile", trainer_profile, METH_NOARGS, "Seconds that each unit took in all steps."},
    {"apply_averages", trainer_apply_averages, METH_NOARGS,
     "Make the weights their moving averages, if there are any."},
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
