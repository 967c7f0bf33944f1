/* Shapes, batches and flags between Python and the core. */
#include "binding.h"

int
tl_shape_from(tl_shape *shape, PyObject *sequence, const char *argument)
{
    int result = -1;
    tl_shape converted = {0, {0, 0, 0, 0}};
    PyObject *items = PySequence_Tuple(sequence);
    if (items == NULL) {
        PyErr_Format(PyExc_TypeError, "%s must be a sequence of integers, not %.100s", argument,
                     Py_TYPE(sequence)->tp_name);
        goto done;
    }
    if (PyTuple_GET_SIZE(items) < 1 || PyTuple_GET_SIZE(items) > TL_MAX_RANK) {
        PyErr_Format(PyExc_ValueError, "%s must hold 1 to %d integers, not %zd", argument,
                     TL_MAX_RANK, PyTuple_GET_SIZE(items));
        goto done;
    }
    converted.rank = (size_t)PyTuple_GET_SIZE(items);
    for (size_t i = 0; i < converted.rank; i++) {
        const Py_ssize_t n =
            PyNumber_AsSsize_t(PyTuple_GET_ITEM(items, (Py_ssize_t)i), PyExc_OverflowError);
        if (n == -1 && PyErr_Occurred()) {
            goto done;
        }
        if (n < 0) {
            PyErr_Format(PyExc_ValueError, "%s must not hold a negative number, but holds %zd",
                         argument, n);
            goto done;
        }
        converted.dims[i] = (size_t)n;
    }
    *shape = converted;
    result = 0;
done:
    Py_XDECREF(items);
    return result;
}

PyObject *
tl_shape_to(const tl_shape *shape)
{
    PyObject *tuple = PyTuple_New((Py_ssize_t)shape->rank);
    for (size_t i = 0; tuple != NULL && i < shape->rank; i++) {
        PyObject *n = PyLong_FromSize_t(shape->dims[i]);
        if (n == NULL) {
            Py_CLEAR(tuple);
            break;
        }
        PyTuple_SET_ITEM(tuple, (Py_ssize_t)i, n); /* handed over */
    }
    return tuple;
}

static bool
rows_fit(PyArrayObject *array, const tl_shape *shape)
{
    if ((size_t)PyArray_NDIM(array) != shape->rank + 1) {
        return false;
    }
    for (size_t i = 0; i < shape->rank; i++) {
        if ((size_t)PyArray_DIM(array, (int)i + 1) != shape->dims[i]) {
            return false;
        }
    }
    return true;
}

/* "(None, 224, 224, 3)" of a shape, or of an array without the None. Returns a new string. */
static PyObject *
shape_text(const npy_intp *dims, int rank, bool with_batch)
{
    PyObject *text = PyUnicode_FromString(with_batch ? "(None, " : "(");
    for (int i = 0; text != NULL && i < rank; i++) {
        const char *end = i + 1 < rank ? ", " : (rank == 1 && !with_batch ? ",)" : ")");
        PyObject *piece = PyUnicode_FromFormat("%zd%s", (Py_ssize_t)dims[i], end);
        if (piece == NULL) {
            Py_CLEAR(text);
            break;
        }
        Py_SETREF(text, PyUnicode_Concat(text, piece));
        Py_DECREF(piece);
    }
    return text;
}

static void
raise_bad_rows(PyArrayObject *array, const tl_shape *shape, const char *argument)
{
    npy_intp dims[TL_MAX_RANK];
    PyObject *wanted = NULL;
    PyObject *given = NULL;
    for (size_t i = 0; i < shape->rank; i++) {
        dims[i] = (npy_intp)shape->dims[i];
    }
    wanted = shape_text(dims, (int)shape->rank, true);
    given = shape_text(PyArray_DIMS(array), PyArray_NDIM(array), false);
    if (wanted != NULL && given != NULL) {
        PyErr_Format(PyExc_ValueError, "%s must have the shape %U, not %U", argument, wanted,
                     given);
    }
    Py_XDECREF(wanted);
    Py_XDECREF(given);
}

PyArrayObject *
tl_rows_from(PyObject *object, const tl_shape *shape, const char *argument)
{
    PyArrayObject *raw = (PyArrayObject *)PyArray_FromAny(object, NULL, 0, 0, 0, NULL);
    PyArrayObject *rows = NULL;
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
    if (!rows_fit(raw, shape)) {
        raise_bad_rows(raw, shape, argument);
        goto done;
    }
    rows = (PyArrayObject *)PyArray_FROM_OTF((PyObject *)raw, NPY_FLOAT32,
                                             NPY_ARRAY_IN_ARRAY | NPY_ARRAY_FORCECAST);
done:
    Py_XDECREF(raw);
    return rows;
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
    PyObject *items = PySequence_Tuple(sequence);
    if (items == NULL) {
        PyErr_Format(PyExc_TypeError, "%s must be a sequence of booleans, not %.100s", argument,
                     Py_TYPE(sequence)->tp_name);
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
        const int truth = PyObject_IsTrue(PyTuple_GET_ITEM(items, (Py_ssize_t)i));
        if (truth < 0) {
            goto done;
        }
        flags[i] = truth != 0;
    }
    filled = flags;
    flags = NULL;
done:
    PyMem_Free(flags);
    Py_XDECREF(items);
    return filled;
}
