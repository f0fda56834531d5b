/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: a sheep that the client of Sheepdog talks to.  The first byte chooses how wrong it is:
 *   0  everything that the server sends is the input
 *   1  requests are answered by a script (wrong-sheep.h), on one connection
 *   2  the same on several connections, and the client connects again to a server that it has lost
 * The next two choose the disk and how it is used.  Whatever the server does: the client ends, and a successful read
 * returns bytes that the server sent.
 */
#include "client.h"
#include "wrong-sheep.h"

#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/un.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "quarantine_size_mb=4:malloc_context_size=4";
}

enum { HEAD = 3, MAX_INPUT = 16 << 10, MAX_THREADS = 3, BUFFER = 12 << 10, MAX_EXTENTS = 50 };
enum { ALL_FREE, ONE_CONNECTION, SEVERAL };
enum { POLITE = 1, READ_ONLY = 2, TWO = 4, THREE = 8, SNAPSHOTS = 16, GO_BACK = 32, AT_SNAPSHOT = 64, GROW = 128 };

static struct sheep_server server;
static int mode;

/* ---- What the client does -------------------------------------------------------------- */

/* Are these bytes that the server sent, or zeroes of a hole? */
__attribute__((noinline)) static void judge_bytes(const uint8_t *bytes, uint64_t offset, size_t length)
{
    if (mode == ALL_FREE || server.free_bytes)
        return;
    for (size_t i = 0; i < length; i++)
        if (bytes[i] && bytes[i] != sheep_byte(offset + i))
            abort();
}

static void change_some(struct img *image, const uint8_t *buffer, uint64_t offset)
{
    if (img_size(image) < offset + (1 << 20) + BUFFER)
        return;
    img_pwrite(image, buffer, offset + 512, 1024);
    img_pwrite(image, buffer, offset + (1 << 20) - 3000, 6000);
    img_zero(image, offset, 4096, IMG_ZERO_MAY_UNMAP);
    img_zero(image, offset + 4096, 1 << 20, IMG_ZERO_NO_FALLBACK | IMG_ZERO_MAY_UNMAP);
    img_discard(image, 1 << 20, 1 << 20);
    img_flush(image);
}

struct user {
    struct img *image;
    unsigned number;
    uint8_t buffer[BUFFER];
};

static void *use(void *context)
{
    struct user *user = context;
    uint64_t start = user->number * ((1 << 20) - 5000), end = img_size(user->image);

    client_read(user->image, user->buffer, start, BUFFER, judge_bytes);
    client_map(user->image, start, UINT64_MAX, MAX_EXTENTS);
    for (size_t i = 0; i < BUFFER; i++)
        user->buffer[i] = 0;        /* (so that what is written is no byte of another place) */
    if (!img_read_only(user->image))
        change_some(user->image, user->buffer, start);
    client_read(user->image, user->buffer, start + 1000, BUFFER, judge_bytes);
    client_read(user->image, user->buffer, end - img_min(512, end), 512, judge_bytes);
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

static void use_snapshots(struct img *image, unsigned features)
{
    struct img_snapshot *list = NULL, what = { .name = "new", .date_sec = 1 };
    struct img_error err = IMG_ERROR_INIT;
    int count = img_snapshots(image, &list, &err);

    img_snapshots_free(list, count > 0 ? (size_t)count : 0);
    img_error_clear(&err);
    if (features & GO_BACK)
        img_snapshot_apply(image, "o", &err);
    else
        img_snapshot_create(image, &what, &err);
    free(what.id);
    img_error_clear(&err);
    img_snapshot_delete(image, "1", "o", &err);
    img_error_clear(&err);
    img_snapshot_load(image, NULL, "o", &err);
    img_error_clear(&err);
}

static void use_image(struct img *image, unsigned features)
{
    struct img_error err = IMG_ERROR_INIT;

    use_by_several(image, mode == ALL_FREE ? 1 : 1 + !!(features & TWO) + !!(features & THREE));
    if (features & GROW)
        img_resize(image, img_size(image) + (1 << 20) + 512, "full", &err);
    img_error_clear(&err);
    if (features & SNAPSHOTS)
        use_snapshots(image, features);
    img_doc_free(img_format_specific(image, &err));
    img_error_clear(&err);
    img_allocated(image);
}

/* `fd` (-1: none) is the client's end, and closed once it is in use. */
static void be_client(const char *name, int fd, unsigned features)
{
    const unsigned flags = features & (READ_ONLY | AT_SNAPSHOT) ? 0 : IMG_RDWR;
    struct img_open how = { .flags = flags, .cache = IMG_CACHE_WRITEBACK };
    struct img *image = client_open(name, &how);

    if (fd >= 0)
        close(fd);
    if (image)
        use_image(image, features);
    client_close(image);
}

/* ---- Servers --------------------------------------------------------------------------- */

static void choose_disk(uint8_t how)
{
    static const uint64_t sizes[] = { 4 << 20, 3 << 20, (2 << 20) + 100, 0, 1, 512, (1 << 20) - 512,
                                      UINT64_C(1) << 34 };
    static const uint32_t owners[] = { SHEEP_ID, 0, SHEEP_ID + 1, 0x123456 };

    server.size = sizes[how & 7];
    for (unsigned i = 0; i < SHEEP_OBJECTS; i++)
        server.owners[i] = owners[(how >> 3 >> i) % 4];
}

static void name_it(char name[300], const char *address, unsigned features)
{
    snprintf(name, 300, "json:{\"driver\":\"sheepdog\",\"vdi\":\"x\",\"timeout\":1,%s%s}", address,
             features & AT_SNAPSHOT ? ",\"tag\":\"o\"" : "");
}

static void make_pair(int pair[2])
{
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
        abort();
}

static void name_descriptor(char name[300], int fd, unsigned features)
{
    char address[128];

    snprintf(address, sizeof address, "\"reconnect-delay\":0,\"server\":{\"type\":\"fd\",\"str\":\"%d\"}", fd);
    name_it(name, address, features);
}

/* All is sent before the client begins. */
static void with_free_bytes(const uint8_t *data, size_t size, unsigned features)
{
    char name[300];
    int pair[2];

    make_pair(pair);
    server.clients[0] = pair[0];
    sheep_send(&server, 0, data, size);
    shutdown(pair[0], SHUT_WR);
    name_descriptor(name, pair[1], features);
    be_client(name, pair[1], features);
    sheep_hang_up(&server, 0);
}

/* A socket whose name nobody else has, and that is no file. */
static int listen_somewhere(char name[300], unsigned features)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    int length = snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "imgbox-sheep-%ld", (long)getpid());
    char text[256];

    if (fd < 0 || bind(fd, (struct sockaddr *)&address,
                       (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length)) < 0 ||
        listen(fd, 16) < 0)
        abort();
    snprintf(text, sizeof text, "\"reconnect-delay\":1,\"server\":{\"type\":\"unix\",\"abstract\":true,"
             "\"path\":\"%s\"}", address.sun_path + 1);
    name_it(name, text, features);
    return fd;
}

static void with_script(const uint8_t *data, size_t size, unsigned features)
{
    pthread_t thread;
    char name[300];
    int pair[2] = { -1, -1 };

    server.script = (struct sheep_script){ data, size };
    server.end = eventfd(0, 0);
    if (mode == SEVERAL) {
        server.listener = listen_somewhere(name, features);
        server.polite = true;       /* (a client that is patient would wait in vain) */
    } else {
        make_pair(pair);
        server.clients[0] = pair[0];
        name_descriptor(name, pair[1], features);
    }
    if (server.end < 0 || pthread_create(&thread, NULL, sheep_serve, &server) != 0)
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
    static const int modes[] = { ALL_FREE, ONE_CONNECTION, SEVERAL, /* which is slow */ ONE_CONNECTION };

    if (size < HEAD || size > MAX_INPUT)
        return 0;
    memset(&server, 0, sizeof server);
    server.listener = server.end = -1;
    memset(server.clients, -1, sizeof server.clients);
    mode = modes[data[0] & 3];
    choose_disk(data[1]);
    server.polite = data[2] & POLITE;
    if (mode == ALL_FREE)
        with_free_bytes(data + HEAD, size - HEAD, data[2]);
    else
        with_script(data + HEAD, size - HEAD, data[2]);
    return 0;
}
