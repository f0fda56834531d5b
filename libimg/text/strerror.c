/* SPDX-License-Identifier: MIT */
/*
 * The messages of error numbers.  Scripts expect the messages of the GNU C library.
 * This table has them for errors of files, devices and sockets that other
 * C libraries (musl, the BSDs) word differently.
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
    { ENODATA, "Image is truncated" },
    { IMG_ENOZLIB, "this image needs zlib, which is not built in" },
    { IMG_ENOZSTD, "this image needs zstd, which is not built in" },
    { IMG_ENOBZIP2, "this image needs bzip2, which is not built in" },
    { IMG_ENOXZ, "this image needs xz, which is not built in" },
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

/* strerror need not be thread-safe, and strerror_r has two prototypes.  These select by its return type. */
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
