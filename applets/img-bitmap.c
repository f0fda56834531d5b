/* SPDX-License-Identifier: MIT */
/* img-bitmap.c - change the dirty bitmaps that an image stores: a list of actions, performed in order. */
#include "applet.h"

#include <stdlib.h>

enum { OPT_ADD = APP_LONG, OPT_REMOVE, OPT_REMOVE_ALL, OPT_CLEAR, OPT_ENABLE, OPT_DISABLE, OPT_MERGE };

static const struct app_option options[] = {
    { OPT_ADD, "add", NULL, "create BITMAP, which records future writes" },
    { 'g', "granularity", "SIZE", "with --add: bytes per bit (default: the cluster size,\n"
                                  "but at least 4k and at most 64k)" },
    { OPT_REMOVE, "remove", NULL, "remove BITMAP" },
    { OPT_REMOVE_ALL, "remove-all", NULL, "remove all bitmaps; BITMAP may be omitted" },
    { OPT_CLEAR, "clear", NULL, "clear all bits of BITMAP" },
    { OPT_ENABLE, "enable", NULL, "start recording writes in BITMAP" },
    { OPT_DISABLE, "disable", NULL, "stop recording writes in BITMAP" },
    { OPT_MERGE, "merge", "SOURCE", "set all bits in BITMAP that are set in the bitmap SOURCE" },
    { 'b', "source-file", "SRC_FILENAME", "image that holds SOURCE, if it is another image" },
    { 'F', "source-format", "SRC_FMT", "format of SRC_FILENAME" },
    { 'f', "format", "FMT", "format of FILENAME; probed if omitted" },
    { APP_IMAGE_OPTS, "image-opts", NULL, "FILENAME is a list key=value,..., not a file name" },
    APP_STRICT_FORMAT_ROW,
    APP_OBJECT_ROW,
    { 0, NULL, NULL, NULL }
};

struct action {
    int what;
    const char *source;         /* of --merge */
};

struct request {
    const char *name, *bitmap, *source_name, *source_format;
    struct img_open how;
    uint64_t granularity;
    IMG_VECTOR(struct action) actions;
    bool add, merge, only_remove_all;
};

/* ---- The actions ------------------------------------------------------------------------ */

static int remove_all(struct img *image, struct img_error *err)
{
    struct img_bitmap *list;
    int count = img_bitmaps(image, &list), status = count < 0 ? img_error_memory(err) : 0;

    for (int i = 0; status == 0 && i < count; i++)
        status = img_bitmap_remove(image, list[i].name, err);
    img_bitmaps_free(list, list ? (size_t)count : 0);
    return status;
}

static const char *name_of(int what)
{
    const struct app_option *option = options;

    while (option->letter != what)
        option++;
    return option->name;
}

static int act(struct img *image, struct img *source, const struct request *r, const struct action *action)
{
    struct img_error err = IMG_ERROR_INIT;
    int status = 0;

    switch (action->what) {
    case OPT_ADD: status = img_bitmap_add(image, r->bitmap, r->granularity, true, &err); break;
    case OPT_REMOVE: status = img_bitmap_remove(image, r->bitmap, &err); break;
    case OPT_REMOVE_ALL: status = remove_all(image, &err); break;
    case OPT_CLEAR: status = img_bitmap_clear(image, r->bitmap, &err); break;
    case OPT_ENABLE: status = img_bitmap_enable(image, r->bitmap, true, &err); break;
    case OPT_DISABLE: status = img_bitmap_enable(image, r->bitmap, false, &err); break;
    case OPT_MERGE:
        status = img_bitmap_merge(image, r->bitmap, source ? source : image, action->source, &err);
        break;
    }
    if (status == 0)
        return 0;
    if (action->what == OPT_REMOVE_ALL)
        app_report_with(&err, "Operation remove-all failed: ");
    else
        app_report_with(&err, "Operation %s on bitmap %s failed: ", name_of(action->what), r->bitmap);
    return 1;
}

/* If an action fails, those before it stay. */
static int act_all(struct img *image, struct img *source, const struct request *r)
{
    int status = 0;

    for (size_t i = 0; status == 0 && i < r->actions.count; i++)
        status = act(image, source, r, &r->actions.at[i]);
    return status;
}

static int open_and_act(const struct request *r)
{
    struct img_open source_how = { .format = r->source_format, .flags = IMG_NO_BACKING };
    struct img *image = app_open(r->name, &r->how), *source = NULL;
    int status = 1;

    if (!image)
        return 1;
    if (!r->source_name || (source = app_open(r->source_name, &source_how)))
        status = act_all(image, source, r);
    status = app_close(source, status);
    return app_close(image, status);
}

/* ---- The command line --------------------------------------------------------------------- */

static void push(struct request *r, int what, const char *source)
{
    app_need(IMG_VECTOR_PUSH(&r->actions, (struct action){ what, source }) ? r->actions.at : NULL);
    r->add |= what == OPT_ADD;
    r->merge |= what == OPT_MERGE;
    r->only_remove_all &= what == OPT_REMOVE_ALL;
}

static bool parse(struct app *app, struct request *r)
{
    int letter;

    while ((letter = app_next(app)) != -1) {
        switch (letter) {
        case 'b': r->source_name = app->argument; break;
        case 'f': r->how.format = app->argument; break;
        case 'F': r->source_format = app->argument; break;
        case 'g':
            if (!app_size(app->argument, "granularity", &r->granularity))
                return false;
            break;
        case APP_IMAGE_OPTS: r->how.image_opts = true; break;
        case OPT_MERGE: push(r, letter, app->argument); break;
        default: push(r, letter, NULL); break;
        }
    }
    return true;
}

static bool judge(struct app *app, struct request *r)
{
    if (r->actions.count == 0)
        return app_refuse("Need at least one of --add, --remove, --clear, --enable, --disable, or --merge");
    if (r->granularity && !r->add)
        return app_refuse("granularity only supported with --add");
    if (r->source_format && !r->source_name)
        return app_refuse("-F only supported with -b");
    if (r->source_name && !r->merge)
        return app_refuse("Merge bitmap source file only supported with --merge");
    if (app->operand_count != 2 && !(r->only_remove_all && app->operand_count == 1))
        return app_refuse("Expecting filename and bitmap name");
    r->name = app->operands[0];
    r->bitmap = app->operands[1];
    return true;
}

static int run(struct app *app)
{
    struct request r = { .how = { .flags = IMG_RDWR | IMG_NO_BACKING }, .only_remove_all = true };
    int status = 1;

    if (parse(app, &r) && judge(app, &r))
        status = open_and_act(&r);
    free(r.actions.at);
    return status;
}

const struct applet applet_bitmap = {
    .name = "bitmap",
    .title = "change the dirty bitmaps that an image stores",
    .synopsis = "(--merge SOURCE | --add | --remove | --remove-all | --clear | --enable | --disable)... "
                "[-b SRC_FILENAME [-F SRC_FMT]] [-g SIZE] [-f FMT | --image-opts] [--strict-format] "
                "[--object OBJDEF] FILENAME [BITMAP]",
    .options = options,
    .operands = "Actions are performed in the order given.",
    .main = run,
};
