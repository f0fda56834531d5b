/* SPDX-License-Identifier: MIT */
/*
 * The snapshots of a VDI.  Each is a VDI of the same name that cannot be written any more.
 *
 * The server gives a new VDI the first free id from the hash of its name on, so those of one name lie in one run of ids
 * in use.
 */
#include "sheepdog.h"
#include "../../libimg/util/cleanup.h"
#include "../../libimg/util/strbuf.h"
#include "../../libimg/util/vector.h"
#include <stdlib.h>
#include <string.h>

/* More ids in a row are not looked at. */
enum { LONGEST_RUN = 1 << 16 };

/* ---- Finding them -------------------------------------------------------------------------------- */

/* FNV-1a of 64 bits. */
static uint32_t first_id(const char *name)
{
    uint64_t hash = UINT64_C(14695981039346656037);

    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * UINT64_C(1099511628211);
    return (uint32_t)(hash & SHEEPDOG_MOST_ID);
}

static bool is_used(const uint8_t *bitmap, uint32_t id)
{
    return bitmap[id / 8] >> id % 8 & 1;
}

/* Look at each VDI of the run.  consider() returns 1 to end it. */
static int walk(struct sheepdog *s, int (*consider)(void *context, const struct sheepdog_vdi *vdi), void *context,
                struct img_error *err)
{
    CLEANUP_FREE uint8_t *bitmap = img_malloc(SHEEPDOG_BITMAP);
    uint32_t id = first_id(s->target.vdi);
    int ret = bitmap ? sheepdog_used(s, bitmap, err) : img_error_memory(err);

    for (uint32_t i = 0; ret == 0 && is_used(bitmap, id); i++) {
        struct sheepdog_vdi vdi;
        if (i == LONGEST_RUN)
            return img_error_set(err, E2BIG, "There are too many VDIs beside '%s'", s->target.vdi);
        ret = sheepdog_inode_look(s, id, &vdi, err);
        if (ret == 0 && vdi.snapshot_time && strcmp(vdi.name, s->target.vdi) == 0)
            ret = consider(context, &vdi);
        id = (id + 1) & SHEEPDOG_MOST_ID;
    }
    return ret;
}

/* ---- The list -------------------------------------------------------------------------------------- */

struct list {
    IMG_VECTOR(struct img_snapshot) all;
    struct img_error *err;
};

static int add(void *context, const struct sheepdog_vdi *vdi)
{
    struct list *list = context;
    const struct img_snapshot entry = {
        .id = img_asprintf("%u", vdi->snap_id), .name = img_strdup(vdi->tag), .vm_state_size = vdi->vm_state_size,
        .disk_size = vdi->size, .date_sec = vdi->snapshot_time >> 32, .date_nsec = (uint32_t)vdi->snapshot_time,
        .vm_clock_nsec = vdi->vm_clock,
    };

    if (entry.id && entry.name && IMG_VECTOR_PUSH(&list->all, entry))
        return 0;
    free(entry.id);
    free(entry.name);
    return img_error_memory(list->err);
}

int sheepdog_snapshots(struct img *image, struct img_snapshot **entries, struct img_error *err)
{
    struct list list = { .err = err };
    int ret = walk(image->state, add, &list, err);

    if (ret < 0) {
        img_snapshots_free(list.all.at, list.all.count);
        return ret;
    }
    *entries = list.all.at;
    return (int)list.all.count;
}

/* ---- One of them -------------------------------------------------------------------------------------- */

struct wanted {
    uint32_t number;                /* 0: any */
    const char *tag;                /* NULL: any */
    struct sheepdog_vdi found;
};

static int match(void *context, const struct sheepdog_vdi *vdi)
{
    struct wanted *wanted = context;

    if ((wanted->number && vdi->snap_id != wanted->number) || (wanted->tag && strcmp(vdi->tag, wanted->tag) != 0))
        return 0;
    wanted->found = *vdi;
    return 1;
}

/* -ENOENT without a message: there is none. */
static int find(struct sheepdog *s, struct wanted *wanted, struct img_error *err)
{
    int ret = walk(s, match, wanted, err);

    return ret > 0 ? 0 : ret < 0 ? ret : -ENOENT;
}

static int not_found(struct img_error *err)
{
    return img_error_set(err, ENOENT, "Can't find snapshot");
}

/* By id, or if there is none by tag. */
static int find_either(struct sheepdog *s, const char *id, const char *tag, struct wanted *wanted,
                       struct img_error *err)
{
    int ret = -ENOENT;

    *wanted = (struct wanted){ .number = id ? sheepdog_snapshot_number(id) : 0 };
    if (wanted->number)
        ret = find(s, wanted, err);
    if (ret == -ENOENT && tag) {
        *wanted = (struct wanted){ .tag = tag };
        ret = find(s, wanted, err);
    }
    return ret == -ENOENT && !err->text ? not_found(err) : ret;
}

int sheepdog_snapshot_load(struct img *image, const char *id, const char *name, struct img_error *err)
{
    struct sheepdog *s = image->state;
    struct wanted wanted;
    int ret = find_either(s, id, name, &wanted, err);

    if (ret == 0)
        ret = sheepdog_inode_load(s, wanted.found.id, err);
    if (ret < 0)
        return ret;
    image->size = sheepdog_size(s);
    image->snapshot_view = true;
    return 0;
}

int sheepdog_snapshot_delete(struct img *image, const char *id, const char *name, struct img_error *err)
{
    struct sheepdog *s = image->state;
    struct wanted wanted = { .number = id ? sheepdog_snapshot_number(id) : 0, .tag = name };
    int ret = id && !wanted.number ? -ENOENT : find(s, &wanted, err);

    if (ret == -ENOENT && !err->text)
        return not_found(err);
    return ret < 0 ? ret : sheepdog_delete(s, s->target.vdi, wanted.found.snap_id, err);
}

/* ---- Another VDI has the name now ------------------------------------------------------------------------ */

/* The node shows the VDI that took the place of ours, and has its lock instead. */
static int follow(struct sheepdog *s, uint32_t id, struct img_error *err)
{
    bool locked = s->locked;
    int ret = 0;

    sheepdog_unlock(s);
    if (locked)
        ret = sheepdog_lock(s, err);
    if (ret == 0 && locked && s->locked != id)
        ret = img_error_set(err, ESTALE, "Another client has changed VDI '%s'", s->target.vdi);
    return ret < 0 ? ret : sheepdog_inode_load(s, id, err);
}

static int check_writable(const struct sheepdog *s, struct img_error *err)
{
    return s->vdi.snapshot_time ? img_error_set(err, EROFS, "This is a snapshot, which cannot be changed") : 0;
}

/* ---- Making one -------------------------------------------------------------------------------------------- */

static int write_tag(struct sheepdog *s, const char *tag)
{
    char bytes[SHEEPDOG_TEXT] = { 0 };

    memcpy(bytes, tag, strnlen(tag, SHEEPDOG_NAME));
    return sheepdog_inode_write(s, SHEEPDOG_AT_TAG, bytes, sizeof bytes);
}

/* Tags are how snapshots are opened, so there are no two that are the same. */
static int check_new(struct sheepdog *s, const char *tag, struct img_error *err)
{
    struct wanted wanted = { .tag = tag };
    int ret;

    if (!*tag)
        return img_error_set(err, EINVAL, "A snapshot needs a tag");
    ret = find(s, &wanted, err);
    if (ret == 0)
        return img_error_set(err, EEXIST, "There is a snapshot '%s'", tag);
    return ret == -ENOENT && !err->text ? 0 : ret;
}

int sheepdog_snapshot_create(struct img *image, struct img_snapshot *what, struct img_error *err)
{
    CLEANUP_FREE char *tag = img_strndup(what->name, SHEEPDOG_NAME);
    struct sheepdog *s = image->state;
    const struct sheepdog_vdi *vdi = &s->vdi;
    struct sheepdog_new new = { .name = vdi->name, .size = vdi->size, .base = vdi->id, .snapshot = true,
                                .copies = vdi->copies, .copy_policy = vdi->copy_policy, .shift = vdi->shift };
    uint32_t id;
    int ret = tag ? check_writable(s, err) : img_error_memory(err);

    if (ret == 0)
        ret = check_new(s, tag, err);
    if (ret == 0 && !(what->id = img_asprintf("%u", vdi->snap_id)))
        ret = img_error_memory(err);
    if (ret == 0 && (ret = write_tag(s, tag)) < 0)
        img_error_errno(err, -ret, "Could not write the tag");
    if (ret < 0)
        return ret;
    ret = sheepdog_new_vdi(s, &new, &id, err);
    if (ret == 0)
        return follow(s, id, err);
    write_tag(s, "");
    return ret;
}

/* ---- Going back to one ---------------------------------------------------------------------------------------- */

/* Before anything is deleted: did the server do what it was asked for? */
static int check_branch(struct sheepdog *s, uint32_t new_id, uint32_t base, struct sheepdog_vdi *before,
                        struct img_error *err)
{
    struct sheepdog_vdi new;
    int ret = sheepdog_inode_header(s, new_id, &new, err);

    if (ret == 0)
        ret = sheepdog_inode_header(s, s->vdi.id, before, err);
    if (ret == 0 && (new.snapshot_time || new.parent != base || strcmp(new.name, s->target.vdi) != 0 ||
                     !before->snapshot_time || strcmp(before->name, s->target.vdi) != 0))
        ret = img_error_set(err, EIO, "The server did not make a new VDI from the snapshot");
    return ret;
}

/*
 * The server makes a new VDI from the snapshot, which takes the name, and a snapshot of what had it.  That is deleted
 * last: whatever happens in between, nothing is lost.
 */
int sheepdog_snapshot_apply(struct img *image, const char *id_or_name, struct img_error *err)
{
    struct sheepdog *s = image->state;
    struct sheepdog_vdi before;
    struct wanted wanted;
    struct sheepdog_new new;
    uint32_t id;
    int ret = check_writable(s, err);

    if (ret == 0)
        ret = find_either(s, id_or_name, id_or_name, &wanted, err);
    if (ret < 0)
        return ret;
    new = (struct sheepdog_new){ .name = s->target.vdi, .size = wanted.found.size, .base = wanted.found.id,
                                 .snapshot = true, .copies = wanted.found.copies,
                                 .copy_policy = wanted.found.copy_policy, .shift = wanted.found.shift };
    ret = sheepdog_new_vdi(s, &new, &id, err);
    if (ret == 0)
        ret = check_branch(s, id, new.base, &before, err);
    if (ret == 0)
        ret = follow(s, id, err);
    if (ret < 0)
        return ret;
    image->size = sheepdog_size(s);
    return sheepdog_delete(s, s->target.vdi, before.snap_id, err);
}
