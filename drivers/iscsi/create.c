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

static int judge_preallocation(const char *mode, struct img_error *err)
{
    static const char *const unsupported[] = { "metadata", "falloc", "full" };

    if (!mode || strcmp(mode, "off") == 0)
        return 0;
    for (size_t i = 0; i < sizeof unsupported / sizeof *unsupported; i++)
        if (strcmp(mode, unsupported[i]) == 0)
            return img_error_set(err, ENOTSUP, "Unsupported preallocation mode '%s'", mode);
    return img_error_set(err, EINVAL, "invalid parameter value: %s", mode);
}

int iscsi_driver_create(const struct img_create *request, struct img_error *err)
{
    const struct iscsi_create_options *create = request->options;
    struct iscsi s = { .connected = false };
    struct img_doc *options = img_doc_object();
    struct iscsi_open_options *given = NULL;
    int ret = judge_preallocation(create->preallocation, err);

    if (ret == 0)
        ret = iscsi_parse_name(request->name, options, err);
    if (ret == 0 && !(given = img_options_new(iscsi_options, IMG_AT_OPEN, sizeof *given, options, err)))
        ret = -err->code;
    if (ret == 0)
        ret = open_for_writing(&s, given, err);
    if (ret == 0)
        ret = take_over(&s, create->size < 0 ? 0 : (uint64_t)create->size, err);
    iscsi_disconnect_all(&s);
    if (given)
        img_options_free(iscsi_options, IMG_AT_OPEN, given);
    img_doc_free(options);
    return ret;
}
