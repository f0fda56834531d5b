/* SPDX-License-Identifier: MIT */
/* img-info.c - show information about an image, or about a whole backing chain. */
#include "applet.h"
#include "info.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { OPT_OUTPUT = APP_LONG, OPT_LIMITS };

static const struct app_option options[] = {
    APP_IMAGE_ROWS,
    { 'b', "backing-chain", NULL, "also show all backing files" },
    { 'U', "force-share", NULL, "do not lock the image, and ignore locks" },
    { OPT_LIMITS, "limits", NULL, "also show the limits and alignments of requests" },
    { OPT_OUTPUT, "output", "human|json", "output format (human)" },
    APP_OBJECT_ROW,
    { 0, NULL, NULL, NULL }
};

struct request {
    const char *format, *name;
    bool image_opts, chain, share, limits;
    enum app_output output;
};

static void parse(struct app *app, struct request *r)
{
    int letter;

    while ((letter = app_next(app)) != -1) {
        switch (letter) {
        case 'f': r->format = app->argument; break;
        case APP_IMAGE_OPTS: r->image_opts = true; break;
        case 'b': r->chain = true; break;
        case 'U': r->share = true; break;
        case OPT_LIMITS: r->limits = true; break;
        case OPT_OUTPUT: r->output = app_output_format(app); break;
        }
    }
    if (app->operand_count != 1)
        app_usage(app, "Expecting one image file name");
    r->name = app->operands[0];
}

/* ---- The chain ------------------------------------------------------------------------ */

typedef IMG_VECTOR(char *) names;

static bool seen(const names *list, const char *name)
{
    for (size_t i = 0; i < list->count; i++)
        if (!strcmp(list->at[i], name))
            return true;
    return false;
}

static void free_names(names *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->at[i]);
    free(list->at);
}

/* Where to go on; NULL: it has no backing file, or none that can be named. */
static char *locate_backing(struct img *image)
{
    struct img_error err = IMG_ERROR_INIT;
    char *name = img_locate_backing(image, &err);

    if (err.code == ENOMEM)
        app_need(NULL);
    img_error_clear(&err);
    return name;
}

/*
 * Each image is opened on its own, one after the other: a chain of any length takes the memory of one
 * image, and a broken backing file does not hide the information about the images above it.
 */
static bool gather_chain(const struct request *r, struct img_doc *infos)
{
    CLEANUP_FREE char *name = app_strdup(r->name), *format = r->format ? app_strdup(r->format) : NULL;
    struct img_open how = { .flags = IMG_NO_BACKING | IMG_NO_IO | (r->share ? IMG_SHARE : 0u),
                            .image_opts = r->image_opts };
    names opened = { 0 };
    bool good = true;

    while (good && name) {
        struct img *image;
        struct img_doc *info;
        CLEANUP_FREE char *next = NULL;
        const char *next_format;

        if (seen(&opened, name)) {
            app_error("Backing file '%s' creates an infinite loop.", name);
            good = false;
            break;
        }
        app_need(IMG_VECTOR_PUSH(&opened, app_strdup(name)) ? opened.at : NULL);
        how.format = format;
        /* A backing file that is called - is a file. */
        image = img_doc_count(infos) ? app_open(name, &how) : app_open_seekable(name, &how);
        if (!image) {
            good = false;
            break;
        }
        info_name_foreign(image, name);
        info = info_gather(image, r->limits);
        img_doc_append(infos, info);
        if (r->chain)
            next = locate_backing(image);
        good = app_close(image, 0) == 0;
        if (img_doc_broken(infos)) {
            app_error("%s", img_strerror(ENOMEM));
            good = false;
            break;
        }
        next_format = img_doc_string_at(info, "backing-filename-format");
        free(name);
        free(format);
        name = next ? app_strdup(next) : NULL;
        format = next && next_format ? app_strdup(next_format) : NULL;
        how.image_opts = false;
    }
    free_names(&opened);
    return good;
}

static void print(const struct request *r, const struct img_doc *infos)
{
    if (r->output == APP_JSON) {
        app_print_json(r->chain ? infos : img_doc_at(infos, 0));
        return;
    }
    for (size_t i = 0; i < img_doc_count(infos); i++) {
        if (i)
            printf("\n");
        info_print_human(img_doc_at(infos, i));
    }
}

static int run(struct app *app)
{
    struct request r = { 0 };
    struct img_doc *infos;
    bool good;

    parse(app, &r);
    infos = app_whole(img_doc_array());
    good = gather_chain(&r, infos);
    if (good)
        print(&r, infos);
    img_doc_free(infos);
    return good ? 0 : 1;
}

const struct applet applet_info = {
    .name = "info",
    .title = "show information about an image",
    .synopsis = "[-f FMT | --image-opts] [--strict-format] "
                "[-b] [-U] [--limits] [--object OBJDEF] [--output human|json] FILENAME",
    .options = options,
    .owes_output = 1,
    .main = run,
};
