/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: what the iscsi driver makes of a target's answers, and of names and settings.  libiscsi and the network
 * are not in it: the functions of drivers/iscsi/connection.c are here, and answer by a script, which is the input.
 *
 * The first byte: 0: the rest is a name, a zero byte, and a file of settings; else it is the script.
 */
#include "drivers/iscsi/iscsi.h"
#include "libimg/io/io.h"
#include "libimg/util/checked.h"
#include "libimg/util/endian.h"
#include "client.h"
#include "script.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BLOCK = 512, BLOCKS = 512, MOST_NAME = 4096, BUFFER = 16 << 10, MOST_EXTENTS = 50, MOST_BUSY = 2 };
/* How a request is answered: as it should be; with a status; with sense data; with bytes of the script; with some bytes
 * changed, or the end missing; by the loss of the session; with too little data. */
enum { WELL, STATUS, SENSE, BYTES, CHANGED, LOST, SHORT, WAYS };

static struct script script;
static unsigned busy;

/* ---- What a target should say ------------------------------------------------------------------ */

static size_t standard_inquiry(unsigned char *to)
{
    static const unsigned char answer[36] = { 0, 0, 5, 2, 31, 8, 0, 2 };

    memcpy(to, answer, sizeof answer);
    return sizeof answer;
}

static size_t page_of(unsigned char *to, unsigned page, const void *body, size_t length)
{
    to[1] = (unsigned char)page;
    img_put_be16(to + 2, (uint16_t)length);
    memcpy(to + 4, body, length);
    return 4 + length;
}

static size_t page(unsigned char *to, unsigned page_code, int lun)
{
    static const unsigned char pages[] = { 0, 0x83, 0xb0, 0xb2 }, thin[] = { 0, 0xc0, 0, 0 };
    unsigned char limits[60] = { 0 }, name[20] = { 1, 3, 0, 16, 0x60, [19] = (unsigned char)lun };

    img_put_be32(limits + 4, 128);
    img_put_be32(limits + 16, 0x10000);
    img_put_be32(limits + 20, 1);
    img_put_be32(limits + 24, 8);
    img_put_be64(limits + 32, 0x10000);
    switch (page_code) {
    case 0: return page_of(to, page_code, pages, sizeof pages);
    case 0x83: return page_of(to, page_code, name, sizeof name);
    case 0xb0: return page_of(to, page_code, limits, sizeof limits);
    default: return page_of(to, page_code, thin, sizeof thin);
    }
}

static size_t capacity(unsigned char *to, bool wide)
{
    if (!wide) {
        img_put_be32(to, BLOCKS - 1);
        img_put_be32(to + 4, BLOCK);
        return 8;
    }
    img_put_be64(to, BLOCKS - 1);
    img_put_be32(to + 8, BLOCK);
    to[14] = 0xc0;
    return 32;
}

static size_t copy_limits(unsigned char *to)
{
    to[4] = 1;
    to[9] = 2;
    to[11] = 1;
    to[14] = 4;
    to[36] = 2;
    to[37] = 9;
    to[43] = 2;
    to[44] = 2;
    to[45] = 0xe4;
    img_put_be32(to, 42);
    return 46;
}

static size_t lba_status(unsigned char *to, uint64_t lba)
{
    img_put_be32(to, 4 + 3 * 16);
    for (unsigned i = 0; i < 3; i++, lba += 8) {
        img_put_be64(to + 8 + i * 16, lba);
        img_put_be32(to + 16 + i * 16, 8);
        to[20 + i * 16] = i & 1;
    }
    return 8 + 3 * 16;
}

static size_t right_answer(const struct iscsi_request *r, unsigned char *to)
{
    switch (r->kind) {
    case ISCSI_INQUIRY:
        return r->page < 0 ? standard_inquiry(to) : page(to, (unsigned)r->page, r->carrier->target->lun);
    case ISCSI_MODE_SENSE: to[0] = 3; to[2] = 0x10; return 4;
    case ISCSI_CAPACITY10: return capacity(to, false);
    case ISCSI_CAPACITY16: return capacity(to, true);
    case ISCSI_COPY_LIMITS: return copy_limits(to);
    case ISCSI_STATUS: return lba_status(to, r->lba);
    default: return 0;
    }
}

/* ---- What it says -------------------------------------------------------------------------------- */

static void give(struct iscsi_request *r, const unsigned char *answer, size_t length)
{
    r->got = r->answer ? img_min(length, r->room) : 0;
    if (r->got)
        memcpy(r->answer, answer, r->got);
}

static void change(unsigned char *answer, size_t *length)
{
    unsigned count = script_byte(&script) & 7;

    while (count--) {
        size_t at = script_byte(&script);
        answer[at] = (unsigned char)script_byte(&script);
    }
    if (script_byte(&script) & 1)
        *length = script_byte(&script);
}

/* What is asked for must make sense, whatever the target has said before. */
static void judge_request(const struct iscsi_request *r)
{
    if ((r->kind == ISCSI_READ || r->kind == ISCSI_WRITE || r->kind == ISCSI_UNMAP || r->kind == ISCSI_WRITE_SAME) &&
        (r->blocks == 0 || r->block_size < BLOCK))
        abort();
    if (r->kind != ISCSI_COPY)
        return;
    const unsigned char *list = r->write;
    if (r->length != 108 || img_get_be16(list + 2) != 64 || img_get_be32(list + 8) != 28 || list[16] != 0xe4 ||
        list[48] != 0xe4 || list[23] > 20 || list[55] > 20 || img_get_be16(list + 90) == 0)
        abort();
}

static void answer_with(struct iscsi_request *r, unsigned way)
{
    unsigned char answer[ISCSI_STATUS_ROOM] = { 0 };
    size_t length = right_answer(r, answer);

    r->status = SCSI_STATUS_GOOD;
    r->is_short = way == SHORT;
    r->got = 0;
    memset(&r->sense, 0, sizeof r->sense);
    if (way == STATUS) {
        r->status = (int)script_byte(&script);
    } else if (way == SENSE) {
        r->status = SCSI_STATUS_CHECK_CONDITION;
        r->sense.key = (enum scsi_sense_key)(script_byte(&script) & 0xf);
        r->sense.ascq = (int)script_number(&script, 2);
    } else if (way == BYTES) {
        length = (size_t)script_number(&script, 2) % (sizeof answer + 1);
        script_bytes(&script, answer, length);
    } else if (way == CHANGED) {
        change(answer, &length);
    }
    if (r->status == SCSI_STATUS_GOOD)
        give(r, answer, length);
}

int iscsi_connection_run(void *connection, void *request)
{
    struct iscsi_request *r = request;
    unsigned way = script_byte(&script) % WAYS;

    r->carrier = connection;
    judge_request(r);
    if (way == LOST)
        return IMG_POOL_LOST;
    answer_with(r, way);
    /* (what is busy is asked again after a while, and that takes time) */
    if (iscsi_judge(r) == -EBUSY && ++busy > MOST_BUSY)
        answer_with(r, WELL);
    if (r->kind == ISCSI_READ)
        memset(r->read, 'd', (size_t)r->blocks * r->block_size);
    return 0;
}

int iscsi_connection_open(struct iscsi_connection *c, const struct iscsi_target *target, unsigned number, int stop,
                          struct img_error *err)
{
    (void)stop;
    *c = (struct iscsi_connection){ .target = target, .number = number };
    return script_byte(&script) == 0xff ? img_error_set(err, EINVAL, "no session") : 0;
}

void iscsi_connection_close(struct iscsi_connection *c)
{
    c->target = NULL;
}

/* ---- What is done with the disks -------------------------------------------------------------------- */

static void read_some(struct img *image, uint64_t offset)
{
    static unsigned char buffer[BUFFER];

    if (offset >= img_size(image))
        return;
    size_t length = (size_t)img_min(sizeof buffer, img_size(image) - offset);
    memset(buffer, 0xee, length);
    if (img_pread(image, buffer, offset, length) == 0)
        for (size_t i = 0; i < length; i++)
            if (buffer[i] != 'd')
                abort();
}

static void change_some(struct img *image)
{
    static unsigned char buffer[BUFFER];

    if (img_size(image) < 4 * BUFFER)
        return;
    img_pwrite(image, buffer, 512, BUFFER - 100);
    img_zero(image, 0, 2 * BUFFER, IMG_ZERO_MAY_UNMAP);
    img_zero(image, BUFFER, 700, 0);
    img_discard(image, 0, BUFFER);
    img_flush(image);
}

static struct img *open_disk(int lun)
{
    struct img_open how = { .flags = IMG_RDWR, .cache = IMG_CACHE_WRITEBACK };
    struct img_error err = IMG_ERROR_INIT;
    struct img *image = NULL;
    char name[256];
    int ret;

    snprintf(name, sizeof name,
             "json:{\"driver\":\"raw\",\"file\":{\"driver\":\"iscsi\",\"transport\":\"tcp\",\"portal\":\"h\","
             "\"target\":\"t\",\"lun\":%d,\"reconnect-delay\":0}}", lun);
    ret = img_open(&image, name, &how, &err);
    if ((ret < 0) != (err.text != NULL) || (ret < 0) != (image == NULL))
        abort();
    img_error_clear(&err);
    return image;
}

static void use_disks(void)
{
    struct img *one = open_disk(1), *two = one ? open_disk(2) : NULL;
    struct img_error err = IMG_ERROR_INIT;

    if (one) {
        read_some(one, 0);
        client_map(one->file, 0, UINT64_MAX, MOST_EXTENTS);
        change_some(one);
        read_some(one, img_size(one) - img_min(BUFFER / 2, img_size(one)));
    }
    if (two && img_size(one) >= 2 * BUFFER && img_size(two) >= 2 * BUFFER) {
        img_copy_range(one->file, 0, two->file, 0, BUFFER, false);
        img_copy_range(one->file, BUFFER, two->file, 0, BUFFER, false);
        img_copy_range(two->file, 0, one->file, 4096, 4096, false);
    }
    img_close(two, &err);
    img_error_clear(&err);
    img_close(one, &err);
    img_error_clear(&err);
}

/* ---- Names and settings -------------------------------------------------------------------------------- */

static void put_settings(const uint8_t *bytes, size_t size)
{
    static int file = -1;
    char name[64];

    if (file < 0)
        file = memfd_create("settings", 0);
    if (file < 0 || ftruncate(file, 0) < 0 || pwrite(file, bytes, size, 0) != (ssize_t)size)
        abort();
    snprintf(name, sizeof name, "/proc/self/fd/%d", file);
    setenv("IMGBOX_ISCSI_CONF", name, 1);
}

static void use_name(const uint8_t *bytes, size_t size)
{
    struct img_open how = { .flags = 0, .cache = IMG_CACHE_WRITEBACK };
    struct img_error err = IMG_ERROR_INIT;
    struct img *image = NULL;
    size_t length = strnlen((const char *)bytes, size);
    char name[MOST_NAME];

    if (length >= sizeof name - 16)
        return;
    snprintf(name, sizeof name, "iscsi://%.*s", (int)length, (const char *)bytes);
    put_settings(bytes + length, size - length);
    if ((img_open(&image, name, &how, &err) < 0) != (err.text != NULL))
        abort();
    if (image && !*img_filename(image))
        abort();
    img_close(image, &err);
    img_error_clear(&err);
    unsetenv("IMGBOX_ISCSI_CONF");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > 64 << 10)
        return 0;
    busy = 0;
    script = (struct script){ data + 1, data + size };
    if (*data) {
        use_disks();
    } else {
        script.at = script.end;
        use_name(data + 1, size - 1);
    }
    return 0;
}
