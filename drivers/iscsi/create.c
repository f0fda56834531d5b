/* SPDX-License-Identifier: MIT */
/* A "new" image: a disk that is there.  It must be large enough, and its first sector is cleared. */
#include "iscsi.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/cleanup.h"
#include "../../libimg/util/strbuf.h"
#include <string.h>

enum { SECTOR = 512 };

/* No old header may be found.  Only whole blocks can be written. */
static int clear_first_sector(struct iscsi *s, struct img_error *err)
{
    CLEANUP_FREE unsigned char *block = img_calloc(1, s->unit.block_size);
    struct iscsi_request read = { .kind = ISCSI_READ, .blocks = 1, .read = block };
    struct iscsi_request write = { .kind = ISCSI_WRITE, .blocks = 1, .write = block };
    struct iscsi_request flush = { .kind = ISCSI_FLUSH };
    int ret = 0;

    if (!block)
        return img_error_memory(err);
    if (s->unit.block_size > SECTOR)
        ret = iscsi_run(NULL, s, &read, "READ10/16");
    memset(block, 0, SECTOR);
    if (ret == 0)
        ret = iscsi_run(NULL, s, &write, "WRITE10/16");
    if (ret == 0) {
        ret = iscsi_run(NULL, s, &flush, NULL);
        if (ret < 0 && iscsi_is_unknown(&flush))
            ret = 0;
    }
    return ret < 0 ? img_error_errno(err, -ret, "Failed to clear the new image's first sector") : 0;
}

static int open_for_writing(struct iscsi *s, const struct iscsi_open_options *given, struct img_error *err)
{
    int ret = iscsi_connect(s, given, err);

    if (ret == 0 && s->unit.read_only)
        ret = img_error_set(err, EACCES, "LUN is write protected");
    if (ret < 0)
        return img_error_prefix(err, "Protocol driver 'iscsi' does not support creating new images, so an existing "
                                "image must be selected as the target; however, opening the given target as an "
                                "existing image failed: ");
    return 0;
}

static int take_over(struct iscsi *s, uint64_t wanted, struct img_error *err)
{
    if (!s->unit.is_disk)
        return img_error_set(err, ENOTSUP, "Cannot resize non-disk iSCSI devices");
    if (wanted > s->unit.blocks * s->unit.block_size)
        return img_error_set(err, EINVAL, "Cannot grow iSCSI devices");
    return clear_first_sector(s, err);
}

int iscsi_driver_create(const struct img_create *request, struct img_error *err)
{
    const struct iscsi_create_options *create = request->options;
    struct iscsi s = { .connected = false };
    struct img_named named;
    int ret = img_no_preallocation(create->preallocation, err);

    if (ret < 0)
        return ret;
    ret = img_named_options(&img_driver_iscsi, request->name, &named, err);
    if (ret == 0)
        ret = open_for_writing(&s, named.options, err);
    if (ret == 0)
        ret = take_over(&s, create->size < 0 ? 0 : (uint64_t)create->size, err);
    iscsi_disconnect_all(&s);
    img_named_free(&img_driver_iscsi, &named);
    return ret;
}
