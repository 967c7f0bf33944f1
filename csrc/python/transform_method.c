/* One picture through csrc/image, from array to array. */
#include "python/binding.h"

#include <math.h>

#include "image/transform.h"

enum {
    SLICE_VALUES = 1 << 21, /* between two looks at signals: milliseconds */
    SHARED_VALUES = 1 << 19 /* fewer are not worth waking the crew */
};

/* All that is asked for, converted before any array is looked at: what converts may change it.
 */
typedef struct picture_request {
    tl_transform how;
    PyObject *mean_given, *divisor_given; /* borrowed */
    PyArrayObject *mean, *divisor;        /* owned */
    bool shared;
} picture_request;

static int
optional_number(double *out, bool *given, PyObject *value, const char *argument)
{
    *given = value != NULL && value != Py_None;
    if (!*given) {
        return 0;
    }
    if (tl_number_from(out, value, argument) < 0) {
        return -1;
    }
    if (!isfinite(*out) || fabs(*out) > 1e30) {
        PyErr_Format(PyExc_ValueError, "%s must be a finite number of at most 1e30", argument);
        return -1;
    }
    return 0;
}

static int
matrix_from(tl_affine *affine, PyObject *sequence)
{
    int result = -1;
    PyObject *items = tl_items_from(sequence, "matrix", "numbers");
    if (items == NULL) {
        return -1;
    }
    if (PyTuple_GET_SIZE(items) != 6) {
        PyErr_Format(PyExc_ValueError, "matrix must hold 6 numbers, not %zd",
                     PyTuple_GET_SIZE(items));
        goto done;
    }
    for (Py_ssize_t i = 0; i < 6; i++) {
        if (tl_number_from(&affine->m[i], PyTuple_GET_ITEM(items, i), "matrix") < 0) {
            goto done;
        }
    }
    result = 0;
done:
    Py_DECREF(items);
    return result;
}

static int
fill_mode_from(tl_edge_mode *mode, PyObject *value)
{
    const char *name;
    if (tl_text_from(&name, value, "fill_mode") < 0) {
        return -1;
    }
    if (!tl_edge_mode_named(mode, name)) {
        PyErr_Format(PyExc_ValueError,
                     "fill_mode must be 'nearest', 'constant', 'reflect', 'wrap', 'mirror', "
                     "'grid-mirror', 'grid-constant' or 'grid-wrap', not %R",
                     value);
        return -1;
    }
    return 0;
}

static void
request_clear(picture_request *request)
{
    Py_CLEAR(request->mean);
    Py_CLEAR(request->divisor);
}

static int
read_request(picture_request *request, PyArrayObject **dst, PyArrayObject **src, PyObject *args,
             PyObject *kwargs)
{
    static char *names[] = {"dst",
                            "src",
                            "matrix",
                            "order",
                            "fill_mode",
                            "cval",
                            "channel_shift",
                            "flip_rows",
                            "flip_cols",
                            "brightness",
                            "stretch",
                            "divide",
                            "scale",
                            "offset",
                            "rescale",
                            "samplewise_center",
                            "samplewise_std",
                            "mean",
                            "divisor",
                            "shared",
                            NULL};
    enum { MATRIX = 2, ORDER, FILL, CVAL, SHIFT, ROWS, COLS, BRIGHTNESS, STRETCH, DIVIDE };
    enum { SCALE = DIVIDE + 1, OFFSET, RESCALE, CENTER, STD, MEAN, DIVISOR, SHARED, ALL };
    PyObject *given[ALL] = {NULL};
    tl_transform *how = &request->how;
    double number[4];
    bool is_given[4];
    long long order = 1;
    double cval = 0;
    if (!PyArg_ParseTupleAndKeywords(
            args, kwargs, "O!O!|$OOOOOOOOOOOOOOOOOO:transform_picture", names, &PyArray_Type,
            dst, &PyArray_Type, src, &given[MATRIX], &given[ORDER], &given[FILL], &given[CVAL],
            &given[SHIFT], &given[ROWS], &given[COLS], &given[BRIGHTNESS], &given[STRETCH],
            &given[DIVIDE], &given[SCALE], &given[OFFSET], &given[RESCALE], &given[CENTER],
            &given[STD], &given[MEAN], &given[DIVISOR], &given[SHARED])) {
        return -1;
    }
    if (given[MATRIX] != NULL && given[MATRIX] != Py_None) {
        how->moves = true;
        if (matrix_from(&how->affine, given[MATRIX]) < 0) {
            return -1;
        }
    }
    if ((given[ORDER] != NULL && tl_integer_from(&order, given[ORDER], 0, 1, "order") < 0) ||
        (given[FILL] != NULL && fill_mode_from(&how->affine.fill, given[FILL]) < 0) ||
        (given[CVAL] != NULL && tl_number_from(&cval, given[CVAL], "cval") < 0)) {
        return -1;
    }
    how->affine.order = (int)order;
    how->affine.cval = cval;
    if (optional_number(&number[0], &how->shifts_channels, given[SHIFT], "channel_shift") < 0 ||
        optional_number(&number[1], &how->brightens, given[BRIGHTNESS], "brightness") < 0) {
        return -1;
    }
    how->channel_shift = how->shifts_channels ? (float)number[0] : 0;
    how->brightness = how->brightens ? (float)number[1] : 1;
    number[0] = number[1] = number[3] = 1;
    number[2] = -0.0;
    for (size_t i = 0; i < 4; i++) {
        if (optional_number(&number[i], &is_given[i], given[DIVIDE + (int)i],
                            names[DIVIDE + i]) < 0) {
            return -1;
        }
        how->maps = how->maps || is_given[i];
    }
    how->map = (tl_pixel_map){(float)number[0], (float)number[1], (float)number[2]};
    how->rescale = (float)number[3];
    const struct {
        bool *flag;
        PyObject *value;
    } flags[] = {{&how->flips_rows, given[ROWS]},   {&how->flips_cols, given[COLS]},
                 {&how->stretches, given[STRETCH]}, {&how->centers, given[CENTER]},
                 {&how->normalizes, given[STD]},    {&request->shared, given[SHARED]}};
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        if (flags[i].value != NULL && tl_flag_from(flags[i].flag, flags[i].value) < 0) {
            return -1;
        }
    }
    request->mean_given = given[MEAN];
    request->divisor_given = given[DIVISOR];
    return 0;
}

static int
type_of(tl_pixel_type *type, PyArrayObject *array, const char *argument)
{
    switch (PyArray_TYPE(array)) {
    case NPY_UINT8:
        *type = TL_UINT8;
        break;
    case NPY_FLOAT32:
        *type = TL_FLOAT32;
        break;
    case NPY_FLOAT64:
        *type = TL_FLOAT64;
        break;
    default:
        PyErr_Format(PyExc_TypeError, "%s must hold uint8, float32 or float64, not %R",
                     argument, PyArray_DESCR(array));
        return -1;
    }
    if (PyArray_NDIM(array) != 3) {
        PyErr_Format(PyExc_ValueError,
                     "%s must have 3 dimensions (height, width, channels), not %d", argument,
                     PyArray_NDIM(array));
        return -1;
    }
    return 0;
}

/* Values from a pixel to the next; 0 if they do not lie as pixels can. */
static size_t
step_of(PyArrayObject *array, bool may_have_gaps)
{
    const npy_intp *shape = PyArray_DIMS(array);
    const npy_intp *strides = PyArray_STRIDES(array);
    if (!PyArray_ISNOTSWAPPED(array) || !PyArray_ISALIGNED(array)) {
        return 0;
    }
    if (PyArray_IS_C_CONTIGUOUS(array)) {
        return (size_t)shape[2];
    }
    return may_have_gaps && strides[2] == 1 && shape[2] <= 4 && strides[1] >= shape[2] &&
                   strides[0] == shape[1] * strides[1]
               ? (size_t)strides[1]
               : 0;
}

/* One float32 a channel; NULL where none is asked for. */
static int
channels_from(PyArrayObject **array, const float **out, PyObject *value, npy_intp channels,
              const char *argument)
{
    const tl_shape shape = tl_shape_1((size_t)channels);
    if (value == NULL || value == Py_None) {
        return 0;
    }
    *array = tl_array_from(value, &shape, argument);
    if (*array == NULL) {
        return -1;
    }
    *out = PyArray_DATA(*array);
    return 0;
}

/* Checks the arrays, which are views: what Python code that is still to run does to the shapes
 * of those that were given does not reach them. */
static int
begin(tl_transform_job *job, picture_request *request, PyArrayObject *dst, PyArrayObject *src,
      const module_state *state)
{
    tl_pixel_type type;
    tl_pixel_type result;
    if (type_of(&type, src, "src") < 0 || type_of(&result, dst, "dst") < 0) {
        return -1;
    }
    const npy_intp *shape = PyArray_DIMS(src);
    const size_t step = step_of(src, type == TL_UINT8);
    if (PyArray_SIZE(src) != 0 && step == 0) {
        PyErr_SetString(PyExc_ValueError,
                        "src must be C-contiguous, aligned and in the machine's byte order, or "
                        "uint8 with at most 4 channels whose pixels lie at equal distances");
        return -1;
    }
    if (PyArray_SIZE(dst) != 0 && step_of(dst, false) == 0) {
        PyErr_SetString(PyExc_ValueError,
                        "dst must be C-contiguous, aligned and in the machine's byte order");
        return -1;
    }
    if (!PyArray_CompareLists(shape, PyArray_DIMS(dst), 3)) {
        PyErr_SetString(PyExc_ValueError, "dst must have the shape of src");
        return -1;
    }
    if (!PyArray_ISWRITEABLE(dst)) {
        PyErr_SetString(PyExc_ValueError, "dst must be writable");
        return -1;
    }
    const char *from = PyArray_BYTES(src);
    const char *to = PyArray_BYTES(dst);
    const npy_intp extent = shape[0] * shape[1] * (npy_intp)step * PyArray_ITEMSIZE(src);
    if (from < to + PyArray_NBYTES(dst) && to < from + extent) {
        PyErr_SetString(PyExc_ValueError, "dst and src must not share memory");
        return -1;
    }
    if (channels_from(&request->mean, &request->how.mean, request->mean_given, shape[2],
                      "mean") < 0 ||
        channels_from(&request->divisor, &request->how.divisor, request->divisor_given,
                      shape[2], "divisor") < 0) {
        return -1;
    }
    tl_detail_clear();
    const tl_status status =
        tl_transform_begin(job, &request->how, PyArray_DATA(dst), result, PyArray_DATA(src),
                           type, step, (size_t)shape[0], (size_t)shape[1], (size_t)shape[2]);
    if (status != TL_OK) {
        tl_raise(state, status);
        return -1;
    }
    return 0;
}

/* transform_picture(dst, src, *, ...) -> None; see _core.pyi. */
PyObject *
tl_transform_picture_method(PyObject *module, PyObject *args, PyObject *kwargs)
{
    const module_state *state = PyModule_GetState(module);
    picture_request request = {.mean = NULL, .divisor = NULL};
    PyArrayObject *dst;
    PyArrayObject *src;
    /* held, and of a shape that no other thread can change */
    PyArrayObject *target = NULL;
    PyArrayObject *source = NULL;
    PyObject *result = NULL;
    tl_transform_job job;
    if (read_request(&request, &dst, &src, args, kwargs) < 0) {
        goto done;
    }
    target = (PyArrayObject *)PyArray_View(dst, NULL, &PyArray_Type);
    source = (PyArrayObject *)PyArray_View(src, NULL, &PyArray_Type);
    if (target == NULL || source == NULL || begin(&job, &request, target, source, state) < 0) {
        goto done;
    }
    const bool shared = request.shared && PyArray_SIZE(source) >= SHARED_VALUES;
    while (!tl_transform_is_done(&job)) {
        tl_status status = TL_OK;
        Py_BEGIN_ALLOW_THREADS
        for (size_t done = 0;
             done < SLICE_VALUES && status == TL_OK && !tl_transform_is_done(&job);
             done += (size_t)PyArray_SIZE(source) + 1) {
            status = tl_transform_advance(&job, SLICE_VALUES, shared);
        }
        Py_END_ALLOW_THREADS
        if (status != TL_OK) {
            tl_raise(state, status);
            goto done;
        }
        if (!tl_transform_is_done(&job) && PyErr_CheckSignals() < 0) {
            goto done;
        }
    }
    result = Py_NewRef(Py_None);
done:
    Py_XDECREF(target);
    Py_XDECREF(source);
    request_clear(&request);
    return result;
}
