/* SPDX-License-Identifier: MIT */
/*
 * Checks the block map: two blocks in one place, invalid places, blocks behind the end of the file, and a wrong count in
 * the header.  Like qemu-img, it repairs nothing: the owner of a shared block is unknown.
 */
#include "vdi.h"

/* Entries beyond the end of the file are all 0.  A header alone can claim half a billion of them. */
enum { MAX_TOLD = 65536 };

static unsigned count_entry(uint8_t *used, uint32_t blocks, uint32_t block, uint32_t entry, struct img_check *result)
{
    uint8_t bit = (uint8_t)(1u << entry % 8);

    if (!vdi_has_place(entry))
        return 0;
    if (entry >= blocks) {
        img_notice(IMG_NOTE, "ERROR: block index %u too large, is %u", block, entry);
        result->corruptions++;
        return 0;
    }
    if (used[entry / 8] & bit) {
        img_notice(IMG_NOTE, "ERROR: block index %u also used by %u", entry, entry);
        result->corruptions++;
    }
    used[entry / 8] |= bit;
    return 1;
}

int vdi_check(struct img *image, unsigned repair, struct img_check *result, struct img_error *err)
{
    struct vdi *s = vdi_state(image);
    uint32_t in_file = vdi_blocks_in_file(image), allocated = 0, missing = 0, count;
    const uint8_t *entries;
    CLEANUP_FREE uint8_t *used = NULL;

    if (repair)
        return img_error_set(err, ENOTSUP, "This image format does not support checks");
    used = calloc(s->blocks / 8 + 1, 1);
    if (!used)
        return img_error_errno(err, ENOMEM, "Check failed");
    for (uint32_t block = 0; block < in_file; block += count) {
        int status = vdi_entries(image, block, &entries, &count);
        if (status < 0)
            return img_error_errno(err, -status, "Check failed");
        count = (uint32_t)img_min(count, in_file - block);
        for (uint32_t i = 0; i < count; i++) {
            uint32_t entry = img_get_le32(entries + 4 * i);
            allocated += count_entry(used, s->blocks, block + i, entry, result);
            missing += entry < s->blocks && !vdi_block_is_there(image, block + i, entry);
        }
    }
    uint32_t told = (uint32_t)img_min(s->blocks - in_file, MAX_TOLD), untold = s->blocks - in_file - told;
    for (uint32_t i = 0; i < told; i++)
        allocated += count_entry(used, s->blocks, in_file + i, 0, result);
    allocated += untold;
    result->corruptions += untold;
    if (missing) {
        img_notice(IMG_NOTE, "ERROR: %u blocks lie behind the end of the file: %s", missing,
                   img_read_error(image, IMG_ETRUNCATED));
        result->corruptions += missing;
    }
    if (allocated != s->counted) {
        img_notice(IMG_NOTE, "ERROR: allocated blocks mismatch, is %u, should be %u", allocated, s->counted);
        result->corruptions++;
    }
    return 0;
}
