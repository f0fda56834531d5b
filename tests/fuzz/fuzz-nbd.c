/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: a server that the NBD client talks to.  The first byte chooses how wrong it is:
 *   0  everything that the server sends is the input
 *   1  the handshake is right; everything behind it is the input
 *   2  requests are answered by a script (wrong-server.h), on one connection
 *   3  the same on several connections, and the client connects again to a server that it has lost
 * The next five choose the export and how it is used.  Whatever the server does: the client ends, and a successful read
 * returns bytes that the server sent.
 */
#include "client.h"
#include "wrong-server.h"

#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/un.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "quarantine_size_mb=4:malloc_context_size=4";
}

enum { HEAD = 6, MAX_INPUT = 64 << 10, MAX_THREADS = 3, BUFFER = 12 << 10, MAX_EXTENTS = 50 };
enum { ALL_FREE, RIGHT_START, ONE_CONNECTION, SEVERAL };
enum {
    HAS_STRUCTURED = 1, HAS_MAP = 2, HAS_BLOCKS = 4, POLITE = 8, PATIENT = 16, READ_ONLY = 32, TWO = 64, THREE = 128
};

static struct wrong_server server;
static int mode;

/* ---- What the client does -------------------------------------------------------------- */

/* Are these bytes that the server sent? */
__attribute__((noinline)) static void judge_bytes(const uint8_t *bytes, uint64_t offset, size_t length)
{
    if (mode < ONE_CONNECTION || server.free_bytes)
        return;
    for (size_t i = 0; i < length && offset + i < server.export.size; i++) {
        bool hole = offset + i < WRONG_DISK && server.holes[offset + i];
        if (bytes[i] != wrong_byte(offset + i) && !(hole && bytes[i] == 0))
            abort();
    }
}

static void change_some(struct img *image, const uint8_t *buffer, uint64_t offset)
{
    if (img_size(image) < offset + BUFFER)
        return;
    img_pwrite(image, buffer, offset + 512, 1024);
    img_zero(image, offset, 4096, IMG_ZERO_MAY_UNMAP);
    img_zero(image, offset + 4096, 8192, IMG_ZERO_NO_FALLBACK);
    img_discard(image, offset, 8192);
    img_flush(image);
    img_pwrite(image, buffer, offset + 7, 3000);
}

struct user {
    struct img *image;
    unsigned number;
    uint8_t buffer[BUFFER];
};

static void *use(void *context)
{
    struct user *user = context;
    uint64_t start = user->number * (uint64_t)BUFFER;

    client_read(user->image, user->buffer, start, BUFFER, judge_bytes);
    client_map(user->image, start, UINT64_MAX, MAX_EXTENTS);
    client_read(user->image, user->buffer, start + 1000, 3000, judge_bytes);
    if (!img_read_only(user->image))
        change_some(user->image, user->buffer, start);
    client_read(user->image, user->buffer, img_size(user->image) - img_min(512, img_size(user->image)), 512, judge_bytes);
    return NULL;
}

static void use_by_several(struct img *image, unsigned threads)
{
    static struct user users[MAX_THREADS];
    pthread_t ids[MAX_THREADS];

    for (unsigned i = 0; i < threads; i++) {
        users[i].image = image;
        users[i].number = i;
        if (i > 0 && pthread_create(&ids[i], NULL, use, &users[i]) != 0)
            abort();
    }
    use(&users[0]);
    for (unsigned i = 1; i < threads; i++)
        pthread_join(ids[i], NULL);
}

/* `fd` (-1: none) is the client's end, and closed once it is in use. */
static void be_client(const char *name, int fd, unsigned features)
{
    struct img_open how = { .flags = features & READ_ONLY ? 0 : IMG_RDWR, .cache = IMG_CACHE_WRITEBACK };
    struct img *image = client_open(name, &how);

    if (fd >= 0)
        close(fd);
    if (image)
        use_by_several(image, mode < ONE_CONNECTION ? 1 : 1 + !!(features & TWO) + !!(features & THREE));
    client_close(image);
}

/* ---- Servers --------------------------------------------------------------------------- */

static void choose_export(const uint8_t *head)
{
    static const uint64_t sizes[] = { WRONG_DISK, WRONG_DISK + 100, 0, 1, 511, 513, 70000, 1 << 20, UINT64_C(1) << 40,
                                      INT64_MAX, UINT64_MAX, WRONG_DISK - 1 };
    static const uint32_t minima[] = { 1, 512, 4096, 65536, 3, 0, 1 << 17, UINT32_C(1) << 31 };
    static const uint32_t maxima[] = { 32 << 20, 4096, 65536, 1000, 0, UINT32_MAX, 512, 1 };

    server.export = (struct wrong_export){
        .size = sizes[head[1] % 12], .flags = (uint16_t)((head[2] << 8 | head[3]) ^ 0x16d),
        .structured = head[5] & HAS_STRUCTURED, .map = head[5] & HAS_MAP, .blocks = head[5] & HAS_BLOCKS,
        .minimum = minima[head[4] & 7], .preferred = 4096, .most = maxima[head[4] >> 3 & 7],
    };
    server.polite = head[5] & POLITE;
}

/* All is sent before the client begins. */
static void send_before(int fd, const uint8_t *data, size_t size)
{
    static const uint32_t options[] = { WRONG_STRUCTURED, WRONG_CONTEXT, WRONG_GO };
    uint8_t answer[256];

    server.clients[0] = fd;
    if (mode == RIGHT_START)
        wrong_send(&server, 0, wrong_greeting, sizeof wrong_greeting);
    for (size_t i = mode == RIGHT_START && server.export.structured ? 0 : 2; i < 3 && mode == RIGHT_START; i++)
        wrong_send(&server, 0, answer, wrong_answer_option(&server.export, options[i], answer));
    wrong_send(&server, 0, data, size);
    shutdown(fd, SHUT_WR);
}

static void socket_name(char name[256], int fd)
{
    snprintf(name, 256, "json:{\"driver\":\"nbd\",\"server\":{\"type\":\"fd\",\"str\":\"%d\"}}", fd);
}

static void make_pair(int pair[2])
{
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
        abort();
}

static void with_free_bytes(const uint8_t *data, size_t size, unsigned features)
{
    char name[256];
    int pair[2];

    make_pair(pair);
    send_before(pair[0], data, size);
    socket_name(name, pair[1]);
    be_client(name, pair[1], features);
    wrong_hang_up(&server, 0);
}

/* A socket whose name nobody else has, and that is no file. */
static int listen_somewhere(char name[256], unsigned features)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    int length = snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "imgbox-fuzz-%ld", (long)getpid());

    if (fd < 0 || bind(fd, (struct sockaddr *)&address,
                       (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length)) < 0 ||
        listen(fd, 16) < 0)
        abort();
    snprintf(name, 256, "json:{\"driver\":\"nbd\",\"server\":{\"type\":\"unix\",\"abstract\":true,\"path\":\"%s\"}%s}",
             address.sun_path + 1, features & PATIENT ? ",\"reconnect-delay\":1" : "");
    return fd;
}

static void with_script(const uint8_t *data, size_t size, unsigned features)
{
    pthread_t thread;
    char name[256];
    int pair[2] = { -1, -1 };

    server.script = (struct wrong_script){ data, size };
    server.end = eventfd(0, 0);
    if (mode == SEVERAL) {
        server.listener = listen_somewhere(name, features);
        server.polite = true;       /* (a client that is patient would wait in vain) */
    } else {
        make_pair(pair);
        server.clients[0] = pair[0];
        socket_name(name, pair[1]);
    }
    if (server.end < 0 || pthread_create(&thread, NULL, wrong_serve, &server) != 0)
        abort();
    be_client(name, pair[1], features);
    eventfd_write(server.end, 1);
    pthread_join(thread, NULL);
    close(server.end);
    if (server.listener >= 0)
        close(server.listener);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int modes[] = { ALL_FREE, RIGHT_START, ONE_CONNECTION, SEVERAL, /* which is slow */
                                 ONE_CONNECTION, RIGHT_START, ONE_CONNECTION, ALL_FREE };

    if (size < HEAD || size > MAX_INPUT)
        return 0;
    memset(&server, 0, sizeof server);
    server.listener = server.end = -1;
    memset(server.clients, -1, sizeof server.clients);
    mode = modes[data[0] & 7];
    choose_export(data);
    if (mode < ONE_CONNECTION)
        with_free_bytes(data + HEAD, size - HEAD, data[5]);
    else
        with_script(data + HEAD, size - HEAD, data[5]);
    return 0;
}
