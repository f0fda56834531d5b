/* SPDX-License-Identifier: MIT */
/*
 * intake.c - what comes through a pipe: read in order, as it is, or as the storage of an image that is read forward.
 *
 * The head is what was read while nobody knew what it was.  The window is a ring of the bytes that came last.
 */
#include "intake.h"
#include "util/checked.h"
#include "util/cleanup.h"
#include "util/fd.h"
#include "util/strbuf.h"
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LEAST_HEAD = 64 << 10, MOST_REQUEST = 1 << 20, SECTOR = 512, SKIPPED = 16 << 10 };

struct img_intake {
    int fd;
    struct img_feed *feed;              /* NULL: it comes from elsewhere */
    char *name;
    const struct img_stop *stop;
    uint64_t position;                  /* of img_intake_read */

    pthread_mutex_t lock;               /* all below */
    unsigned char *head, *ring;
    uint64_t head_length, head_room;
    uint64_t front;                     /* this many bytes have come */
    bool sealed, ended, refused, told;
    int failure;                        /* why it has ended; 0: that was all */
    uint64_t due;

    const struct img_trailer *trailer;  /* NULL: none */
    uint64_t disk;                      /* where the disk ends; 0: not known */
};

struct img_intake *img_intake_new(int fd, const char *name)
{
    struct img_intake *intake = img_calloc(1, sizeof *intake);

    if (!intake)
        return NULL;
    intake->fd = fd;
    intake->name = img_strdup(name);
    pthread_mutex_init(&intake->lock, NULL);
    if (intake->name)
        return intake;
    img_intake_free(intake);
    return NULL;
}

void img_intake_free(struct img_intake *intake)
{
    if (!intake)
        return;
    if (intake->feed)
        intake->feed->end(intake->feed);
    pthread_mutex_destroy(&intake->lock);
    free(intake->head);
    free(intake->ring);
    free(intake->name);
    free(intake);
}

const char *img_intake_name(const struct img_intake *intake)
{
    return intake->name;
}

bool img_intake_refused(const struct img_intake *intake)
{
    return intake->refused;
}

void img_intake_set_feed(struct img_intake *intake, struct img_feed *feed)
{
    intake->feed = feed;
}

void img_intake_set_stop(struct img_intake *intake, const struct img_stop *stop)
{
    intake->stop = stop;
}

void img_intake_seal(struct img_intake *intake, uint64_t due)
{
    LOCK_SCOPE(&intake->lock);
    intake->sealed = true;
    intake->due = due;
}

/* ---- Taking in ---------------------------------------------------------------------- */

/* Read up to `length` bytes to `to`; fewer at the end. */
static int take(struct img_intake *intake, unsigned char *to, uint64_t length, const struct img_stop *stop)
{
    int64_t n = intake->ended ? 0 : img_read_all(intake->fd, to, length, stop);

    if (n < 0)
        return (int)n;
    intake->front += (uint64_t)n;
    if ((uint64_t)n == length)
        return 0;
    if (!intake->ended && intake->feed)
        intake->failure = intake->feed->result(intake->feed);
    intake->ended = true;
    return intake->failure;
}

static int grow_head(struct img_intake *intake, uint64_t end)
{
    uint64_t room = img_max(intake->head_room, LEAST_HEAD);
    unsigned char *bytes;

    while (room < end)
        room *= 2;
    if (room == intake->head_room)
        return 0;
    bytes = img_realloc(intake->head, (size_t)room);
    if (!bytes)
        return -ENOMEM;
    intake->head = bytes;
    intake->head_room = room;
    return 0;
}

/* Make the head reach to `end`, or to the end of the input. */
static int fill_head(struct img_intake *intake, uint64_t end)
{
    int ret = 0;

    if (end <= intake->head_length || intake->ended)
        return 0;
    if (end > IMG_INTAKE_HEAD) {
        intake->refused = true;
        return -ESPIPE;
    }
    ret = grow_head(intake, end);
    if (ret == 0)
        ret = take(intake, intake->head + intake->head_length, end - intake->head_length, intake->stop);
    intake->head_length = intake->front;
    return ret;
}

/* The same for the window.  What is overwritten is gone. */
static int fill_window(struct img_intake *intake, uint64_t end)
{
    if (!intake->ring && !(intake->ring = img_malloc(IMG_INTAKE_WINDOW)))
        return -ENOMEM;
    while (intake->front < end && !intake->ended) {
        uint64_t at = intake->front % IMG_INTAKE_WINDOW;
        uint64_t length = img_min(end - intake->front, IMG_INTAKE_WINDOW - at);
        int ret = take(intake, intake->ring + at, length, intake->stop);
        if (ret < 0)
            return ret;
    }
    return 0;
}

int img_intake_keep(struct img_intake *intake, uint64_t length)
{
    LOCK_SCOPE(&intake->lock);
    return fill_head(intake, length);
}

uint64_t img_intake_kept(const struct img_intake *intake)
{
    return intake->head_length;
}

bool img_intake_is_whole(const struct img_intake *intake)
{
    return intake->ended && intake->head_length == intake->front;
}

/* ---- What is kept -------------------------------------------------------------------------- */

/* Copy from the ring, at whose end a range may be split. */
static void copy_window(const struct img_intake *intake, unsigned char *to, uint64_t from, uint64_t length)
{
    uint64_t at = from % IMG_INTAKE_WINDOW, first = img_min(length, IMG_INTAKE_WINDOW - at);

    memcpy(to, intake->ring + at, (size_t)first);
    memcpy(to + first, intake->ring, (size_t)(length - first));
}

/* The input has ended inside a range that is wanted.  A last cluster may be cut, but nothing else. */
static int judge_end(struct img_intake *intake)
{
    if (!intake->sealed || intake->front > intake->due)
        return 0;
    if (!intake->told)
        img_notice(IMG_FAULT, "'%s' ended after %llu bytes, before the end of the image", intake->name,
                   (unsigned long long)intake->front);
    intake->told = true;
    return -EIO;
}

static int fetch(struct img_intake *intake, unsigned char *buffer, uint64_t offset, uint64_t length)
{
    uint64_t end = offset + length, there, kept;
    int ret = intake->sealed ? 0 : fill_head(intake, end);

    if (ret == 0 && end > intake->front && !intake->ended)
        ret = fill_window(intake, end);
    if (ret == 0 && end > intake->front)
        ret = judge_end(intake);
    if (ret < 0)
        return ret;
    there = img_min(end, img_max(intake->front, offset)) - offset;
    memset(buffer + there, 0, (size_t)(length - there));
    kept = offset < intake->head_length ? img_min(there, intake->head_length - offset) : 0;
    if (kept)
        memcpy(buffer, intake->head + offset, (size_t)kept);
    if (kept == there)
        return 0;
    if (intake->front - (offset + kept) > IMG_INTAKE_WINDOW) {
        intake->refused = true;
        return -ESPIPE;
    }
    copy_window(intake, buffer + kept, offset + kept, there - kept);
    return 0;
}

/* ---- As it is -------------------------------------------------------------------------- */

/* Find out where the disk ends, when all of the input has come. */
static int find_end_of_disk(struct img_intake *intake)
{
    struct img_error err = IMG_ERROR_INIT;
    uint64_t before = img_align_up(intake->front, SECTOR);
    unsigned char bytes[SECTOR];
    int ret = -EINVAL;

    if (before < intake->trailer->length)
        img_error_set(&err, EINVAL, "It is too short");
    else if ((ret = fetch(intake, bytes, before -= intake->trailer->length, intake->trailer->length)) == 0)
        ret = intake->trailer->judge(bytes, before, &intake->disk, &err);
    if (ret == 0 && (intake->disk > before || before - intake->disk > intake->trailer->excess))
        ret = img_error_set(&err, EINVAL, "The image says that its disk has %llu bytes, but %llu came",
                            (unsigned long long)intake->disk, (unsigned long long)before);
    if (ret < 0)
        img_notice(IMG_FAULT, "'%s': %s", intake->name, err.text ? err.text : img_strerror(ret));
    img_error_clear(&err);
    return ret;
}

/* What could be the trailer, or does not belong to the disk, is held back until the end comes. */
static int64_t read_disk(struct img_intake *intake, void *buffer, uint64_t length)
{
    uint64_t held = intake->trailer->length + intake->trailer->excess, end;
    bool ended = intake->ended;
    int ret;

    length = img_min(length, IMG_INTAKE_WINDOW / 2);
    ret = fill_window(intake, intake->position + length + held + SECTOR);
    if (ret == 0 && intake->ended && (!ended || !intake->disk))
        ret = find_end_of_disk(intake);
    end = intake->ended ? intake->disk : intake->position + length;
    length = img_min(length, end - intake->position);
    if (ret == 0 && length)
        ret = fetch(intake, buffer, intake->position, length);
    if (ret < 0)
        return ret;
    intake->position += length;
    return (int64_t)length;
}

bool img_intake_take_trailer(struct img_intake *intake, const char *format)
{
    const struct img_driver *driver = img_driver_find(format);
    unsigned char head[SECTOR] = { 0 };

    if (!driver || !driver->trailer || img_intake_keep(intake, sizeof head) < 0 || img_intake_is_whole(intake))
        return false;
    memcpy(head, intake->head, (size_t)img_min(intake->head_length, sizeof head));
    if (!driver->trailer->fits(head))
        return false;
    img_intake_seal(intake, 0);
    intake->trailer = driver->trailer;
    return true;
}

int64_t img_intake_read(struct img_intake *intake, void *buffer, uint64_t length)
{
    uint64_t kept = 0;
    uint64_t before;
    int ret;

    if (intake->trailer)
        return read_disk(intake, buffer, length);
    if (intake->position < intake->head_length) {
        kept = img_min(length, intake->head_length - intake->position);
        memcpy(buffer, intake->head + intake->position, (size_t)kept);
    }
    before = intake->front;
    ret = kept < length ? take(intake, (unsigned char *)buffer + kept, length - kept, intake->stop) : 0;
    if (ret < 0)
        return ret;
    kept += intake->front - before;
    intake->position += kept;
    return (int64_t)kept;
}

/* Seek in a file.  1: done, 0: it is too short, -1: it is not a file. */
static int seek_forward(int fd, uint64_t length)
{
    off_t at = lseek(fd, 0, SEEK_CUR);
    struct stat st;

    if (at < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return -1;
    if (at > st.st_size || length > (uint64_t)(st.st_size - at))
        return 0;
    return lseek(fd, (off_t)length, SEEK_CUR) < 0 ? -1 : 1;
}

int img_intake_skip(struct img_intake *intake, uint64_t length)
{
    unsigned char scratch[SKIPPED];
    uint64_t kept = img_min(length, intake->head_length - img_min(intake->position, intake->head_length));
    int ret;

    intake->position += kept;
    length -= kept;
    ret = length ? seek_forward(intake->fd, length) : 1;
    if (ret >= 0)
        return ret;
    while (length) {
        uint64_t wanted = img_min(length, sizeof scratch);
        int64_t n = img_intake_read(intake, scratch, wanted);
        if (n < 0 || (uint64_t)n < wanted)
            return n < 0 ? (int)n : 0;
        length -= wanted;
    }
    return 1;
}

void img_intake_drain(struct img_intake *intake)
{
    unsigned char scratch[SKIPPED];

    while (!intake->feed && !intake->ended && take(intake, scratch, sizeof scratch, NULL) == 0) { }
}

/* ---- As a storage ------------------------------------------------------------------------- */

struct node {
    struct img_intake *intake;
};

static int node_pread(struct img *image, void *buffer, uint64_t offset, size_t length)
{
    struct img_intake *intake = ((const struct node *)image->state)->intake;

    LOCK_SCOPE(&intake->lock);
    intake->stop = img_node_of(image)->stop;
    return fetch(intake, buffer, offset, length);
}

/* No name or option selects it. */
static const struct img_driver intake_driver = {
    IMG_ROW( .name = "pipe", .kind = IMG_PROTOCOL ),
    .state_size = sizeof(struct node), .pread = node_pread,
};

struct img *img_intake_node(struct img_intake *intake)
{
    struct img *image = img_node_new(&intake_driver, 0, IMG_CACHE_WRITEBACK, IMG_GATE_OPEN);

    if (!image)
        return NULL;
    ((struct node *)image->state)->intake = intake;
    intake->sealed = intake->refused = false;
    img_limits_inherit(image);
    image->limits.max_transfer = MOST_REQUEST;
    image->limits.forward = img_intake_is_whole(intake) ? 0 : 1;
    /* While it comes nobody knows where the end is. */
    image->size = image->limits.forward ? img_align_down(INT64_MAX, SECTOR) : img_align_up(intake->front, SECTOR);
    if (img_replace_text(&image->filename, intake->name) == 0 &&
        img_replace_text(&image->shown_name, intake->name) == 0)
        return image;
    img_node_free(image);
    return NULL;
}
