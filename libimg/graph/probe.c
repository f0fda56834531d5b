/* SPDX-License-Identifier: MIT */
/*
 * probe.c - finds the format of an image by its content, or else by its name.  Also keeps a guest from turning a raw
 * image whose format was guessed into something that the next probe takes for another format.
 */
#include "graph.h"
#include "node/node.h"
#include "node/trace.h"
#include "util/checked.h"
#include <string.h>

enum { PROBE_BYTES = IMG_PROBE_BYTES };

/* Find the format whose marks match.  If two match, choose as qemu-img does (img_driver.precedence); otherwise the two
 * tools would open different formats. */
static const struct img_driver *best_of(const uint8_t head[PROBE_BYTES], const char *name)
{
    const struct img_driver *best = NULL;

    for (size_t i = 0; img_drivers[i]; i++) {
        const struct img_driver *driver = img_drivers[i];

        if (driver->kind == IMG_FORMAT && (!best || driver->precedence > best->precedence) &&
            img_marks_show(driver->marks, head, PROBE_BYTES, name))
            best = driver;
    }
    return best;
}

int img_probe_read(struct img *file, struct img_head *head, struct img_error *err)
{
    size_t length = (size_t)img_min(img_size(file), sizeof head->bytes);
    int ret;

    *head = (struct img_head){ .length = length };
    ret = length ? img_pread(file, head->bytes, 0, length) : 0;
    IMG_TRACE(probe, file, 0, length);
    return ret < 0 ? img_error_errno(err, -ret, "Could not read image for determining its format") : 0;
}

const struct img_driver *img_probe(struct img *file, const struct img_head *head, const char *name,
                                   struct img_error *err)
{
    /* Bytes that a short file lacks count as zeroes; an empty file has no format, whatever its name. */
    const struct img_driver *driver = best_of(head->bytes, head->length ? name : "");

    if (driver)
        driver = img_driver_load(driver);
    if (driver && driver->claims && driver != best_of(head->bytes, "") && !driver->claims(file))
        driver = img_driver_load(best_of(head->bytes, ""));
    if (!driver)
        img_error_set(err, ENOENT, "Could not determine image format: No compatible driver found");
    return driver;
}

bool img_probe_by_name(struct img *file, const struct img_head *head, const char *name)
{
    const struct img_driver *driver = best_of(head->bytes, head->length ? name : "");

    if (!driver || driver == best_of(head->bytes, ""))
        return false;
    driver = img_driver_load(driver);
    return !driver->claims || driver->claims(file);
}

/* ---- What is around an image ------------------------------------------------------- */

static bool unwraps = true;

void img_set_unwrapping(bool on)
{
    unwraps = on;
}

static const struct img_driver *wrapper_of(const uint8_t head[PROBE_BYTES])
{
    for (size_t i = 0; unwraps && img_drivers[i]; i++)
        if (img_drivers[i]->kind == IMG_ADAPTER && img_marks_show(img_drivers[i]->marks, head, PROBE_BYTES, ""))
            return img_drivers[i];
    return NULL;
}

const struct img_driver *img_probe_wrapper(const struct img_head *head)
{
    const struct img_driver *driver = wrapper_of(head->bytes);

    return driver ? img_driver_load(driver) : NULL;
}

/* ---- Guessed raw images ------------------------------------------------------------- */

int img_probe_guard(struct img *image, const void *buffer, uint64_t offset, size_t length)
{
    uint8_t sector[PROBE_BYTES] = { 0 };
    size_t have = (size_t)img_min(image->size, PROBE_BYTES);
    const struct img_driver *around;
    int ret;

    if (offset >= PROBE_BYTES)
        return 0;
    ret = img_pread(image, sector, 0, have);
    if (ret < 0)
        return ret;
    around = wrapper_of(sector);
    if (buffer)
        memcpy(sector + offset, buffer, img_min(length, PROBE_BYTES - offset));
    else
        memset(sector + offset, 0, img_min(length, PROBE_BYTES - offset));
    if (wrapper_of(sector) && wrapper_of(sector) != around)
        return -EPERM;
    return strcmp(best_of(sector, "")->name, image->driver->name) == 0 ? 0 : -EPERM;
}

void img_probe_warn(const struct img *image)
{
    const char *below = image->file ? image->file->filename : NULL;
    const char *name = below && *below ? below : img_filename(image->file ? image->file : image);

    img_notice(IMG_NOTE, "WARNING: Image format was not specified for '%s' and probing guessed %s.", name,
               image->driver->name);
    img_notice(IMG_NOTE, "         Automatically detecting the format is dangerous for raw images, "
               "write operations on block 0 will be restricted.");
    img_notice(IMG_NOTE, "         Specify the '%s' format explicitly to remove the restrictions.",
               image->driver->name);
}
