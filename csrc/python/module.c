/* The module tlcore._core: its types, its few functions, its state. */
#define TL_IMPORTS_NUMPY
#include "binding.h"

#include <stdlib.h>

#include "core/arena.h"
#include "core/cpu.h"
#include "core/cpu_count.h"
#include "core/pool.h"
#include "dnnl/backend.h"
#include "kernels/fused.h"

static PyObject *
set_num_threads(PyObject *module, PyObject *arg)
{
    tl_status status;
    long long n;
    if (tl_integer_from(&n, arg, 1, PY_SSIZE_T_MAX, "n") < 0) {
        return NULL;
    }
    tl_detail_clear();
    Py_BEGIN_ALLOW_THREADS
    status = tl_pool_set_threads((size_t)n);
    Py_END_ALLOW_THREADS
    if (status != TL_OK) {
        return tl_raise(PyModule_GetState(module), status);
    }
    Py_RETURN_NONE;
}

static PyObject *
get_num_threads(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    return PyLong_FromSize_t(tl_pool_threads());
}

static PyObject *
config(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    return Py_BuildValue("{s:s,s:s,s:s,s:s,s:s,s:n}", "onednn", tl_dnnl_version(), "onednn_isa",
                         tl_dnnl_isa(), "cpu_isa", tl_isa_name(tl_cpu_detected()), "used_isa",
                         tl_isa_name(tl_cpu_isa()), "kernels", tl_fused_preferred(), "cpus",
                         (Py_ssize_t)tl_cpu_count());
}

static PyObject *
choose_kernels(PyObject *module, PyObject *arg)
{
    const char *name;
    (void)module;
    if (tl_text_from(&name, arg, "name") < 0) {
        return NULL;
    }
    if (!tl_fused_prefer(name)) {
        return PyErr_Format(
            PyExc_ValueError,
            "name must be \"table\", \"fused\", \"separate\" or \"onednn\", not "
            "%R",
            arg);
    }
    Py_RETURN_NONE;
}

static PyObject *
fail_allocation(PyObject *module, PyObject *arg)
{
    long long n;
    (void)module;
    if (tl_integer_from(&n, arg, LONG_MIN, LONG_MAX, "n") < 0) {
        return NULL;
    }
    tl_alloc_fail_at((long)n);
    Py_RETURN_NONE;
}

static PyMethodDef module_methods[] = {
    {"mobilenet_v2", (PyCFunction)(void (*)(void))tl_mobilenet_v2_method,
     METH_VARARGS | METH_KEYWORDS, "The graph of MobileNetV2."},
    {"get_tensors", tl_get_tensors_method, METH_O, "Copies of tensors, all of one moment."},
    {"set_tensors", tl_set_tensors_method, METH_O, "Copy values in, all or none, at once."},
    {"logistic_regression", (PyCFunction)(void (*)(void))tl_logistic_regression_method,
     METH_VARARGS | METH_KEYWORDS, "The weights of a softmax or sigmoid layer, by L-BFGS."},
    {"pixels_to_float", (PyCFunction)(void (*)(void))tl_pixels_to_float_method,
     METH_VARARGS | METH_KEYWORDS, "dst = (src / divide) * scale + offset."},
    {"transform_picture", (PyCFunction)(void (*)(void))tl_transform_picture_method,
     METH_VARARGS | METH_KEYWORDS, "One picture, moved, flipped, shifted and standardised."},
    {"read_file", tl_read_file_method, METH_VARARGS,
     "All bytes of a regular file, its size and its time."},
    {"pixels_pick", tl_pixels_pick_method, METH_VARARGS,
     "dst = these rows and columns of src."},
    {"pixels_pack", tl_pixels_pack_method, METH_VARARGS,
     "dst = src, without gaps between the pixels."},
    {"arrow_pixels", tl_arrow_pixels_method, METH_VARARGS,
     "The pixels of an array of Arrow's C data interface."},
    {"set_num_threads", set_num_threads, METH_O, "Set the size of the crew."},
    {"get_num_threads", get_num_threads, METH_NOARGS, "The size of the crew."},
    {"config", config, METH_NOARGS, "Versions, instruction sets and CPUs."},
    {"choose_kernels", choose_kernels, METH_O,
     "Who runs the blocks of programs made from now on."},
    {"fail_allocation", fail_allocation, METH_O,
     "Testing: let the n-th allocation from now on fail."},
    {NULL, NULL, 0, NULL},
};

static int
add_type(PyObject *module, PyType_Spec *spec, PyTypeObject **slot)
{
    *slot = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);
    if (*slot == NULL && !PyErr_Occurred()) {
        PyErr_NoMemory(); /* CPython 3.12 and 3.13 forget to where they copy the name */
    }
    return *slot == NULL ? -1 : PyModule_AddType(module, *slot);
}

/* The crew, oneDNN and the sizes of the types are the process's, not an interpreter's. Python
 * itself refuses an isolated interpreter before this; tlcore/__init__.py is before both. */
static int
refuse_subinterpreter(void)
{
    if (PyInterpreterState_Get() == PyInterpreterState_Main()) {
        return 0;
    }
    PyErr_SetString(PyExc_ImportError,
                    "tlcore cannot be used in a sub-interpreter: use threads or processes.");
    return -1;
}

/* The environment's limit on instruction sets; ImportError where it names none. */
static int
limit_isa(void)
{
    const char *name = getenv("TLCORE_MAX_CPU_ISA");
    if (name != NULL && name[0] != '\0' && !tl_cpu_limit(name)) {
        /* GCOVR_EXCL_START: tests/test_cpu.py; a process that ends so keeps no counts */
        PyErr_Format(PyExc_ImportError,
                     "TLCORE_MAX_CPU_ISA must be sse41, avx2 or avx512, not \"%.32s\"", name);
        return -1;
        /* GCOVR_EXCL_STOP */
    }
    return 0;
}

static int
module_exec(PyObject *module)
{
    module_state *state = PyModule_GetState(module);
    if (refuse_subinterpreter() < 0) {
        return -1;
    }
    /* import_array goes straight to a submodule; where another thread is in the middle of
     * importing NumPy, only the import of the package itself waits for it */
    PyObject *numpy = PyImport_ImportModule("numpy");
    if (numpy == NULL) {
        return -1;
    }
    Py_DECREF(numpy);
    /* import_array1() would print what failed, and hide it behind another exception */
    if (_import_array() < 0) {
        return -1;
    }
    if (add_type(module, &tl_graph_spec, &state->graph_type) < 0 ||
        add_type(module, &tl_parameters_spec, &state->parameters_type) < 0 ||
        add_type(module, &tl_network_spec, &state->network_type) < 0 ||
        add_type(module, &tl_trainer_spec, &state->trainer_type) < 0) {
        return -1;
    }
    state->backend_error = PyErr_NewExceptionWithDoc(
        "tlcore.BackendError", "A oneDNN call failed; the message names the call.",
        PyExc_RuntimeError, NULL);
    if (state->backend_error == NULL ||
        PyModule_AddObjectRef(module, "BackendError", state->backend_error) < 0) {
        return -1;
    }
    if (limit_isa() < 0) {
        return -1; /* GCOVR_EXCL_LINE: as there */
    }
    tl_detail_clear();
    tl_status status = tl_pool_open();
    if (status == TL_OK) {
        status = tl_dnnl_open();
    }
    if (status != TL_OK) {
        tl_raise(state, status);
        return -1;
    }
    (void)Py_AtExit(tl_pool_close); /* the crew ends before the libraries it runs in */
    return 0;
}

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    module_state *state = PyModule_GetState(module);
    Py_VISIT(state->graph_type);
    Py_VISIT(state->parameters_type);
    Py_VISIT(state->network_type);
    Py_VISIT(state->trainer_type);
    Py_VISIT(state->backend_error);
    return 0;
}

static int
module_clear(PyObject *module)
{
    module_state *state = PyModule_GetState(module);
    Py_CLEAR(state->graph_type);
    Py_CLEAR(state->parameters_type);
    Py_CLEAR(state->network_type);
    Py_CLEAR(state->trainer_type);
    Py_CLEAR(state->backend_error);
    return 0;
}

static void
module_free(void *module)
{
    (void)module_clear(module);
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
#if PY_VERSION_HEX >= 0x030D0000
    {Py_mod_gil, Py_MOD_GIL_USED}, /* a Graph has no lock of its own */
#endif
    {0, NULL},
};

PyModuleDef tl_module_def = {
    PyModuleDef_HEAD_INIT,
    .m_name = "tlcore._core",
    .m_doc = "The C core of tlcore. Private: use the package.",
    .m_size = sizeof(module_state),
    .m_methods = module_methods,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC PyInit__core(void);

PyMODINIT_FUNC
PyInit__core(void)
{
    return PyModuleDef_Init(&tl_module_def);
}
