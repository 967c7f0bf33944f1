/* What the files of csrc/python share: module state, object layouts, conversions, errors.
 *
 * The only code that includes Python.h and NumPy. A method owns, converts, checks, drops the
 * GIL, makes one core call, takes the GIL again, translates the status and releases; it has
 * one exit. */
#ifndef TL_PYTHON_BINDING_H
#define TL_PYTHON_BINDING_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#define PY_ARRAY_UNIQUE_SYMBOL tl_numpy_api
#ifndef TL_IMPORTS_NUMPY
#define NO_IMPORT_ARRAY
#endif
#include <numpy/arrayobject.h>
#include <time.h>

#include "core/graph.h"
#include "core/lower.h"
#include "core/network.h"
#include "core/parameters.h"
#include "core/status.h"
#include "core/train.h"

typedef struct module_state {
    PyTypeObject *graph_type;
    PyTypeObject *parameters_type;
    PyTypeObject *network_type;
    PyTypeObject *trainer_type;
    PyObject *backend_error;
} module_state;

extern PyModuleDef tl_module_def;
extern PyType_Spec tl_graph_spec, tl_parameters_spec, tl_network_spec, tl_trainer_spec;

/* The state of the module that defined the object's type. Borrowed. */
static inline module_state *
state_of(PyObject *self)
{
    return PyType_GetModuleState(Py_TYPE(self));
}

typedef struct GraphObject {
    PyObject_HEAD
    tl_graph *graph;
} GraphObject;

typedef struct ParametersObject {
    PyObject_HEAD
    tl_parameters *parameters; /* one reference */
} ParametersObject;

typedef struct NetworkObject {
    PyObject_HEAD
    tl_network *network;
    double pace; /* rows a second of the last slice, 0: none yet; of this stretch: */
    size_t pace_start, pace_stop;
} NetworkObject;

typedef struct TrainerObject {
    PyObject_HEAD
    NetworkObject *network; /* owned: must outlive the trainer */
    tl_trainer *trainer;
    tl_mutex lock; /* one caller at a time; open again in a forked child */
    bool has_lock;
} TrainerObject;

/* To see how long a slice of work took: no C call runs long without a look at the signals. */
static inline double
tl_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* errors.c: the only place that picks an exception. */

/* Sets the exception for a failed core call and returns NULL. */
PyObject *tl_raise(const module_state *state, tl_status status);

/* scalars.c: single arguments. 0, or -1 with an exception that names the argument; what the
 * object's own methods raise is passed on. */
int tl_integer_from(long long *out, PyObject *value, long long least, long long most,
                    const char *argument);
int tl_size_from(size_t *out, PyObject *value, const char *argument);
int tl_number_from(double *out, PyObject *value, const char *argument);
int tl_flag_from(bool *out, PyObject *value);
int tl_float_from(float *out, PyObject *value, const char *argument);

/* *out is a view of `value`, without null characters. */
int tl_text_from(const char **out, PyObject *value, const char *argument);

/* A new tuple of what `sequence` yields; `kind` is what it should yield, for the error. */
PyObject *tl_items_from(PyObject *sequence, const char *argument, const char *kind);

/* convert.c: between Python objects and the core's structs. 0, or -1 with an exception. */
int tl_shape_from(tl_shape *shape, PyObject *sequence, const char *argument);
PyObject *tl_shape_to(const tl_shape *shape);
int tl_pair_from(size_t out[2], PyObject *sequence, const char *argument);
PyObject *tl_sizes_to(const size_t *sizes, size_t count);

/* A C-contiguous float32 array of exactly this shape, or (rows, *shape) with any number of
 * rows; NULL with an exception that names the argument where it is something else. A new
 * array object, maybe a view: what Python code does to the old one's shape does not reach it.
 */
PyArrayObject *tl_array_from(PyObject *object, const tl_shape *shape, const char *argument);
PyArrayObject *tl_rows_from(PyObject *object, const tl_shape *shape, const char *argument);

/* The same from an array of uint8, which stays one. */
PyArrayObject *tl_byte_rows_from(PyArrayObject *bytes, const tl_shape *shape,
                                 const char *argument);

/* A new float32 array (rows, *shape), or *shape alone where rows is negative. */
PyArrayObject *tl_new_array(npy_intp rows, const tl_shape *shape);

/* A new array of `count` flags from a sequence of booleans; free with PyMem_Free. */
bool *tl_flags_from(PyObject *sequence, size_t count, const char *argument);

/* parameters_object.c */
PyObject *tl_set_tensors_method(PyObject *module, PyObject *values);
PyObject *tl_get_tensors_method(PyObject *module, PyObject *tensors);

/* logistic_method.c */
PyObject *tl_logistic_regression_method(PyObject *module, PyObject *args, PyObject *kwargs);
PyObject *tl_pixels_to_float_method(PyObject *module, PyObject *args, PyObject *kwargs);
PyObject *tl_read_file_method(PyObject *module, PyObject *args);
PyObject *tl_pixels_pick_method(PyObject *module, PyObject *args);
PyObject *tl_pixels_pack_method(PyObject *module, PyObject *args);
PyObject *tl_arrow_pixels_method(PyObject *module, PyObject *args);

/* transform_method.c */
PyObject *tl_transform_picture_method(PyObject *module, PyObject *args, PyObject *kwargs);

/* graph_object.c */
PyObject *tl_graph_wrap(module_state *state, tl_graph *graph); /* takes the graph over */
PyObject *tl_mobilenet_v2_method(PyObject *module, PyObject *args, PyObject *kwargs);

/* picture_attributes.c: those of layers for pictures. 1: no such attribute; and a new dict. */
int tl_picture_attribute_from(tl_node *node, const char *name, PyObject *value);
PyObject *tl_picture_attributes_to(const tl_node *node);
PyObject *tl_picture_step_to(const tl_step *step);

/* picture_methods.c: methods of Network. */
PyObject *tl_network_draw_method(PyObject *op, PyObject *args, PyObject *kwargs);
PyObject *tl_network_change_method(PyObject *op, PyObject *args, PyObject *kwargs);

#endif
