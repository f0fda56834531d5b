/* SPDX-License-Identifier: MIT */
/*
 * The files of the bands.  There may be a hundred thousand, so none stays open.  Their names are made here and looked
 * up in the folder "bands" of the bundle.  No link is followed, so a bundle reaches nothing outside itself.
 */
#include "sparsebundle.h"
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The caller may need only the beginning of an answer. */
enum { MAX_LOOKED_AT = 4096 };
enum { NAME = 17 };

static const char encrypted[] = "encrcdsa";

/* ---- The folder ---------------------------------------------------------------------------- */

static int refuse_encrypted(int bundle, struct img_error *err)
{
    CLEANUP_FD int token = openat(bundle, "token", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    char head[sizeof encrypted - 1];

    if (token < 0 || read(token, head, sizeof head) != sizeof head || memcmp(head, encrypted, sizeof head) != 0)
        return 0;
    img_error_set(err, ENOTSUP, "Encrypted sparse bundles are not supported");
    img_error_advise(err, "convert it on macOS: hdiutil convert -format UDRW");
    return -ENOTSUP;
}

/* Is it the name of a band?  As name_band makes it: small letters, no zero in front. */
static bool is_band(const char *name, uint64_t *band)
{
    size_t length = strspn(name, "0123456789abcdef");

    if (length == 0 || length >= NAME || name[length] != '\0' || (name[0] == '0' && length > 1))
        return false;
    *band = strtoull(name, NULL, 16);
    return true;
}

static int by_number(const void *a, const void *b)
{
    uint64_t one = *(const uint64_t *)a, other = *(const uint64_t *)b;

    return one < other ? -1 : one > other;
}

static DIR *read_folder(const struct sparsebundle *s)
{
    int fd = openat(s->folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);

    if (!folder && fd >= 0)
        close(fd);
    return folder;
}

/* With a list, looking for bands takes as long as there are bands, whatever the property list says. */
static int list_bands(struct sparsebundle *s)
{
    DIR *folder = read_folder(s);
    struct dirent *entry;
    uint64_t band;
    int ret = folder ? 0 : -errno;

    while (ret == 0 && (entry = readdir(folder)) != NULL)
        if (is_band(entry->d_name, &band) && !IMG_VECTOR_PUSH(&s->bands, band))
            ret = -ENOMEM;
    if (folder)
        closedir(folder);
    if (s->bands.count)
        qsort(s->bands.at, s->bands.count, sizeof *s->bands.at, by_number);
    return ret;
}

void sparsebundle_close_bands(struct sparsebundle *s)
{
    close(s->folder);
    free(s->bands.at);
    s->bands.at = NULL;
    s->bands.count = s->bands.capacity = 0;
}

int sparsebundle_open_bands(struct sparsebundle *s, const char *path, struct img_error *err)
{
    const char *slash = strrchr(path, '/');
    CLEANUP_FREE char *name = slash ? img_strndup(path, (size_t)(slash - path) + 1) : img_strdup(".");
    CLEANUP_FD int bundle = name ? open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

    if (!name)
        return img_error_memory(err);
    if (bundle < 0)
        return img_error_errno(err, errno, "Could not open '%s'", name);
    int ret = refuse_encrypted(bundle, err);
    if (ret < 0)
        return ret;
    s->folder = openat(bundle, "bands", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (s->folder < 0)
        return img_error_errno(err, errno, "Could not open the folder 'bands' of the sparse bundle");
    if ((ret = list_bands(s)) < 0) {
        sparsebundle_close_bands(s);
        return img_error_errno(err, -ret, "Could not read the folder 'bands' of the sparse bundle");
    }
    return 0;
}

static int64_t allocated_by(int folder, const char *name)
{
    struct stat status;

    return fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(status.st_mode)
               ? (int64_t)status.st_blocks * 512 : 0;
}

int64_t sparsebundle_allocated(struct img *image)
{
    DIR *folder = read_folder(sparsebundle_state(image));
    int64_t total = img_allocated(image->file);
    struct dirent *entry;

    if (!folder)
        return -ENOTSUP;
    while (total >= 0 && (entry = readdir(folder)) != NULL)
        total += allocated_by(dirfd(folder), entry->d_name);
    closedir(folder);
    return total;
}

/* ---- A band -------------------------------------------------------------------------------- */

static void name_band(char name[NAME], uint64_t band)
{
    snprintf(name, NAME, "%llx", (unsigned long long)band);
}

/* The bytes that the file of a band has; 0: there is none. */
static int band_length(const struct sparsebundle *s, uint64_t band, uint64_t *length)
{
    char name[NAME];
    struct stat status;

    *length = 0;
    name_band(name, band);
    if (fstatat(s->folder, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISREG(status.st_mode))
        return -EIO;
    *length = img_min((uint64_t)status.st_size, s->band_size);
    return 0;
}

static int open_band(const struct sparsebundle *s, uint64_t band)
{
    char name[NAME];
    struct stat status;

    name_band(name, band);
    int fd = openat(s->folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode))
        return fd;
    close(fd);
    return -EIO;
}

/* Bytes that the file lacks are zeroes, as macOS reads them: bands are cut to what was written. */
static int read_band(const struct sparsebundle *s, uint64_t band, char *buffer, uint64_t offset, size_t length)
{
    CLEANUP_FD int fd = open_band(s, band);
    ssize_t count = 1;

    if (fd < 0 && fd != -ENOENT)
        return fd;
    while (fd >= 0 && length > 0 && count != 0) {
        count = pread(fd, buffer, length, (off_t)offset);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return -errno;
        buffer += count;
        offset += (uint64_t)count;
        length -= (size_t)count;
    }
    memset(buffer, 0, length);
    return 0;
}

int sparsebundle_pread(struct img *image, void *buffer, uint64_t offset, size_t length)
{
    const struct sparsebundle *s = sparsebundle_state(image);
    char *to = buffer;
    int ret = 0;

    while (ret == 0 && length > 0) {
        uint64_t inside = offset % s->band_size;
        size_t part = (size_t)img_min(length, s->band_size - inside);

        ret = read_band(s, offset / s->band_size, to, inside, part);
        to += part;
        offset += part;
        length -= part;
    }
    return ret;
}

/* ---- Map ----------------------------------------------------------------------------------- */

/* The first band in the list from that number on; UINT64_MAX: there is none. */
static uint64_t next_band(const struct sparsebundle *s, uint64_t band)
{
    size_t low = 0, high = s->bands.count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (s->bands.at[middle] < band)
            low = middle + 1;
        else
            high = middle;
    }
    return low < s->bands.count ? s->bands.at[low] : UINT64_MAX;
}

/* The run of bytes at `offset` that are in a file, or are not. */
static int find_run(const struct sparsebundle *s, uint64_t offset, uint64_t most, bool *there, uint64_t *length)
{
    uint64_t band = offset / s->band_size, inside = offset % s->band_size, next = next_band(s, band), has = 0, end;
    int ret = next == band ? band_length(s, band, &has) : 0;

    /* (whole sectors) */
    has = img_align_up(has, SPARSEBUNDLE_SECTOR);
    *there = inside < has;
    if (*there)
        *length = img_min(most, has - inside);
    else if (next != band && img_mul(next, s->band_size, &end))
        *length = img_min(most, end - offset);
    else
        *length = next == band ? img_min(most, s->band_size - inside) : most;
    return ret;
}

int sparsebundle_map(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extent)
{
    const struct sparsebundle *s = sparsebundle_state(image);
    uint64_t total, more;
    bool there, next;
    int ret = find_run(s, offset, length, &there, &total);

    if (ret < 0)
        return ret;
    for (unsigned i = 0; total < length && i < MAX_LOOKED_AT; i++) {
        /* An error is for who asks for the rest. */
        if (find_run(s, offset + total, length - total, &next, &more) < 0 || next != there)
            break;
        total += more;
    }
    extent->kind = there ? IMG_DATA : IMG_HOLE;
    extent->length = total;
    if (there) {
        extent->file = image;
        extent->host = offset;
    }
    return 0;
}
