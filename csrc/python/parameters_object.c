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
    PyObject *items = PySequence_Tuple(specs);
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

/* The tensor of that index, or NULL with an exception. */
static tl_tensor *
tensor_at(ParametersObject *self, Py_ssize_t index)
{
    if (index < 0 || (size_t)index >= self->parameters->count) {
        PyErr_Format(PyExc_IndexError, "index must be from 0 to %zu, not %zd",
                     self->parameters->count - 1, index);
        return NULL;
    }
    return &self->parameters->tensors[index];
}

/* Parameters.get(index) -> a copy */
static PyObject *
parameters_get(PyObject *op, PyObject *arg)
{
    ParametersObject *self = (ParametersObject *)op;
    const Py_ssize_t index = PyNumber_AsSsize_t(arg, PyExc_OverflowError);
    if (index == -1 && PyErr_Occurred()) {
        return NULL;
    }
    const tl_tensor *tensor = tensor_at(self, index);
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

typedef struct assignment {
    tl_tensor *tensor;
    PyArrayObject *value; /* owned */
} assignment;

static void
free_assignments(assignment *list, size_t count)
{
    for (size_t i = 0; list != NULL && i < count; i++) {
        Py_XDECREF(list[i].value);
    }
    PyMem_Free(list);
}

/* A float32 array of exactly the tensor's shape. */
static PyArrayObject *
value_for(const tl_tensor *tensor, PyObject *object, Py_ssize_t index)
{
    PyArrayObject *value = (PyArrayObject *)PyArray_FROM_OTF(
        object, NPY_FLOAT32, NPY_ARRAY_IN_ARRAY | NPY_ARRAY_FORCECAST);
    if (value == NULL) {
        return NULL;
    }
    bool fits = (size_t)PyArray_NDIM(value) == tensor->shape.rank;
    for (size_t i = 0; fits && i < tensor->shape.rank; i++) {
        fits = (size_t)PyArray_DIM(value, (int)i) == tensor->shape.dims[i];
    }
    if (!fits) {
        PyObject *wanted = tl_shape_to(&tensor->shape);
        PyObject *given = PyObject_GetAttrString((PyObject *)value, "shape");
        if (wanted != NULL && given != NULL) {
            PyErr_Format(PyExc_ValueError, "values must give tensor %zd the shape %R, not %R",
                         index, wanted, given);
        }
        Py_XDECREF(wanted);
        Py_XDECREF(given);
        Py_CLEAR(value);
    }
    return value;
}

/* Parameters.set([(index, value), ...]): all or none */
static PyObject *
parameters_set(PyObject *op, PyObject *arg)
{
    ParametersObject *self = (ParametersObject *)op;
    PyObject *result = NULL;
    PyObject *items = PySequence_Tuple(arg);
    assignment *list = NULL;
    size_t count = 0;
    if (items == NULL) {
        return NULL;
    }
    count = (size_t)PyTuple_GET_SIZE(items);
    list = PyMem_Calloc(count + 1, sizeof *list);
    if (list == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    for (size_t i = 0; i < count; i++) {
        PyObject *item = PyTuple_GET_ITEM(items, (Py_ssize_t)i);
        Py_ssize_t index;
        PyObject *value;
        if (!PyTuple_Check(item)) {
            PyErr_SetString(PyExc_TypeError, "values must hold tuples of (index, array)");
            goto done;
        }
        if (!PyArg_ParseTuple(item, "nO;values must hold tuples of (index, array)", &index,
                              &value)) {
            goto done;
        }
        list[i].tensor = tensor_at(self, index);
        if (list[i].tensor == NULL) {
            goto done;
        }
        list[i].value = value_for(list[i].tensor, value, index);
        if (list[i].value == NULL) {
            goto done;
        }
    }
    Py_BEGIN_ALLOW_THREADS
    tl_rwlock_write(&self->parameters->lock);
    tl_fork_guard_enter(); /* a forked child must not see a half-written tensor */
    for (size_t i = 0; i < count; i++) {
        memcpy(list[i].tensor->data, PyArray_DATA(list[i].value),
               list[i].tensor->count * sizeof(float));
    }
    self->parameters->version++;
    tl_fork_guard_leave();
    tl_rwlock_unlock(&self->parameters->lock);
    Py_END_ALLOW_THREADS
    result = Py_NewRef(Py_None);
done:
    free_assignments(list, count);
    Py_DECREF(items);
    return result;
}

/* Parameters.glorot_uniform(index, seed) */
static PyObject *
parameters_glorot_uniform(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"index", "seed", NULL};
    ParametersObject *self = (ParametersObject *)op;
    Py_ssize_t index;
    unsigned long long seed;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "nK:glorot_uniform", names, &index, &seed)) {
        return NULL;
    }
    tl_tensor *tensor = tensor_at(self, index);
    if (tensor == NULL) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    tl_rwlock_write(&self->parameters->lock);
    tl_fork_guard_enter();
    tl_random_glorot_uniform(tensor->data, &tensor->shape, seed);
    self->parameters->version++;
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
