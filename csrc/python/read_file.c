/* A whole file as bytes, letting go of the GIL once: threads that decode pictures take turns
 * with it, and every turn may cost more than reading does. */
#include "python/binding.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/arena.h"

/* Bytes: up to SMALL they are copied once more rather than taking another turn; PIECE are read
 * in less than a tenth of a second. */
enum { SMALL = 1 << 20, PIECE = 8 << 20 };

typedef struct open_file {
    int descriptor; /* -1: none */
    size_t size;
    long long modified; /* ns */
    int error;          /* errno, 0 if all went well */
    bool is_odd;        /* no regular file */
} open_file;

static void
open_regular(open_file *file, const char *path)
{
    struct stat found;
    /* a pipe without a writer must not keep the caller waiting */
    file->descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file->descriptor < 0 || fstat(file->descriptor, &found) < 0) {
        file->error = errno;
        return;
    }
    if (!S_ISREG(found.st_mode)) {
        file->error = EINVAL;
        file->is_odd = true;
        return;
    }
    file->size = (size_t)found.st_size;
    file->modified = found.st_mtim.tv_sec * 1000000000LL + found.st_mtim.tv_nsec;
}

/* Reads on to `end`, or to where the file ends now; how many bytes there are then. */
static size_t
read_on(open_file *file, char *dst, size_t done, size_t end)
{
    while (done < end) {
        const ssize_t some = read(file->descriptor, dst + done, end - done);
        if (some < 0 && errno == EINTR) {
            continue;
        }
        if (some <= 0) {
            file->error = some < 0 ? errno : 0;
            break;
        }
        done += (size_t)some;
    }
    return done;
}

static PyObject *
raise_error(const open_file *file, PyObject *path)
{
    if (file->is_odd) {
        PyObject *error =
            PyObject_CallFunction(PyExc_OSError, "is", EINVAL, "it is not a regular file");
        if (error != NULL) {
            PyErr_SetObject(PyExc_OSError, error);
            Py_DECREF(error);
        }
        return NULL;
    }
    errno = file->error;
    return PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, path);
}

/* A large file, a piece at a time, so that Ctrl-C is heard. NULL with an exception. */
static PyObject *
read_pieces(open_file *file, PyObject *path)
{
    PyObject *content = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)file->size);
    size_t done = 0;
    size_t end = 0;
    if (content == NULL) {
        return NULL;
    }
    char *const dst = PyBytes_AS_STRING(content);
    while (done == end && end < file->size) {
        end = file->size - done < PIECE ? file->size : done + PIECE;
        Py_BEGIN_ALLOW_THREADS
        done = read_on(file, dst, done, end);
        Py_END_ALLOW_THREADS
        if (file->error != 0 || PyErr_CheckSignals() < 0) {
            Py_DECREF(content);
            return file->error != 0 ? raise_error(file, path) : NULL;
        }
    }
    (void)_PyBytes_Resize(&content, (Py_ssize_t)done);
    return content;
}

/* read_file(path, limit) */
PyObject *
tl_read_file_method(PyObject *module, PyObject *args)
{
    PyObject *path;
    PyObject *encoded = NULL; /* owned */
    PyObject *content = NULL; /* owned until the result takes it */
    PyObject *result = NULL;
    char *buffer = NULL; /* owned */
    size_t done = 0;
    long long limit;
    open_file file = {.descriptor = -1};
    (void)module;
    if (!PyArg_ParseTuple(args, "OL:read_file", &path, &limit) ||
        !PyUnicode_FSConverter(path, &encoded)) {
        return NULL;
    }
    const char *name = PyBytes_AS_STRING(encoded);
    Py_BEGIN_ALLOW_THREADS
    open_regular(&file, name);
    if (file.error == 0 && file.size <= SMALL && (long long)file.size <= limit) {
        buffer = tl_alloc(file.size, 1);
        if (buffer != NULL) {
            done = read_on(&file, buffer, 0, file.size);
        }
    }
    Py_END_ALLOW_THREADS
    if (file.error != 0) {
        raise_error(&file, path);
    } else if ((long long)file.size > limit) {
        content = Py_NewRef(Py_None);
    } else if (buffer != NULL) {
        content = PyBytes_FromStringAndSize(buffer, (Py_ssize_t)done);
    } else {
        content = read_pieces(&file, path);
    }
    if (content != NULL) {
        result = Py_BuildValue("NnL", content, (Py_ssize_t)file.size, file.modified);
    }
    if (file.descriptor >= 0) {
        close(file.descriptor);
    }
    tl_free(buffer);
    Py_DECREF(encoded);
    return result;
}
