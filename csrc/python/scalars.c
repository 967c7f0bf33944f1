/* Single arguments: integers, numbers, strings. Each error names the argument. */
#include "binding.h"

#include <string.h>

int
tl_integer_from(long long *out, PyObject *value, long long least, long long most,
                const char *argument)
{
    int result = -1;
    int beyond;
    PyObject *given = NULL;
    PyObject *integer = NULL;
    if (!PyIndex_Check(value)) {
        PyErr_Format(PyExc_TypeError, "%s must be an integer, not %.100s", argument,
                     Py_TYPE(value)->tp_name);
        goto done;
    }
    integer = PyNumber_Index(value);
    if (integer == NULL) {
        goto done;
    }
    const long long n = PyLong_AsLongLongAndOverflow(integer, &beyond);
    if (beyond == 0 && n >= least && n <= most) {
        *out = n;
        result = 0;
        goto done;
    }
    given = PyObject_Repr(integer);
    if (given == NULL && PyErr_ExceptionMatches(PyExc_ValueError)) {
        PyErr_Clear(); /* Python refuses to print thousands of digits */
        given = PyUnicode_FromString("one of thousands of digits");
    }
    if (given != NULL) {
        PyErr_Format(PyExc_ValueError, "%s must be an integer from %lld to %lld, not %.40U",
                     argument, least, most, given);
    }
done:
    Py_XDECREF(given);
    Py_XDECREF(integer);
    return result;
}

int
tl_size_from(size_t *out, PyObject *value, const char *argument)
{
    long long n;
    if (tl_integer_from(&n, value, 0, PY_SSIZE_T_MAX, argument) < 0) {
        return -1;
    }
    *out = (size_t)n;
    return 0;
}

int
tl_number_from(double *out, PyObject *value, const char *argument)
{
    const PyNumberMethods *methods = Py_TYPE(value)->tp_as_number;
    if (methods == NULL || (methods->nb_float == NULL && methods->nb_index == NULL)) {
        PyErr_Format(PyExc_TypeError, "%s must be a number, not %.100s", argument,
                     Py_TYPE(value)->tp_name);
        return -1;
    }
    const double number = PyFloat_AsDouble(value);
    if (number == -1.0 && PyErr_Occurred()) {
        if (PyLong_Check(value) && PyErr_ExceptionMatches(PyExc_OverflowError)) {
            PyErr_Format(PyExc_ValueError, "%s must fit a float, not be an integer beyond it",
                         argument);
        }
        return -1;
    }
    *out = number;
    return 0;
}

int
tl_flag_from(bool *out, PyObject *value)
{
    const int truth = PyObject_IsTrue(value);
    if (truth < 0) {
        return -1;
    }
    *out = truth != 0;
    return 0;
}

int
tl_text_from(const char **out, PyObject *value, const char *argument)
{
    Py_ssize_t size;
    if (!PyUnicode_Check(value)) {
        PyErr_Format(PyExc_TypeError, "%s must be a string, not %.100s", argument,
                     Py_TYPE(value)->tp_name);
        return -1;
    }
    const char *text = PyUnicode_AsUTF8AndSize(value, &size);
    if (text == NULL) {
        return -1;
    }
    if (strlen(text) != (size_t)size) {
        PyErr_Format(PyExc_ValueError, "%s must not hold a null character", argument);
        return -1;
    }
    *out = text;
    return 0;
}

PyObject *
tl_items_from(PyObject *sequence, const char *argument, const char *kind)
{
    if (Py_TYPE(sequence)->tp_iter == NULL && !PySequence_Check(sequence)) {
        return PyErr_Format(PyExc_TypeError, "%s must be a sequence of %s, not %.100s",
                            argument, kind, Py_TYPE(sequence)->tp_name);
    }
    return PySequence_Tuple(sequence);
}

int
tl_float_from(float *out, PyObject *value, const char *argument)
{
    double number;
    if (tl_number_from(&number, value, argument) < 0) {
        return -1;
    }
    *out = (float)number;
    return 0;
}
