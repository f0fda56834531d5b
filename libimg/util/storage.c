/* SPDX-License-Identifier: MIT */
/*
 * storage.c - follows block devices down to what they lie on.  Loop devices are asked themselves.  Partitions, and
 * devices of the device mapper, are found in /sys; without it such a device is known by its number only.
 */
#include "storage.h"
#include "checked.h"
#include "cleanup.h"
#include "strbuf.h"
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef __linux__
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#endif

static struct img_layer *add_layer(struct img_storage *storage, const struct img_layer *layer)
{
    if (storage->count == IMG_STORAGE_LAYERS || layer->start >= layer->end)
        return NULL;
    storage->layers[storage->count] = *layer;
    return &storage->layers[storage->count++];
}

#ifdef __linux__

enum { LOOP_MAJOR_NUMBER = 7, SECTOR = 512 };

static void follow(struct img_storage *storage, const struct img_layer *device, int fd);

/* The part of a range that a window of `length` bytes at `offset` leaves, as a range of what lies below. */
static void shift(struct img_layer *layer, uint64_t offset, uint64_t length)
{
    uint64_t start = img_min(layer->start, length), end = img_min(layer->end, length);

    if (!img_add(start, offset, &layer->start))
        layer->start = UINT64_MAX;
    if (!img_add(end, offset, &layer->end))
        layer->end = UINT64_MAX;
}

static void add_below(struct img_storage *storage, const struct img_layer *layer)
{
    const struct img_layer *added = add_layer(storage, layer);

    if (added && added->device) {
        const struct img_layer copy = *added;
        follow(storage, &copy, -1);
    }
}

/* ---- Loop devices ------------------------------------------------------------------------------ */

/* Device numbers as the kernel tells them to user space. */
static dev_t decode(uint64_t number)
{
    return makedev((number >> 8) & 0xfff, (number & 0xff) | ((number >> 12) & 0xfff00));
}

static bool is_device(int fd, dev_t id)
{
    struct stat status;

    return fstat(fd, &status) == 0 && S_ISBLK(status.st_mode) && status.st_rdev == id;
}

static bool follow_loop(struct img_storage *storage, const struct img_layer *device, int fd)
{
    CLEANUP_FREE char *name = img_asprintf("/dev/loop%u", minor(device->id));
    CLEANUP_FD int opened = fd < 0 && name ? open(name, O_RDONLY | O_NONBLOCK | O_CLOEXEC) : -1;
    struct img_layer below = *device;
    struct loop_info64 info;

    if (fd < 0 && opened >= 0 && is_device(opened, device->id))
        fd = opened;
    if (fd < 0 || ioctl(fd, LOOP_GET_STATUS64, &info) < 0)
        return false;
    below.device = info.lo_rdevice != 0;
    below.id = decode(below.device ? info.lo_rdevice : info.lo_device);
    below.ino = (ino_t)info.lo_inode;
    shift(&below, info.lo_offset, info.lo_sizelimit ? info.lo_sizelimit : UINT64_MAX);
    add_below(storage, &below);
    return true;
}

/* ---- /sys ----------------------------------------------------------------------------------------- */

/* The text of /sys/dev/block/M:N/`name`, or false. */
static bool read_text(dev_t device, const char *name, char text[32])
{
    CLEANUP_FREE char *path = img_asprintf("/sys/dev/block/%u:%u/%s", major(device), minor(device), name);
    CLEANUP_FD int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    ssize_t got = fd < 0 ? -1 : read(fd, text, 31);

    if (got <= 0)
        return false;
    text[got] = '\0';
    return true;
}

static bool parse_device(const char *text, dev_t *device)
{
    char *end;
    unsigned long major_number = strtoul(text, &end, 10);

    if (end == text || *end != ':')
        return false;
    *device = makedev((unsigned)major_number, (unsigned)strtoul(end + 1, NULL, 10));
    return true;
}

static bool follow_partition(struct img_storage *storage, const struct img_layer *device)
{
    struct img_layer below = *device;
    char number[32], start[32], size[32], parent[32];

    if (!read_text(device->id, "partition", number))
        return false;
    if (read_text(device->id, "start", start) && read_text(device->id, "size", size) &&
        read_text(device->id, "../dev", parent) && parse_device(parent, &below.id)) {
        shift(&below, strtoull(start, NULL, 10) * SECTOR, strtoull(size, NULL, 10) * SECTOR);
        add_below(storage, &below);
    }
    return true;
}

/* What a device of the device mapper or a RAID consists of; only its driver knows where in it. */
static void follow_slaves(struct img_storage *storage, const struct img_layer *device)
{
    CLEANUP_FREE char *path = img_asprintf("/sys/dev/block/%u:%u/slaves", major(device->id), minor(device->id));
    DIR *folder = path ? opendir(path) : NULL;
    const struct dirent *entry;

    while (folder && (entry = readdir(folder))) {
        CLEANUP_FREE char *name = img_asprintf("slaves/%s/dev", entry->d_name);
        struct img_layer below = { .device = true, .end = UINT64_MAX, .somewhere = true };
        char text[32];

        if (entry->d_name[0] != '.' && name && read_text(device->id, name, text) && parse_device(text, &below.id))
            add_below(storage, &below);
    }
    if (folder)
        closedir(folder);
}

/* (Each step takes a layer of the storage, or ends.) */
static void follow(struct img_storage *storage, const struct img_layer *device, int fd)
{
    if (follow_partition(storage, device))
        return;
    if (major(device->id) != LOOP_MAJOR_NUMBER || !follow_loop(storage, device, fd))
        follow_slaves(storage, device);
}

#else

static void follow(struct img_storage *storage, const struct img_layer *device, int fd)
{
    (void)storage, (void)device, (void)fd;
}

#endif

void img_storage_of(int fd, uint64_t start, uint64_t end, struct img_storage *storage)
{
    struct img_layer own = { .start = start, .end = end };
    struct stat status;

    storage->count = 0;
    if (fstat(fd, &status) < 0 || (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode)))
        return;
    own.device = S_ISBLK(status.st_mode);
    own.id = own.device ? status.st_rdev : status.st_dev;
    own.ino = own.device ? 0 : status.st_ino;
    if (add_layer(storage, &own) && own.device)
        follow(storage, &own, fd);
}

static bool layers_meet(const struct img_layer *a, const struct img_layer *b)
{
    return a->device == b->device && a->id == b->id && (a->device || a->ino == b->ino) &&
           !(a->somewhere && b->somewhere) && a->start < b->end && b->start < a->end;
}

bool img_storage_meets(const struct img_storage *a, const struct img_storage *b)
{
    for (unsigned i = 0; i < a->count; i++)
        for (unsigned j = 0; j < b->count; j++)
            if (layers_meet(&a->layers[i], &b->layers[j]))
                return true;
    return false;
}
