/* SPDX-License-Identifier: MIT */
/*
 * The parent of a differencing image, of which only identifiers are known.  VirtualBox calls the images that it makes
 * by theirs, in the folder Snapshots of the machine; others are found by libimg among the files beside the image.
 */
#include "vdi.h"
#include "../../libimg/util/strbuf.h"
#include "../../libimg/util/uuid.h"

static void uuid_text(const uint8_t uuid[VDI_UUID_BYTES], char text[IMG_UUID_TEXT])
{
    uint8_t swapped[VDI_UUID_BYTES];

    memcpy(swapped, uuid, VDI_UUID_BYTES);
    img_uuid_swap(swapped);
    img_uuid_text(swapped, text);
}

int vdi_read_parent(struct img *image, const uint8_t *head, struct img_error *err)
{
    static const char *const folders[] = { "", "Snapshots/", "../" };
    struct vdi *s = vdi_state(image);
    char uuid[IMG_UUID_TEXT];
    int status = 0;

    s->differencing = true;
    memcpy(s->parent_uuid, head + VDI_UUID_LINK, VDI_UUID_BYTES);
    memcpy(s->parent_modified, head + VDI_UUID_PARENT_MODIFIED, VDI_UUID_BYTES);
    uuid_text(s->parent_uuid, uuid);
    for (size_t i = 0; i < sizeof folders / sizeof *folders && status == 0; i++) {
        CLEANUP_FREE char *name = img_asprintf("%s{%s}.vdi", folders[i], uuid);
        status = name ? img_add_parent_name(image, name) : -ENOMEM;
    }
    return status < 0 ? img_error_memory(err) : 0;
}

/* The identifier of the content changes when somebody writes to the image; there may be none. */
static bool was_modified(const struct vdi *s, const struct vdi *parent)
{
    return !img_is_zero(s->parent_modified, VDI_UUID_BYTES) && !img_is_zero(parent->modified, VDI_UUID_BYTES) &&
           memcmp(s->parent_modified, parent->modified, VDI_UUID_BYTES) != 0;
}

int vdi_check_parent(struct img *image, struct img *candidate, struct img_error *err)
{
    const struct vdi *s = vdi_state(image), *parent = vdi_state(candidate);
    bool same = memcmp(s->parent_uuid, parent->uuid, VDI_UUID_BYTES) == 0;
    char wanted[IMG_UUID_TEXT], found[IMG_UUID_TEXT];

    if (same && !was_modified(s, parent))
        return 0;
    uuid_text(same ? s->parent_modified : s->parent_uuid, wanted);
    uuid_text(same ? parent->modified : parent->uuid, found);
    if (same)
        return img_error_set(err, EINVAL, "it was written to since: the identifier of its content is %s, that of the "
                             "parent is %s", found, wanted);
    return img_error_set(err, EINVAL, "its identifier is %s, that of the parent is %s", found, wanted);
}
