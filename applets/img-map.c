/* SPDX-License-Identifier: MIT */
/*
 * img-map.c - where the bytes of an image lie: which file of the chain holds
 * them, at which offset, and what reads as zeroes.
 */
#include "applet.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { OPT_IMAGE_OPTS = APP_LONG, OPT_OBJECT, OPT_OUTPUT };

static const struct app_option options[] = {
    { 'f', "format", "FMT", "format of the image; without it the content is probed" },
    { OPT_IMAGE_OPTS, "image-opts", NULL, "FILENAME is key=value,... instead of a file name" },
    { 's', "start-offset", "OFFSET", "where to start (0)" },
    { 'l', "max-length", "LENGTH", "how far to go (to the end)" },
    { 'U', "force-share", NULL, "open the image without regard to its users" },
    { OPT_OUTPUT, "output", "human|json", "form of the output (human)" },
    { OPT_OBJECT, "object", "OBJDEF", "define an object (such as a secret)" },
    { 0, NULL, NULL, NULL }
};

struct request {
    const char *name;
    struct img_open how;
    enum app_output output;
    uint64_t start, length;
};

/* A run of bytes about which the same is to be said. */
struct entry {
    uint64_t start, length, offset;
    bool present, zero, data, compressed, has_offset;
    unsigned depth;
    struct img *file;
};

/*
 * Whether the image itself calls these bytes data, also where the storage shows a hole in
 * their place.  Raw has no opinion of its own: there the hole is all that is known.
 */
static bool is_data(const struct img_extent *extent)
{
    if (extent->kind == IMG_DATA || extent->kind == IMG_CODED)
        return true;
    return extent->kind == IMG_ZERO && extent->recurse && extent->layer &&
           strcmp(img_driver_name(img_driver_of(extent->layer)), "raw") != 0;
}

static struct entry entry_of(const struct img_extent *extent)
{
    bool coded = extent->kind == IMG_CODED;

    return (struct entry){
        .start = extent->offset,
        .length = extent->length,
        .offset = extent->host,
        .present = extent->kind != IMG_HOLE,
        .zero = extent->kind == IMG_HOLE || extent->kind == IMG_ZERO,
        .data = is_data(extent),
        .compressed = coded && !img_encrypted(extent->layer),
        .has_offset = extent->host_valid && !coded,
        .depth = extent->depth,
        .file = extent->host_valid && !coded ? extent->file : NULL,
    };
}

static bool continues(const struct entry *a, const struct entry *b)
{
    return a->length && a->present == b->present && a->zero == b->zero && a->data == b->data &&
           a->compressed == b->compressed && a->has_offset == b->has_offset && a->depth == b->depth &&
           a->file == b->file && (!a->has_offset || a->offset + a->length == b->offset);
}

/* ---- Output ---------------------------------------------------------------------------- */

static bool print_human(const struct entry *entry)
{
    if (!entry->data || entry->zero)
        return true;
    if (!entry->has_offset) {
        app_error("File contains external, encrypted or compressed clusters.");
        return false;
    }
    printf("%#-16" PRIx64 "%#-16" PRIx64 "%#-16" PRIx64 "%s\n", entry->start, entry->length, entry->offset,
           img_filename(entry->file));
    return true;
}

static const char *word(bool value)
{
    return value ? "true" : "false";
}

static void print_json(const struct entry *entry, bool last, bool with_compressed)
{
    printf("{ \"start\": %" PRIu64 ", \"length\": %" PRIu64 ", \"depth\": %u, \"present\": %s, \"zero\": %s, "
           "\"data\": %s", entry->start, entry->length, entry->depth, word(entry->present),
           word(entry->zero), word(entry->data));
    if (with_compressed)
        printf(", \"compressed\": %s", word(entry->compressed));
    if (entry->has_offset)
        printf(", \"offset\": %" PRIu64, entry->offset);
    printf("%s", last ? "}" : "},\n");
}

static bool print(enum app_output output, const struct entry *entry, bool last)
{
    if (output == APP_HUMAN)
        return print_human(entry);
    print_json(entry, last, app_compat() >= 800);
    return true;
}

/* ---- The walk ----------------------------------------------------------------------------- */

/* Even an empty range is one (empty) entry: callers count on an array that is not empty. */
static int walk(struct img *image, const struct request *r)
{
    uint64_t size = img_size(image), end = size, at = r->start;
    struct entry current = { .start = r->start };

    if (r->length < size && r->start < size - r->length)
        end = r->start + r->length;
    if (r->output == APP_HUMAN)
        printf("%-16s%-16s%-16s%s\n", "Offset", "Length", "Mapped to", "File");
    else
        printf("[");
    while (at < end) {
        struct img_extent extent;
        struct entry next;
        int rc = img_map_chain(image, NULL, at, end - at, &extent);

        if (rc < 0) {
            app_error("Could not read file metadata: %s", img_strerror(rc));
            return 1;
        }
        next = entry_of(&extent);
        at += next.length;
        if (continues(&current, &next)) {
            current.length += next.length;
            continue;
        }
        if (current.length && !print(r->output, &current, false))
            return 1;
        current = next;
    }
    if (!print(r->output, &current, true))
        return 1;
    if (r->output == APP_JSON)
        printf("]\n");
    return 0;
}

/* ---- The command line ---------------------------------------------------------------------- */

static bool parse(struct app *app, struct request *r)
{
    int letter;

    while ((letter = app_next(app)) != -1) {
        switch (letter) {
        case 'f': r->how.format = app->argument; break;
        case OPT_IMAGE_OPTS: r->how.image_opts = true; break;
        case 's':
            if (!app_size(app->argument, "start offset", &r->start))
                return false;
            break;
        case 'l':
            if (!app_size(app->argument, "max length", &r->length))
                return false;
            break;
        case 'U': r->how.flags |= IMG_SHARE; break;
        case OPT_OBJECT: app_object(app->argument); break;
        case OPT_OUTPUT: r->output = app_output_format(app); break;
        }
    }
    if (app->operand_count != 1)
        app_usage(app, "Expecting one image file name");
    r->name = app->operands[0];
    if (r->how.image_opts && r->how.format) {
        app_error("--image-opts and --format are mutually exclusive");
        return false;
    }
    return true;
}

static int run(struct app *app)
{
    struct request r = { .length = INT64_MAX };
    struct img *image;
    static char buffer[1 << 16];

    if (!parse(app, &r))
        return 1;
    image = app_open(r.name, &r.how);
    if (!image)
        return 1;
    setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
    return app_close(image, walk(image, &r));
}

const struct applet applet_map = {
    .name = "map",
    .title = "tell where the bytes of an image lie",
    .synopsis = "[-f FMT | --image-opts] [-s OFFSET] [-l LENGTH] [-U] [--object OBJDEF] [--output human|json] FILENAME",
    .options = options,
    .main = run,
};
