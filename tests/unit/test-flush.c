/* SPDX-License-Identifier: MIT */
/*
 * A flush covers each write that was acknowledged before the flush was requested, whatever runs beside it; every
 * later flush repeats the error of a failed one.  IMG_WRITE_FUA flushes by itself.  The storage in this test holds a
 * write or a flush until it is released.
 */
#include "libimg/driver.h"
#include "libimg/node/module.h"
#include "test.h"

#include <fcntl.h>
#include <semaphore.h>
#include <stdlib.h>
#include <unistd.h>

static sem_t held, go;              /* posted when a request is held; posted to release it */
static bool hold_write, hold_flush;
static unsigned flushes;
static int flush_error;

static void wait_here(void)
{
    sem_post(&held);
    sem_wait(&go);
}

static int slow_open(struct img *image, const void *parsed, struct img_doc *options, struct img_error *err)
{
    (void)image, (void)parsed, (void)options, (void)err;
    return 0;
}

static int slow_pread(struct img *image, void *buffer, uint64_t offset, size_t length)
{
    return img_pread_padded(image->file, buffer, offset, length);
}

static int slow_pwrite(struct img *image, const void *buffer, uint64_t offset, size_t length, unsigned flags)
{
    if (hold_write)
        wait_here();
    return img_pwrite_flags(image->file, buffer, offset, length, flags);
}

static int slow_zero(struct img *image, uint64_t offset, uint64_t length, unsigned flags)
{
    return img_zero(image->file, offset, length, flags);
}

static int slow_flush(struct img *image)
{
    (void)image;
    flushes++;
    if (hold_flush)
        wait_here();
    return flush_error;
}

static const struct img_driver slow_driver = {
    IMG_ROW( .name = "slow", .kind = IMG_ADAPTER ),
    .open = slow_open, .pread = slow_pread, .pwrite = slow_pwrite, .zero = slow_zero, .flush = slow_flush,
};

extern const struct img_driver img_driver_file, img_driver_raw;
const struct img_driver *const img_drivers[] = { &img_driver_file, &img_driver_raw, &slow_driver, NULL };
struct img_module img_modules[] = { { .row = NULL } };
const char img_module_folder[] = "";

static char name[] = "/tmp/imgbox-flush-XXXXXX";
static struct img *image;

static void *write_one(void *unused)
{
    static const char sector[512] = "x";

    (void)unused;
    return (void *)(intptr_t)img_pwrite(image, sector, 0, sizeof sector);
}

static void *flush_one(void *unused)
{
    (void)unused;
    return (void *)(intptr_t)img_flush(image);
}

static pthread_t begin(void *(*what)(void *))
{
    pthread_t thread;

    pthread_create(&thread, NULL, what, NULL);
    sem_wait(&held);
    return thread;
}

static int end(pthread_t thread)
{
    void *result;

    sem_post(&go);
    pthread_join(thread, &result);
    return (int)(intptr_t)result;
}

/* With IMG_WRITE_FUA each way to write leaves nothing to flush. */
static void fua(void)
{
    static const char data[512] = "x", zeroes[512];

    flushes = 0;
    OK(img_pwrite_flags(image, data, 0, sizeof data, IMG_WRITE_FUA) == 0 && flushes == 1, "a write with FUA flushes");
    OK(img_flush(image) == 0 && flushes == 1, "and leaves nothing to flush");
    OK(img_zero(image, 0, 512, IMG_WRITE_FUA) == 0 && flushes == 2, "zeroes with FUA");
    OK(img_zero(image, 1, 510, IMG_WRITE_FUA) == 0 && flushes == 3, "part of a block");
    OK(img_pwrite_flags(image, zeroes, 0, sizeof zeroes, IMG_WRITE_FUA) == 0 && flushes == 4, "zeroes written");
    image->detect_zeroes = IMG_DETECT_ON;
    OK(img_pwrite_flags(image, zeroes, 0, sizeof zeroes, IMG_WRITE_FUA) == 0 && flushes == 5, "and found by detect-zeroes");
    OK(img_flush(image) == 0 && flushes == 5, "nothing is left to flush");
    image->detect_zeroes = IMG_DETECT_OFF;
}

int main(void)
{
    struct img_open how = { .flags = IMG_RDWR, .image_opts = true };
    struct img_error err = IMG_ERROR_INIT;
    char text[256];
    pthread_t thread;

    sem_init(&held, 0, 0);
    sem_init(&go, 0, 0);
    int fd = mkstemp(name);
    OK(fd >= 0 && ftruncate(fd, 4096) == 0, "a file");
    close(fd);
    snprintf(text, sizeof text, "driver=raw,file.driver=slow,file.file.driver=file,file.file.filename=%s", name);
    OK(img_open(&image, text, &how, &err) == 0, "opens: %s", err.text ? err.text : "");

    OK(img_flush(image) == 0 && flushes == 0, "nothing was written, nothing is flushed");
    write_one(NULL);
    OK(img_flush(image) == 0 && flushes == 1, "what was written is flushed");
    OK(img_flush(image) == 0 && flushes == 1, "once");

    /* A write not acknowledged when the flush begins is left to the next flush. */
    hold_write = true;
    thread = begin(write_one);
    img_flush(image);
    flushes = 0;
    OK(end(thread) == 0, "a write that began before a flush ends after it");
    hold_write = false;
    OK(img_flush(image) == 0 && flushes == 1, "and is flushed by the next flush");

    /* So is one that is acknowledged during the flush. */
    write_one(NULL);
    hold_flush = true;
    thread = begin(flush_one);
    write_one(NULL);
    OK(end(thread) == 0, "a flush, and a write beside it");
    hold_flush = false;
    flushes = 0;
    OK(img_flush(image) == 0 && flushes == 1, "the write is flushed by the next flush");

    fua();

    flush_error = -EIO;
    write_one(NULL);
    OK(img_flush(image) == -EIO, "a flush fails");
    flush_error = 0;
    OK(img_flush(image) == -EIO, "and each one after it");
    write_one(NULL);
    OK(img_flush(image) == -EIO, "also with something new to flush");
    OK(img_close(image, &err) == -EIO, "closing tells it");
    img_error_clear(&err);
    unlink(name);
    return test_end();
}
