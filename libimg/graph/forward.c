/* SPDX-License-Identifier: MIT */
/*
 * forward.c - images in open descriptors, and images that come through a pipe.
 *
 * An image can be read forward if its tables lie before its data, and the data in about the order of the disk.  So it
 * is opened and its whole map is walked first; all that is read meanwhile is kept.  Then the map says which bytes will
 * be wanted in which order, and so whether a window of the last bytes is enough, and how many readers it can serve.
 */
#include "chain.h"
#include "io/intake.h"
#include "util/checked.h"
#include "util/strbuf.h"
#include <stdio.h>
#include <string.h>

/* WINDOW: what a reader takes of the disk at a time. */
enum { WINDOW = 1 << 20, MOST_READERS = 8, MOST_STEPS = 1 << 24, SMALL = 1 << 20, SECTOR = 512 };

/* ---- Opening over a storage ---------------------------------------------------------- */

/* `storage` is taken over in any case. */
static int open_over(struct img **image, struct img *storage, const char *name, const struct img_open *how,
                     struct img_error *err)
{
    const struct img_driver *driver = how->format ? img_driver_find(how->format) : NULL;
    struct request request = { .name = name, .options = img_doc_object(), .format = how->format, .flags = how->flags,
                               .role = IMG_ROLE_ROOT, .cache = how->cache, .gate = how->gate, .storage = storage };
    int ret;

    chain_ask_permissions(&request, how);
    if (driver && driver->kind != IMG_FORMAT)
        ret = img_error_set(err, EINVAL, "'%s' is not a format", how->format);
    else
        ret = chain_open_node(image, &request, err);
    img_doc_free(request.options);
    chain_close_quietly(request.storage);
    return ret < 0 ? img_error_prefix(err, "Could not open '%s': ", name) : 0;
}

/* ---- A file, or a device ---------------------------------------------------------------- */

int img_open_descriptor(struct img **image, int fd, const char *name, const struct img_open *how, struct img_error *err)
{
    struct request request = { .role = IMG_ROLE_FILE, .flags = how->flags & ~(unsigned)(IMG_NO_WRITERS | IMG_NO_IO),
                               .cache = how->cache, .shared = IMG_PERM_ALL, .options = img_doc_object() };
    char place[sizeof "/dev/fd/" + 11];
    struct img *storage = NULL;
    int ret;

    *image = NULL;
    snprintf(place, sizeof place, "/dev/fd/%d", fd);
    request.name = place;
    ret = chain_open_storage(&storage, &request, err);
    img_doc_free(request.options);
    if (ret < 0)
        return img_error_prefix(err, "Could not open '%s': ", name);
    if (img_replace_text(&storage->filename, name) < 0 || img_replace_text(&storage->shown_name, name) < 0) {
        chain_close_quietly(storage);
        return img_error_memory(err);
    }
    return open_over(image, storage, name, how, err);
}

/* ---- What the map of an image says ------------------------------------------------------ */

struct plan {
    struct img *image;
    uint64_t kept;                  /* the bytes before this one can be read at any time */
    uint64_t unit;                  /* bytes of the disk that a reader takes */
    uint64_t index;                 /* of the unit whose data are collected, */
    uint64_t low;                   /* and where in the file they begin */
    uint64_t front;                 /* the file was read up to here */
    uint64_t lows[MOST_READERS];    /* of the last units, a ring */
    uint64_t count;                 /* of units with data */
    unsigned readers;               /* that can work at a time; 0: none can */
    uint64_t due;                   /* see img_intake_seal */
    unsigned steps;                 /* of the walk: tables may say more than anybody wants to hear */
};

/* Could the unit, and those before it that may not be done yet, still be read if all of them were begun? */
static void end_unit(struct plan *plan)
{
    uint64_t low = UINT64_MAX;
    unsigned fit = 0;

    if (plan->low == UINT64_MAX)
        return;
    plan->lows[plan->count++ % MOST_READERS] = plan->low;
    for (unsigned i = 0; i < MOST_READERS; i++) {
        if (i < plan->count)
            low = img_min(low, plan->lows[(plan->count - 1 - i) % MOST_READERS]);
        if (plan->front > low && plan->front - low > IMG_INTAKE_WINDOW)
            break;
        fit = i + 1;
    }
    plan->readers = (unsigned)img_min(plan->readers, fit);
    plan->low = UINT64_MAX;
}

/* The disk at `offset` is at [host, host + length) of the file. */
static void add_range(struct plan *plan, uint64_t offset, uint64_t host, uint64_t length)
{
    plan->steps++;
    if (offset / plan->unit != plan->index) {
        end_unit(plan);
        plan->index = offset / plan->unit;
    }
    if (host >= plan->kept)
        plan->low = img_min(plan->low, host);
    plan->front = img_max(plan->front, host + length);
}

static void add_data(struct plan *plan, const struct img_extent *extent)
{
    for (uint64_t done = 0; done < extent->length; ) {
        uint64_t offset = extent->offset + done;
        uint64_t part = img_min(extent->length - done, plan->unit - offset % plan->unit);
        add_range(plan, offset, extent->host + done, part);
        done += part;
    }
}

static void add_extent(struct plan *plan, const struct img_extent *extent)
{
    uint64_t cluster = img_max(plan->image->limits.cluster, 1), end;

    if (extent->kind == IMG_DATA && img_add(extent->host, extent->length, &end) && extent->length) {
        add_data(plan, extent);
        plan->due = img_max(plan->due, img_align_down(end - 1, cluster));
    } else if (extent->kind == IMG_CODED && img_add(extent->host, extent->host_length, &end)) {
        add_range(plan, extent->offset, extent->host, extent->host_length);
        plan->due = img_max(plan->due, img_max(extent->host, end < SECTOR ? 0 : end - SECTOR));
    }
}

/* -ESPIPE: too much of it. */
static int walk(struct plan *plan)
{
    struct img *image = plan->image;
    struct img_extent extent;
    uint64_t size = img_size(image);

    for (uint64_t at = 0; at < size; at += extent.length) {
        int ret = ++plan->steps > MOST_STEPS ? -ESPIPE : img_map(image, at, size - at, &extent);
        if (ret < 0)
            return ret;
        if (extent.file == image->file)
            add_extent(plan, &extent);
    }
    end_unit(plan);
    return 0;
}

static int prepare(struct img *image, struct img_intake *intake)
{
    uint64_t unit = img_max(WINDOW, image->limits.cluster);
    struct plan plan = { .image = image, .unit = unit, .low = UINT64_MAX };
    int ret;

    if (image->maps_forward) {
        image->limits.forward = MOST_READERS;
        img_intake_seal(intake, UINT64_MAX);
        return 0;
    }
    /* What is read of an encrypted image says nothing about its place. */
    if (image->encrypted)
        return -ESPIPE;
    /* The first walk reads the tables; then it is known what is kept. */
    ret = walk(&plan);
    if (ret < 0)
        return ret;
    plan = (struct plan){ .image = image, .unit = unit, .low = UINT64_MAX, .readers = MOST_READERS };
    plan.kept = plan.front = img_intake_kept(intake);
    ret = walk(&plan);
    if (ret < 0 || plan.readers == 0)
        return ret < 0 ? ret : -ESPIPE;
    image->limits.forward = (uint32_t)img_max(plan.readers * WINDOW / unit, 1);
    img_intake_seal(intake, plan.due);
    return 0;
}

/* ---- Through a pipe ----------------------------------------------------------------------- */

const struct img_driver *img_intake_probe(struct img_intake *intake, struct img_error *err)
{
    struct img *storage = img_intake_node(intake);
    const struct img_driver *driver = NULL;
    bool raw;
    struct img_head head;

    if (!storage) {
        img_error_memory(err);
        return NULL;
    }
    /* What is compressed is not read forward: it is saved, and then looked into. */
    if (img_probe_read(storage, &head, err) == 0 && !(driver = img_probe_wrapper(&head)))
        driver = img_probe(storage, &head, "", err);
    raw = driver && img_driver_is_plain(driver);
    if (raw && img_content_judge(img_content_by_head(&head), storage, img_intake_name(intake), err) < 0)
        driver = NULL;
    img_node_free(storage);
    return driver;
}

/* Open it with what is known of its length.  -ESPIPE without a message: it needs another order. */
static int try(struct img_intake *intake, struct img **image, const struct img_open *how, struct img_error *err)
{
    struct img *storage = img_intake_node(intake);
    bool whole = storage && !storage->limits.forward;
    int ret;

    if (!storage)
        return img_error_memory(err);
    ret = open_over(image, storage, img_intake_name(intake), how, err);
    if (ret == 0 && !whole)
        ret = prepare(*image, intake);
    if (ret == 0)
        return 0;
    chain_close_quietly(*image);
    *image = NULL;
    if (ret == -ESPIPE || img_intake_refused(intake)) {
        img_error_clear(err);
        return -ESPIPE;
    }
    /* An error of open is set already. */
    return img_error_errno(err, -ret, "Could not open '%s': Could not read its map", img_intake_name(intake));
}

int img_intake_image(struct img_intake *intake, struct img **image, const struct img_open *how, struct img_error *err)
{
    const struct img_driver *driver;
    bool whole;
    int ret;

    *image = NULL;
    ret = img_intake_keep(intake, SMALL);
    if (ret < 0)
        return img_error_errno(err, -ret, "Could not read '%s'", img_intake_name(intake));
    driver = how->format ? img_driver_find(how->format) : img_intake_probe(intake, err);
    if (!driver && !how->format)
        return img_error_prefix(err, "Could not open '%s': ", img_intake_name(intake));
    whole = img_intake_is_whole(intake);
    if (!whole && driver && !(driver->traits & IMG_READS_FORWARD))
        return -ESPIPE;
    ret = try(intake, image, how, err);
    /* The end came while it was opened: all of it is there, and now its length is known, too. */
    if (whole || !img_intake_is_whole(intake))
        return ret;
    chain_close_quietly(*image);
    *image = NULL;
    img_error_clear(err);
    return try(intake, image, how, err);
}
