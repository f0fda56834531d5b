/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target for an image format: the input is an image.  It is opened, described, mapped, read, checked;
 * then copies are written to, given another size, and repaired.  The work is bounded, so that a
 * hang is a finding.  Files that the image names stay closed.
 *
 * A target is
 *     #include "fuzz-image.h"
 *     FUZZ_IMAGE("qed")
 * or FUZZ_IMAGE_AND("qcow2", administer) with a function that gets the name of one more copy.  The storage is memory.
 */
#ifndef FUZZ_IMAGE_H
#define FUZZ_IMAGE_H

#include "libimg/img.h"
#include "memory.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    FUZZ_MAX_INPUT = 4 << 20, FUZZ_MAX_EXTENTS = 200, FUZZ_MAX_READ = 1 << 20, FUZZ_MAX_GROWN = 8 << 20,
    FUZZ_MAX_COUNTED = 1 << 20, FUZZ_CHUNK = 64 << 10
};

/* What is freed is kept apart for a while, and where it was taken is kept: less of both makes many more runs a second. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "quarantine_size_mb=4:malloc_context_size=4";
}

static const char *fuzz_format;

static struct img *fuzz_open(const char *name, unsigned flags)
{
    struct img_open how = { .format = fuzz_format, .flags = flags | IMG_NO_BACKING, .cache = IMG_CACHE_UNSAFE,
                            .gate = IMG_GATE_CLOSED };
    struct img_error err = IMG_ERROR_INIT;
    struct img *image = NULL;

    int status = img_open(&image, name, &how, &err);
    if ((status < 0) != (err.text != NULL) || (status < 0) != (image == NULL))
        abort();
    img_error_clear(&err);
    return image;
}

static void fuzz_close(struct img *image)
{
    struct img_error err = IMG_ERROR_INIT;

    img_close(image, &err);
    img_error_clear(&err);
}

static void fuzz_describe(struct img *image)
{
    struct img_error err = IMG_ERROR_INIT;
    struct img_snapshot *list = NULL;
    struct img_doc *doc = img_format_specific(image, &err);

    free(img_doc_json(doc, 4));
    img_doc_free(doc);
    int count = img_snapshots(image, &list, &err);
    if (count > 0) {
        img_snapshot_load(image, list[0].id, list[0].name, &err);
        img_snapshots_free(list, (size_t)count);
    }
    img_error_clear(&err);
}

/* Every extent must move forward and stay within the requested range.  visit: what is done with each; NULL: nothing. */
static void fuzz_extents(struct img *image, void (*visit)(struct img *image, const struct img_extent *extent))
{
    struct img_extent extent;
    uint64_t at = 0, size = img_size(image);

    for (int i = 0; i < FUZZ_MAX_EXTENTS && at < size; i++) {
        if (img_map(image, at, size - at, &extent) < 0)
            return;
        if (extent.offset != at || extent.length == 0 || extent.length > size - at)
            abort();
        if (visit)
            visit(image, &extent);
        at += extent.length;
    }
}

static void fuzz_map(struct img *image)
{
    fuzz_extents(image, NULL);
}

static void fuzz_read(struct img *image)
{
    static uint8_t buffer[FUZZ_CHUNK];
    uint64_t size = img_size(image);

    for (uint64_t at = 0; at < FUZZ_MAX_READ && at < size; at += FUZZ_CHUNK)
        img_pread(image, buffer, at, at + FUZZ_CHUNK <= size ? FUZZ_CHUNK : (size_t)(size - at));
    if (size > FUZZ_MAX_READ)
        img_pread(image, buffer, size - 512, 512);
}

static void fuzz_look(const char *name)
{
    struct img *image = fuzz_open(name, IMG_NO_IO);
    if (image)
        fuzz_describe(image);
    fuzz_close(image);

    image = fuzz_open(name, 0);
    if (!image)
        return;
    fuzz_map(image);
    fuzz_read(image);
    fuzz_describe(image);
    fuzz_map(image);
    fuzz_close(image);
}

/* Returns the end of the image's clusters. */
static uint64_t fuzz_check(const char *name, unsigned repair)
{
    struct img_error err = IMG_ERROR_INIT;
    struct img_check result = {0};
    struct img *image = fuzz_open(name, IMG_CHECK | (repair ? IMG_RDWR : 0));

    if (!image)
        return 0;
    img_check(image, repair, &result, &err);
    img_error_clear(&err);
    fuzz_close(image);
    return result.image_end_offset;
}

static void fuzz_change(const char *name)
{
    static uint8_t buffer[FUZZ_CHUNK];
    struct img *image = fuzz_open(name, IMG_RDWR);

    if (!image)
        return;
    uint64_t size = img_size(image);
    memset(buffer, 0xa5, sizeof buffer);
    if (size >= 4 * FUZZ_CHUNK) {
        uint32_t cluster = img_cluster_size(image);
        img_pwrite(image, buffer, 1000, 3000);
        img_zero(image, FUZZ_CHUNK, FUZZ_CHUNK, IMG_ZERO_MAY_UNMAP);
        img_discard(image, 0, FUZZ_CHUNK);
        img_pwrite(image, buffer, size - FUZZ_CHUNK, FUZZ_CHUNK);
        img_pwrite_compressed(image, buffer, FUZZ_CHUNK, cluster <= FUZZ_CHUNK ? cluster : 0);
        img_flush(image);
        img_pwrite(image, buffer, 2 * FUZZ_CHUNK, FUZZ_CHUNK);
    }
    fuzz_map(image);
    fuzz_close(image);
}

/* Longer, then shorter; a format that refuses one may do the other. */
static void fuzz_resize(const char *name)
{
    struct img_error err = IMG_ERROR_INIT;
    struct img *image = fuzz_open(name, IMG_RDWR | IMG_RESIZE);

    if (!image)
        return;
    uint64_t size = img_size(image);
    if (size <= FUZZ_MAX_GROWN) {
        img_resize(image, size + FUZZ_CHUNK, NULL, &err);
        img_error_clear(&err);
        img_resize(image, size / 2 / 512 * 512, NULL, &err);
        img_error_clear(&err);
    }
    fuzz_map(image);
    fuzz_close(image);
}

__attribute__((unused))
static int fuzz_image(const char *format, void (*more)(const char *name), const uint8_t *data, size_t size)
{
    static const char name[] = FUZZ_MEMORY;

    if (size > FUZZ_MAX_INPUT)
        return 0;
    fuzz_format = format;
    fuzz_memory_load(data, size);
    fuzz_look(name);
    fuzz_change(name);
    if (fuzz_memory_size() <= FUZZ_MAX_GROWN)       /* a lying table may have led the writes far out */
        fuzz_check(name, 0);

    fuzz_memory_load(data, size);
    fuzz_resize(name);

    if (more) {
        fuzz_memory_load(data, size);
        more(name);
    }

    /* Counting anew takes time for every cluster up to the last one that is named, as it must. */
    fuzz_memory_load(data, size);
    if (fuzz_check(name, 0) <= FUZZ_MAX_COUNTED) {
        fuzz_check(name, IMG_REPAIR_LEAKS | IMG_REPAIR_ERRORS);
        fuzz_check(name, 0);
    }
    fuzz_memory_clear();
    return 0;
}

#define FUZZ_IMAGE_AND(format, more)                                \
    int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)    \
    {                                                               \
        return fuzz_image(format, more, data, size);                \
    }
#define FUZZ_IMAGE(format) FUZZ_IMAGE_AND(format, NULL)

#endif
