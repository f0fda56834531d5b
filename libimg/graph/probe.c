/* SPDX-License-Identifier: MIT */
/*
 * probe.c - the format of an image by its content (and, for want of a mark, by the name of a dmg); and the
 * rule that keeps a raw image, whose format was only guessed, from being turned by its
 * guest into something that the next guess takes for another format.
 */
#include "graph.h"
#include "node/trace.h"
#include "util/checked.h"
#include <string.h>

/* No more, as in qemu-img: what a probe looks for further behind is not found. */
enum { PROBE_BYTES = 512 };

/*
 * A file can bear the marks of two formats: that of vdi lies behind those of the others, and dmg goes by the name. 
 * qemu-img's choice is ours, or what one of the two looked at would not be what the other one opens.  What is
 * not named here comes last.
 */
static size_t rank(const struct img_driver *driver)
{
    static const char *const order[] = { "parallels", "qed", "vhdx", "vmdk", "vpc", "vdi", "dmg" };
    size_t i = 0;

    while (i < sizeof order / sizeof *order && strcmp(order[i], driver->name) != 0)
        i++;
    return i;
}

static const struct img_driver *best_of(const uint8_t head[PROBE_BYTES], const char *name)
{
    const struct img_driver *best = NULL;
    int best_score = 0;

    for (size_t i = 0; img_drivers[i]; i++) {
        const struct img_driver *driver = img_drivers[i];
        int score;
        if (driver->kind != IMG_FORMAT || !driver->probe)
            continue;
        score = driver->probe(head, PROBE_BYTES, name);
        if (score > best_score || (best && score == best_score && rank(driver) < rank(best))) {
            best = driver;
            best_score = score;
        }
    }
    return best ? best : img_driver_find("raw");
}

const struct img_driver *img_probe(struct img *file, const char *name, struct img_error *err)
{
    uint8_t head[PROBE_BYTES] = { 0 };
    size_t length = (size_t)img_min(img_size(file), sizeof head);
    const struct img_driver *driver;
    int ret = length ? img_pread(file, head, 0, length) : 0;

    IMG_TRACE(probe, file, 0, length);
    if (ret < 0) {
        img_error_errno(err, -ret, "Could not read image for determining its format");
        return NULL;
    }
    /* What a short file does not have counts as zeroes; one without a byte has no format, whatever its name. */
    driver = length ? best_of(head, name) : img_driver_find("raw");
    if (!driver)
        img_error_set(err, ENOENT, "Could not determine image format: No compatible driver found");
    return driver;
}

int img_probe_guard(struct img *image, const void *buffer, uint64_t offset, size_t length)
{
    uint8_t sector[PROBE_BYTES] = { 0 };
    size_t have = (size_t)img_min(image->size, PROBE_BYTES);
    int ret;

    if (offset >= PROBE_BYTES)
        return 0;
    ret = img_pread(image, sector, 0, have);
    if (ret < 0)
        return ret;
    if (buffer)
        memcpy(sector + offset, buffer, img_min(length, PROBE_BYTES - offset));
    else
        memset(sector + offset, 0, img_min(length, PROBE_BYTES - offset));
    return best_of(sector, "") == image->driver ? 0 : -EPERM;
}

void img_probe_warn(const struct img *image)
{
    const char *name = image->file && image->file->filename ? image->file->filename : image->shown_name;

    img_notice(IMG_NOTE, "WARNING: Image format was not specified for '%s' and probing guessed %s.", name,
               image->driver->name);
    img_notice(IMG_NOTE, "         Automatically detecting the format is dangerous for raw images, "
               "write operations on block 0 will be restricted.");
    img_notice(IMG_NOTE, "         Specify the '%s' format explicitly to remove the restrictions.",
               image->driver->name);
}
