/* Status -> exception. */
#include "binding.h"

PyObject *
tl_raise(const module_state *state, tl_status status)
{
    const char *detail = tl_detail();
    const char *text = detail[0] != '\0' ? detail : tl_status_text(status);
    switch (status) {
    case TL_OUT_OF_MEMORY:
        PyErr_SetString(PyExc_MemoryError, text);
        break;
    case TL_BAD_VALUE:
    case TL_UNSUPPORTED:
        PyErr_SetString(PyExc_ValueError, text);
        break;
    case TL_BACKEND_FAILED:
        PyErr_SetString(state->backend_error, text);
        break;
    case TL_SYSTEM_FAILED:
        PyErr_SetString(PyExc_OSError, text);
        break;
    case TL_OK:
        PyErr_SetString(PyExc_SystemError, "a core call reported success as a failure");
        break;
    }
    tl_detail_clear();
    return NULL;
}
