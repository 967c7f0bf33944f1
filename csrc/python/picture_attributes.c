/* The attributes of layers for pictures, between Python and the core. */
#include "binding.h"

#include <string.h>

#include "core/picture_node.h"

static int
read_numbers(float *out, size_t *count, size_t most, PyObject *value, const char *name)
{
    PyObject *items = tl_items_from(value, name, "numbers");
    int result = -1;
    if (items == NULL) {
        return -1;
    }
    *count = (size_t)PyTuple_GET_SIZE(items);
    if (*count < 1 || *count > most) {
        PyErr_Format(PyExc_ValueError, "%s must hold 1 to %zu numbers, not %zu", name, most,
                     *count);
        goto done;
    }
    for (size_t i = 0; i < *count; i++) {
        if (tl_float_from(&out[i], PyTuple_GET_ITEM(items, (Py_ssize_t)i), name) < 0) {
            goto done;
        }
    }
    result = 0;
done:
    Py_DECREF(items);
    return result;
}

static int
read_two(float out[2], PyObject *value, const char *name)
{
    float numbers[2];
    size_t count;
    if (read_numbers(numbers, &count, 2, value, name) < 0) {
        return -1;
    }
    if (count != 2) {
        PyErr_Format(PyExc_ValueError, "%s must hold 2 numbers, not %zu", name, count);
        return -1;
    }
    memcpy(out, numbers, sizeof numbers);
    return 0;
}

static int
read_interpolation(tl_interpolation *out, PyObject *value)
{
    const char *text;
    if (tl_text_from(&text, value, "interpolation") < 0) {
        return -1;
    }
    if (!tl_interpolation_from_name(out, text)) {
        PyErr_Format(PyExc_ValueError,
                     "interpolation must be one of nearest, bilinear, bicubic, lanczos3, "
                     "lanczos5, area, not \"%s\"",
                     text);
        return -1;
    }
    return 0;
}

static int
read_fill_mode(tl_fill_mode *out, PyObject *value)
{
    const char *text;
    if (tl_text_from(&text, value, "fill_mode") < 0) {
        return -1;
    }
    if (!tl_fill_mode_from_name(out, text)) {
        PyErr_Format(PyExc_ValueError,
                     "fill_mode must be one of constant, nearest, reflect, wrap, not \"%s\"",
                     text);
        return -1;
    }
    return 0;
}

static int
read_rescaling(tl_rescaling *r, const char *name, PyObject *value)
{
    size_t count;
    const bool scale = strcmp(name, "scale") == 0;
    if (!scale && strcmp(name, "offset") != 0) {
        return 1;
    }
    if (read_numbers(scale ? r->scale : r->offset, &count, TL_MAX_RESCALED, value, name) < 0) {
        return -1;
    }
    if (r->count != 0 && r->count != count) {
        PyErr_Format(PyExc_ValueError,
                     "scale and offset must hold as many numbers, not %zu "
                     "and %zu",
                     r->count, count);
        return -1;
    }
    r->count = count;
    return 0;
}

static int
read_resizing(tl_resizing *r, const char *name, PyObject *value, bool crops_alone)
{
    if (strcmp(name, "size") == 0) {
        return tl_pair_from(r->size, value, name);
    }
    if (crops_alone) {
        return 1;
    }
    if (strcmp(name, "interpolation") == 0) {
        return read_interpolation(&r->interpolation, value);
    }
    if (strcmp(name, "antialias") == 0) {
        return tl_flag_from(&r->antialias, value);
    }
    if (strcmp(name, "crop_to_aspect_ratio") == 0) {
        return tl_flag_from(&r->crops, value);
    }
    if (strcmp(name, "pad_to_aspect_ratio") == 0) {
        return tl_flag_from(&r->pads, value);
    }
    return strcmp(name, "fill_value") == 0 ? tl_float_from(&r->fill_value, value, name) : 1;
}

static int
read_seed(tl_augmentation *a, PyObject *value)
{
    long long seed;
    if (value == Py_None) {
        return 0;
    }
    if (tl_integer_from(&seed, value, 0, PY_SSIZE_T_MAX, "seed") < 0) {
        return -1;
    }
    a->seeded = true;
    a->seed = (uint64_t)seed;
    return 0;
}

static int
read_augmentation(tl_node *node, const char *name, PyObject *value)
{
    tl_augmentation *a = &node->augmentation;
    const tl_op op = node->op;
    const bool warps = op >= TL_OP_RANDOM_ROTATION && op <= TL_OP_RANDOM_TRANSLATION;
    const bool light = op == TL_OP_RANDOM_CONTRAST || op == TL_OP_RANDOM_BRIGHTNESS;
    if (strcmp(name, "seed") == 0) {
        return read_seed(a, value);
    }
    if (op == TL_OP_RANDOM_FLIP && strcmp(name, "horizontal") == 0) {
        return tl_flag_from(&a->horizontal, value);
    }
    if (op == TL_OP_RANDOM_FLIP && strcmp(name, "vertical") == 0) {
        return tl_flag_from(&a->vertical, value);
    }
    if (op == TL_OP_RANDOM_CROP && strcmp(name, "size") == 0) {
        return tl_pair_from(a->size, value, name);
    }
    if ((warps || light) && strcmp(name, "factor") == 0) {
        return read_two(a->factor, value, name);
    }
    if (light && strcmp(name, "value_range") == 0) {
        return read_two(a->value_range, value, name);
    }
    if (!warps) {
        return 1;
    }
    if (strcmp(name, "width_factor") == 0 && op != TL_OP_RANDOM_ROTATION) {
        a->width_follows = value == Py_None;
        return a->width_follows ? 0 : read_two(a->width_factor, value, name);
    }
    if (strcmp(name, "fill_mode") == 0) {
        return read_fill_mode(&a->fill_mode, value);
    }
    if (strcmp(name, "interpolation") == 0) {
        return read_interpolation(&a->interpolation, value);
    }
    return strcmp(name, "fill_value") == 0 ? tl_float_from(&a->fill_value, value, name) : 1;
}

int
tl_picture_attribute_from(tl_node *node, const char *name, PyObject *value)
{
    if (node->op == TL_OP_RESCALING) {
        return read_rescaling(&node->rescaling, name, value);
    }
    if (node->op == TL_OP_RESIZING || node->op == TL_OP_CENTER_CROP) {
        return read_resizing(&node->resizing, name, value, node->op == TL_OP_CENTER_CROP);
    }
    if (node->op >= TL_OP_RANDOM_FLIP && node->op <= TL_OP_RANDOM_CROP) {
        return read_augmentation(node, name, value);
    }
    return 1;
}

/* --- out -------------------------------------------------------------------------------- */

static PyObject *
numbers_to(const float *numbers, size_t count)
{
    PyObject *result = PyTuple_New((Py_ssize_t)count);
    for (size_t i = 0; result != NULL && i < count; i++) {
        PyObject *number = PyFloat_FromDouble((double)numbers[i]);
        if (number == NULL) {
            Py_CLEAR(result);
            break;
        }
        PyTuple_SET_ITEM(result, (Py_ssize_t)i, number);
    }
    return result;
}

static PyObject *
rescaling_to(const tl_rescaling *r)
{
    return Py_BuildValue("{s:N,s:N}", "scale", numbers_to(r->scale, r->count), "offset",
                         numbers_to(r->offset, r->count));
}

static PyObject *
warp_to(const tl_node *node)
{
    const tl_augmentation *a = &node->augmentation;
    PyObject *result = Py_BuildValue("{s:N,s:s,s:s,s:d}", "factor", numbers_to(a->factor, 2),
                                     "fill_mode", tl_fill_mode_name(a->fill_mode),
                                     "interpolation", tl_interpolation_name(a->interpolation),
                                     "fill_value", (double)a->fill_value);
    if (result == NULL || node->op == TL_OP_RANDOM_ROTATION) {
        return result;
    }
    PyObject *width = a->width_follows ? Py_NewRef(Py_None) : numbers_to(a->width_factor, 2);
    if (width == NULL || PyDict_SetItemString(result, "width_factor", width) < 0) {
        Py_CLEAR(result);
    }
    Py_XDECREF(width);
    return result;
}

static PyObject *
augmentation_to(const tl_node *node)
{
    const tl_augmentation *a = &node->augmentation;
    switch (node->op) {
    case TL_OP_RANDOM_FLIP:
        return Py_BuildValue("{s:N,s:N}", "horizontal", PyBool_FromLong(a->horizontal),
                             "vertical", PyBool_FromLong(a->vertical));
    case TL_OP_RANDOM_CROP:
        return Py_BuildValue("{s:N}", "size", tl_sizes_to(a->size, 2));
    case TL_OP_RANDOM_CONTRAST:
    case TL_OP_RANDOM_BRIGHTNESS:
        return Py_BuildValue("{s:N,s:N}", "factor", numbers_to(a->factor, 2), "value_range",
                             numbers_to(a->value_range, 2));
    default:
        return warp_to(node);
    }
}

PyObject *
tl_picture_attributes_to(const tl_node *node)
{
    const tl_resizing *r = &node->resizing;
    if (node->op == TL_OP_RESCALING) {
        return rescaling_to(&node->rescaling);
    }
    if (node->op == TL_OP_CENTER_CROP) {
        return Py_BuildValue("{s:N}", "size", tl_sizes_to(r->size, 2));
    }
    if (node->op == TL_OP_RESIZING) {
        return Py_BuildValue("{s:N,s:s,s:N,s:N,s:N,s:d}", "size", tl_sizes_to(r->size, 2),
                             "interpolation", tl_interpolation_name(r->interpolation),
                             "antialias", PyBool_FromLong(r->antialias), "crop_to_aspect_ratio",
                             PyBool_FromLong(r->crops), "pad_to_aspect_ratio",
                             PyBool_FromLong(r->pads), "fill_value", (double)r->fill_value);
    }
    if (node->op < TL_OP_RANDOM_FLIP || node->op > TL_OP_RANDOM_CROP) {
        return PyDict_New();
    }
    PyObject *result = augmentation_to(node);
    PyObject *seed = node->augmentation.seeded
                         ? PyLong_FromUnsignedLongLong(node->augmentation.seed)
                         : Py_NewRef(Py_None);
    if (result == NULL || seed == NULL || PyDict_SetItemString(result, "seed", seed) < 0) {
        Py_CLEAR(result);
    }
    Py_XDECREF(seed);
    return result;
}

/* What export writes of a rescaling, a crop or a resizing; of other steps nothing. */
PyObject *
tl_picture_step_to(const tl_step *step)
{
    const tl_region *part = &step->region;
    if (step->kind == TL_STEP_RESCALING) {
        return rescaling_to(&step->rescaling);
    }
    if (step->kind != TL_STEP_CROP && step->kind != TL_STEP_RESIZING) {
        return PyDict_New();
    }
    return Py_BuildValue("{s:(nnnn),s:s,s:N,s:d}", "region", (Py_ssize_t)part->top,
                         (Py_ssize_t)part->left, (Py_ssize_t)part->height,
                         (Py_ssize_t)part->width, "interpolation",
                         tl_interpolation_name(step->resizing.interpolation), "antialias",
                         PyBool_FromLong(step->resizing.antialias), "fill_value",
                         (double)step->resizing.fill_value);
}
