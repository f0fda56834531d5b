/* SPDX-License-Identifier: MIT */
/* source.c - opens what is read: an image by its name, standard input, a pipe, whatever name it has. */
#include "source.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum app_source_kind app_source_kind(const char *name)
{
    struct stat st;

    if (strcmp(name, "-") != 0)
        return app_is_stream(name) ? APP_PIPE : APP_NAMED;
    if (fstat(STDIN_FILENO, &st) < 0)
        return APP_PIPE;
    if (S_ISBLK(st.st_mode) || (S_ISREG(st.st_mode) && lseek(STDIN_FILENO, 0, SEEK_CUR) == 0))
        return APP_INPUT_FILE;
    return APP_PIPE;
}

/* ---- A descriptor --------------------------------------------------------------------- */

static int open_file(struct app_source *source, int fd, const char *name, const struct img_open *how)
{
    struct img_error err = IMG_ERROR_INIT;

    if (img_open_descriptor(&source->image, fd, name, how, &err) == 0)
        return 0;
    app_report(&err);
    return -1;
}

/* 1: raw, 0: another format, -1 after a message. */
static int is_raw(struct app_source *source, const char *name, const struct img_open *how)
{
    struct img_error err = IMG_ERROR_INIT;
    const struct img_driver *driver = how->format ? img_driver_find(how->format)
                                                  : img_intake_probe(source->intake, &err);

    if (!driver && how->format)
        img_error_set(&err, EINVAL, "Unknown driver '%s'", how->format);
    if (driver && img_driver_need(driver, &err) == 0)
        return img_driver_is_plain(driver);
    img_error_prefix(&err, "Could not open '%s': ", name);
    app_report(&err);
    return -1;
}

/* ---- A pipe ----------------------------------------------------------------------------- */

static int save(struct app_source *source, const char *name, const struct img_open *how, bool raw, const char *folder)
{
    CLEANUP_FREE char *standard = folder ? NULL : app_spool_folder(NULL);
    struct img_open known = *how;

    /* What was found to be raw is not probed, and not judged, again. */
    if (raw)
        known.format = IMG_PLAIN_FORMAT;
    source->spool = app_spool(source->intake, folder ? folder : standard);
    return source->spool < 0 ? -1 : open_file(source, source->spool, name, &known);
}

static int open_pipe(struct app_source *source, const char *name, const struct img_open *how,
                     const struct app_reading *reading)
{
    struct img_error err = IMG_ERROR_INIT;
    int raw = is_raw(source, name, how), ret = -ESPIPE;

    if (raw < 0)
        return -1;
    if (!reading->sized && !reading->any_order &&
        (raw || (how->format && img_intake_take_trailer(source->intake, how->format))))
        return 0;
    if (!raw && !reading->any_order)
        ret = img_intake_image(source->intake, &source->image, how, &err);
    if (ret == 0)
        return 0;
    if (ret == -ESPIPE)
        return save(source, name, how, raw, reading->folder);
    app_report(&err);
    return -1;
}

/* Raw input is read as it comes, also from a file. */
static int open_exact(struct app_source *source, int fd, const char *name, const struct img_open *how)
{
    int raw = is_raw(source, name, how);

    if (raw != 0)
        return raw < 0 ? -1 : 0;
    img_intake_free(source->intake);
    source->intake = NULL;
    return open_file(source, fd, name, how);
}

static int open_stream(struct app_source *source, int fd, const char *name, const struct img_open *how,
                       const struct app_reading *reading, enum app_source_kind kind)
{
    if (!app_one_format(how->image_opts, how->format))
        return -1;
    if (kind == APP_INPUT_FILE && !reading->exact)
        return open_file(source, fd, name, how);
    source->intake = app_need(img_intake_new(fd, name));
    return kind == APP_INPUT_FILE ? open_exact(source, fd, name, how) : open_pipe(source, name, how, reading);
}

static void release(struct app_source *source)
{
    img_intake_free(source->intake);
    if (source->fd >= 0)
        close(source->fd);
    if (source->spool >= 0)
        close(source->spool);
    *source = (struct app_source)APP_SOURCE_INIT;
}

/* ---- By name ------------------------------------------------------------------------------ */

/* The descriptor to read a pipe or standard input from; -1 after a message. */
static int find_descriptor(struct app_source *source, const char *name)
{
    int fd = strcmp(name, "-") == 0 ? STDIN_FILENO : img_fd_of_name(name);

    if (fd < 0)
        fd = source->fd = app_open_stream(name, O_RDONLY);
    return fd;
}

/* An image, or what can be read only as a whole. */
static int open_named(struct app_source *source, const char *name, const struct img_open *how,
                      const struct app_reading *reading)
{
    struct img_error err = IMG_ERROR_INIT, ignored = IMG_ERROR_INIT;
    CLEANUP_FREE char *format = NULL;
    struct img_open known = *how;
    int ret;

    if (!app_one_format(how->image_opts, how->format))
        return -1;
    ret = img_open(&source->image, name, how, &err);
    if (ret == -ESPIPE)
        source->intake = img_intake_open(name, how, &format, &ignored);
    img_error_clear(&ignored);
    if (ret == 0)
        return 0;
    if (!source->intake) {
        app_advise_share(how, &err);
        app_report(&err);
        return -1;
    }
    img_error_clear(&err);
    source->poured = true;
    known.image_opts = false;
    known.format = *format ? format : NULL;
    return open_pipe(source, name, &known, reading);
}

int app_open_source(struct app_source *source, const char *name, const struct img_open *how,
                    const struct app_reading *reading)
{
    enum app_source_kind kind = how->image_opts ? APP_NAMED : app_source_kind(name);
    int fd;

    *source = (struct app_source)APP_SOURCE_INIT;
    if (kind == APP_NAMED && open_named(source, name, how, reading) == 0)
        return 0;
    fd = kind == APP_NAMED ? -1 : find_descriptor(source, name);
    if (fd >= 0 && open_stream(source, fd, name, how, reading, kind) == 0)
        return 0;
    release(source);
    return -1;
}

int app_close_source(struct app_source *source, int status)
{
    status = app_close(source->image, status);
    if (source->intake && source->image && !source->part && status == 0)
        img_intake_drain(source->intake);
    release(source);
    return status;
}

struct img *app_open_seekable(const char *name, const struct img_open *how)
{
    enum app_source_kind kind = how->image_opts ? APP_NAMED : app_source_kind(name);
    struct app_source source = APP_SOURCE_INIT;
    struct app_reading reading = { .sized = true };

    if (kind == APP_NAMED)
        return app_open(name, how);
    if (kind == APP_INPUT_FILE)
        return app_open_source(&source, name, how, &reading) == 0 ? source.image : NULL;
    if (strcmp(name, "-") == 0)
        app_error("Could not open '-': Standard input is a pipe, and this needs a file");
    else
        source.image = app_open(name, how);     /* which says what it is */
    if (!source.image)
        app_advise("what comes through a pipe can be read only once: save it to a file, or copy it with 'convert'");
    return source.image;
}
