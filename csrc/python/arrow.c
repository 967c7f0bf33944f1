/* Pixels of a Pillow image without copying them: Pillow offers its memory by Arrow's C data
 * interface (https://arrow.apache.org/docs/format/CDataInterface.html). */
#include "python/binding.h"

#include <stdint.h>
#include <string.h>

/* The two structures of the interface, whose layout is part of it. */
struct ArrowSchema {
    const char *format, *name, *metadata;
    int64_t flags, n_children;
    struct ArrowSchema **children, *dictionary;
    void (*release)(struct ArrowSchema *);
    void *private_data;
};

struct ArrowArray {
    int64_t length, null_count, offset, n_buffers, n_children;
    const void **buffers;
    struct ArrowArray **children, *dictionary;
    void (*release)(struct ArrowArray *);
    void *private_data;
};

enum { BYTES_OF_COLOUR = 4 };

/* Bytes of a pixel in memory, and where `length` pixels of it lie; 0 if they are no bytes. */
static size_t
pixels_of(const void **data, int64_t *length, const struct ArrowSchema *schema,
          const struct ArrowArray *array)
{
    size_t each = 1;
    if (schema->release == NULL || array->release == NULL || array->offset != 0) {
        return 0;
    }
    *length = array->length;
    if (strcmp(schema->format, "+w:4") == 0) { /* lists of four */
        if (schema->n_children != 1 || array->n_children != 1) {
            return 0;
        }
        each = BYTES_OF_COLOUR;
        schema = schema->children[0];
        array = array->children[0];
    }
    if (strcmp(schema->format, "C") != 0 || array->n_buffers != 2 || array->offset != 0 ||
        array->buffers[1] == NULL || array->length / (int64_t)each < *length) {
        return 0;
    }
    *data = array->buffers[1];
    return each;
}

PyObject *
tl_arrow_pixels_method(PyObject *module, PyObject *args)
{
    PyObject *schema_capsule;
    PyObject *array_capsule;
    Py_ssize_t height;
    Py_ssize_t width;
    Py_ssize_t channels;
    const void *data = NULL;
    int64_t length = 0;
    PyObject *view = NULL;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOnnn:arrow_pixels", &schema_capsule, &array_capsule, &height,
                          &width, &channels)) {
        return NULL;
    }
    const struct ArrowSchema *schema = PyCapsule_GetPointer(schema_capsule, "arrow_schema");
    if (schema == NULL) {
        return NULL;
    }
    const struct ArrowArray *array = PyCapsule_GetPointer(array_capsule, "arrow_array");
    if (array == NULL) {
        return NULL;
    }
    const size_t each = pixels_of(&data, &length, schema, array);
    if (each == 0 || height < 1 || width < 1 || channels < 1 || channels > (Py_ssize_t)each ||
        length / height != width || length % height != 0) {
        PyErr_SetString(PyExc_ValueError,
                        "array must hold height * width pixels of 1 or 4 bytes");
        return NULL;
    }
    npy_intp shape[] = {height, width, channels};
    npy_intp strides[] = {width * (npy_intp)each, (npy_intp)each, 1};
    /* no NPY_ARRAY_WRITEABLE: the image is Pillow's */
    view = PyArray_New(&PyArray_Type, 3, shape, NPY_UINT8, strides, (void *)(uintptr_t)data, 1,
                       0, NULL);
    if (view != NULL &&
        PyArray_SetBaseObject((PyArrayObject *)view, Py_NewRef(array_capsule)) < 0) {
        Py_CLEAR(view);
    }
    return view;
}
