/* SPDX-License-Identifier: MIT */
/*
 * The extents that a descriptor lists, each in a file beside it.  Together they are the whole disk: a line that could
 * be an extent and is not understood is an error, and so is a gap that can be seen.
 * Specification: "The Descriptor File" (extent descriptions).
 */
#include "vmdk.h"
#include "../../libimg/util/printable.h"
#include <inttypes.h>
#include <string.h>

/* Of any image. */
#define MAX_LENGTH (INT64_MAX - (1ull << 30) + 1)

enum { SHOWN = 200 };                   /* characters of a line in a message */

struct list {
    struct img *image;
    const char *text;
    const struct img_doc *options;      /* those given for the extents, or NULL */
    char last[512];                     /* the name of the extent before; "": there is none */
    uint64_t last_sectors;              /* what its line said */
};

static const char *known_type(const char *type)
{
    static const char *const types[] = { "FLAT", "VMFS", "SPARSE", "VMFSSPARSE", "SESPARSE", "ZERO" };

    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (strcmp(type, types[i]) == 0)
            return types[i];
    }
    return NULL;
}

static bool is_plain(const char *type)
{
    return strcmp(type, "FLAT") == 0 || strcmp(type, "VMFS") == 0;
}

/* ---- Lines ------------------------------------------------------------------------------------ */

/* Does the line have all fields of its type, and can the type be read?  What is behind them names a device. */
static bool is_whole(const struct vmdk_line *line, const char *type)
{
    if (line->sectors < 0 || line->offset < 0)
        return false;
    if (strcmp(type, "ZERO") == 0)
        return line->fields >= 3;
    if (strcmp(type, "FLAT") == 0)
        return line->fields == 5;
    return line->fields >= 4 && (is_plain(type) || line->offset == 0);
}

/* The line as it can be shown. */
static const char *shown(const struct vmdk_line *line, char *buffer)
{
    size_t length = img_min(line->length, SHOWN - 1);

    for (size_t i = 0; i < length; i++)
        buffer[i] = line->text[i] == '\t' ? '\t' : img_printable(line->text[i]);
    buffer[length] = '\0';
    return buffer;
}

static int check_line(const struct img *image, const struct vmdk_line *line, unsigned number, struct img_error *err)
{
    const char *type = known_type(line->type);
    char text[SHOWN];

    if (!line->known) {
        img_error_advise(err, "an extent is a line like this: RW 8192 FLAT \"disk-flat.vmdk\" 0");
        return img_error_set(err, EINVAL, "Line %u of the descriptor is not understood: %s", number, shown(line, text));
    }
    if (!type && line->fields >= 4)
        return img_error_set(err, ENOTSUP, "Unsupported extent type '%s'", line->type);
    if (!type || !is_whole(line, type))
        return img_error_set(err, EINVAL, "Invalid extent line: %s", shown(line, text));
    if (strcmp(line->access, "NOACCESS") == 0 && image->flags & IMG_RDWR)
        return img_error_set(err, EACCES, "Extent '%s' may not be accessed", line->name);
    if (strcmp(line->access, "RDONLY") == 0 && image->flags & IMG_RDWR)
        return img_error_set(err, EACCES, "Extent '%s' is read-only", line->name);
    return 0;
}

/* ---- Gaps ------------------------------------------------------------------------------------- */

/* The number N of "disk-sN.vmdk" or "disk-fN.vmdk"; *stem: where its digits begin.  Negative: it has none. */
static long number_of(const char *name, size_t *stem)
{
    const char *dot = strrchr(name, '.'), *at = dot;

    while (at && at > name && at[-1] >= '0' && at[-1] <= '9')
        at--;
    if (!at || dot - at < 3 || dot - at > 6 || at - name < 2 || at[-2] != '-' || (at[-1] != 's' && at[-1] != 'f'))
        return -1;
    *stem = (size_t)(at - name);
    return strtol(at, NULL, 10);
}

/* The files of a split disk are numbered, from 1 on. */
static int check_number(const struct list *list, const struct vmdk_line *line, struct img_error *err)
{
    const struct vmdk *s = vmdk_state(list->image);
    size_t stem = 0, last_stem = 0;
    long number = number_of(line->name, &stem), last = number_of(list->last, &last_stem);

    if (strncmp(s->create_type, "twoGbMaxExtent", 14) != 0 || number < 0)
        return 0;
    if (!*list->last && number > 1)
        return img_error_set(err, EINVAL, "The first extent of the descriptor is '%s': those before it are missing",
                             line->name);
    if (last >= 0 && stem == last_stem && strncmp(line->name, list->last, stem) == 0 && number != last + 1)
        return img_error_set(err, EINVAL, "The descriptor has '%s' after '%s': an extent is missing, or they are in "
                             "the wrong order", line->name, list->last);
    return 0;
}

/* A sparse extent has a length of its own.  If it is another one than that of its line, what follows is misplaced. */
static int check_length(const struct list *list, struct img_error *err)
{
    const struct vmdk *s = vmdk_state(list->image);
    const struct vmdk_extent *extent = s->extents.count ? &s->extents.at[s->extents.count - 1] : NULL;
    uint64_t sectors = extent ? (extent->end - extent->start) / VMDK_SECTOR : 0;

    if (!extent || sectors == list->last_sectors)
        return 0;
    return img_error_set(err, EINVAL, "Extent '%s' has %" PRIu64 " sectors, and %" PRIu64 " in the descriptor",
                         list->last, sectors, list->last_sectors);
}

/* ---- Files ------------------------------------------------------------------------------------ */

/* The options given for extent number `index`, or NULL. */
static const struct img_doc *options_of(const struct img_doc *options, size_t index)
{
    char key[24];

    snprintf(key, sizeof key, "%zu", index);
    return options && img_doc_type(options) == IMG_DOC_OBJECT ? img_doc_get(options, key) : NULL;
}

static void advise_name(const char *name, struct img_error *err)
{
    if (strncmp(name, "\\\\.\\", 4) == 0)
        img_error_advise(err, "this extent is a device of a Windows machine, and can only be read there");
    else if (strchr(name, '\\') || *name == '/')
        img_error_advise(err, "if the file is beside the descriptor, replace its name in the descriptor by '%s'",
                         name + (strrchr(name, '/') ? strrchr(name, '/') + 1 - name : 0));
}

/* Open the file of this name: as it is, as in qemu-img, and then from the encoding of the descriptor. */
static int open_file(const struct list *list, const struct vmdk_line *line, struct img_error *err)
{
    const struct img_doc *options = options_of(list->options, list->image->extent_count);
    CLEANUP_FREE char *converted = NULL;
    char encoding[64];
    int ret = img_open_extent(list->image, line->name, options, err), known;

    if (ret == 0 || err->code != ENOENT)
        return ret;
    known = vmdk_name_in_utf8(list->text, line->name, encoding, sizeof encoding, &converted);
    if (known == 0 && !converted) {
        advise_name(line->name, err);
        return ret;
    }
    img_error_clear(err);
    if (known == -ENOMEM)
        return img_error_memory(err);
    if (known == -ENOTSUP)
        return img_error_set(err, EINVAL, "Extent '%s' was not found, and its name is in an unknown encoding, '%s'",
                             line->name, encoding);
    if (known < 0)
        return img_error_set(err, EINVAL, "Extent '%s' was not found, and its name is not in the encoding of the "
                             "descriptor, '%s'", line->name, encoding);
    return img_open_extent(list->image, converted, options, err);
}

static int open_line(const struct list *list, const struct vmdk_line *line, struct img_error *err)
{
    struct img *image = list->image;
    struct vmdk_extent extent = { .type = known_type(line->type) };
    uint64_t sectors = (uint64_t)line->sectors;
    struct vmdk_header header;
    int ret;

    extent.kind = strcmp(line->access, "NOACCESS") == 0 ? VMDK_NO_ACCESS : VMDK_ZERO;
    if (extent.kind == VMDK_NO_ACCESS || strcmp(extent.type, "ZERO") == 0)
        return vmdk_add_extent(image, &extent, sectors, err);
    ret = open_file(list, line, err);
    if (ret < 0)
        return ret;
    extent.file = image->extents[image->extent_count - 1];
    if (strcmp(extent.type, "SESPARSE") == 0) {
        extent.kind = VMDK_SESPARSE;
        ret = vmdk_open_sesparse(&extent, &sectors, err);
        if (ret == 0 && image->flags & IMG_RDWR)
            ret = img_error_set(err, EACCES, "No write support for seSparse images available");
    } else if (is_plain(extent.type)) {
        extent.kind = VMDK_FLAT;
        if (!img_mul((uint64_t)line->offset, VMDK_SECTOR, &extent.host) || extent.host > MAX_LENGTH)
            return img_error_errno(err, EFBIG, "Could not refresh total sector count");
    } else {
        header.descriptor = 0;
        ret = vmdk_open_sparse(image, &extent, &sectors, &header, err);
        /* Without sectors it only carries a descriptor, and an extent must not have one. */
        if (ret == 0 && sectors == 0 && header.descriptor)
            ret = img_error_set(err, EINVAL, "invalid VMDK image descriptor");
    }
    if (ret == 0)
        ret = vmdk_add_extent(image, &extent, sectors, err);
    if (ret < 0)
        free(extent.rebuilt);
    return ret;
}

int vmdk_open_extents(struct img *image, const char *text, const struct img_doc *options, struct img_error *err)
{
    struct list list = { .image = image, .text = text, .options = options };
    struct vmdk_lines lines = { .at = text };
    struct vmdk_line line;

    while (vmdk_next_line(&lines, &line)) {
        int ret = check_line(image, &line, lines.number, err);

        if (ret == 0 && line.sectors == 0)
            continue;
        if (ret == 0)
            ret = check_length(&list, err);
        if (ret == 0)
            ret = check_number(&list, &line, err);
        if (ret == 0)
            ret = open_line(&list, &line, err);
        if (ret < 0)
            return ret;
        strcpy(list.last, line.name);
        list.last_sectors = (uint64_t)line.sectors;
    }
    if (vmdk_state(image)->extents.count == 0)
        return img_error_set(err, EINVAL, "The descriptor lists no extent");
    return 0;
}
