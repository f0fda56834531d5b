/* SPDX-License-Identifier: MIT */
/* bytes.c - bytes that may be secret: in guarded memory, which is wiped before it is freed. */
#include "bytes.h"
#include "util/cleanup.h"
#include "util/guarded.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>

enum { FIRST_READ = 4096, MOST = 64 << 20 };

void img_bytes_wipe(struct img_bytes *bytes)
{
    img_guarded_free(bytes->at, bytes->capacity);
    *bytes = (struct img_bytes){ 0 };
}

/* (realloc could leave a copy of the secret behind) */
int img_bytes_enlarge(struct img_bytes *bytes, size_t capacity, struct img_error *err)
{
    struct img_bytes larger = { img_guarded_new(capacity + 1), bytes->length, capacity + 1 };

    if (!larger.at)
        return img_error_memory(err);
    if (bytes->length)
        memcpy(larger.at, bytes->at, bytes->length);
    img_bytes_wipe(bytes);
    *bytes = larger;
    return 0;
}

static int failed(const char *name, const char *what, int code, struct img_error *err)
{
    return img_error_set(err, code, "%s file \u201c%s\u201d: %s", what, name, img_strerror(code));
}

int img_bytes_read(struct img_bytes *bytes, const char *name, struct img_error *err)
{
    CLEANUP_FD int fd = open(name, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0)
        return failed(name, "Failed to open", errno, err);
    if (img_bytes_enlarge(bytes, FIRST_READ, err) < 0)
        return -ENOMEM;
    while ((n = read(fd, bytes->at + bytes->length, bytes->capacity - 1 - bytes->length)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return failed(name, "Error reading", errno, err);
        bytes->length += (size_t)n;
        if (bytes->length > MOST)
            return failed(name, "Error reading", EFBIG, err);
        if (bytes->length == bytes->capacity - 1 && img_bytes_enlarge(bytes, 2 * bytes->length, err) < 0)
            return -ENOMEM;
    }
    bytes->at[bytes->length] = 0;
    return 0;
}
