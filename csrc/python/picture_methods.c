/* Network.draw and Network.change: pictures that are changed at random in front of a training.
 */
#include "binding.h"

#include "core/augmentation.h"
#include "core/pool.h"
#include "kernels/pictures.h"

static const double SLICE_SECONDS = 0.1;

static const tl_shape drawn_shape = {1, {TL_DRAWN, 0, 0, 0}};

/* Network.draw(node, seed, batch, rows) -> float32 (rows, 8) */
PyObject *
tl_network_draw_method(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"node", "seed", "batch", "rows", NULL};
    const tl_graph *graph = tl_network_graph(((NetworkObject *)op)->network);
    PyObject *objects[4];
    size_t values[4];
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOO:draw", names, &objects[0], &objects[1],
                                     &objects[2], &objects[3])) {
        return NULL;
    }
    for (size_t i = 0; i < 4; i++) {
        if (tl_size_from(&values[i], objects[i], names[i]) < 0) {
            return NULL;
        }
    }
    if (values[3] > (size_t)PY_SSIZE_T_MAX / (TL_DRAWN * sizeof(float))) {
        return PyErr_NoMemory();
    }
    PyArrayObject *numbers = tl_new_array((npy_intp)values[3], &drawn_shape);
    if (numbers == NULL) {
        return NULL;
    }
    tl_status status;
    tl_detail_clear();
    Py_BEGIN_ALLOW_THREADS
    status = tl_augmentation_draw(PyArray_DATA(numbers), graph, values[0], values[1], values[2],
                                  values[3]);
    Py_END_ALLOW_THREADS
    if (status != TL_OK) {
        tl_raise(state_of(op), status);
        Py_CLEAR(numbers);
    }
    return (PyObject *)numbers;
}

/* Network.change(x, node, numbers) -> values of node. New array, or NULL with an exception. */
PyObject *
tl_network_change_method(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"x", "node", "numbers", NULL};
    const tl_graph *graph = tl_network_graph(((NetworkObject *)op)->network);
    PyObject *x;
    PyObject *node_object;
    PyObject *numbers_object;
    long long node;
    PyArrayObject *src = NULL;     /* owned */
    PyArrayObject *numbers = NULL; /* owned */
    PyArrayObject *dst = NULL;     /* owned, and the result once it is filled */
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOO:change", names, &x, &node_object,
                                     &numbers_object) ||
        tl_integer_from(&node, node_object, 1, (long long)graph->count - 1, "node") < 0) {
        return NULL;
    }
    const tl_shape *src_shape = &graph->nodes[graph->nodes[node].inputs[0]].shape;
    const tl_shape *dst_shape = &graph->nodes[node].shape;
    src = tl_rows_from(x, src_shape, "x");
    if (src == NULL) {
        goto done;
    }
    numbers = tl_rows_from(numbers_object, &drawn_shape, "numbers");
    if (numbers == NULL) {
        goto done;
    }
    const npy_intp rows = PyArray_DIM(src, 0);
    if (PyArray_DIM(numbers, 0) != rows) {
        PyErr_Format(PyExc_ValueError,
                     "numbers must hold a row for each of %zd pictures, not "
                     "%zd",
                     (Py_ssize_t)rows, (Py_ssize_t)PyArray_DIM(numbers, 0));
        goto done;
    }
    dst = tl_new_array(rows, dst_shape);
    if (dst == NULL) {
        goto done;
    }
    size_t slice = tl_pool_threads();
    for (size_t row = 0; row < (size_t)rows;) {
        const size_t left = (size_t)rows - row;
        const size_t count = left < slice ? left : slice;
        const float *from = (const float *)PyArray_DATA(src);
        const float *drawn = (const float *)PyArray_DATA(numbers);
        float *to = PyArray_DATA(dst);
        tl_status status;
        double elapsed;
        tl_detail_clear();
        Py_BEGIN_ALLOW_THREADS
        elapsed = -tl_seconds();
        status = tl_pictures_change(to + row * tl_shape_elements(dst_shape),
                                    from + row * tl_shape_elements(src_shape), graph,
                                    (size_t)node, drawn + row * TL_DRAWN, count);
        elapsed += tl_seconds();
        Py_END_ALLOW_THREADS
        if (status != TL_OK) {
            tl_raise(state_of(op), status);
            Py_CLEAR(dst);
            goto done;
        }
        row += count;
        if (row < (size_t)rows && PyErr_CheckSignals() < 0) {
            Py_CLEAR(dst);
            goto done;
        }
        slice = elapsed < SLICE_SECONDS / 4 ? 2 * slice : slice;
    }
done:
    Py_XDECREF(numbers);
    Py_XDECREF(src);
    return (PyObject *)dst;
}
