/* tlcore._core.Parameters: named tensors that networks share. */
#include "binding.h"

#include <string.h>

#include "core/arena.h"
#include "core/random.h"

static tl_shape *
shapes_from(PyObject *specs, size_t *count)
{
    tl_shape *shapes = NULL;
    tl_shape *filled = NULL;
    PyObject *items = tl_items_from(specs, "specs", "tuples (name, shape)");
    if (items == NULL) {
        return NULL;
    }
    *count = (size_t)PyTuple_GET_SIZE(items);
    shapes = PyMem_Calloc(*count + 1, sizeof *shapes);
    if (shapes == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    for (size_t i = 0; i < *count; i++) {
        PyObject *item = PyTuple_GET_ITEM(items, (Py_ssize_t)i);
        const char *name;
        PyObject *shape;
        if (!PyTuple_Check(item)) {
            PyErr_SetString(PyExc_TypeError, "specs must hold tuples of (name, shape)");
            goto done;
        }
        if (!PyArg_ParseTuple(item, "sO;specs must hold tuples of (name, shape)", &name,
                              &shape) ||
            tl_shape_from(&shapes[i], shape, name) < 0) {
            goto done;
        }
    }
    filled = shapes;
    shapes = NULL;
done:
    PyMem_Free(shapes);
    Py_DECREF(items);
    return filled;
}

static PyObject *
parameters_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"specs", NULL};
    PyObject *specs;
    size_t count;
    ParametersObject *self = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O:Parameters", names, &specs)) {
        return NULL;
    }
    tl_shape *shapes = shapes_from(specs, &count);
    if (shapes == NULL) {
        return NULL;
    }
    self = (ParametersObject *)type->tp_alloc(type, 0);
    if (self != NULL) {
        tl_detail_clear();
        const tl_status status = tl_parameters_create(&self->parameters, shapes, count);
        if (status != TL_OK) {
            tl_raise(state_of((PyObject *)self), status);
            Py_CLEAR(self);
        }
    }
    PyMem_Free(shapes);
    return (PyObject *)self;
}

static int
parameters_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    return 0;
}

static void
parameters_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    tl_parameters_release(((ParametersObject *)self)->parameters);
    type->tp_free(self);
    Py_DECREF(type);
}

/* The tensor of that index, or NULL with an exception. Runs Python code, once. */
static tl_tensor *
tensor_at(ParametersObject *self, PyObject *object)
{
    long long index;
    if (tl_integer_from(&index, object, LLONG_MIN, LLONG_MAX, "index") < 0) {
        return NULL;
    }
    if (index < 0 || (size_t)index >= self->parameters->count) {
        PyErr_Format(PyExc_IndexError, "index must be that of one of %zu tensors, not %lld",
                     self->parameters->count, index);
        return NULL;
    }
    return &self->parameters->tensors[index];
}

/* Parameters.get(index) -> a copy */
static PyObject *
parameters_get(PyObject *op, PyObject *arg)
{
    ParametersObject *self = (ParametersObject *)op;
    const tl_tensor *tensor = tensor_at(self, arg);
    if (tensor == NULL) {
        return NULL;
    }
    PyArrayObject *copy = tl_new_array(-1, &tensor->shape);
    if (copy == NULL) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    tl_rwlock_read(&self->parameters->lock);
    memcpy(PyArray_DATA(copy), tensor->data, tensor->count * sizeof(float));
    tl_rwlock_unlock(&self->parameters->lock);
    Py_END_ALLOW_THREADS
    return (PyObject *)copy;
}

/* Tensors of any blocks, to be read or written at one moment. */
typedef struct selection {
    PyObject *items; /* owned tuple: keeps the blocks alive */
    size_t count;
    tl_tensor **tensors;
    tl_parameters **owners; /* the block of each */
    PyArrayObject **arrays; /* each owned */
    tl_parameters **blocks; /* by address, each once: the order in which they are locked */
    size_t block_count;
} selection;

static void
selection_clear(selection *chosen)
{
    for (size_t i = 0; chosen->arrays != NULL && i < chosen->count; i++) {
        Py_XDECREF(chosen->arrays[i]);
    }
    PyMem_Free(chosen->arrays);
    PyMem_Free(chosen->owners);
    PyMem_Free(chosen->tensors);
    PyMem_Free(chosen->blocks);
    Py_XDECREF(chosen->items);
}

/* Room for as many tensors as `sequence` has items. */
static int
selection_init(selection *chosen, PyObject *sequence, const char *argument)
{
    chosen->items = tl_items_from(sequence, argument, "tuples");
    if (chosen->items == NULL) {
        return -1;
    }
    chosen->count = (size_t)PyTuple_GET_SIZE(chosen->items);
    chosen->tensors = PyMem_Calloc(chosen->count + 1, sizeof(tl_tensor *));
    chosen->owners = PyMem_Calloc(chosen->count + 1, sizeof(tl_parameters *));
    chosen->arrays = PyMem_Calloc(chosen->count + 1, sizeof(PyArrayObject *));
    chosen->blocks = PyMem_Calloc(chosen->count + 1, sizeof(tl_parameters *));
    if (chosen->tensors == NULL || chosen->owners == NULL || chosen->arrays == NULL ||
        chosen->blocks == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

static void
add_block(selection *chosen, tl_parameters *block)
{
    size_t at = chosen->block_count;
    while (at > 0 && chosen->blocks[at - 1] >= block) {
        at--;
    }
    if (at < chosen->block_count && chosen->blocks[at] == block) {
        return;
    }
    memmove(&chosen->blocks[at + 1], &chosen->blocks[at],
            (chosen->block_count - at) * sizeof(tl_parameters *));
    chosen->blocks[at] = block;
    chosen->block_count++;
}

/* Copies the arrays into the tensors: no reader sees some of them changed and others not. */
static void
write_selection(selection *chosen)
{
    Py_BEGIN_ALLOW_THREADS
    for (size_t i = 0; i < chosen->block_count; i++) {
        tl_rwlock_write(&chosen->blocks[i]->lock);
    }
    tl_fork_guard_enter(); /* a forked child must not see a half-written tensor */
    for (size_t i = 0; i < chosen->block_count; i++) {
        chosen->blocks[i]->version++;
    }
    for (size_t i = 0; i < chosen->count; i++) {
        tl_parameters *owner = chosen->owners[i];
        memcpy(chosen->tensors[i]->data, PyArray_DATA(chosen->arrays[i]),
               chosen->tensors[i]->count * sizeof(float));
        owner->versions[chosen->tensors[i] - owner->tensors] = owner->version;
    }
    tl_fork_guard_leave();
    for (size_t i = chosen->block_count; i-- > 0;) {
        tl_rwlock_unlock(&chosen->blocks[i]->lock);
    }
    Py_END_ALLOW_THREADS
}

/* Copies the tensors into the arrays, all as they are at one moment. */
static void
read_selection(selection *chosen)
{
    Py_BEGIN_ALLOW_THREADS
    for (size_t i = 0; i < chosen->block_count; i++) {
        tl_rwlock_read(&chosen->blocks[i]->lock);
    }
    for (size_t i = 0; i < chosen->count; i++) {
        memcpy(PyArray_DATA(chosen->arrays[i]), chosen->tensors[i]->data,
               chosen->tensors[i]->count * sizeof(float));
    }
    for (size_t i = chosen->block_count; i-- > 0;) {
        tl_rwlock_unlock(&chosen->blocks[i]->lock);
    }
    Py_END_ALLOW_THREADS
}

/* The i-th item (index, value) of `owner`, or where that is NULL (Parameters, index, value). */
static int
select_value(selection *chosen, size_t i, ParametersObject *owner, PyTypeObject *type)
{
    PyObject *item = PyTuple_GET_ITEM(chosen->items, (Py_ssize_t)i);
    PyObject *index;
    PyObject *value;
    char argument[64];
    if (!PyTuple_Check(item)) {
        PyErr_Format(PyExc_TypeError, "values must hold tuples of (%sindex, array)",
                     owner == NULL ? "Parameters, " : "");
        return -1;
    }
    const int parsed =
        owner != NULL
            ? PyArg_ParseTuple(item, "OO;values must hold tuples of (index, array)", &index,
                               &value)
            : PyArg_ParseTuple(item,
                               "O!OO;values must hold tuples of (Parameters, index, array)",
                               type, &owner, &index, &value);
    if (!parsed) {
        return -1;
    }
    chosen->tensors[i] = tensor_at(owner, index);
    if (chosen->tensors[i] == NULL) {
        return -1;
    }
    (void)PyOS_snprintf(argument, sizeof argument, "the value of tensor %zu",
                        (size_t)(chosen->tensors[i] - owner->parameters->tensors));
    chosen->arrays[i] = tl_array_from(value, &chosen->tensors[i]->shape, argument);
    if (chosen->arrays[i] == NULL) {
        return -1;
    }
    chosen->owners[i] = owner->parameters;
    add_block(chosen, owner->parameters);
    return 0;
}

static PyObject *
set_values(PyObject *sequence, ParametersObject *owner, PyTypeObject *type)
{
    PyObject *result = NULL;
    selection chosen = {0};
    if (selection_init(&chosen, sequence, "values") < 0) {
        goto done;
    }
    for (size_t i = 0; i < chosen.count; i++) {
        if (select_value(&chosen, i, owner, type) < 0) {
            goto done;
        }
    }
    write_selection(&chosen);
    result = Py_NewRef(Py_None);
done:
    selection_clear(&chosen);
    return result;
}

/* Parameters.set([(index, value), ...]): all or none */
static PyObject *
parameters_set(PyObject *op, PyObject *arg)
{
    return set_values(arg, (ParametersObject *)op, NULL);
}

/* set_tensors([(Parameters, index, value), ...]): all or none, at one moment */
PyObject *
tl_set_tensors_method(PyObject *module, PyObject *arg)
{
    const module_state *state = PyModule_GetState(module);
    return set_values(arg, NULL, state->parameters_type);
}

/* get_tensors([(Parameters, index), ...]) -> list of copies, all of one moment */
PyObject *
tl_get_tensors_method(PyObject *module, PyObject *arg)
{
    const module_state *state = PyModule_GetState(module);
    PyObject *list = NULL;
    selection chosen = {0};
    if (selection_init(&chosen, arg, "tensors") < 0) {
        goto done;
    }
    for (size_t i = 0; i < chosen.count; i++) {
        PyObject *item = PyTuple_GET_ITEM(chosen.items, (Py_ssize_t)i);
        ParametersObject *owner;
        PyObject *index;
        if (!PyTuple_Check(item)) {
            PyErr_SetString(PyExc_TypeError, "tensors must hold tuples of (Parameters, index)");
            goto done;
        }
        if (!PyArg_ParseTuple(item, "O!O;tensors must hold tuples of (Parameters, index)",
                              state->parameters_type, &owner, &index)) {
            goto done;
        }
        chosen.tensors[i] = tensor_at(owner, index);
        if (chosen.tensors[i] == NULL) {
            goto done;
        }
        chosen.arrays[i] = tl_new_array(-1, &chosen.tensors[i]->shape);
        if (chosen.arrays[i] == NULL) {
            goto done;
        }
        add_block(&chosen, owner->parameters);
    }
    read_selection(&chosen);
    list = PyList_New((Py_ssize_t)chosen.count);
    for (size_t i = 0; list != NULL && i < chosen.count; i++) {
        PyList_SET_ITEM(list, (Py_ssize_t)i, Py_NewRef((PyObject *)chosen.arrays[i]));
    }
done:
    selection_clear(&chosen);
    return list;
}

/* Parameters.glorot_uniform(index, seed) */
static PyObject *
parameters_glorot_uniform(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"index", "seed", NULL};
    ParametersObject *self = (ParametersObject *)op;
    PyObject *index;
    PyObject *seed_object;
    long long seed;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO:glorot_uniform", names, &index,
                                     &seed_object) ||
        tl_integer_from(&seed, seed_object, 0, LLONG_MAX, "seed") < 0) {
        return NULL;
    }
    tl_tensor *tensor = tensor_at(self, index);
    if (tensor == NULL) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    tl_rwlock_write(&self->parameters->lock);
    tl_fork_guard_enter();
    tl_random_glorot_uniform(tensor->data, &tensor->shape, (uint64_t)seed);
    tl_parameters_touch(self->parameters, (size_t)(tensor - self->parameters->tensors));
    tl_fork_guard_leave();
    tl_rwlock_unlock(&self->parameters->lock);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyObject *
parameters_version(PyObject *op, void *unused)
{
    tl_parameters *parameters = ((ParametersObject *)op)->parameters;
    unsigned long version;
    (void)unused;
    Py_BEGIN_ALLOW_THREADS
    tl_rwlock_read(&parameters->lock);
    version = parameters->version;
    tl_rwlock_unlock(&parameters->lock);
    Py_END_ALLOW_THREADS
    return PyLong_FromUnsignedLong(version);
}

static PyObject *
parameters_nbytes(PyObject *op, void *unused)
{
    (void)unused;
    return PyLong_FromSize_t(((ParametersObject *)op)->parameters->arena.size);
}

static Py_ssize_t
parameters_length(PyObject *op)
{
    return (Py_ssize_t)((ParametersObject *)op)->parameters->count;
}

static PyMethodDef parameters_methods[] = {
    {"get", parameters_get, METH_O, "A copy of one tensor."},
    {"set", parameters_set, METH_O, "Copy values in, all or none."},
    {"glorot_uniform", (PyCFunction)(void (*)(void))parameters_glorot_uniform,
     METH_VARARGS | METH_KEYWORDS, "Draw one tensor from glorot_uniform."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef parameters_getset[] = {
    {"version", parameters_version, NULL, "Raised by every change.", NULL},
    {"nbytes", parameters_nbytes, NULL, "Size of the arena in bytes.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot parameters_slots[] = {
    {Py_tp_doc, "A fixed arena of float32 tensors, shared by every network that uses it."},
    {Py_tp_new, parameters_new},
    {Py_tp_dealloc, parameters_dealloc},
    {Py_tp_traverse, parameters_traverse},
    {Py_tp_methods, parameters_methods},
    {Py_tp_getset, parameters_getset},
    {Py_sq_length, parameters_length},
    {0, NULL},
};

PyType_Spec tl_parameters_spec = {
    .name = "tlcore._core.Parameters",
    .basicsize = sizeof(ParametersObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = parameters_slots,
};
