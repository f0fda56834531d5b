/* SPDX-License-Identifier: MIT */
/*
 * Parses DiskDescriptor.xml: the parts of a disk and their files.
 * Specification: "Parallels Disk Format", sections "Disk_Parameters element", "StorageData element", "Snapshots
 * element".
 */
#include "parallels.h"

enum { MAX_PARTS = 1024 };
#define ROOT PARALLELS_ROOT
#define PART ROOT "/StorageData/Storage"

/* A number of sectors. */
static int read_number(const char *text, const char *path, uint64_t *number, struct img_error *err)
{
    uint64_t value = 0;
    size_t digits = strspn(text, "0123456789");

    if (digits == 0 || text[digits] || digits > 16)
        return img_error_set(err, EINVAL, PARALLELS_DESCRIPTOR ": '%s' is no number of sectors",
                             strrchr(path, '/') + 1);
    for (; *text; text++)
        value = value * 10 + (uint64_t)(*text - '0');
    *number = value;
    return 0;
}

/* If an element is repeated, the first counts. */
static int keep(char **place, const char *text, struct img_error *err)
{
    if (!*place && img_replace_text(place, text) < 0)
        return img_error_memory(err);
    return 0;
}

static int open_element(struct parallels_descriptor *d, const char *path, const char *attributes, struct img_error *err)
{
    struct parallels_part *last = d->parts.count ? &d->parts.at[d->parts.count - 1] : NULL;

    if (strcmp(path, ROOT) == 0) {
        return keep(&d->version, attributes, err);
    } else if (strcmp(path, PART) == 0) {
        if (d->parts.count == MAX_PARTS)
            return img_error_set(err, EINVAL, PARALLELS_DESCRIPTOR ": more than %d parts", MAX_PARTS);
        if (!IMG_VECTOR_PUSH(&d->parts, (struct parallels_part){ 0 }))
            return img_error_memory(err);
    } else if (strcmp(path, PART "/Image") == 0) {
        last->images++;
    } else if (strcmp(path, ROOT "/Snapshots/Shot") == 0) {
        d->snapshots++;
    }
    return 0;
}

/* An element inside a part, if a part is open. */
static int close_part_element(struct parallels_part *part, const char *path, const char *text, struct img_error *err)
{
    const char *name = path + strlen(PART "/");

    if (strcmp(name, "Start") == 0)
        return read_number(text, path, &part->start, err);
    if (strcmp(name, "End") == 0)
        return read_number(text, path, &part->end, err);
    if (strcmp(name, "Blocksize") == 0)
        return read_number(text, path, &part->block, err);
    if (strcmp(name, "Image/Type") == 0)
        return keep(&part->type, text, err);
    if (strcmp(name, "Image/File") == 0)
        return keep(&part->file, text, err);
    return 0;
}

static int close_element(struct parallels_descriptor *d, const char *path, const char *text, struct img_error *err)
{
    if (strncmp(path, PART "/", strlen(PART "/")) == 0)
        return close_part_element(&d->parts.at[d->parts.count - 1], path, text, err);
    if (strcmp(path, ROOT "/Disk_Parameters/Disk_size") == 0)
        return read_number(text, path, &d->sectors, err);
    if (strcmp(path, ROOT "/Disk_Parameters/Padding") == 0)
        return read_number(text, path, &d->padding, err);
    if (strcmp(path, ROOT "/Disk_Parameters/Encryption/Engine") == 0)
        return keep(&d->engine, text, err);
    return 0;
}

static int take_event(void *context, enum parallels_xml_event event, const char *path, const char *text,
                      struct img_error *err)
{
    return event == PARALLELS_XML_OPEN ? open_element(context, path, text, err)
                                       : close_element(context, path, text, err);
}

int parallels_parse_descriptor(const char *text, size_t length, struct parallels_descriptor *found,
                               struct img_error *err)
{
    const struct parallels_xml_handler handler = { .event = take_event, .context = found };
    const char *version;
    int status = parallels_read_xml(text, length, &handler, err);

    if (status < 0)
        return status;
    version = found->version ? strstr(found->version, "Version=") : NULL;
    if (!version || (strncmp(version, "Version=\"1.0\"", 13) != 0 && strncmp(version, "Version='1.0'", 13) != 0))
        return img_error_set(err, ENOTSUP, PARALLELS_DESCRIPTOR ": not of version 1.0");
    return 0;
}

void parallels_free_descriptor(struct parallels_descriptor *d)
{
    for (size_t i = 0; i < d->parts.count; i++) {
        free(d->parts.at[i].type);
        free(d->parts.at[i].file);
    }
    free(d->parts.at);
    free(d->version);
    free(d->engine);
}
