/* SPDX-License-Identifier: MIT */
/*
 * Content ids.  An image changes its id at the first write after open, and a child stores that of its parent: this
 * shows whether the parent was changed later.
 * Specification: "The Descriptor File" (CID, parentCID, parentFileNameHint).
 */
#include "vmdk.h"
#include "../../libimg/util/uuid.h"
#include <string.h>

enum { HINT_SIZE = 4096 };

static int read_hint(struct img *image, const char *text)
{
    static const char key[] = "parentFileNameHint";
    CLEANUP_FREE char *hint = NULL;

    if (!strstr(text, key))
        return 0;
    hint = img_malloc(HINT_SIZE);
    if (!hint)
        return -ENOMEM;
    if (!vmdk_text_value(text, key, hint, HINT_SIZE))
        return -EINVAL;
    if (!*hint)
        return 0;
    if (img_replace_text(&image->backing_name, hint) < 0)
        return -ENOMEM;
    return img_replace_text(&image->backing_format, "vmdk");
}

int vmdk_read_ids(struct img *image, const char *text, struct img_error *err)
{
    struct vmdk *s = vmdk_state(image);

    /* Without a "CID" key this matches the one in "parentCID", which is what qemu-img shows. */
    if (read_hint(image, text) < 0 || !vmdk_text_number(text, "CID", &s->cid) ||
        !vmdk_text_number(text, "parentCID", &s->parent_cid))
        return img_error_errno(err, EINVAL, "Could not open '%s'", img_filename(image));
    return 0;
}

uint32_t vmdk_new_id(void)
{
    uint8_t random[16];
    uint32_t id;

    do {
        img_uuid_make(random);
        id = img_get_le32(random);
    } while (id == VMDK_NO_PARENT || id == VMDK_NO_PARENT - 1);
    return id;
}

/* ---- The image's id ---------------------------------------------------------------------- */

int vmdk_text_with_id(const char *text, uint32_t cid, char **changed)
{
    const char *at = strstr(text, "CID="), *value = at ? at + strlen("CID=") : NULL;

    *changed = NULL;
    if (!value)
        return 0;
    *changed = img_asprintf("%.*s%08x%s", (int)(value - text), text, (unsigned)cid, value + strcspn(value, "\r\n"));
    return *changed ? 0 : -ENOMEM;
}

/* Written at once, so that the text is either the old or the new one. */
static int write_text(struct img *image, char *text, uint64_t old_length)
{
    const struct vmdk *s = vmdk_state(image);
    uint64_t length = strlen(text), room = img_max(length, old_length);
    CLEANUP_FREE char *bytes = NULL;

    if (s->embedded)
        room = img_align_up(room, VMDK_SECTOR);
    if (s->embedded && room > s->descriptor_room)
        return -ENOSPC;
    bytes = malloc(room);
    if (!bytes)
        return -ENOMEM;
    /* Pad a shorter text: with blank lines in a separate descriptor file. */
    memset(bytes, s->embedded ? '\0' : '\n', room);
    memcpy(bytes, text, length);
    return img_pwrite(image->file, bytes, s->descriptor_at, room);
}

int vmdk_renew_id(struct img *image)
{
    struct vmdk *s = vmdk_state(image);
    CLEANUP_FREE char *text = NULL, *changed = NULL;
    uint32_t cid = vmdk_new_id();
    int ret;

    if (s->renewed)
        return 0;
    ret = vmdk_read_text(image->file, s->descriptor_at, s->descriptor_room, &text);
    if (ret < 0)
        return ret;
    ret = vmdk_text_with_id(text, cid, &changed);
    if (changed)
        ret = write_text(image, changed, strlen(text));
    if (ret < 0)
        return ret;
    if (changed)
        s->cid = cid;
    s->renewed = true;
    return 0;
}

/* ---- The parent's id ------------------------------------------------------------------------- */

void vmdk_check_parent(struct img *image)
{
    struct vmdk *s = vmdk_state(image);
    const struct img *parent = img_behind_filters(image->backing);

    if (!parent || s->parent_known)
        return;
    s->parent_known = true;
    image->backing_changed = parent->driver != image->driver || vmdk_state(parent)->cid != s->parent_cid;
}
