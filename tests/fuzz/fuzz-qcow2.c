/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: the input is a qcow2 image.  It is opened, described, mapped, read, checked;
 * then copies are written to, administered (snapshots, bitmaps, size), and repaired.  The work is bounded, so that a
 * hang is a finding.  Files that the image names stay closed.
 */
#include "libimg/img.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_INPUT = 1 << 20, MAX_EXTENTS = 200, MAX_READ = 1 << 20, MAX_GROWN = 8 << 20, CHUNK = 64 << 10 };

/* Put the input into a file without a name; `name` is how to open it again. */
static int place(const uint8_t *data, size_t size, char name[64])
{
#ifdef __linux__
    int fd = memfd_create("fuzz", 0);
    snprintf(name, 64, "/proc/self/fd/%d", fd);
#else
    strcpy(name, "/tmp/fuzz-qcow2.XXXXXX");
    int fd = mkstemp(name);
#endif
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    return fd;
}

static void displace(int fd, const char *name)
{
    if (strncmp(name, "/tmp/", 5) == 0)
        unlink(name);
    close(fd);
}

static struct img *open_image(const char *name, unsigned flags)
{
    struct img_open how = { .format = "qcow2", .flags = flags | IMG_NO_BACKING, .cache = IMG_CACHE_UNSAFE,
                            .gate = IMG_GATE_CLOSED };
    struct img_error err = IMG_ERROR_INIT;
    struct img *image = NULL;

    int status = img_open(&image, name, &how, &err);
    if ((status < 0) != (err.text != NULL) || (status < 0) != (image == NULL))
        abort();
    img_error_clear(&err);
    return image;
}

static void close_image(struct img *image)
{
    struct img_error err = IMG_ERROR_INIT;

    img_close(image, &err);
    img_error_clear(&err);
}

static void describe(struct img *image)
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

/* Every extent must move forward and stay within what was asked for. */
static void map_all(struct img *image)
{
    struct img_extent extent;
    uint64_t at = 0, size = img_size(image);

    for (int i = 0; i < MAX_EXTENTS && at < size; i++) {
        if (img_map(image, at, size - at, &extent) < 0)
            return;
        if (extent.offset != at || extent.length == 0 || extent.length > size - at)
            abort();
        at += extent.length;
    }
}

static void read_some(struct img *image)
{
    static uint8_t buffer[CHUNK];
    uint64_t size = img_size(image);

    for (uint64_t at = 0; at < MAX_READ && at < size; at += CHUNK)
        img_pread(image, buffer, at, at + CHUNK <= size ? CHUNK : (size_t)(size - at));
    if (size > MAX_READ)
        img_pread(image, buffer, size - 512, 512);
}

static void look(const char *name)
{
    struct img *image = open_image(name, IMG_NO_IO);
    if (image)
        describe(image);
    close_image(image);

    image = open_image(name, 0);
    if (!image)
        return;
    map_all(image);
    read_some(image);
    describe(image);
    map_all(image);
    close_image(image);
}

/* Returns where the image's clusters end. */
static uint64_t check(const char *name, unsigned repair)
{
    struct img_error err = IMG_ERROR_INIT;
    struct img_check result = {0};
    struct img *image = open_image(name, IMG_CHECK | (repair ? IMG_RDWR : 0));

    if (!image)
        return 0;
    img_check(image, repair, &result, &err);
    img_error_clear(&err);
    close_image(image);
    return result.image_end_offset;
}

static void change(const char *name)
{
    static uint8_t buffer[CHUNK];
    struct img *image = open_image(name, IMG_RDWR);

    if (!image)
        return;
    uint64_t size = img_size(image);
    memset(buffer, 0xa5, sizeof buffer);
    if (size >= 4 * CHUNK) {
        img_pwrite(image, buffer, 1000, 3000);
        img_zero(image, CHUNK, CHUNK, IMG_ZERO_MAY_UNMAP);
        img_discard(image, 0, CHUNK);
        img_pwrite(image, buffer, size - CHUNK, CHUNK);
        img_pwrite_compressed(image, buffer, CHUNK, img_cluster_size(image) <= CHUNK ? img_cluster_size(image) : 0);
        img_flush(image);
        img_pwrite(image, buffer, 2 * CHUNK, CHUNK);
    }
    map_all(image);
    close_image(image);
}

/* What the commands about snapshots, bitmaps and size do; where one refuses the next one goes on. */
static void administer(const char *name)
{
    struct img_error err = IMG_ERROR_INIT;
    char title[] = "fuzz";
    struct img_snapshot made = { .name = title };
    struct img *image = open_image(name, IMG_RDWR | IMG_RESIZE);

    if (!image)
        return;
    if (img_size(image) <= MAX_GROWN) {
        img_snapshot_create(image, &made, &err);
        img_error_clear(&err);
        img_bitmap_add(image, "fuzz", CHUNK, true, &err);
        img_error_clear(&err);
        img_bitmap_merge(image, "fuzz", image, "b0", &err);
        img_error_clear(&err);
        img_resize(image, img_size(image) / 2 / 512 * 512, NULL, &err);
        img_error_clear(&err);
        img_bitmap_remove(image, "fuzz", &err);
        img_error_clear(&err);
        img_snapshot_apply(image, "1", &err);
        img_error_clear(&err);
        img_snapshot_delete(image, NULL, "one", &err);
        img_error_clear(&err);
    }
    free(made.id);
    close_image(image);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char name[64];

    if (size > MAX_INPUT)
        return 0;
    int fd = place(data, size, name);
    look(name);
    change(name);
    if (lseek(fd, 0, SEEK_END) <= MAX_GROWN)    /* a lying table may have led the writes far out */
        check(name, 0);
    displace(fd, name);

    fd = place(data, size, name);
    administer(name);
    displace(fd, name);

    /* Counting anew takes time for every cluster up to the last one that is named, as it must. */
    fd = place(data, size, name);
    if (check(name, 0) <= MAX_GROWN) {
        check(name, IMG_REPAIR_LEAKS | IMG_REPAIR_ERRORS);
        check(name, 0);
    }
    displace(fd, name);
    return 0;
}
