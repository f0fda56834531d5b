/* SPDX-License-Identifier: MIT */
/*
 * The texts of error numbers.  Scripts look for the words of the GNU C library;
 * where another one (musl, the BSDs) words an error of files, devices or sockets in
 * its own way, this table puts them right.
 */
#include "img.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct wording {
    int code;
    const char *text;
} wordings[] = {
    { 0, "Success" },
    { EIO, "Input/output error" },
    { ECHILD, "No child processes" },
    { ENOMEM, "Cannot allocate memory" },
    { EBUSY, "Device or resource busy" },
    { EXDEV, "Invalid cross-device link" },
    { EMFILE, "Too many open files" },
    { ENOTTY, "Inappropriate ioctl for device" },
    { ESPIPE, "Illegal seek" },
    { EDOM, "Numerical argument out of domain" },
    { ERANGE, "Numerical result out of range" },
    { EDEADLK, "Resource deadlock avoided" },
    { ENAMETOOLONG, "File name too long" },
    { ELOOP, "Too many levels of symbolic links" },
    { EOVERFLOW, "Value too large for defined data type" },
    { EILSEQ, "Invalid or incomplete multibyte or wide character" },
    { ENOTSOCK, "Socket operation on non-socket" },
    { EMSGSIZE, "Message too long" },
    { EOPNOTSUPP, "Operation not supported" },
    { ENOTSUP, "Operation not supported" },
    { EADDRINUSE, "Address already in use" },
    { EADDRNOTAVAIL, "Cannot assign requested address" },
    { ENETUNREACH, "Network is unreachable" },
    { ENETRESET, "Network dropped connection on reset" },
    { ECONNABORTED, "Software caused connection abort" },
    { EISCONN, "Transport endpoint is already connected" },
    { ENOTCONN, "Transport endpoint is not connected" },
    { ESHUTDOWN, "Cannot send after transport endpoint shutdown" },
    { ETIMEDOUT, "Connection timed out" },
    { EHOSTUNREACH, "No route to host" },
    { EINPROGRESS, "Operation now in progress" },
    { EDQUOT, "Disk quota exceeded" },
#ifdef __linux__
    { ETIME, "Timer expired" },
    { EBADE, "Invalid exchange" },
    { EBADR, "Invalid request descriptor" },
    { EREMOTE, "Object is remote" },
    { ECOMM, "Communication error on send" },
    { EUCLEAN, "Structure needs cleaning" },
    { EHWPOISON, "Memory page has hardware error" },
#endif
};

/* strerror is not thread-safe by the letter; strerror_r comes in two shapes.  These pick by its type. */
static inline const char *text_of_gnu(const char *result, const char *buffer)
{
    (void)buffer;
    return result;
}

static inline const char *text_of_posix(int result, const char *buffer)
{
    return result == 0 || result == ERANGE ? buffer : "Unknown error";
}

#define TEXT_OF(code, buffer) \
    _Generic(strerror_r(code, buffer, sizeof(buffer)), char *: text_of_gnu, int: text_of_posix) \
        (strerror_r(code, buffer, sizeof(buffer)), buffer)

const char *img_strerror(int code)
{
    static _Thread_local char buffer[128];
    int positive = code < 0 ? -code : code;

    for (size_t i = 0; i < sizeof wordings / sizeof *wordings; i++) {
        if (wordings[i].code == positive)
            return wordings[i].text;
    }
    buffer[0] = '\0';
    return TEXT_OF(positive, buffer);
}
