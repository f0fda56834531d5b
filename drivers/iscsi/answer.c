/* SPDX-License-Identifier: MIT */
/* What an answer means.  SPC-4, 4.5 (sense data) and SAM-5, 5.3 (status). */
#include "iscsi.h"
#include "../../libimg/util/strbuf.h"
#include <string.h>

/* Additional sense codes with their qualifiers that scsi-lowlevel.h lacks. */
enum {
    BECOMING_READY = 0x0401, SPACE_ALLOCATION_IN_PROGRESS = 0x0414, WRITE_ERROR = 0x0c00,
    UNRECOVERED_READ_ERROR = 0x1100, SPACE_ALLOCATION_FAILED = 0x2707, OUT_OF_RESOURCES = 0x5500
};

struct word {
    int code;
    const char *text;
};

/* SPC-4, table 27. */
static const struct word keys[] = {
    { SCSI_SENSE_NO_SENSE, "NO_SENSE" }, { SCSI_SENSE_RECOVERED_ERROR, "RECOVERED_ERROR" },
    { SCSI_SENSE_NOT_READY, "NOT_READY" }, { SCSI_SENSE_MEDIUM_ERROR, "MEDIUM_ERROR" },
    { SCSI_SENSE_HARDWARE_ERROR, "HARDWARE_ERROR" }, { SCSI_SENSE_BLANK_CHECK, "BLANK_CHECK" },
    { SCSI_SENSE_VENDOR_SPECIFIC, "VENDOR_SPECIFIC" }, { SCSI_SENSE_COPY_ABORTED, "COPY_ABORTED" },
    { SCSI_SENSE_COMMAND_ABORTED, "COMMAND_ABORTED" }, { SCSI_SENSE_OVERFLOW_COMMAND, "VOLUME_OVERFLOW" },
    { SCSI_SENSE_MISCOMPARE, "MISCOMPARE" }, { 0, NULL }
};
static const struct word codes[] = {
    { BECOMING_READY, "BECOMING_READY" }, { SPACE_ALLOCATION_IN_PROGRESS, "SPACE_ALLOCATION_IN_PROGRESS" },
    { WRITE_ERROR, "WRITE_ERROR" }, { UNRECOVERED_READ_ERROR, "UNRECOVERED_READ_ERROR" },
    { SPACE_ALLOCATION_FAILED, "SPACE_ALLOCATION_FAILED" }, { OUT_OF_RESOURCES, "OUT_OF_RESOURCES" }, { 0, NULL }
};

/* What libiscsi calls it, if it has a word for it.  (It says so in two ways: NULL before 1.20.) */
static const char *word_for(const char *known, const struct word *words, int code)
{
    if (known && strcmp(known, "UNKNOWN") == 0)
        known = NULL;
    for (; !known && words->text; words++)
        if (words->code == code)
            known = words->text;
    return known ? known : "UNKNOWN";
}

static int judge_illegal(int code)
{
    switch (code) {
    case SCSI_SENSE_ASCQ_LBA_OUT_OF_RANGE: return -ENOSPC;
    case SCSI_SENSE_ASCQ_LOGICAL_UNIT_NOT_SUPPORTED: return -ENOTSUP;
    default: return -EINVAL;
    }
}

static int judge_sense(const struct scsi_sense *sense)
{
    switch (sense->key) {
    case SCSI_SENSE_NO_SENSE: case SCSI_SENSE_RECOVERED_ERROR:
        return 0;                   /* the command was done */
    case SCSI_SENSE_UNIT_ATTENTION:
        return -EAGAIN;             /* news, in the place of an answer */
    case SCSI_SENSE_COMMAND_ABORTED:
        return -EBUSY;
    case SCSI_SENSE_NOT_READY:
        return sense->ascq == BECOMING_READY || sense->ascq == SPACE_ALLOCATION_IN_PROGRESS ? -EBUSY : -EIO;
    case SCSI_SENSE_ILLEGAL_REQUEST:
        return judge_illegal(sense->ascq);
    case SCSI_SENSE_DATA_PROTECTION:
        return sense->ascq == SPACE_ALLOCATION_FAILED ? -ENOSPC : -EACCES;
    default:
        return -EIO;
    }
}

int iscsi_judge(const struct iscsi_request *r)
{
    switch (r->status) {
    case SCSI_STATUS_GOOD: case SCSI_STATUS_CONDITION_MET: return r->is_short ? -EIO : 0;
    case SCSI_STATUS_CHECK_CONDITION: return judge_sense(&r->sense);
    case SCSI_STATUS_BUSY: case SCSI_STATUS_TASK_SET_FULL: case SCSI_STATUS_TASK_ABORTED: return -EBUSY;
    case SCSI_STATUS_RESERVATION_CONFLICT: return -EACCES;
    default: return -EIO;
    }
}

bool iscsi_is_unknown(const struct iscsi_request *r)
{
    return r->status == SCSI_STATUS_CHECK_CONDITION && r->sense.key == SCSI_SENSE_ILLEGAL_REQUEST &&
           (r->sense.ascq == SCSI_SENSE_ASCQ_INVALID_OPERATION_CODE ||
            r->sense.ascq == SCSI_SENSE_ASCQ_INVALID_FIELD_IN_CDB);
}

static char *sense_in_words(int key, int code)
{
    return img_asprintf("SENSE KEY:%s(%d) ASCQ:%s(0x%04x)", word_for(scsi_sense_key_str(key), keys, key), key,
                        word_for(scsi_sense_ascq_str(code), codes, code), (unsigned)code);
}

char *iscsi_reason(const struct iscsi_request *r)
{
    switch (r->status) {
    case SCSI_STATUS_CHECK_CONDITION: return sense_in_words((int)r->sense.key, r->sense.ascq);
    case SCSI_STATUS_GOOD: return img_strdup("the target transferred too little");
    case SCSI_STATUS_BUSY: return img_strdup("BUSY");
    case SCSI_STATUS_TASK_SET_FULL: return img_strdup("TASK_SET_FULL");
    case SCSI_STATUS_TASK_ABORTED: return img_strdup("TASK_ABORTED");
    case SCSI_STATUS_RESERVATION_CONFLICT: return img_strdup("RESERVATION CONFLICT");
    default: return img_asprintf("SCSI status 0x%x", (unsigned)r->status);
    }
}
