/* SPDX-License-Identifier: MIT */
/* A request as a command of SCSI. */
#include "iscsi.h"
#include "../../libimg/util/checked.h"
#include <string.h>

/* All pages of a mode; the longest short answer; every so many bytes of a read are watched. */
enum { ALL_PAGES = 0x3f, SHORT_ANSWER = 255, WATCHED = 512 };

/*
 * libiscsi does not look whether a target sends all of a read.  So a number that no target knows is put into each
 * sector, and must not be there any more when the read is done.
 */
static void put_marks(const struct iscsi_request *r, size_t length)
{
    for (size_t at = 0; at < length; at += WATCHED)
        memcpy((char *)r->read + at, &r->mark, sizeof r->mark);
}

static bool has_mark(const struct iscsi_request *r, size_t length)
{
    for (size_t at = 0; at < length; at += WATCHED)
        if (memcmp((const char *)r->read + at, &r->mark, sizeof r->mark) == 0)
            return true;
    return false;
}

static struct scsi_task *send_read(struct iscsi_context *context, int lun, struct iscsi_request *r,
                                   iscsi_command_cb done)
{
    uint32_t length = r->blocks * r->block_size;
    int size = (int)r->block_size;

    put_marks(r, length);
    r->span = (struct scsi_iovec){ .iov_base = r->read, .iov_len = length };
    if (r->wide)
        return iscsi_read16_iov_task(context, lun, r->lba, length, size, 0, 0, 0, 0, 0, done, r, &r->span, 1);
    return iscsi_read10_iov_task(context, lun, (uint32_t)r->lba, length, size, 0, 0, 0, 0, 0, done, r, &r->span, 1);
}

/* (libiscsi only reads what it is given to write) */
static unsigned char *readable(const void *bytes)
{
    union { const void *given; unsigned char *taken; } same = { .given = bytes };

    return same.taken;
}

static struct scsi_task *send_write(struct iscsi_context *context, int lun, struct iscsi_request *r,
                                    iscsi_command_cb done)
{
    uint32_t length = r->blocks * r->block_size;
    int size = (int)r->block_size;
    unsigned char *bytes = readable(r->write);

    if (r->wide)
        return iscsi_write16_task(context, lun, r->lba, bytes, length, size, 0, 0, r->fua, 0, 0, done, r);
    return iscsi_write10_task(context, lun, (uint32_t)r->lba, bytes, length, size, 0, 0, r->fua, 0, 0, done, r);
}

static struct scsi_task *send_command(struct iscsi_context *context, int lun, struct iscsi_request *r,
                                      iscsi_command_cb done)
{
    int room = (int)img_min(r->room, SHORT_ANSWER);

    switch (r->kind) {
    case ISCSI_READ: return send_read(context, lun, r, done);
    case ISCSI_WRITE: return send_write(context, lun, r, done);
    case ISCSI_FLUSH: return iscsi_synchronizecache10_task(context, lun, 0, 0, 0, 0, done, r);
    case ISCSI_UNMAP:
        r->range = (struct unmap_list){ .lba = r->lba, .num = r->blocks };
        return iscsi_unmap_task(context, lun, 0, 0, &r->range, 1, done, r);
    case ISCSI_WRITE_SAME:
        return iscsi_writesame16_task(context, lun, r->lba, readable(r->write), r->block_size, r->blocks, 0, r->unmap,
                                      0, 0, done, r);
    case ISCSI_STATUS: return iscsi_get_lba_status_task(context, lun, r->lba, (uint32_t)r->room, done, r);
    case ISCSI_READY: return iscsi_testunitready_task(context, lun, done, r);
    case ISCSI_INQUIRY:
        return iscsi_inquiry_task(context, lun, r->page >= 0, r->page >= 0 ? r->page : 0, room, done, r);
    case ISCSI_MODE_SENSE:
        return iscsi_modesense6_task(context, lun, 1, SCSI_MODESENSE_PC_CURRENT, ALL_PAGES, 0, (unsigned char)room,
                                     done, r);
    case ISCSI_COPY:
        r->list = (struct iscsi_data){ .size = r->length, .data = readable(r->write) };
        return iscsi_extended_copy_task(context, lun, &r->list, done, r);
    case ISCSI_COPY_LIMITS:
        return iscsi_receive_copy_results_task(context, lun, SCSI_COPY_RESULTS_OP_PARAMS, 0, room, done, r);
    case ISCSI_CAPACITY10: return iscsi_readcapacity10_task(context, lun, 0, 0, done, r);
    case ISCSI_CAPACITY16: return iscsi_readcapacity16_task(context, lun, done, r);
    }
    return NULL;
}

int iscsi_command_send(struct iscsi_context *context, int lun, struct iscsi_request *request, iscsi_command_cb done)
{
    request->task = send_command(context, lun, request, done);
    return request->task ? 0 : -EIO;
}

/* ---- What came --------------------------------------------------------------------------------------- */

/* The target may say that it left something out, or not. */
static bool is_short(const struct iscsi_request *r)
{
    bool moves = r->kind == ISCSI_READ || r->kind == ISCSI_WRITE || r->kind == ISCSI_WRITE_SAME;

    if (moves && r->task->residual_status != SCSI_RESIDUAL_NO_RESIDUAL && r->task->residual > 0)
        return true;
    return r->kind == ISCSI_READ && has_mark(r, r->span.iov_len);
}

void iscsi_command_finish(struct iscsi_request *r)
{
    const struct scsi_data *came = &r->task->datain;

    r->sense = r->task->sense;
    r->is_short = r->status == SCSI_STATUS_GOOD && is_short(r);
    r->got = r->answer && r->status == SCSI_STATUS_GOOD && came->data && came->size > 0
             ? img_min((size_t)came->size, r->room) : 0;
    if (r->got)
        memcpy(r->answer, came->data, r->got);
    scsi_free_scsi_task(r->task);
    r->task = NULL;
}
