/* tlcore._core.logistic_regression: one function, which goes in slices. */
#include "binding.h"

#include "core/logistic.h"

static const double SLICE_SECONDS = 0.05;

/* What the plan points to. All owned. */
typedef struct logistic_arrays {
    PyArrayObject *features, *labels, *weights, *start;
} logistic_arrays;

static void
arrays_clear(logistic_arrays *arrays)
{
    Py_CLEAR(arrays->features);
    Py_CLEAR(arrays->labels);
    Py_CLEAR(arrays->weights);
    Py_CLEAR(arrays->start);
}

/* (rows, width) of any kind of numbers. */
static PyArrayObject *
features_from(PyObject *object)
{
    PyArrayObject *features = NULL;
    PyArrayObject *given = (PyArrayObject *)PyArray_FromAny(object, NULL, 0, 0, 0, NULL);
    if (given == NULL) {
        return NULL;
    }
    if (PyArray_NDIM(given) != 2) {
        PyErr_Format(PyExc_ValueError, "features must have 2 axes, (rows, width), not %d",
                     PyArray_NDIM(given));
    } else {
        const tl_shape row = tl_shape_1((size_t)PyArray_DIM(given, 1));
        features = tl_rows_from((PyObject *)given, &row, "features");
    }
    Py_DECREF(given);
    return features;
}

/* (rows) integers. */
static PyArrayObject *
labels_from(PyObject *object, npy_intp rows)
{
    PyArrayObject *labels = NULL;
    PyArrayObject *given = (PyArrayObject *)PyArray_FromAny(object, NULL, 0, 0, 0, NULL);
    if (given == NULL) {
        return NULL;
    }
    if (!PyArray_ISINTEGER(given)) {
        PyErr_Format(PyExc_TypeError, "labels must hold integers, not %R",
                     PyArray_DESCR(given));
    } else if (PyArray_NDIM(given) != 1 || PyArray_DIM(given, 0) != rows) {
        PyErr_Format(PyExc_ValueError, "labels must have the shape (%zd,), one a row",
                     (Py_ssize_t)rows);
    } else {
        labels = (PyArrayObject *)PyArray_FROM_OTF((PyObject *)given, NPY_INT64,
                                                   NPY_ARRAY_IN_ARRAY | NPY_ARRAY_FORCECAST);
    }
    Py_DECREF(given);
    return labels;
}

/* (width + 1, outputs) as double. */
static PyArrayObject *
start_from(PyObject *object, const tl_logistic_plan *plan)
{
    PyArrayObject *start = NULL;
    PyArrayObject *given = (PyArrayObject *)PyArray_FromAny(object, NULL, 0, 0, 0, NULL);
    if (given == NULL) {
        return NULL;
    }
    if (!PyArray_ISFLOAT(given) && !PyArray_ISINTEGER(given)) {
        PyErr_Format(PyExc_TypeError, "start must hold real numbers, not %R",
                     PyArray_DESCR(given));
    } else if (PyArray_NDIM(given) != 2 || (size_t)PyArray_DIM(given, 0) != plan->width + 1 ||
               (size_t)PyArray_DIM(given, 1) != plan->outputs) {
        PyErr_Format(PyExc_ValueError,
                     "start must have the shape (%zu, %zu): weights, then the bias",
                     plan->width + 1, plan->outputs);
    } else {
        start = (PyArrayObject *)PyArray_FROM_OTF((PyObject *)given, NPY_DOUBLE,
                                                  NPY_ARRAY_IN_ARRAY | NPY_ARRAY_FORCECAST);
    }
    Py_DECREF(given);
    return start;
}

static int
read_plan(tl_logistic_plan *plan, logistic_arrays *arrays, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"features", "labels",    "outputs",        "l2", "sample_weight",
                            "start",    "tolerance", "max_iterations", NULL};
    PyObject *features;
    PyObject *labels;
    PyObject *outputs;
    PyObject *l2;
    PyObject *weights = Py_None;
    PyObject *start = Py_None;
    PyObject *tolerance = NULL;
    PyObject *iterations = NULL;
    *plan = (tl_logistic_plan){.tolerance = 1e-6, .iterations = 1000};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOO|$OOOO:logistic_regression", names,
                                     &features, &labels, &outputs, &l2, &weights, &start,
                                     &tolerance, &iterations) ||
        tl_size_from(&plan->outputs, outputs, "outputs") < 0 ||
        tl_number_from(&plan->l2, l2, "l2") < 0 ||
        (tolerance != NULL && tl_number_from(&plan->tolerance, tolerance, "tolerance") < 0) ||
        (iterations != NULL &&
         tl_size_from(&plan->iterations, iterations, "max_iterations") < 0)) {
        return -1;
    }
    arrays->features = features_from(features);
    if (arrays->features == NULL) {
        return -1;
    }
    const npy_intp rows = PyArray_DIM(arrays->features, 0);
    plan->rows = (size_t)rows;
    plan->width = (size_t)PyArray_DIM(arrays->features, 1);
    plan->features = PyArray_DATA(arrays->features);
    arrays->labels = labels_from(labels, rows);
    if (arrays->labels == NULL) {
        return -1;
    }
    plan->labels = PyArray_DATA(arrays->labels);
    if (weights != Py_None) {
        const tl_shape shape = tl_shape_1(plan->rows);
        arrays->weights = tl_array_from(weights, &shape, "sample_weight");
        if (arrays->weights == NULL) {
            return -1;
        }
        plan->weights = PyArray_DATA(arrays->weights);
    }
    if (start != Py_None) {
        arrays->start = start_from(start, plan);
        if (arrays->start == NULL) {
            return -1;
        }
        plan->start = PyArray_DATA(arrays->start);
    }
    return 0;
}

/* 0, or -1 with an exception. */
static int
run_in_slices(tl_logistic *fit, const module_state *state)
{
    double effort = 1e6;
    while (!tl_logistic_is_done(fit)) {
        tl_status status;
        double elapsed;
        tl_detail_clear();
        Py_BEGIN_ALLOW_THREADS
        elapsed = -tl_seconds();
        status = tl_logistic_advance(fit, effort);
        elapsed += tl_seconds();
        Py_END_ALLOW_THREADS
        if (status != TL_OK) {
            tl_raise(state, status);
            return -1;
        }
        if (PyErr_CheckSignals() < 0) {
            return -1;
        }
        const double fitting = effort * SLICE_SECONDS / (elapsed > 1e-6 ? elapsed : 1e-6);
        effort = fitting < 4 * effort ? fitting : 4 * effort;
    }
    return 0;
}

static PyObject *
new_matrix(size_t rows, size_t cols)
{
    npy_intp dims[2] = {(npy_intp)rows, (npy_intp)cols};
    return PyArray_SimpleNew(2, dims, NPY_DOUBLE);
}

/* A new dict of what the fit has found. */
static PyObject *
found(const tl_logistic *fit, const tl_logistic_plan *plan)
{
    tl_logistic_result result;
    PyObject *dict = NULL;
    npy_intp outputs = (npy_intp)plan->outputs;
    PyObject *weights = new_matrix(plan->width, plan->outputs);
    PyObject *bias = PyArray_SimpleNew(1, &outputs, NPY_DOUBLE);
    PyObject *probabilities = new_matrix(plan->rows, plan->outputs);
    if (weights != NULL && bias != NULL && probabilities != NULL) {
        tl_logistic_read(fit, PyArray_DATA((PyArrayObject *)weights),
                         PyArray_DATA((PyArrayObject *)bias),
                         PyArray_DATA((PyArrayObject *)probabilities), &result);
        dict = Py_BuildValue("{s:O,s:O,s:O,s:d,s:d,s:n,s:O}", "weights", weights, "bias", bias,
                             "probabilities", probabilities, "value", result.value, "loss",
                             result.loss, "iterations", (Py_ssize_t)result.iterations,
                             "converged", result.converged ? Py_True : Py_False);
    }
    Py_XDECREF(weights);
    Py_XDECREF(bias);
    Py_XDECREF(probabilities);
    return dict;
}

/* logistic_regression(features, labels, outputs, l2, *, sample_weight=None, start=None,
 * tolerance=1e-6, max_iterations=1000) -> dict. */
PyObject *
tl_logistic_regression_method(PyObject *module, PyObject *args, PyObject *kwargs)
{
    const module_state *state = PyModule_GetState(module);
    logistic_arrays arrays = {NULL, NULL, NULL, NULL};
    tl_logistic_plan plan;
    tl_logistic *fit = NULL;
    tl_status status;
    PyObject *result = NULL;
    if (read_plan(&plan, &arrays, args, kwargs) < 0) {
        goto done;
    }
    tl_detail_clear();
    Py_BEGIN_ALLOW_THREADS
    status = tl_logistic_create(&fit, &plan);
    Py_END_ALLOW_THREADS
    if (status != TL_OK) {
        tl_raise(state, status);
        goto done;
    }
    if (run_in_slices(fit, state) == 0) {
        result = found(fit, &plan);
    }
done:
    tl_logistic_destroy(fit);
    arrays_clear(&arrays);
    return result;
}
