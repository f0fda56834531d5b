/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: a client of the NBD server.  The first byte chooses a handshake that is right, or none; what follows is
 * what the client sends then.  The disk is 1 MiB in memory, half of it data.
 */
#include "libimg/serve.h"
#include "memory.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "quarantine_size_mb=4:malloc_context_size=4";
}

enum { DISK = 1 << 20, MAX_INPUT = 64 << 10 };      /* input fits into the buffer of a socket */

#define OPTION(id, length) "IHAVEOPT\0\0\0" id "\0\0\0" length
#define FLAGS "\0\0\0\3"
#define GO OPTION("\7", "\6") "\0\0\0\0\0\0"
#define CONTEXT OPTION("\12", "\33") "\0\0\0\0\0\0\0\1\0\0\0\17" "base:allocation"
#define BEGIN(text) { text, sizeof(text) - 1 }

static const struct { const char *bytes; size_t length; } begins[] = {
    BEGIN(""), BEGIN(FLAGS), BEGIN(FLAGS GO), BEGIN(FLAGS OPTION("\10", "\0") CONTEXT GO),
    BEGIN(FLAGS OPTION("\13", "\0") CONTEXT GO)
};

static struct img *open_disk(void)
{
    static uint8_t disk[DISK];
    struct img_open how = { .format = "raw", .flags = IMG_RDWR, .cache = IMG_CACHE_UNSAFE };
    struct img_error err = IMG_ERROR_INIT;
    struct img *image;

    memset(disk, 0x55, DISK / 2);
    fuzz_memory_load(disk, sizeof disk);
    if (img_open(&image, FUZZ_MEMORY, &how, &err) < 0)
        abort();
    return image;
}

static struct img_server *make_server(struct img *image)
{
    const struct img_server_settings settings = { .handshake_seconds = 10 };
    struct img_export export = { .name = "", .description = "one", .image = image, .length = DISK, .writable = true,
                                 .allocation_depth = true };
    struct img_error err = IMG_ERROR_INIT;
    struct img_server *server;

    if (img_server_new(&server, &settings, &err) < 0 || img_server_export(server, &export, &err) < 0)
        abort();
    export.name = "two";
    export.offset = 1000;
    export.length = 3001;
    export.writable = false;
    if (img_server_export(server, &export, &err) < 0)
        abort();
    return server;
}

static void send_all(int fd, const void *bytes, size_t length)
{
    if (length && send(fd, bytes, length, MSG_NOSIGNAL) != (ssize_t)length)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int nowhere = -1;
    struct img_error err = IMG_ERROR_INIT;
    struct img_server *server;
    struct img *image;
    int pair[2];

    if (size == 0 || size > MAX_INPUT)
        return 0;
    if (nowhere < 0)
        nowhere = open("/dev/null", O_WRONLY);
    if (nowhere < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
        abort();
    image = open_disk();
    server = make_server(image);
    size_t begin = data[0] % (sizeof begins / sizeof *begins);
    send_all(pair[0], begins[begin].bytes, begins[begin].length);
    send_all(pair[0], data + 1, size - 1);
    shutdown(pair[0], SHUT_WR);
    img_server_talk(server, pair[1], nowhere);
    close(pair[0]);
    close(pair[1]);
    img_server_free(server);
    img_close(image, &err);
    img_error_clear(&err);
    fuzz_memory_clear();
    return 0;
}
