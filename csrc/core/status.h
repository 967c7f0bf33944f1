/* The answers a core function can give.
 *
 * Every function that can fail returns a tl_status and leaves its results untouched on
 * failure. What exactly was wrong travels beside it as one sentence, kept per thread: the
 * core never prints, exits or aborts. */
#ifndef TL_CORE_STATUS_H
#define TL_CORE_STATUS_H

#include <stddef.h>

typedef enum tl_status {
    TL_OK = 0,
    TL_OUT_OF_MEMORY,
    TL_BAD_VALUE,      /* a shape, attribute or number that is not allowed */
    TL_UNSUPPORTED,    /* sound, but tlcore cannot do it */
    TL_BACKEND_FAILED, /* the library that runs the steps refused a call */
    TL_SYSTEM_FAILED,  /* the operating system refused, such as a thread */
    TL_INTERRUPTED     /* the caller asked to stop; nothing was changed */
} tl_status;

enum { TL_DETAIL_SIZE = 384 };

/* The only control-flow macro: the enclosing function has a `status` and a `done:` label. */
#define TL_TRY(call)                                                                           \
    do {                                                                                       \
        status = (call);                                                                       \
        if (status != TL_OK) {                                                                 \
            goto done;                                                                         \
        }                                                                                      \
    } while (0)

/* What a status means in general; a static string. */
const char *tl_status_text(tl_status status);

/* Remembers one formatted sentence for this thread and returns `status`. */
tl_status tl_fail(tl_status status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The sentence of this thread's last tl_fail, or "". Valid until the next tl_fail. */
const char *tl_detail(void);

/* Forgets the sentence; call before work whose failure will be reported. */
void tl_detail_clear(void);

/* Takes over a sentence that another thread reported. */
void tl_detail_set(const char *text);

#endif
