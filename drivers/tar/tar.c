/* SPDX-License-Identifier: MIT */
/*
 * tar: a member of a tar archive, or of an OVA, as a storage.  Its content is a part of the archive, so nothing is
 * copied.
 *
 * Without a name it is the only image in the archive: a member that has the marks of a format, or the name of an image.
 */
#include "tar.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/cleanup.h"
#include "../../libimg/util/printable.h"
#include "../../libimg/util/strbuf.h"
#include <string.h>

enum { HEAD = 512 };
/* How many names a message has. */
enum { NAMES = 8 };

struct tar_options {
    char *member;
};

struct tar {
    uint64_t start;
};

static const struct img_option tar_options[] = {
    { .name = "member", .help = "name of the member; without it, the only image in the archive", .type = IMG_OPT_STRING,
      .when = IMG_AT_OPEN, .offset = offsetof(struct tar_options, member) },
    { .name = NULL }
};

static const char *const strong_options[] = { "member", NULL };

/* ---- What is an image? ------------------------------------------------------------------ */

/* Is one of its suffixes that of an image ("disk.vmdk.gz")? */
static bool has_image_name(const char *name)
{
    static const char *const suffixes[] = { "raw", "img", "qcow2", "qcow", "qed", "vmdk", "vdi", "vhd", "vhdx", "hdd",
                                            "dmg", NULL };
    const char *slash = strrchr(name, '/');

    for (const char *dot = strchr(slash ? slash : name, '.'); dot; dot = strchr(dot + 1, '.')) {
        size_t length = strcspn(dot + 1, ".");
        for (const char *const *suffix = suffixes; *suffix; suffix++)
            if (strlen(*suffix) == length && strncasecmp(dot + 1, *suffix, length) == 0)
                return true;
    }
    return false;
}

/* Does a format know the first bytes?  1, 0 or a negative errno. */
static int has_marks(const struct tar_walk *walk)
{
    uint8_t head[HEAD] = { 0 };
    int ret = img_pread_padded(walk->file, head, walk->start, (size_t)img_min(walk->size, HEAD));

    if (ret < 0)
        return ret;
    for (size_t i = 0; img_drivers[i]; i++) {
        const struct img_driver *driver = img_drivers[i];
        if (driver->kind == IMG_FORMAT && !img_driver_is_plain(driver) && img_marks_show(driver->marks, head, HEAD, ""))
            return 1;
    }
    return 0;
}

static int is_image(const struct tar_walk *walk)
{
    if (!walk->regular || walk->size == 0)
        return 0;
    return has_image_name(walk->name) ? 1 : has_marks(walk);
}

static void make_printable(char *name)
{
    for (; *name; name++)
        *name = img_printable(*name);
}

/* ---- Finding a member --------------------------------------------------------------------- */

/* The archive is open, and the member exists. */
static int take_member(struct img *image, const struct tar_walk *walk, struct img_error *err)
{
    struct tar *tar = image->state;
    CLEANUP_FREE char *name = img_strdup(walk->name);
    uint64_t end = img_size(image->file);

    if (!name)
        return img_error_memory(err);
    make_printable(name);
    if (!walk->regular)
        return img_error_set(err, EINVAL, "The member '%s' is not a file", name);
    if (walk->sparse)
        return img_error_set(err, ENOTSUP, "The member '%s' is stored as a sparse file, which is not supported", name);
    if (!img_within(walk->start, walk->size, end))
        return img_error_set(err, EIO, "The tar archive is truncated: member '%s' needs %llu bytes, and %llu are there",
                             name, (unsigned long long)walk->size,
                             (unsigned long long)(end - img_min(walk->start, end)));
    tar->start = walk->start;
    image->size = walk->size;
    return 0;
}

/* The first member of this name. */
static int find_named(struct img *image, const char *member, struct img_error *err)
{
    struct tar_walk walk = { .file = image->file };
    int ret;

    while ((ret = tar_next(&walk, err)) > 0 && strcmp(walk.name, tar_plain(member)) != 0) { }
    if (ret == 0)
        ret = img_error_set(err, ENOENT, "The tar archive has no member '%s'", member);
    else if (ret > 0)
        ret = take_member(image, &walk, err);
    tar_end(&walk);
    return ret;
}

static void add_name(struct img_strbuf *names, const char *member, unsigned count)
{
    CLEANUP_FREE char *name = img_strdup(member);

    if (name)
        make_printable(name);
    if (count < NAMES)
        img_strbuf_printf(names, "%s'%s'", count ? ", " : "", name ? name : "");
    else if (count == NAMES)
        img_strbuf_add(names, " ...");
}

static int find_image(struct img *image, struct img_error *err)
{
    struct tar_walk walk = { .file = image->file };
    struct img_strbuf names = { 0 };
    unsigned images = 0;
    int ret = 0, found = 0;

    while (ret == 0 && (ret = tar_next(&walk, err)) > 0) {
        ret = is_image(&walk);
        if (ret <= 0)
            continue;
        add_name(&names, walk.name, images);
        ret = 0;
        if (images++ == 0)
            found = take_member(image, &walk, err);
    }
    tar_end(&walk);
    if (ret == 0 && images > 1) {
        img_error_clear(err);
        ret = img_error_set(err, EINVAL, "The tar archive has several images: %s", names.failed ? "" : names.text);
        img_error_advise(err, "name one of them: tar:ARCHIVE!MEMBER");
    } else if (ret == -EINVAL && images == 0) {
        /* The first sectors of a disk may hold an archive that was written to it once. */
        ret = -(err->code = ENODATA);
    } else if (ret == 0 && images == 0) {
        ret = img_error_set(err, ENODATA, "The tar archive has no image");
        img_error_advise(err, "name the member that is one: tar:ARCHIVE!MEMBER");
    }
    img_strbuf_free(&names);
    return ret < 0 ? ret : found;
}

/* ---- Driver -------------------------------------------------------------------------------- */

static int tar_open(struct img *image, const void *parsed, struct img_doc *options, struct img_error *err)
{
    const struct tar_options *given = parsed;

    int ret = given->member && *given->member ? find_named(image, given->member, err) : find_image(image, err);

    (void)options;
    /* Not before: without an image, it may be a disk that can be. */
    if (ret == 0 && image->flags & IMG_RDWR)
        return img_error_set(err, EACCES, "A tar archive cannot be written to");
    return ret;
}

static int tar_pread(struct img *image, void *buffer, uint64_t offset, size_t length)
{
    const struct tar *tar = image->state;

    return img_pread_padded(image->file, buffer, tar->start + offset, length);
}

/* The archive may have holes, but where is its own affair. */
static int tar_map(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extent)
{
    return img_map_below(image, ((const struct tar *)image->state)->start, offset, length, extent);
}

/* tar:ARCHIVE!MEMBER; the last "!" counts. */
static int tar_parse_name(const char *name, struct img_doc *options, struct img_error *err)
{
    static const char prefix[] = "tar:";
    const char *mark;
    CLEANUP_FREE char *archive = NULL;

    if (strncmp(name, prefix, sizeof prefix - 1) == 0)
        name += sizeof prefix - 1;
    mark = strrchr(name, '!');
    archive = img_strndup(name, mark ? (size_t)(mark - name) : strlen(name));
    if (!archive)
        return img_error_memory(err);
    img_doc_put_string(options, "x-file", archive);
    if (mark && mark[1])
        img_doc_put_string(options, "member", mark + 1);
    return 0;
}

static int tar_plain_name(const struct img *image, char **name)
{
    const char *below = img_filename(image->file), *member = img_doc_string_at(image->options, "member");

    if (strncmp(below, "json:", 5) == 0 || (member && strchr(member, '!')))
        return 0;
    if (image->probed)
        *name = img_strdup(below);
    else
        *name = img_asprintf("tar:%s%s%s", below, member || strchr(below, '!') ? "!" : "", member ? member : "");
    return *name ? 0 : -ENOMEM;
}

static uint64_t tar_length(struct img *image, bool now)
{
    (void)now;
    return image->size;
}

const struct img_driver img_driver_tar = {
    IMG_ROW(
        .name = "tar", .kind = IMG_ADAPTER, .prefix = "tar", .marks = IMG_MARKS(IMG_AT(257, "ustar"))
    ),
    .state_size = sizeof(struct tar), .options = tar_options, .open_size = sizeof(struct tar_options),
    .parse_name = tar_parse_name, .plain_name = tar_plain_name, .strong_options = strong_options,
    .open = tar_open, .pread = tar_pread, .map = tar_map, .length = tar_length,
};
