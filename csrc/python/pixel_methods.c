/* Pixels of one picture after another: numbers of bytes, bytes without gaps. */
#include "python/binding.h"

#include "image/pixels.h"

enum { SMALL = 256 << 10 }; /* bytes, copied in some 20 microseconds */

/* Whether the pixels of a picture lie one after another, with gaps between them at most. */
static bool
has_even_steps(PyArrayObject *src, size_t *pixels, size_t *channels, size_t *step)
{
    if (PyArray_NDIM(src) != 3 || PyArray_SIZE(src) == 0) {
        return false;
    }
    const npy_intp *shape = PyArray_DIMS(src);
    const npy_intp *strides = PyArray_STRIDES(src);
    if (shape[2] > 4 || strides[2] != 1 || strides[1] < shape[2] ||
        strides[0] != shape[1] * strides[1]) {
        return false;
    }
    *pixels = (size_t)(shape[0] * shape[1]);
    *channels = (size_t)shape[2];
    *step = (size_t)strides[1];
    return true;
}

/* The layout of src; -1 and a ValueError if it is none that is known. */
static int
read_layout(PyArrayObject *src, size_t *pixels, size_t *channels, size_t *step)
{
    if (PyArray_TYPE(src) == NPY_UINT8) {
        if (PyArray_IS_C_CONTIGUOUS(src)) {
            *pixels = (size_t)PyArray_SIZE(src);
            *channels = *step = 1;
            return 0;
        }
        if (has_even_steps(src, pixels, channels, step)) {
            return 0;
        }
    }
    PyErr_SetString(PyExc_ValueError,
                    "src must be a C-contiguous array of uint8, or one picture (height, width, "
                    "at most 4 channels) whose pixels lie at equal distances");
    return -1;
}

/* Whether dst is a place for the numbers of src; false and a ValueError if it is not. */
static bool
is_place_for(PyArrayObject *dst, PyArrayObject *src, int type, const char *type_name)
{
    if (PyArray_TYPE(dst) != type || !PyArray_IS_C_CONTIGUOUS(dst) || !PyArray_ISBEHAVED(dst)) {
        PyErr_Format(PyExc_ValueError, "dst must be a writable C-contiguous array of %s",
                     type_name);
        return false;
    }
    if (PyArray_SIZE(dst) != PyArray_SIZE(src)) {
        PyErr_Format(PyExc_ValueError, "dst must hold as many numbers as src, %zd, not %zd",
                     (Py_ssize_t)PyArray_SIZE(src), (Py_ssize_t)PyArray_SIZE(dst));
        return false;
    }
    return true;
}

/* pixels_to_float(dst, src, divide, scale, offset) */
PyObject *
tl_pixels_to_float_method(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"dst", "src", "divide", "scale", "offset", NULL};
    PyArrayObject *dst;
    PyArrayObject *src;
    PyObject *numbers[3]; /* named by the last three of names[] */
    double values[3];
    (void)module;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!O!OOO:pixels_to_float", names,
                                     &PyArray_Type, &dst, &PyArray_Type, &src, &numbers[0],
                                     &numbers[1], &numbers[2])) {
        return NULL;
    }
    for (size_t i = 0; i < 3; i++) {
        if (tl_number_from(&values[i], numbers[i], names[2 + i]) < 0) {
            return NULL;
        }
    }
    size_t pixels;
    size_t channels;
    size_t step;
    if (read_layout(src, &pixels, &channels, &step) < 0 ||
        !is_place_for(dst, src, NPY_FLOAT32, "float32")) {
        return NULL;
    }
    const tl_pixel_map map = {(float)values[0], (float)values[1], (float)values[2]};
    Py_BEGIN_ALLOW_THREADS
    tl_pixels_to_float(PyArray_DATA(dst), PyArray_DATA(src), pixels, channels, step, &map);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

/* pixels_pack(dst, src) */
PyObject *
tl_pixels_pack_method(PyObject *module, PyObject *args)
{
    PyArrayObject *dst;
    PyArrayObject *src;
    size_t pixels;
    size_t channels;
    size_t step;
    (void)module;
    if (!PyArg_ParseTuple(args, "O!O!:pixels_pack", &PyArray_Type, &dst, &PyArray_Type, &src) ||
        read_layout(src, &pixels, &channels, &step) < 0 ||
        !is_place_for(dst, src, NPY_UINT8, "uint8")) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    tl_pixels_pack(PyArray_DATA(dst), PyArray_DATA(src), pixels, channels, step);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

/* Whether `places` are so many int64 from 0 to below `end`; false and a ValueError if not. */
static bool
are_places(PyArrayObject *places, npy_intp count, npy_intp end, const char *name)
{
    if (PyArray_TYPE(places) == NPY_INT64 && PyArray_NDIM(places) == 1 &&
        PyArray_DIM(places, 0) == count && PyArray_ISCARRAY_RO(places)) {
        const int64_t *at = PyArray_DATA(places);
        npy_intp i = 0;
        while (i < count && at[i] >= 0 && at[i] < end) {
            i++;
        }
        if (i == count) {
            return true;
        }
    }
    PyErr_Format(PyExc_ValueError, "%s must be an array of %zd int64 from 0 to %zd", name,
                 (Py_ssize_t)count, (Py_ssize_t)end - 1);
    return false;
}

/* pixels_pick(dst, src, rows, cols) */
PyObject *
tl_pixels_pick_method(PyObject *module, PyObject *args)
{
    PyArrayObject *dst;
    PyArrayObject *src;
    PyArrayObject *rows;
    PyArrayObject *cols;
    (void)module;
    if (!PyArg_ParseTuple(args, "O!O!O!O!:pixels_pick", &PyArray_Type, &dst, &PyArray_Type,
                          &src, &PyArray_Type, &rows, &PyArray_Type, &cols)) {
        return NULL;
    }
    if (PyArray_TYPE(src) != NPY_UINT8 || PyArray_NDIM(src) != 3 ||
        PyArray_STRIDE(src, 2) != 1 || PyArray_STRIDE(src, 1) < PyArray_DIM(src, 2) ||
        PyArray_STRIDE(src, 0) < PyArray_DIM(src, 1) * PyArray_STRIDE(src, 1)) {
        PyErr_SetString(PyExc_ValueError,
                        "src must be a picture (height, width, channels) of uint8, in rows");
        return NULL;
    }
    if (PyArray_TYPE(dst) != NPY_UINT8 || PyArray_NDIM(dst) != 3 || !PyArray_ISCARRAY(dst) ||
        PyArray_DIM(dst, 2) != PyArray_DIM(src, 2)) {
        PyErr_SetString(
            PyExc_ValueError,
            "dst must be a writable C-contiguous picture of uint8 with the channels "
            "of src");
        return NULL;
    }
    if (!are_places(rows, PyArray_DIM(dst, 0), PyArray_DIM(src, 0), "rows") ||
        !are_places(cols, PyArray_DIM(dst, 1), PyArray_DIM(src, 1), "cols")) {
        return NULL;
    }
    /* letting go of the GIL costs threads that take turns more than a small picture does */
    PyThreadState *const waiting = PyArray_SIZE(dst) > SMALL ? PyEval_SaveThread() : NULL;
    tl_pixels_pick(PyArray_DATA(dst), (size_t)PyArray_DIM(dst, 0), (size_t)PyArray_DIM(dst, 1),
                   PyArray_DATA(src), (size_t)PyArray_STRIDE(src, 0),
                   (size_t)PyArray_DIM(src, 2), (size_t)PyArray_STRIDE(src, 1),
                   PyArray_DATA(rows), PyArray_DATA(cols));
    if (waiting != NULL) {
        PyEval_RestoreThread(waiting);
    }
    Py_RETURN_NONE;
}
