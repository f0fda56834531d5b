/* SPDX-License-Identifier: MIT */
/*
 * What the disk is like: TEST UNIT READY, INQUIRY, MODE SENSE, READ CAPACITY.  All of it is what a target says, and is
 * checked here.
 */
#include "iscsi.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/cleanup.h"
#include "../../libimg/util/endian.h"
#include "../../libimg/util/strbuf.h"
#include <string.h>

enum { ROOM = 255, SECTOR = 512, LARGEST_BLOCK = 64 << 10 };

/* ---- Asking ------------------------------------------------------------------------------------ */

/* 0: there is an answer of `got` bytes; IMG_POOL_LOST and the like; or a negative errno for what the target says. */
static int ask(struct iscsi_connection *c, struct iscsi_request *r, unsigned char *answer, size_t room, int stop)
{
    int ret, again;

    memset(answer, 0, room);
    r->answer = answer;
    r->room = room;
    r->stop = stop;
    do {
        ret = iscsi_connection_run(c, r);
        if (ret == 0)
            ret = iscsi_judge(r);
        again = ret == -EAGAIN || ret == -EBUSY ? iscsi_put_off(&c->opening, ret, stop) : ret;
    } while (again == 0 && ret < 0);
    return again;
}

static int failed(const struct iscsi_request *r, int ret, const char *what, struct img_error *err)
{
    CLEANUP_FREE char *reason = ret == IMG_POOL_LOST ? img_strdup("the connection was lost") : iscsi_reason(r);

    if (!reason)
        return img_error_memory(err);
    return img_error_set(err, EINVAL, "%s : %s", what, reason);
}

/* Is there a disk with this number?  One without a medium is there, too. */
static int ask_for_presence(struct iscsi_connection *c, int stop, struct img_error *err)
{
    unsigned char none[1];
    struct iscsi_request r = { .kind = ISCSI_READY };
    int ret = ask(c, &r, none, sizeof none, stop);

    if (ret < 0 && !(r.status == SCSI_STATUS_CHECK_CONDITION && r.sense.key == SCSI_SENSE_NOT_READY))
        return failed(&r, ret, "iSCSI: Failed to connect to LUN", err);
    return 0;
}

/* ---- INQUIRY --------------------------------------------------------------------------------------- */

static int ask_kind(struct iscsi_connection *c, struct iscsi_unit *unit, int stop, struct img_error *err)
{
    unsigned char answer[ROOM];
    struct iscsi_request r = { .kind = ISCSI_INQUIRY, .page = -1 };
    int ret = ask(c, &r, answer, sizeof answer, stop);

    if (ret < 0)
        return failed(&r, ret, "iSCSI: Inquiry command failed", err);
    if (r.got < 1)
        return img_error_set(err, EINVAL, "iSCSI: failed to unmarshall inquiry datain blob");
    unit->copies = r.got > 5 && answer[5] & 0x08;
    unit->is_disk = (answer[0] & 0x1f) == SCSI_INQUIRY_PERIPHERAL_DEVICE_TYPE_DIRECT_ACCESS;
    return 0;
}

/* A page of vital product data that has at least `least` bytes; false: there is none. */
static bool ask_page(struct iscsi_connection *c, int page, unsigned char *answer, size_t least, int stop)
{
    struct iscsi_request r = { .kind = ISCSI_INQUIRY, .page = page };

    return ask(c, &r, answer, ROOM, stop) == 0 && r.got >= least && answer[1] == page &&
           img_get_be16(answer + 2) + 4u >= least;
}

static bool has_page(const unsigned char *pages, int page)
{
    size_t count = img_min(img_get_be16(pages + 2), ROOM - 4);

    return memchr(pages + 4, page, count) != NULL;
}

/* SBC-3, 6.5.3: lengths in blocks. */
static void take_limits(const unsigned char *answer, size_t got, struct iscsi_unit *unit)
{
    unit->most_transfer = img_get_be32(answer + 8);
    unit->best_transfer = img_get_be32(answer + 12);
    if (got < 44)
        return;
    unit->most_unmap = img_get_be32(answer + 20);
    unit->unmap_unit = img_get_be32(answer + 28);
    unit->most_same = img_get_be64(answer + 36);
}

static void ask_pages(struct iscsi_connection *c, struct iscsi_unit *unit, int stop)
{
    unsigned char pages[ROOM], answer[ROOM];

    if (!ask_page(c, SCSI_INQUIRY_PAGECODE_SUPPORTED_VPD_PAGES, pages, 5, stop))
        return;
    if (has_page(pages, SCSI_INQUIRY_PAGECODE_BLOCK_LIMITS) &&
        ask_page(c, SCSI_INQUIRY_PAGECODE_BLOCK_LIMITS, answer, 16, stop))
        take_limits(answer, img_get_be16(answer + 2) + 4u, unit);
    if (unit->thin && has_page(pages, SCSI_INQUIRY_PAGECODE_LOGICAL_BLOCK_PROVISIONING) &&
        ask_page(c, SCSI_INQUIRY_PAGECODE_LOGICAL_BLOCK_PROVISIONING, answer, 6, stop)) {
        unit->can_unmap = answer[5] & 0x80;
        unit->can_unmap_same = answer[5] & 0x40;
    }
}

/* ---- MODE SENSE --------------------------------------------------------------------------------------- */

/* SBC-3, 6.4.1. */
static int ask_mode(struct iscsi_connection *c, struct iscsi_unit *unit, int stop)
{
    unsigned char answer[ROOM];
    struct iscsi_request r = { .kind = ISCSI_MODE_SENSE };
    int ret = ask(c, &r, answer, sizeof answer, stop);

    if (ret < 0 || r.got < 3) {
        if (ret == IMG_POOL_LOST || ret == -ECANCELED)
            return ret;
        img_notice(IMG_FAULT, "iSCSI: Failed MODE_SENSE(6), LUN assumed writable");
        return 0;
    }
    unit->read_only = answer[2] & 0x80;
    unit->fua = answer[2] & 0x10;
    return 0;
}

/* ---- READ CAPACITY --------------------------------------------------------------------------------------- */

static int ask_old_capacity(struct iscsi_connection *c, struct iscsi_unit *unit, int stop, struct img_error *err)
{
    unsigned char answer[8];
    struct iscsi_request r = { .kind = ISCSI_CAPACITY10 };
    int ret = ask(c, &r, answer, sizeof answer, stop);

    if (ret < 0)
        return failed(&r, ret, "iSCSI: failed to send readcapacity10/16 command", err);
    if (r.got < sizeof answer)
        return img_error_set(err, EINVAL, "iSCSI: Failed to unmarshall readcapacity10 data.");
    unit->blocks = (uint64_t)img_get_be32(answer) + 1;
    unit->block_size = img_get_be32(answer + 4);
    return 0;
}

static int ask_new_capacity(struct iscsi_connection *c, struct iscsi_unit *unit, int stop, struct img_error *err)
{
    unsigned char answer[32];
    struct iscsi_request r = { .kind = ISCSI_CAPACITY16 };
    int ret = ask(c, &r, answer, sizeof answer, stop);

    if (ret < 0)
        return iscsi_is_unknown(&r) ? ask_old_capacity(c, unit, stop, err)
                                    : failed(&r, ret, "iSCSI: failed to send readcapacity10/16 command", err);
    if (r.got < 16)
        return img_error_set(err, EINVAL, "iSCSI: Failed to unmarshall readcapacity16 data.");
    if (!img_add(img_get_be64(answer), 1, &unit->blocks))
        return img_error_set(err, EFBIG, "iSCSI: the LUN is too large");
    unit->block_size = img_get_be32(answer + 8);
    unit->thin = answer[14] & 0x80;
    unit->zeroes = answer[14] & 0x40;
    return 0;
}

static int judge_capacity(const struct iscsi_unit *unit, struct img_error *err)
{
    uint64_t bytes;

    if (unit->block_size < SECTOR || unit->block_size > LARGEST_BLOCK || !img_power_of_two(unit->block_size))
        return img_error_set(err, EINVAL, "iSCSI: the target returned an invalid block size of %u.", unit->block_size);
    if (!img_mul(unit->blocks, unit->block_size, &bytes) || bytes > INT64_MAX - LARGEST_BLOCK)
        return img_error_set(err, EFBIG, "iSCSI: the LUN is too large");
    return 0;
}

static int ask_capacity(struct iscsi_connection *c, struct iscsi_unit *unit, int stop, struct img_error *err)
{
    int ret;

    if (!unit->is_disk) {
        unit->block_size = SECTOR;
        return 0;
    }
    ret = ask_new_capacity(c, unit, stop, err);
    return ret < 0 ? ret : judge_capacity(unit, err);
}

int iscsi_unit_ask(struct iscsi_connection *c, struct iscsi_unit *unit, int stop, struct img_error *err)
{
    int ret;

    *unit = (struct iscsi_unit){ .block_size = 0 };
    ret = ask_for_presence(c, stop, err);
    if (ret == 0)
        ret = ask_kind(c, unit, stop, err);
    if (ret == 0 && ask_mode(c, unit, stop) < 0)
        ret = img_error_set(err, EINVAL, "iSCSI: the connection was lost");
    if (ret == 0)
        ret = ask_capacity(c, unit, stop, err);
    if (ret == 0 && unit->is_disk)
        ask_pages(c, unit, stop);
    return ret;
}
