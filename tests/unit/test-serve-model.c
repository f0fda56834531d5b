/* SPDX-License-Identifier: MIT */
/*
 * Several connections to one server, each with random requests in flight.  Each has a region of its own, which must
 * read as a model says after every sequence; and all of them write tagged units into one region that they share, where
 * each unit must have the tag of one writer in the end.
 */
#include "libimg/driver.h"
#include "libimg/node/module.h"
#include "nbd-client.h"
#include "test.h"

#include <stdlib.h>
#include <unistd.h>

enum { CLIENTS = 4, SEQUENCES = 250, FLIGHT = 8 };          /* sequences of each client; most requests in flight */
enum { REGION = 512 << 10, SHARED = 64 << 10, UNIT = 512 }; /* bytes */
enum { SIZE = CLIENTS * REGION + SHARED };

extern const struct img_driver img_driver_file, img_driver_raw, img_driver_qcow2;
const struct img_driver *const img_drivers[] = { &img_driver_file, &img_driver_raw, &img_driver_qcow2, NULL };
struct img_module img_modules[] = { { .row = NULL } };
const char img_module_folder[] = "";

struct writer {
    struct nbd_client client;
    unsigned number;
    unsigned long long seed;
    unsigned char model[REGION], back[REGION];
    unsigned char payload[FLIGHT][REGION / FLIGHT];
    unsigned bad;                   /* sequences that went wrong */
};

/* One request into slot `slot` of the region, and into the model.  A region has as many slots as requests in flight, so
 * that they do not overlap. */
static void send_one(struct writer *w, unsigned slot)
{
    enum { SLOT = REGION / FLIGHT };
    unsigned from = test_random(&w->seed) % SLOT, length = test_random(&w->seed) % (SLOT - from) + 1;
    unsigned char *model = w->model + slot * SLOT + from, *bytes = w->payload[slot];
    uint64_t offset = (uint64_t)w->number * REGION + slot * SLOT + from;
    uint16_t fua = test_random(&w->seed) % 8 ? 0 : NBD_CMD_FLAG_FUA;
    uint16_t payload = w->client.mode == 2 ? NBD_CMD_FLAG_PAYLOAD_LEN : 0;

    switch (test_random(&w->seed) % 5) {
    case 0:
        nbd_request(&w->client, NBD_CMD_FLUSH, 0, slot, 0, 0);
        break;
    case 1:
        memset(model, 0, length);
        nbd_request(&w->client, NBD_CMD_WRITE_ZEROES, (test_random(&w->seed) & NBD_CMD_FLAG_NO_HOLE) | fua, slot,
                    offset, length);
        break;
    default:
        memset(bytes, (int)(test_random(&w->seed) | 1), length);
        memcpy(model, bytes, length);
        nbd_request(&w->client, NBD_CMD_WRITE, payload | fua, slot, offset, length);
        nbd_send(&w->client, bytes, length);
    }
}

static bool receive_all(struct writer *w, unsigned count)
{
    unsigned seen = 0;

    for (unsigned i = 0; i < count; i++) {
        struct img_nbd_answer a;
        if (!nbd_answer(&w->client, &a) || a.error || !a.last || a.cookie >= count || seen & 1u << a.cookie)
            return false;
        seen |= 1u << a.cookie;
    }
    return true;
}

/* What a trim leaves behind is not defined, so zeroes are written over it. */
static void trim(struct writer *w)
{
    unsigned from = test_random(&w->seed) % REGION, length = test_random(&w->seed) % (REGION - from) + 1;
    uint64_t offset = (uint64_t)w->number * REGION + from;

    memset(w->model + from, 0, length);
    if (nbd_do(&w->client, NBD_CMD_TRIM, 0, offset, length) != 0 ||
        nbd_do(&w->client, NBD_CMD_WRITE_ZEROES, 0, offset, length) != 0)
        w->bad++;
}

static void tag_shared(struct writer *w)
{
    unsigned char unit[UNIT];
    unsigned at = test_random(&w->seed) % (SHARED / UNIT) * UNIT;

    memset(unit, (int)w->number + 1, sizeof unit);
    if (nbd_write(&w->client, unit, 0, CLIENTS * REGION + at, UNIT) != 0)
        w->bad++;
}

static void *write_all(void *context)
{
    struct writer *w = context;

    for (int i = 0; i < SEQUENCES && !w->bad; i++) {
        unsigned count = test_random(&w->seed) % FLIGHT + 1;
        for (unsigned slot = 0; slot < count; slot++)
            send_one(w, slot);
        if (!receive_all(w, count))
            w->bad++;
        tag_shared(w);
        if (i % 10 == 0)
            trim(w);
        memset(w->back, 0xee, sizeof w->back);
        if (nbd_read(&w->client, w->back, i % 2 && w->client.mode ? NBD_CMD_FLAG_DF : 0, (uint64_t)w->number * REGION,
                     REGION) != 0 || memcmp(w->back, w->model, REGION) != 0)
            w->bad++;
    }
    return NULL;
}

static bool shared_is_tagged(struct img *image)
{
    static unsigned char bytes[SHARED];

    if (img_pread(image, bytes, CLIENTS * REGION, SHARED) < 0)
        return false;
    for (unsigned at = 0; at < SHARED; at += UNIT) {
        if (bytes[at] > CLIENTS)
            return false;
        for (unsigned i = 1; i < UNIT; i++)
            if (bytes[at + i] != bytes[at])
                return false;
    }
    return true;
}

static void run(struct img *image, const char *format)
{
    static struct writer writers[CLIENTS];
    const struct img_server_settings settings = { .persistent = true };
    const struct img_export export = { .name = "", .image = image, .length = SIZE, .writable = true };
    struct img_error err = IMG_ERROR_INIT;
    struct img_server *server;
    pthread_t threads[CLIENTS];

    if (img_server_new(&server, &settings, &err) < 0 || img_server_export(server, &export, &err) < 0)
        abort();
    for (unsigned i = 0; i < CLIENTS; i++) {
        struct writer *w = &writers[i];
        memset(w, 0, sizeof *w);
        w->number = i;
        w->seed = i * 7919 + 1;
        OK(nbd_open(&w->client, server, (int)i % 3, NULL), "%s: connection %u", format, i);
    }
    for (unsigned i = 0; i < CLIENTS; i++)
        pthread_create(&threads[i], NULL, write_all, &writers[i]);
    for (unsigned i = 0; i < CLIENTS; i++)
        pthread_join(threads[i], NULL);
    for (unsigned i = 0; i < CLIENTS; i++)
        OK(nbd_end(&writers[i].client) == 0 && writers[i].bad == 0, "%s: connection %u has what it wrote", format, i);
    img_server_free(server);
    OK(shared_is_tagged(image), "%s: each unit has one writer", format);
}

static void with_format(const char *format)
{
    struct img_open how = { .format = format, .flags = IMG_RDWR };
    char name[] = "/tmp/imgbox-serve-XXXXXX";
    struct img_doc *options = img_doc_object();
    struct img_error err = IMG_ERROR_INIT;
    struct img *image;
    int fd = mkstemp(name);

    img_doc_put_uint(options, "size", SIZE);
    if (fd < 0 || img_create(img_driver_find(format), name, options, &err) < 0 ||
        img_open(&image, name, &how, &err) < 0) {
        OK(false, "%s: %s", format, err.text ? err.text : "no file");
    } else {
        run(image, format);
        OK(img_close(image, &err) == 0, "%s: closed", format);
    }
    img_doc_free(options);
    img_error_clear(&err);
    close(fd);
    unlink(name);
}

int main(void)
{
    alarm(600);
    with_format("raw");
    with_format("qcow2");
    return test_end();
}
