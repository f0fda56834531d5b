/* SPDX-License-Identifier: MIT */
/*
 * The information about one image, as a document.  Keys have the order in
 * which qemu-img prints them, because scripts compare text.
 */
#include "info.h"

#include <errno.h>

/* The old profile does not show child nodes. */
static bool shows_children(void)
{
    return compat_profile() >= 800;
}

static void add_child(struct img_doc *children, const char *name, struct img *child, bool limits)
{
    struct img_doc *entry = img_doc_object();

    img_doc_put_string(entry, "name", name);
    img_doc_put(entry, "info", info_gather(child, limits));
    img_doc_append(children, entry);
}

static void add_children(struct img_doc *info, struct img *image, bool limits)
{
    struct img_doc *children;
    struct img *child;
    const char *name;

    if (!shows_children())
        return;
    children = img_doc_array();
    for (size_t i = 0; (child = img_child_at(image, i, &name)); i++)
        add_child(children, name, child, limits);
    img_doc_put(info, "children", children);
}

struct img_doc *info_snapshot(const struct img_snapshot *snapshot)
{
    struct img_doc *entry = img_doc_object();

    if (snapshot->has_icount)
        img_doc_put(entry, "icount", img_doc_int((int64_t)snapshot->icount));
    img_doc_put_uint(entry, "vm-clock-nsec", snapshot->vm_clock_nsec % 1000000000);
    img_doc_put_string(entry, "name", snapshot->name);
    img_doc_put_uint(entry, "date-sec", snapshot->date_sec);
    img_doc_put_uint(entry, "date-nsec", snapshot->date_nsec);
    img_doc_put_uint(entry, "vm-clock-sec", snapshot->vm_clock_nsec / 1000000000);
    img_doc_put_string(entry, "id", snapshot->id);
    /* Signed, as in qemu-img. */
    img_doc_put(entry, "vm-state-size", img_doc_int((int64_t)snapshot->vm_state_size));
    return entry;
}

/* If snapshots cannot be listed, show the rest. */
static void add_snapshots(struct img_doc *info, struct img *image)
{
    struct img_error err = IMG_ERROR_INIT;
    struct img_snapshot *list = NULL;
    struct img_doc *array;
    int count = img_snapshots(image, &list, &err);

    if (err.code == ENOMEM)
        img_doc_break(info);
    img_error_clear(&err);
    if (count <= 0)
        return;
    array = img_doc_array();
    for (int i = 0; i < count; i++)
        img_doc_append(array, info_snapshot(&list[i]));
    img_doc_put(info, "snapshots", array);
    img_snapshots_free(list, (size_t)count);
}

/* Remove members that the old profile does not show. */
static void drop_newer_members(struct img_doc *specific)
{
    struct img_doc *data = img_doc_get(specific, "data");
    struct img_doc *encrypt = data ? img_doc_get(data, "encrypt") : NULL;

    if (encrypt)
        img_doc_remove(encrypt, "detached-header");
}

static void add_format_specific(struct img_doc *info, struct img *image)
{
    struct img_error err = IMG_ERROR_INIT;
    struct img_doc *specific;

    /* It does not describe the storage. */
    if (!shows_children() && img_driver_kind(img_driver_of(image)) == IMG_PROTOCOL)
        return;
    specific = img_format_specific(image, &err);
    if (err.code == ENOMEM)
        img_doc_break(info);
    img_error_clear(&err);
    if (!specific)
        return;
    if (!shows_children())
        drop_newer_members(specific);
    img_doc_put(info, "format-specific", specific);
}

static void add_full_backing_name(struct img_doc *info, struct img *image)
{
    struct img_error err = IMG_ERROR_INIT;
    CLEANUP_FREE char *name = img_backing_full_name(image, &err);

    if (err.code == ENOMEM)
        img_doc_break(info);
    img_error_clear(&err);
    if (name)
        img_doc_put_string(info, "full-backing-filename", name);
}

static void put_limit(struct img_doc *object, const char *key, uint64_t value)
{
    if (value)
        img_doc_put_uint(object, key, value);
}

static void add_limits(struct img_doc *info, struct img *image)
{
    struct img_doc *object = img_doc_object();
    const struct img_limits *limits = img_limits(image);

    img_doc_put_uint(object, "request-alignment", limits->request_alignment);
    put_limit(object, "max-discard", limits->max_discard);
    put_limit(object, "discard-alignment", limits->discard_alignment);
    put_limit(object, "max-write-zeroes", limits->max_write_zeroes);
    put_limit(object, "write-zeroes-alignment", limits->write_zeroes_alignment);
    put_limit(object, "opt-transfer", limits->opt_transfer);
    put_limit(object, "max-transfer", limits->max_transfer);
    put_limit(object, "max-hw-transfer", limits->max_hw_transfer);
    img_doc_put_uint(object, "max-iov", (uint64_t)limits->max_iov);
    put_limit(object, "max-hw-iov", (uint64_t)limits->max_hw_iov);
    img_doc_put_uint(object, "min-mem-alignment", limits->min_mem_alignment);
    img_doc_put_uint(object, "opt-mem-alignment", limits->opt_mem_alignment);
    put_limit(object, "allocation-unit", limits->cluster ? img_write_unit(image) : 0);
    put_limit(object, "requests-in-flight", limits->requests);
    img_doc_put(info, "limits", object);
}

/* No version of qemu-img has this. */
static void add_content(struct img_doc *info, const struct img *image)
{
    const struct img_content *content = img_content(image);

    if (content && !compat_pinned())
        img_doc_put_string(info, "content-hint", content->name);
}

struct img_doc *info_gather(struct img *image, bool limits)
{
    struct img_doc *info = img_doc_object();
    const char *backing = img_backing_name(image), *backing_format = img_backing_format(image);
    int64_t allocated = img_allocated(image);
    bool has_backing = backing && *backing;

    add_children(info, image, limits);
    if (has_backing && backing_format && *backing_format)
        img_doc_put_string(info, "backing-filename-format", backing_format);
    add_snapshots(info, image);
    img_doc_put_uint(info, "virtual-size", img_size(image));
    img_doc_put_string(info, "filename", img_filename(image));
    if (img_cluster_size(image))
        img_doc_put_uint(info, "cluster-size", img_cluster_size(image));
    img_doc_put_string(info, "format", img_driver_name(img_driver_of(image)));
    if (allocated >= 0)
        img_doc_put_uint(info, "actual-size", (uint64_t)allocated);
    add_format_specific(info, image);
    if (has_backing)
        add_full_backing_name(info, image);
    if (img_encrypted(image))
        img_doc_put_bool(info, "encrypted", true);
    if (has_backing)
        img_doc_put_string(info, "backing-filename", backing);
    if (limits)
        add_limits(info, image);
    if (img_has_details(image))
        img_doc_put_bool(info, "dirty-flag", img_dirty(image));
    add_content(info, image);
    return info;
}
