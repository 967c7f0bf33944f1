/* Status -> exception. */
#include "binding.h"

#include <string.h>

/* The core may have cut a sentence inside a character. */
static void
raise_text(PyObject *type, const char *text)
{
    PyObject *message = PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "replace");
    if (message != NULL) {
        PyErr_SetObject(type, message);
        Py_DECREF(message);
    }
}

PyObject *
tl_raise(const module_state *state, tl_status status)
{
    const char *detail = tl_detail();
    const char *text = detail[0] != '\0' ? detail : tl_status_text(status);
    switch (status) {
    case TL_OUT_OF_MEMORY:
        raise_text(PyExc_MemoryError, text);
        break;
    case TL_BAD_VALUE:
    case TL_UNSUPPORTED:
        raise_text(PyExc_ValueError, text);
        break;
    case TL_BACKEND_FAILED:
        raise_text(state->backend_error, text);
        break;
    case TL_SYSTEM_FAILED:
        raise_text(PyExc_OSError, text);
        break;
    case TL_INTERRUPTED: /* by a signal, whose exception is set */
        break;
    case TL_OK: /* GCOVR_EXCL_START: no caller passes it */
        PyErr_SetString(PyExc_SystemError, "a core call reported success as a failure");
        break;
        /* GCOVR_EXCL_STOP */
    }
    tl_detail_clear();
    return NULL;
}
