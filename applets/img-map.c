/* SPDX-License-Identifier: MIT */
/*
 * img-map.c - show where the data of an image is stored: the file of the chain,
 * the offset, and which ranges read as zeroes.
 */
#include "applet.h"

#include <stdio.h>
#include <string.h>

enum { OPT_OUTPUT = APP_LONG };

static const struct app_option options[] = {
    APP_IMAGE_ROWS,
    { 's', "start-offset", "OFFSET", "offset to start at (0)" },
    { 'l', "max-length", "LENGTH", "length of the range (to the end)" },
    { 'U', "force-share", NULL, "do not lock the image, and ignore locks" },
    { OPT_OUTPUT, "output", "human|json", "output format (human)" },
    APP_OBJECT_ROW,
    { 0, NULL, NULL, NULL }
};

struct request {
    const char *name;
    struct img_open how;
    enum app_output output;
    bool with_compressed;           /* not in 7.2 */
    uint64_t start, length;
};

/* A range that is printed as one entry. */
struct entry {
    uint64_t start, length, offset;
    bool present, zero, data, compressed, has_offset;
    unsigned depth;
    struct img *file;
};

static struct entry entry_of(const struct img_extent *extent)
{
    bool coded = extent->kind == IMG_CODED, placed = extent->host_valid && !coded && !extent->absent;

    return (struct entry){
        .start = extent->offset,
        .length = extent->length,
        .offset = extent->host,
        .present = extent->kind != IMG_HOLE && !extent->absent,
        .zero = img_extent_shows_zero(extent),
        .data = img_extent_shows_data(extent),
        .compressed = coded && !img_encrypted(extent->layer),
        .has_offset = placed,
        .depth = extent->depth,
        .file = placed ? extent->file : NULL,
    };
}

static bool continues(const struct entry *a, const struct entry *b)
{
    return a->length && a->present == b->present && a->zero == b->zero && a->data == b->data &&
           a->compressed == b->compressed && a->has_offset == b->has_offset && a->depth == b->depth &&
           a->file == b->file && (!a->has_offset || a->offset + a->length == b->offset);
}

/* ---- Output ---------------------------------------------------------------------------- */

/* A fragmented image has millions of lines, so printf would be too slow. */
struct line {
    char bytes[320];
    size_t length;
};

/* All parts of a line have a bounded length, and together they fit. */
static void put(struct line *line, const char *text, size_t length)
{
    memcpy(line->bytes + line->length, text, length);
    line->length += length;
}

#define PUT(line, literal) put(line, literal, sizeof(literal) - 1)

static void put_decimal(struct line *line, uint64_t value)
{
    line->length += img_put_decimal(line->bytes + line->length, value);
}

/* Like printf's "%#-16x". */
static void put_column(struct line *line, uint64_t value)
{
    char text[18];
    size_t at = sizeof text, end = line->length + 16;

    do {
        text[--at] = "0123456789abcdef"[value & 15];
    } while ((value >>= 4) != 0);
    if (text[at] != '0') {
        text[--at] = 'x';
        text[--at] = '0';
    }
    put(line, text + at, sizeof text - at);
    while (line->length < end)
        line->bytes[line->length++] = ' ';
}

static void put_bool(struct line *line, bool value)
{
    if (value)
        PUT(line, "true");
    else
        PUT(line, "false");
}

static bool print_human(const struct entry *entry)
{
    struct line line;

    if (!entry->data || entry->zero)
        return true;
    if (!entry->has_offset) {
        app_error("File contains external, encrypted or compressed clusters.");
        return false;
    }
    line.length = 0;
    put_column(&line, entry->start);
    put_column(&line, entry->length);
    put_column(&line, entry->offset);
    fwrite(line.bytes, 1, line.length, stdout);
    fputs(img_filename(entry->file), stdout);
    putchar('\n');
    return true;
}

static void print_json(const struct entry *entry, bool last, bool with_compressed)
{
    struct line line;

    line.length = 0;
    PUT(&line, "{ \"start\": ");
    put_decimal(&line, entry->start);
    PUT(&line, ", \"length\": ");
    put_decimal(&line, entry->length);
    PUT(&line, ", \"depth\": ");
    put_decimal(&line, entry->depth);
    PUT(&line, ", \"present\": ");
    put_bool(&line, entry->present);
    PUT(&line, ", \"zero\": ");
    put_bool(&line, entry->zero);
    PUT(&line, ", \"data\": ");
    put_bool(&line, entry->data);
    if (with_compressed) {
        PUT(&line, ", \"compressed\": ");
        put_bool(&line, entry->compressed);
    }
    if (entry->has_offset) {
        PUT(&line, ", \"offset\": ");
        put_decimal(&line, entry->offset);
    }
    if (last)
        PUT(&line, "}");
    else
        PUT(&line, "},\n");
    fwrite(line.bytes, 1, line.length, stdout);
}

static bool print(const struct request *r, const struct entry *entry, bool last)
{
    if (r->output == APP_HUMAN)
        return print_human(entry);
    print_json(entry, last, r->with_compressed);
    return true;
}

/* ---- The walk ----------------------------------------------------------------------------- */

/* An empty range gives one (empty) entry: callers expect a non-empty array. */
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
        int rc = img_map_told(image, at, end - at, &extent);

        if (rc < 0) {
            app_error("Could not read file metadata: %s", img_read_error(image, rc));
            return 1;
        }
        next = entry_of(&extent);
        at += next.length;
        if (continues(&current, &next)) {
            current.length += next.length;
            continue;
        }
        if (current.length && (!print(r, &current, false) || app_output_lost()))
            return 1;
        current = next;
    }
    if (!print(r, &current, true))
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
        case APP_IMAGE_OPTS: r->how.image_opts = true; break;
        case 's':
            if (!app_size(app->argument, "start offset", &r->start))
                return false;
            break;
        case 'l':
            if (!app_size(app->argument, "max length", &r->length))
                return false;
            break;
        case 'U': r->how.flags |= IMG_SHARE; break;
        case OPT_OUTPUT: r->output = app_output_format(app); break;
        }
    }
    if (app->operand_count != 1)
        app_usage(app, "Expecting one image file name");
    r->name = app->operands[0];
    return true;
}

static int run(struct app *app)
{
    struct request r = { .length = INT64_MAX, .with_compressed = compat_profile() >= 800 };
    struct img *image;
    static char buffer[1 << 16];

    if (!parse(app, &r))
        return 1;
    image = app_open_seekable(r.name, &r.how);
    if (!image)
        return 1;
    setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
    return app_close(image, walk(image, &r));
}

const struct applet applet_map = {
    .name = "map",
    .title = "show where the data of an image is stored",
    .synopsis = "[-f FMT | --image-opts] [--strict-format] "
                "[-s OFFSET] [-l LENGTH] [-U] [--object OBJDEF] [--output human|json] FILENAME",
    .options = options,
    .owes_output = 1,
    .main = run,
};
