/* Status texts and the per-thread sentence that goes with a failure. */
#include "core/status.h"

#include <stdarg.h>
#include <stdio.h>

static _Thread_local char detail[TL_DETAIL_SIZE];

const char *
tl_status_text(tl_status status)
{
    switch (status) {
    case TL_OK:
        return "no error";
    case TL_OUT_OF_MEMORY:
        return "out of memory";
    case TL_BAD_VALUE:
        return "a value is not allowed";
    case TL_UNSUPPORTED:
        return "not supported";
    case TL_BACKEND_FAILED:
        return "a oneDNN call failed";
    case TL_SYSTEM_FAILED:
        return "the operating system refused a call";
    case TL_INTERRUPTED:
        return "interrupted";
    }
    return "unknown status";
}

tl_status
tl_fail(tl_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(detail, sizeof detail, format, arguments);
    va_end(arguments);
    return status;
}

const char *
tl_detail(void)
{
    return detail;
}

void
tl_detail_clear(void)
{
    detail[0] = '\0';
}

void
tl_detail_set(const char *text)
{
    (void)snprintf(detail, sizeof detail, "%s", text);
}
