/* SPDX-License-Identifier: MIT */
/* img-snapshot.c - list, create, apply and delete the internal snapshots of an image. */
#include "info.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const struct app_option options[] = {
    { 'q', "quiet", NULL, "print only errors and the list" },
    APP_IMAGE_ROWS,
    { 'U', "force-share", NULL, "do not lock the image, and ignore locks (only with -l)" },
    APP_OBJECT_ROW,
    { 'l', "list", NULL, "list the snapshots (default)" },
    { 'c', "create", "SNAPSHOT", "create a snapshot with this name" },
    { 'a', "apply", "SNAPSHOT", "restore the disk from the snapshot with this id or name" },
    { 'd', "delete", "SNAPSHOT", "delete the first snapshot with this name" },
    { 0, NULL, NULL, NULL }
};

struct request {
    const char *name, *snapshot;
    struct img_open how;
    int action;                 /* letter of the option, 0: none given */
};

static int list(struct img *image)
{
    struct img_error err = IMG_ERROR_INIT;
    struct img_snapshot *all = NULL;
    int count = img_snapshots(image, &all, &err);

    if (count == -ENOMEM) {
        app_report(&err);
        return 1;
    }
    /* As in qemu-img, a failure to list means no snapshots. */
    img_error_clear(&err);
    if (count <= 0)
        return 0;
    struct img_doc *array = img_doc_array();
    for (int i = 0; i < count; i++)
        img_doc_append(array, info_snapshot(&all[i]));
    info_print_snapshots(app_whole(array), 0);
    img_doc_free(array);
    img_snapshots_free(all, (size_t)count);
    return 0;
}

static int create(struct img *image, const char *name)
{
    struct img_error err = IMG_ERROR_INIT;
    struct img_snapshot made = { .name = (char *)name, .has_icount = true };
    struct timespec now = { 0 };

    clock_gettime(CLOCK_REALTIME, &now);
    made.date_sec = (uint32_t)now.tv_sec;
    made.date_nsec = (uint32_t)(now.tv_nsec / 1000 * 1000);
    int rc = img_snapshot_create(image, &made, &err);
    img_error_clear(&err);
    free(made.id);
    if (rc == 0)
        return 0;
    if (compat_profile() < COMPAT_10_0)
        app_error("Could not create snapshot '%s': %d (%s)", name, rc, img_strerror(rc));
    else
        app_error("Could not create snapshot '%s': %s", name, img_strerror(rc));
    return 1;
}

static int apply(struct img *image, const char *name)
{
    struct img_error err = IMG_ERROR_INIT;

    if (img_snapshot_apply(image, name, &err) == 0)
        return 0;
    app_report_with(&err, "Could not apply snapshot '%s': ", name);
    return 1;
}

/* By name only; if several have it, the first in the list. */
static int delete(struct img *image, const char *name)
{
    struct img_error err = IMG_ERROR_INIT;
    struct img_snapshot *all = NULL;
    int count = img_snapshots(image, &all, &err), i = 0, rc = 0;

    if (count == -ENOMEM) {
        app_report(&err);
        return 1;
    }
    img_error_clear(&err);
    while (i < count && strcmp(all[i].name, name))
        i++;
    if (i >= count) {
        img_error_set(&err, ENOENT, "Could not delete snapshot '%s': snapshot not found", name);
        img_snapshots_advise(image, &err);
        app_report(&err);
        rc = 1;
    } else if (img_snapshot_delete(image, all[i].id, name, &err) < 0) {
        app_report_with(&err, "Could not delete snapshot '%s': ", name);
        rc = 1;
    }
    img_snapshots_free(all, count > 0 ? (size_t)count : 0);
    return rc;
}

/* ---- The command line --------------------------------------------------------------------- */

static void set_action(const struct app *app, struct request *r, int letter)
{
    if (r->action)
        app_usage(app, "Cannot mix '-l', '-a', '-c', '-d'");
    r->action = letter;
    r->snapshot = app->argument;
    if (letter != 'l')
        r->how.flags |= IMG_RDWR;
}

static void parse(struct app *app, struct request *r)
{
    int letter;

    while ((letter = app_next(app)) != -1) {
        switch (letter) {
        case 'q': app_quiet = true; break;
        case 'f': r->how.format = app->argument; break;
        case APP_IMAGE_OPTS: r->how.image_opts = true; break;
        case 'U': r->how.flags |= IMG_SHARE; break;
        default: set_action(app, r, letter); break;
        }
    }
    if (app->operand_count != 1)
        app_usage(app, "Expecting one image file name");
    r->name = app->operands[0];
}

static int act(struct img *image, const struct request *r)
{
    switch (r->action) {
    case 'c': return create(image, r->snapshot);
    case 'a': return apply(image, r->snapshot);
    case 'd': return delete(image, r->snapshot);
    default:
        app_output_is_work(1);
        return list(image);
    }
}

static int run(struct app *app)
{
    struct request r = { 0 };
    struct img *image;

    parse(app, &r);
    image = app_open(r.name, &r.how);
    if (!image)
        return 1;
    return app_close(image, act(image, &r));
}

const struct applet applet_snapshot = {
    .name = "snapshot",
    .title = "list, create, apply and delete the internal snapshots of an image",
    .synopsis = "[-q] [-f FMT | --image-opts] [--strict-format] "
                "[-U] [-l | -c SNAPSHOT | -a SNAPSHOT | -d SNAPSHOT] [--object OBJDEF] "
                "FILENAME",
    .options = options,
    .main = run,
};
