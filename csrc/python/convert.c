/* Shapes, batches and flags between Python and the core. */
#include "binding.h"

int
tl_shape_from(tl_shape *shape, PyObject *sequence, const char *argument)
{
    int result = -1;
    tl_shape converted = {0, {0, 0, 0, 0}};
    PyObject *items = tl_items_from(sequence, argument, "integers");
    if (items == NULL) {
        goto done;
    }
    if (PyTuple_GET_SIZE(items) < 1 || PyTuple_GET_SIZE(items) > TL_MAX_RANK) {
        PyErr_Format(PyExc_ValueError, "%s must hold 1 to %d integers, not %zd", argument,
                     TL_MAX_RANK, PyTuple_GET_SIZE(items));
        goto done;
    }
    converted.rank = (size_t)PyTuple_GET_SIZE(items);
    for (size_t i = 0; i < converted.rank; i++) {
        PyObject *item = PyTuple_GET_ITEM(items, (Py_ssize_t)i);
        char place[160];
        (void)PyOS_snprintf(place, sizeof place, "%.128s[%zu]", argument, i);
        if (tl_size_from(&converted.dims[i], item, place) < 0) {
            goto done;
        }
    }
    *shape = converted;
    result = 0;
done:
    Py_XDECREF(items);
    return result;
}

PyObject *
tl_sizes_to(const size_t *sizes, size_t count)
{
    PyObject *tuple = PyTuple_New((Py_ssize_t)count);
    for (size_t i = 0; tuple != NULL && i < count; i++) {
        PyObject *n = PyLong_FromSize_t(sizes[i]);
        if (n == NULL) {
            Py_CLEAR(tuple);
            break;
        }
        PyTuple_SET_ITEM(tuple, (Py_ssize_t)i, n); /* handed over */
    }
    return tuple;
}

int
tl_pair_from(size_t out[2], PyObject *sequence, const char *argument)
{
    tl_shape pair;
    if (tl_shape_from(&pair, sequence, argument) < 0) {
        return -1;
    }
    if (pair.rank != 2) {
        PyErr_Format(PyExc_ValueError, "%s must hold 2 integers, not %zu", argument, pair.rank);
        return -1;
    }
    memcpy(out, pair.dims, 2 * sizeof *out);
    return 0;
}

PyObject *
tl_shape_to(const tl_shape *shape)
{
    return tl_sizes_to(shape->dims, shape->rank);
}

/* `first` is 1 where the array's first axis is the batch, otherwise 0. */
static bool
shape_fits(PyArrayObject *array, const tl_shape *shape, size_t first)
{
    if ((size_t)PyArray_NDIM(array) != shape->rank + first) {
        return false;
    }
    for (size_t i = 0; i < shape->rank; i++) {
        if ((size_t)PyArray_DIM(array, (int)(i + first)) != shape->dims[i]) {
            return false;
        }
    }
    return true;
}

/* (None, 224, 224, 3), or without the None. Returns a new tuple. */
static PyObject *
wanted_shape(const tl_shape *shape, size_t first)
{
    PyObject *dims = tl_shape_to(shape);
    PyObject *wanted = dims;
    if (dims != NULL && first == 1) {
        PyObject *batch = PyTuple_Pack(1, Py_None);
        wanted = batch == NULL ? NULL : PySequence_Concat(batch, dims);
        Py_XDECREF(batch);
        Py_DECREF(dims);
    }
    return wanted;
}

static void
raise_bad_shape(PyArrayObject *array, const tl_shape *shape, size_t first, const char *argument)
{
    PyObject *wanted = wanted_shape(shape, first);
    PyObject *given =
        wanted == NULL ? NULL : PyObject_GetAttrString((PyObject *)array, "shape");
    if (given != NULL) {
        PyErr_Format(PyExc_ValueError, "%s must have the shape %R, not %R", argument, wanted,
                     given);
    }
    Py_XDECREF(wanted);
    Py_XDECREF(given);
}

static PyArrayObject *
array_from(PyObject *object, const tl_shape *shape, size_t first, int type,
           const char *argument)
{
    PyArrayObject *theirs = (PyArrayObject *)PyArray_FromAny(object, NULL, 0, 0, 0, NULL);
    PyArrayObject *raw = NULL;
    PyArrayObject *array = NULL;
    if (theirs == NULL) {
        goto done;
    }
    /* ours: no subclass, and no later assignment to the other one's shape changes it */
    raw = (PyArrayObject *)PyArray_View(theirs, NULL, &PyArray_Type);
    if (raw == NULL) {
        goto done;
    }
    if (!PyArray_ISNUMBER(raw) && !PyArray_ISBOOL(raw)) {
        PyErr_Format(PyExc_TypeError, "%s must hold numbers, not %R", argument,
                     PyArray_DESCR(raw));
        goto done;
    }
    if (PyArray_ISCOMPLEX(raw)) {
        PyErr_Format(PyExc_TypeError, "%s must hold real numbers, not complex ones", argument);
        goto done;
    }
    if (!shape_fits(raw, shape, first)) {
        raise_bad_shape(raw, shape, first, argument);
        goto done;
    }
    array = (PyArrayObject *)PyArray_FROM_OTF((PyObject *)raw, type,
                                              NPY_ARRAY_IN_ARRAY | NPY_ARRAY_FORCECAST);
done:
    Py_XDECREF(raw);
    Py_XDECREF(theirs);
    return array;
}

PyArrayObject *
tl_array_from(PyObject *object, const tl_shape *shape, const char *argument)
{
    return array_from(object, shape, 0, NPY_FLOAT32, argument);
}

PyArrayObject *
tl_rows_from(PyObject *object, const tl_shape *shape, const char *argument)
{
    return array_from(object, shape, 1, NPY_FLOAT32, argument);
}

PyArrayObject *
tl_byte_rows_from(PyArrayObject *bytes, const tl_shape *shape, const char *argument)
{
    return array_from((PyObject *)bytes, shape, 1, NPY_UINT8, argument);
}

PyArrayObject *
tl_new_array(npy_intp rows, const tl_shape *shape)
{
    npy_intp dims[TL_MAX_RANK + 1];
    int rank = 0;
    if (rows >= 0) {
        dims[rank++] = rows;
    }
    for (size_t i = 0; i < shape->rank; i++) {
        dims[rank++] = (npy_intp)shape->dims[i];
    }
    return (PyArrayObject *)PyArray_SimpleNew(rank, dims, NPY_FLOAT32);
}

bool *
tl_flags_from(PyObject *sequence, size_t count, const char *argument)
{
    bool *flags = NULL;
    bool *filled = NULL;
    PyObject *items = tl_items_from(sequence, argument, "booleans");
    if (items == NULL) {
        goto done;
    }
    if ((size_t)PyTuple_GET_SIZE(items) != count) {
        PyErr_Format(PyExc_ValueError, "%s must hold %zu booleans, one a tensor, not %zd",
                     argument, count, PyTuple_GET_SIZE(items));
        goto done;
    }
    flags = PyMem_Malloc((count + 1) * sizeof *flags);
    if (flags == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    for (size_t i = 0; i < count; i++) {
        if (tl_flag_from(&flags[i], PyTuple_GET_ITEM(items, (Py_ssize_t)i)) < 0) {
            goto done;
        }
    }
    filled = flags;
    flags = NULL;
done:
    PyMem_Free(flags);
    Py_XDECREF(items);
    return filled;
}
