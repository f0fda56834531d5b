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
    char encoding[64];

    if (!strstr(text, key))
        return 0;
    hint = img_malloc(HINT_SIZE);
    if (!hint)
        return -ENOMEM;
    if (!vmdk_text_value(text, key, hint, HINT_SIZE))
        return -EINVAL;
    if (!*hint)
        return 0;
    if (img_replace_text(&image->backing_name, hint) < 0 ||
        vmdk_name_in_utf8(text, hint, encoding, sizeof encoding, &image->backing_alias) == -ENOMEM)
        return -ENOMEM;
    return img_replace_text(&image->backing_format, "vmdk");
}

static int refuse_orphan(const struct img *image, uint32_t parent, struct img_error *err)
{
    img_error_advise(err, "name it in the descriptor (parentFileNameHint=\"NAME\"), or here: --image-opts "
                     "driver=vmdk,file.filename=%s,backing.driver=vmdk,backing.file.filename=NAME",
                     img_filename(image->file));
    return img_error_set(err, EINVAL, "The image has a parent with the content ID %08x (parentCID), but does not name "
                         "it (parentFileNameHint)", (unsigned)parent);
}

int vmdk_read_ids(struct img *image, const char *text, bool given, struct img_error *err)
{
    struct vmdk *s = vmdk_state(image);

    /* Without a "CID" key this matches the one in "parentCID", which is what qemu-img shows. */
    if (read_hint(image, text) < 0 || !vmdk_text_number(text, "CID", &s->cid) ||
        !vmdk_text_number(text, "parentCID", &s->parent_cid))
        return img_error_errno(err, EINVAL, "Could not open '%s'", img_filename(image));
    /* What it lacks of its own would be read as zeroes. */
    if (s->parent_cid != VMDK_NO_PARENT && s->parent_cid != 0 && !image->backing_name && !given &&
        !(image->flags & IMG_NO_BACKING))
        return refuse_orphan(image, s->parent_cid, err);
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
    ret = vmdk_read_text(image->file, s->descriptor_at, s->descriptor_room, &text, NULL);
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

bool vmdk_is_backing(const struct img *image, const struct img *candidate)
{
    return candidate->driver == image->driver && vmdk_state(candidate)->cid == vmdk_state(image)->parent_cid;
}

/* Told when it is known that the parent is needed, as the error of reading it will not say more. */
static void tell_changed(const struct img *image, const struct img *parent)
{
    const struct vmdk *s = vmdk_state(image);

    if (parent->driver != image->driver)
        img_notice(IMG_FAULT, "The parent '%s' of '%s' is no vmdk image", img_filename(parent), img_filename(image));
    else
        img_notice(IMG_FAULT, "The parent '%s' of '%s' was changed after that image was made: its content ID is %08x, "
                   "not %08x", img_filename(parent), img_filename(image), (unsigned)vmdk_state(parent)->cid,
                   (unsigned)s->parent_cid);
}

void vmdk_check_parent(struct img *image)
{
    struct vmdk *s = vmdk_state(image);
    const struct img *parent = img_behind_filters(image->backing);

    if (!parent || s->parent_known)
        return;
    s->parent_known = true;
    image->backing_changed = !vmdk_is_backing(image, parent);
}

void vmdk_backing_refused(struct img *image)
{
    struct vmdk *s = vmdk_state(image);

    if (!__atomic_exchange_n(&s->told_changed, true, __ATOMIC_RELAXED))
        tell_changed(image, img_behind_filters(image->backing));
}
