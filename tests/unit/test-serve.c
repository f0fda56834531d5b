/* SPDX-License-Identifier: MIT */
/*
 * The NBD server, request by request, over socket pairs: each command and flag in each of the three forms of answers,
 * errors and limits; clients that break off, lie or stay silent; stopping.  The texts are compared with those of
 * qemu-nbd by tests/interop/serve-peer.py.
 */
#include "libimg/driver.h"
#include "libimg/node/module.h"
#include "nbd-client.h"
#include "test.h"

#include <fcntl.h>
#include <semaphore.h>
#include <stdlib.h>
#include <unistd.h>

enum { SIZE = 1 << 20, UNIT = 64 << 10 };   /* bytes of the disk; of a large request */

/* A storage that can hold a read until it is released, and fail. */
static sem_t held, go;
static bool hold_read, no_zeroes;
static int fail_with;

static int slow_open(struct img *image, const void *parsed, struct img_doc *options, struct img_error *err)
{
    (void)image, (void)parsed, (void)options, (void)err;
    return 0;
}

static int slow_pread(struct img *image, void *buffer, uint64_t offset, size_t length)
{
    if (__atomic_load_n(&hold_read, __ATOMIC_SEQ_CST)) {
        sem_post(&held);
        sem_wait(&go);
    }
    return fail_with ? fail_with : img_pread_padded(image->file, buffer, offset, length);
}

static int slow_pwrite(struct img *image, const void *buffer, uint64_t offset, size_t length, unsigned flags)
{
    return fail_with ? fail_with : img_pwrite_flags(image->file, buffer, offset, length, flags);
}

static int slow_zero(struct img *image, uint64_t offset, uint64_t length, unsigned flags)
{
    return no_zeroes ? -ENOTSUP : img_zero(image->file, offset, length, flags);
}

static int slow_map(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extent)
{
    int ret = img_map(image->file, offset, length, extent);

    extent->file = image;
    return ret;
}

static int slow_flush(struct img *image)
{
    (void)image;
    return fail_with;
}

static const struct img_driver slow_driver = {
    IMG_ROW( .name = "slow", .kind = IMG_ADAPTER ),
    .open = slow_open, .pread = slow_pread, .pwrite = slow_pwrite, .zero = slow_zero, .map = slow_map,
    .flush = slow_flush,
};

extern const struct img_driver img_driver_file, img_driver_raw;
const struct img_driver *const img_drivers[] = { &img_driver_file, &img_driver_raw, &slow_driver, NULL };
struct img_module img_modules[] = { { .row = NULL } };
const char img_module_folder[] = "";

static char name[] = "/tmp/imgbox-serve-XXXXXX";
static struct img *image;

/* ---- Servers ---------------------------------------------------------------------- */

static struct img_server *serve_part(bool writable, unsigned seconds, uint64_t offset, uint64_t length)
{
    const struct img_server_settings settings = { .handshake_seconds = seconds };
    const struct img_export export = { .name = "", .image = image, .offset = offset, .length = length,
                                       .writable = writable, .allocation_depth = true, .multi_conn = true };
    struct img_error err = IMG_ERROR_INIT;
    struct img_server *server;

    if (img_server_new(&server, &settings, &err) < 0 || img_server_export(server, &export, &err) < 0)
        abort();
    return server;
}

static struct img_server *serve(bool writable)
{
    return serve_part(writable, 0, 0, SIZE);
}

/* ---- Requests ---------------------------------------------------------------------- */

static void commands(int mode)
{
    static const char *const names[] = { "simple", "structured", "extended" };
    static char data[UNIT], back[UNIT], zeroes[UNIT];
    struct img_server *server = serve(true);
    const char *form = names[mode];
    struct nbd_client c;

    memset(data, 'a' + mode, sizeof data);
    OK(nbd_open(&c, server, mode, NULL), "%s: the handshake", form);
    OK(nbd_write(&c, data, 0, 1001, 5000) == 0, "%s: write", form);
    OK(nbd_read(&c, back, 0, 1001, 5000) == 0 && memcmp(back, data, 5000) == 0, "%s: read it again", form);
    OK(nbd_write(&c, data, NBD_CMD_FLAG_FUA, SIZE - 777, 777) == 0, "%s: write with FUA to the last byte", form);
    OK(nbd_read(&c, back, NBD_CMD_FLAG_FUA, SIZE - 777, 777) == 0 && memcmp(back, data, 777) == 0,
       "%s: read to the last byte", form);
    OK(nbd_do(&c, NBD_CMD_WRITE_ZEROES, 0, 2000, 1000) == 0, "%s: zeroes", form);
    OK(nbd_read(&c, back, 0, 1001, 5000) == 0 && memcmp(back, data, 999) == 0 &&
       memcmp(back + 999, zeroes, 1000) == 0 && memcmp(back + 1999, data, 3001) == 0, "%s: nothing but those", form);
    OK(nbd_do(&c, NBD_CMD_WRITE_ZEROES, NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FUA, 0, UNIT) == 0, "%s: and flags", form);
    OK(nbd_read(&c, back, 0, 0, UNIT) == 0 && memcmp(back, zeroes, UNIT) == 0, "%s: zeroes are read", form);
    OK(nbd_do(&c, NBD_CMD_TRIM, NBD_CMD_FLAG_FUA, UNIT, UNIT) == 0, "%s: trim", form);
    OK(nbd_do(&c, NBD_CMD_CACHE, 0, 0, SIZE) == 0, "%s: cache", form);
    OK(nbd_do(&c, NBD_CMD_FLUSH, 0, 0, 0) == 0, "%s: flush", form);
    OK(nbd_read(&c, back, 0, SIZE, 0) == 0 && nbd_write(&c, data, 0, SIZE, 0) == 0 &&
       nbd_do(&c, NBD_CMD_TRIM, 0, 5, 0) == 0 && nbd_do(&c, NBD_CMD_WRITE_ZEROES, 0, 0, 0) == 0, "%s: no bytes", form);
    nbd_request(&c, NBD_CMD_DISC, 0, 1, 0, 0);
    OK(nbd_is_over(&c), "%s: the server hangs up after DISC", form);
    OK(nbd_end(&c) == 0, "%s: that is no failure", form);
    img_server_free(server);
}

static void refused(int mode)
{
    static const uint16_t types[] = { NBD_CMD_READ, NBD_CMD_WRITE, NBD_CMD_TRIM, NBD_CMD_CACHE, NBD_CMD_WRITE_ZEROES };
    static char data[UNIT];
    struct img_server *server = serve(true);
    struct nbd_client c;
    int bad = 0;

    OK(nbd_open(&c, server, mode, NULL), "mode %d: a client that errs", mode);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        static const struct { uint64_t from; uint32_t length; } ranges[] = {
            { SIZE, 1 }, { SIZE - 100, 101 }, { UINT64_MAX, 2 }, { UINT64_MAX - 511, 512 }
        };
        for (size_t j = 0; j < sizeof ranges / sizeof *ranges; j++)
            bad += (types[i] == NBD_CMD_WRITE ? nbd_write(&c, data, 0, ranges[j].from, ranges[j].length)
                    : nbd_do(&c, types[i], 0, ranges[j].from, ranges[j].length)) != NBD_EINVAL;
    }
    OK(bad == 0, "mode %d: nothing beyond the end", mode);
    for (unsigned type = 0; type <= NBD_CMD_BLOCK_STATUS; type++)
        if (type != NBD_CMD_DISC && type != NBD_CMD_WRITE)
            bad += nbd_do(&c, (uint16_t)type, 1 << 9, 0, 0) != NBD_EINVAL;
    bad += nbd_write(&c, data, 1 << 9, 0, 600) != NBD_EINVAL;
    OK(bad == 0, "mode %d: unknown flags", mode);
    OK(nbd_do(&c, 8, 0, 0, 0) == NBD_EINVAL && nbd_do(&c, 65535, 0, 0, 0) == NBD_EINVAL, "mode %d: commands", mode);
    OK(nbd_do(&c, NBD_CMD_READ, 0, 0, NBD_MAX_PAYLOAD + 1) == NBD_EINVAL, "mode %d: a read over 32 MiB", mode);
    OK(nbd_do(&c, NBD_CMD_BLOCK_STATUS, 0, 0, 512) == NBD_EINVAL, "mode %d: status without a context", mode);
    OK(nbd_do(&c, NBD_CMD_FLUSH, 0, 0, 0) == 0, "mode %d: the client is still served", mode);
    nbd_request(&c, NBD_CMD_WRITE, mode == 2 ? NBD_CMD_FLAG_PAYLOAD_LEN : 0, 5, 0, NBD_MAX_PAYLOAD + 1);
    OK(nbd_finish(&c, 5, 0, NULL, 0) == NBD_EINVAL && nbd_is_over(&c), "mode %d: not after a write over 32 MiB", mode);
    OK(nbd_end(&c) < 0, "mode %d: that is a failure", mode);
    img_server_free(server);
}

static void errors(void)
{
    static const struct { int code; int wire; } pairs[] = {
        { -EPERM, NBD_EPERM }, { -EROFS, NBD_EPERM }, { -EIO, NBD_EIO }, { -ENOMEM, NBD_ENOMEM },
        { -ENOSPC, NBD_ENOSPC }, { -EDQUOT, NBD_ENOSPC }, { -EFBIG, NBD_ENOSPC }, { -EOVERFLOW, NBD_EOVERFLOW },
        { -ENOTSUP, NBD_ENOTSUP }, { -ESHUTDOWN, NBD_ESHUTDOWN }, { -EBADF, NBD_EINVAL }
    };
    static char data[512] = "x";
    struct img_server *server = serve(true);
    struct nbd_client c;

    OK(nbd_open(&c, server, 1, NULL) && nbd_write(&c, data, 0, 0, 512) == 0, "errors of the storage");
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        fail_with = pairs[i].code;
        OK(nbd_write(&c, data, 0, 0, 512) == pairs[i].wire &&
           nbd_read(&c, data, NBD_CMD_FLAG_DF, 0, 512) == pairs[i].wire,
           "error %d is %d", -pairs[i].code, pairs[i].wire);
    }
    fail_with = 0;
    no_zeroes = true;
    OK(nbd_do(&c, NBD_CMD_WRITE_ZEROES, NBD_CMD_FLAG_FAST_ZERO, 0, UNIT) == NBD_ENOTSUP, "no fast zeroes");
    OK(nbd_do(&c, NBD_CMD_WRITE_ZEROES, 0, 0, UNIT) == 0, "slow ones");
    no_zeroes = false;
    nbd_end(&c);
    img_server_free(server);

    server = serve(false);
    OK(nbd_open(&c, server, 0, NULL) && nbd_write(&c, data, 0, 0, 512) == NBD_EINVAL &&
       nbd_do(&c, NBD_CMD_TRIM, 0, 0, 512) == NBD_EINVAL && nbd_do(&c, NBD_CMD_WRITE_ZEROES, 0, 0, 512) == NBD_EINVAL &&
       nbd_read(&c, data, 0, 0, 512) == 0, "an export for reading only");
    nbd_end(&c);
    img_server_free(server);
}

/* ---- Chunks ---------------------------------------------------------------------- */

/* The first half of the disk is data, the second one is a hole. */
static void halves(void)
{
    static char data[SIZE / 2];

    memset(data, 'h', sizeof data);
    if (img_pwrite(image, data, 0, sizeof data) < 0 || img_zero(image, SIZE / 2, SIZE / 2, IMG_ZERO_MAY_UNMAP) < 0)
        abort();
}

static void holes(void)
{
    static char back[SIZE];
    struct img_server *server = serve(true);
    struct img_nbd_answer a;
    struct nbd_client c;

    halves();
    OK(nbd_open(&c, server, 1, NULL), "a disk with a hole");
    nbd_request(&c, NBD_CMD_READ, 0, 3, SIZE / 2 - 10, 20);
    OK(nbd_answer(&c, &a) && a.type == NBD_REPLY_TYPE_OFFSET_DATA && !a.last && a.length == 18 &&
       img_get_be64(a.bytes) == SIZE / 2 - 10 && nbd_recv(&c, back, 10) && back[9] == 'h', "ten bytes of data");
    OK(nbd_answer(&c, &a) && a.type == NBD_REPLY_TYPE_OFFSET_HOLE && a.last && img_get_be64(a.bytes) == SIZE / 2 &&
       img_get_be32(a.bytes + 8) == 10, "ten of a hole");
    nbd_request(&c, NBD_CMD_READ, NBD_CMD_FLAG_DF, 4, SIZE / 2 - 10, 20);
    OK(nbd_answer(&c, &a) && a.type == NBD_REPLY_TYPE_OFFSET_DATA && a.last && a.length == 28 &&
       nbd_recv(&c, back, 20) && back[9] == 'h' && back[10] == 0, "or twenty in one piece");
    nbd_end(&c);
    img_server_free(server);
}

static uint32_t flags_at(const struct img_nbd_answer *a, unsigned index)
{
    return img_get_be32(a->bytes + 4 + 8 * index + 4);
}

static void status(void)
{
    struct img_server *server = serve(true);
    unsigned char filter[12] = {0};
    struct img_nbd_answer a;
    struct nbd_client c;

    halves();
    OK(nbd_open(&c, server, 1, "base:allocation"), "structured: block status");
    nbd_request(&c, NBD_CMD_BLOCK_STATUS, 0, 6, 10, SIZE - 20);
    OK(nbd_answer(&c, &a) && a.type == NBD_REPLY_TYPE_BLOCK_STATUS && a.last && a.length == 20 &&
       img_get_be32(a.bytes) == 0, "one context, two extents");
    OK(img_get_be32(a.bytes + 4) == SIZE / 2 - 10 && flags_at(&a, 0) == 0 &&
       img_get_be32(a.bytes + 12) == SIZE / 2 - 10 && flags_at(&a, 1) == (NBD_STATE_HOLE | NBD_STATE_ZERO),
       "data, and a hole, cut at the ends of the range");
    nbd_request(&c, NBD_CMD_BLOCK_STATUS, NBD_CMD_FLAG_REQ_ONE, 6, 0, SIZE);
    OK(nbd_answer(&c, &a) && a.length == 12 && img_get_be32(a.bytes + 4) == SIZE / 2, "only one, if the client wants");
    nbd_end(&c);

    OK(nbd_open(&c, server, 2, "qemu:allocation-depth"), "extended: the depth");
    nbd_request(&c, NBD_CMD_BLOCK_STATUS, 0, 6, 0, SIZE);
    OK(nbd_answer(&c, &a) && a.type == NBD_REPLY_TYPE_BLOCK_STATUS_EXT && a.length == 24 &&
       img_get_be32(a.bytes) == 1 && img_get_be32(a.bytes + 4) == 1 && img_get_be64(a.bytes + 8) == SIZE &&
       img_get_be64(a.bytes + 16) == 1, "all of raw is in the first layer");
    img_put_be64(filter, SIZE);
    img_put_be32(filter + 8, 1);
    nbd_request(&c, NBD_CMD_BLOCK_STATUS, NBD_CMD_FLAG_PAYLOAD_LEN, 8, 0, sizeof filter);
    nbd_send(&c, filter, sizeof filter);
    OK(nbd_finish(&c, 8, 0, NULL, 0) == 0, "a filter that names it");
    img_put_be32(filter + 8, 0);
    nbd_request(&c, NBD_CMD_BLOCK_STATUS, NBD_CMD_FLAG_PAYLOAD_LEN, 8, 0, sizeof filter);
    nbd_send(&c, filter, sizeof filter);
    OK(nbd_finish(&c, 8, 0, NULL, 0) == NBD_EINVAL, "one that names what was not chosen");
    nbd_end(&c);
    img_server_free(server);
}

static void parts(void)
{
    struct img_server *server = serve_part(true, 0, 1000, 5001);
    static char data[5001], back[5001];
    struct nbd_client c;

    memset(data, 'p', sizeof data);
    OK(nbd_open(&c, server, 1, NULL) && nbd_write(&c, data, 0, 0, 5001) == 0 && nbd_read(&c, back, 0, 0, 5001) == 0 &&
       memcmp(data, back, 5001) == 0, "a part of an image, of an odd size");
    OK(nbd_write(&c, data, 0, 1, 5001) == NBD_EINVAL, "and no byte more");
    nbd_end(&c);
    img_server_free(server);
    OK(img_pread(image, back, 999, 3) == 0 && memcmp(back, "hpp", 3) == 0, "it begins where it was told to");
}

/* ---- Handshake -------------------------------------------------------------------- */

static void handshake(void)
{
    struct img_server *server = serve(true);
    unsigned char answer[NBD_EXPORT_NAME_SIZE + NBD_EXPORT_NAME_ZEROES];
    char text[5000];
    struct nbd_client c;

    nbd_begin(&c, server);
    OK(nbd_greeting(&c, 3), "a client with options");
    nbd_option(&c, 77, "abc", 3);
    OK(nbd_option_answer(&c, text, sizeof text) == NBD_REP_ERR_UNSUP, "an unknown one is refused");
    test_same(text, "Unsupported option 77 (<unknown>)", "in words");
    nbd_option(&c, NBD_OPT_LIST, NULL, 0);
    OK(nbd_option_answer(&c, text, sizeof text) == NBD_REP_SERVER && img_get_be32(text) == 0 &&
       nbd_option_answer(&c, text, sizeof text) == NBD_REP_ACK, "the list has the default export");
    nbd_option(&c, NBD_OPT_STARTTLS, NULL, 0);
    OK(nbd_option_answer(&c, text, sizeof text) == NBD_REP_ERR_POLICY, "no TLS without credentials");
    nbd_option(&c, NBD_OPT_GO, "\0\0\0\4nope\0", 10);
    OK(nbd_option_answer(&c, text, sizeof text) == NBD_REP_ERR_UNKNOWN, "no such export");
    nbd_option(&c, NBD_OPT_INFO, "\377\377\377\377\0\0", 6);
    OK(nbd_option_answer(&c, text, sizeof text) == NBD_REP_ERR_INVALID, "a name of 4 GiB");
    nbd_option(&c, NBD_OPT_ABORT, NULL, 0);
    OK(nbd_option_answer(&c, text, sizeof text) == NBD_REP_ACK && nbd_is_over(&c) && nbd_end(&c) == 0, "abort");

    nbd_begin(&c, server);
    OK(nbd_greeting(&c, 0), "an old client");
    nbd_option(&c, NBD_OPT_EXPORT_NAME, NULL, 0);
    OK(nbd_recv(&c, answer, sizeof answer) && img_get_be64(answer) == SIZE && answer[sizeof answer - 1] == 0 &&
       nbd_do(&c, NBD_CMD_FLUSH, 0, 0, 0) == 0 && nbd_end(&c) == 0, "is served, after 124 zeroes");
    img_server_free(server);
}

/* ---- Hostile clients ----------------------------------------------------------------- */

static void hostile(void)
{
    static const char half[10], garbage[64] = "GET / HTTP/1.1\r\n\r\n";
    struct img_server *server = serve(true);
    unsigned char head[NBD_OPTION_SIZE];
    struct nbd_client c;

    nbd_begin(&c, server);
    OK(nbd_end(&c) == 0, "a probe of the port");
    nbd_begin(&c, server);
    nbd_greeting(&c, 0x47455420);
    OK(nbd_is_over(&c) && nbd_end(&c) < 0, "another protocol");
    nbd_begin(&c, server);
    nbd_greeting(&c, 3);
    img_put_be64(head, NBD_OPTION_MAGIC);
    img_put_be32(head + 8, NBD_OPT_LIST);
    img_put_be32(head + 12, UINT32_MAX);
    nbd_send(&c, head, sizeof head);
    OK(nbd_end(&c) < 0, "an option of 4 GiB");
    nbd_open(&c, server, 0, NULL);
    nbd_send(&c, half, sizeof half);
    OK(nbd_end(&c) == -EPIPE, "a part of a request");
    nbd_open(&c, server, 0, NULL);
    nbd_request(&c, NBD_CMD_WRITE, 0, 1, 0, 1 << 20);
    nbd_send(&c, half, sizeof half);
    OK(nbd_end(&c) == -EPIPE, "a part of a payload");
    nbd_open(&c, server, 0, NULL);
    nbd_send(&c, garbage, sizeof garbage);
    OK(nbd_finish(&c, img_get_be64(garbage + 8), 0, NULL, 0) == NBD_EINVAL && nbd_is_over(&c) && nbd_end(&c) < 0,
       "a wrong magic number");
    nbd_open(&c, server, 1, NULL);
    for (int i = 0; i < 200; i++)
        nbd_request(&c, NBD_CMD_READ, NBD_CMD_FLAG_DF, 1, 0, SIZE);
    nbd_end(&c);
    OK(true, "a client that does not wait for what it asked for");
    img_server_free(server);
}

/* With a limit of a second a silent client is dropped, and so is one that sends now and then. */
static void limit(void)
{
    struct img_server *server = serve_part(true, 1, 0, SIZE);
    struct nbd_client c;

    nbd_begin(&c, server);
    OK(nbd_greeting(&c, 3) && nbd_is_over(&c) && nbd_end(&c) == -ETIMEDOUT, "a silent client is dropped");
    nbd_begin(&c, server);
    nbd_greeting(&c, 3);
    for (int i = 0; send(c.fd, "I", 1, MSG_NOSIGNAL) == 1 && i < 15; i++)
        usleep(100000);
    OK(nbd_end(&c) < 0, "a client that sends byte by byte is dropped");
    OK(nbd_open(&c, server, 0, NULL), "another is served");
    usleep(1100000);
    OK(nbd_do(&c, NBD_CMD_FLUSH, 0, 0, 0) == 0 && nbd_end(&c) == 0, "also when the limit has passed");
    img_server_free(server);
}

/* ---- Order and end --------------------------------------------------------------------- */

static void overtaking(void)
{
    struct img_server *server = serve(true);
    static char back[512];
    struct img_nbd_answer a;
    struct nbd_client c;

    OK(nbd_open(&c, server, 0, NULL), "a slow read");
    __atomic_store_n(&hold_read, true, __ATOMIC_SEQ_CST);
    nbd_request(&c, NBD_CMD_READ, 0, 100, 0, 512);
    sem_wait(&held);
    nbd_request(&c, NBD_CMD_FLUSH, 0, 200, 0, 0);
    OK(nbd_answer(&c, &a) && a.cookie == 200, "is overtaken by a flush");
    img_server_stop(server);
    __atomic_store_n(&hold_read, false, __ATOMIC_SEQ_CST);
    sem_post(&go);
    OK(nbd_answer(&c, &a) && a.cookie == 100 && nbd_recv(&c, back, 512), "and is answered although the server stops");
    OK(nbd_is_over(&c) && nbd_end(&c) == -ECANCELED, "then the client is dropped");
    img_server_free(server);
}

static void slow_reader(void)
{
    struct img_server *server = serve(true);
    struct nbd_client c;

    OK(nbd_open(&c, server, 0, NULL), "a client that never takes its answers");
    for (int i = 0; i < 50; i++)
        nbd_request(&c, NBD_CMD_READ, 0, 1, 0, SIZE);
    img_server_stop(server);
    void *result;
    pthread_join(c.thread, &result);
    OK((intptr_t)result < 0, "does not keep the server from its end");
    close(c.fd);
    close(c.theirs);
    img_server_free(server);
}

int main(void)
{
    struct img_open how = { .format = "raw", .flags = IMG_RDWR };
    struct img_error err = IMG_ERROR_INIT;
    char text[200];
    int fd = mkstemp(name);

    alarm(300);
    sem_init(&held, 0, 0);
    sem_init(&go, 0, 0);
    snprintf(text, sizeof text, "driver=raw,file.driver=slow,file.file.driver=file,file.file.filename=%s", name);
    how.image_opts = true;
    how.format = NULL;
    if (fd < 0 || ftruncate(fd, SIZE) < 0 || img_open(&image, text, &how, &err) < 0) {
        printf("Bail out! %s\n", err.text ? err.text : "no file");
        return 1;
    }
    for (int mode = 0; mode < 3; mode++) {
        commands(mode);
        refused(mode);
    }
    errors();
    holes();
    status();
    parts();
    handshake();
    hostile();
    limit();
    overtaking();
    slow_reader();
    img_close(image, &err);
    img_error_clear(&err);
    close(fd);
    unlink(name);
    return test_end();
}
