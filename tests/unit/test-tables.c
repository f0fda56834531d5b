/* SPDX-License-Identifier: MIT */
/*
 * Tables are read with no lock held (libimg/io/waiting.h), in each format that has them in a file: those who want
 * different tables read at the same time, those who want the same one read it once, and an error is told to each.  Then
 * many threads read and write one image with memory for few tables (build/tsan looks on), and all is where it was put.
 * While a storage is synced for a flush, others read and write.
 */
#include "libimg/driver.h"
#include "test.h"

#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define MIB (1ull << 20)

enum { READERS = 4, WRITERS = 8, ROUNDS = 400, PIECE = 512 };

static const char path[] = "test-tables.img";

/* ---- A storage at which readers meet ------------------------------------------ */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    const struct img_driver *real;
    struct img_driver driver;
    unsigned wanted;                /* number of readers that must arrive before any continues */
    unsigned inside, most, reads;
    int answer;
    bool syncing, passed;           /* a sync has begun; somebody came by meanwhile */
} storage = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

/* A reader that waits in vain for others continues in the end, so the test fails instead of hanging. */
static int meet(struct img *file, void *buffer, uint64_t offset, size_t length)
{
    struct timespec end;
    int late = 0, answer;

    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += 20;
    pthread_mutex_lock(&storage.lock);
    storage.reads++;
    if (++storage.inside > storage.most)
        storage.most = storage.inside;
    pthread_cond_broadcast(&storage.changed);
    while (storage.most < storage.wanted && !late)
        late = pthread_cond_timedwait(&storage.changed, &storage.lock, &end);
    storage.inside--;
    answer = storage.answer;
    pthread_mutex_unlock(&storage.lock);
    return answer ? answer : storage.real->pread(file, buffer, offset, length);
}

/* A sync that takes until somebody has come by. */
static int sync_long(struct img *file)
{
    struct timespec end;
    int late = 0;

    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += 20;
    pthread_mutex_lock(&storage.lock);
    storage.syncing = true;
    pthread_cond_broadcast(&storage.changed);
    while (!storage.passed && !late)
        late = pthread_cond_timedwait(&storage.changed, &storage.lock, &end);
    pthread_mutex_unlock(&storage.lock);
    return storage.real->flush(file);
}

static void watch(struct img *image, unsigned wanted, int answer)
{
    struct img *file = image->file;

    storage.real = file->driver;
    storage.driver = *file->driver;
    storage.driver.pread = meet;
    storage.driver.flush = sync_long;
    storage.syncing = storage.passed = false;
    storage.wanted = wanted;
    storage.inside = storage.most = storage.reads = 0;
    storage.answer = answer;
    file->driver = &storage.driver;
}

static void unwatch(struct img *image)
{
    image->file->driver = storage.real;
}

/* ---- Images ---------------------------------------------------------------------- */

static void make(const char *format, const char *options)
{
    struct img_error err = IMG_ERROR_INIT;
    struct img_doc *flat = img_doc_object();

    if (img_options_add(flat, options, &err) < 0 || img_create(img_driver_find(format), path, flat, &err) < 0)
        OK(false, "create %s: %s", format, err.text);
    img_doc_free(flat);
    img_error_clear(&err);
}

static struct img *open_image(const char *how, unsigned flags)
{
    struct img_open options = { .flags = flags, .cache = IMG_CACHE_WRITEBACK, .image_opts = true };
    struct img_error err = IMG_ERROR_INIT;
    struct img *image = NULL;

    if (img_open(&image, how, &options, &err) < 0)
        OK(false, "open %s: %s", how, err.text);
    img_error_clear(&err);
    return image;
}

static void shut(struct img *image)
{
    struct img_error err = IMG_ERROR_INIT;

    OK(img_close(image, &err) == 0, "closed");
    img_error_clear(&err);
}

/* ---- Readers ------------------------------------------------------------------------ */

struct reader {
    pthread_t thread;
    struct img *image;
    uint64_t offset;
    int result;
    struct img_extent extent;
};

static void *read_map(void *argument)
{
    struct reader *reader = argument;

    reader->result = img_map(reader->image, reader->offset, PIECE, &reader->extent);
    return NULL;
}

static void run_readers(struct img *image, struct reader *readers, uint64_t first, uint64_t step)
{
    for (unsigned i = 0; i < READERS; i++) {
        readers[i] = (struct reader){ .image = image, .offset = first + i * step };
        pthread_create(&readers[i].thread, NULL, read_map, &readers[i]);
    }
    for (unsigned i = 0; i < READERS; i++)
        pthread_join(readers[i].thread, NULL);
}

static bool all(const struct reader *readers, int result)
{
    for (unsigned i = 0; i < READERS; i++)
        if (readers[i].result != result || (result == 0 && readers[i].extent.kind != IMG_DATA))
            return false;
    return true;
}

/* Offsets `step` bytes apart are in different tables of the same parent table. */
static void test_readers(const char *format, const char *options, uint64_t step)
{
    struct reader readers[READERS];
    static unsigned char bytes[PIECE];
    struct img_extent extent;
    struct img *image;
    char how[200];

    make(format, options);
    snprintf(how, sizeof how, "driver=%s,file.driver=file,file.filename=%s", format, path);
    image = open_image(how, IMG_RDWR);
    memset(bytes, 0x55, sizeof bytes);
    for (unsigned i = 0; i < 2 * READERS + 1; i++)
        OK(img_pwrite(image, bytes, i * step, PIECE) == 0, "%s: there is data at %u", format, i);
    shut(image);

    image = open_image(how, 0);
    OK(img_map(image, 0, PIECE, &extent) == 0, "%s: the first table", format);
    watch(image, READERS, 0);
    run_readers(image, readers, step, step);
    OK(all(readers, 0) && storage.most == READERS, "%s: different tables are read at the same time", format);
    unwatch(image);
    watch(image, 1, -EIO);
    run_readers(image, readers, (READERS + 1) * step, 0);
    OK(all(readers, -EIO), "%s: who wants a table that cannot be read is told so", format);
    unwatch(image);
    watch(image, 1, 0);
    run_readers(image, readers, (READERS + 1) * step, 0);
    OK(all(readers, 0) && storage.reads == 1, "%s: one table is read once, also behind an error", format);
    unwatch(image);
    shut(image);
    unlink(path);
}

/* ---- Flushes ------------------------------------------------------------------------------ */

static void *come_by(void *argument)
{
    static const unsigned char bytes[PIECE];
    struct reader *reader = argument;

    pthread_mutex_lock(&storage.lock);
    while (!storage.syncing)
        pthread_cond_wait(&storage.changed, &storage.lock);
    pthread_mutex_unlock(&storage.lock);
    reader->result = img_map(reader->image, 0, PIECE, &reader->extent);
    if (reader->result == 0)
        reader->result = img_pwrite(reader->image, bytes, reader->offset, PIECE);
    pthread_mutex_lock(&storage.lock);
    storage.passed = true;
    pthread_cond_broadcast(&storage.changed);
    pthread_mutex_unlock(&storage.lock);
    return NULL;
}

/* Data at one place are flushed, and in the midst of it others go to a place `step` bytes on. */
static void test_flush(const char *format, const char *options, uint64_t step)
{
    unsigned char bytes[PIECE];
    struct reader other = { .offset = step };
    struct timespec start, end;
    char how[200];

    make(format, options);
    snprintf(how, sizeof how, "driver=%s,file.driver=file,file.filename=%s", format, path);
    other.image = open_image(how, IMG_RDWR);
    memset(bytes, 0x66, sizeof bytes);
    OK(img_pwrite(other.image, bytes, 0, PIECE) == 0 && img_pwrite(other.image, bytes, step / 2, PIECE) == 0,
       "%s: there is something to flush", format);
    watch(other.image, 1, 0);
    clock_gettime(CLOCK_MONOTONIC, &start);
    pthread_create(&other.thread, NULL, come_by, &other);
    OK(img_flush(other.image) == 0, "%s: flushed", format);
    pthread_join(other.thread, NULL);
    clock_gettime(CLOCK_MONOTONIC, &end);
    OK(other.result == 0 && end.tv_sec - start.tv_sec < 15, "%s: others read and write while the storage is synced",
       format);
    OK(img_flush(other.image) == 0, "%s: and flushed again", format);
    unwatch(other.image);
    shut(other.image);
    other.image = open_image(how, 0);
    OK(img_pread(other.image, bytes, 0, PIECE) == 0 && bytes[0] == 0x66 &&
       img_pread(other.image, bytes, step / 2, PIECE) == 0 && bytes[0] == 0x66 &&
       img_pread(other.image, bytes, step, PIECE) == 0 && bytes[0] == 0, "%s: all of it is there", format);
    shut(other.image);
    unlink(path);
}

/* ---- Writers ---------------------------------------------------------------------------- */

/* Each writer has every WRITERS-th piece of the disk; `model` is their content. */
struct writer {
    pthread_t thread;
    struct img *image;
    unsigned number, pieces;
    uint64_t stride;
    unsigned char *model;
    bool good;
};

static void *write_and_read(void *argument)
{
    struct writer *writer = argument;
    unsigned long long seed = writer->number + 1;
    unsigned char bytes[PIECE];

    writer->good = true;
    for (unsigned i = 0; i < ROUNDS && writer->good; i++) {
        unsigned piece = test_random(&seed) % (writer->pieces / WRITERS) * WRITERS + writer->number;
        unsigned char *model = &writer->model[piece];
        uint64_t offset = piece * writer->stride;
        if (test_random(&seed) % 2) {
            *model = (unsigned char)(1 + test_random(&seed) % 255);
            memset(bytes, *model, sizeof bytes);
            writer->good = img_pwrite(writer->image, bytes, offset, PIECE) == 0;
        } else {
            writer->good = img_pread(writer->image, bytes, offset, PIECE) == 0 && bytes[0] == *model &&
                           bytes[PIECE - 1] == *model;
        }
        if (writer->good && test_random(&seed) % 64 == 0)
            writer->good = img_flush(writer->image) == 0;
    }
    return NULL;
}

static bool holds(struct img *image, const unsigned char *model, unsigned pieces, uint64_t stride)
{
    unsigned char bytes[PIECE];

    for (unsigned i = 0; i < pieces; i++)
        if (img_pread(image, bytes, i * stride, PIECE) < 0 || bytes[0] != model[i] || bytes[PIECE - 1] != model[i])
            return false;
    return true;
}

static void test_writers(const char *format, const char *options, const char *open_options, uint64_t stride)
{
    enum { PIECES = 128 * WRITERS };
    static unsigned char model[PIECES];
    struct writer writers[WRITERS];
    bool good = true;
    struct img *image;
    char how[200];

    memset(model, 0, sizeof model);
    make(format, options);
    snprintf(how, sizeof how, "driver=%s,%sfile.driver=file,file.filename=%s", format, open_options, path);
    image = open_image(how, IMG_RDWR);
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){ .image = image, .number = i, .pieces = PIECES, .stride = stride, .model = model };
        pthread_create(&writers[i].thread, NULL, write_and_read, &writers[i]);
    }
    for (unsigned i = 0; i < WRITERS; i++) {
        pthread_join(writers[i].thread, NULL);
        good &= writers[i].good;
    }
    OK(good, "%s: many threads at once", format);
    OK(holds(image, model, PIECES, stride), "%s: all of it is there", format);
    shut(image);
    image = open_image(how, 0);
    OK(holds(image, model, PIECES, stride), "%s: and on the storage", format);
    shut(image);
    unlink(path);
}

/* Pieces that share sectors, each of which is encrypted as a whole. */
static void test_encrypted(void)
{
    const struct img_secret secret = { .id = "s", .data = "pass" };
    struct img_error err = IMG_ERROR_INIT;

    if (img_secret_add(&secret, &err) < 0)
        OK(false, "secret: %s", err.text);
    if (!img_driver_find("luks"))
        return;
    test_writers("qcow2", "size=1M,encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=1", "encrypt.key-secret=s,",
                 600);
    test_writers("qcow2", "size=1M,cluster_size=512,encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=1",
                 "encrypt.key-secret=s,", 600);
    test_writers("qcow2", "size=1M,encrypt.format=aes,encrypt.key-secret=s", "encrypt.key-secret=s,", 600);
    test_writers("qcow", "size=1M,encrypt.format=aes,encrypt.key-secret=s", "encrypt.key-secret=s,", 600);
}

int main(void)
{
    test_readers("qcow2", "size=80G", 512 * MIB);
    test_readers("qed", "size=80G", 1024 * MIB);
    test_readers("qcow", "size=80G", 64 * MIB);
    test_readers("vdi", "size=80G", 4096 * MIB);
    test_readers("vpc", "size=80G", 8192 * MIB);
    test_readers("vhdx", "size=80G,block_size=1M", 8192 * MIB);
    test_readers("vmdk", "size=80G", 1024 * MIB);
    test_readers("parallels", "size=80G", 8192 * MIB);
    test_flush("qcow2", "size=80G", 1024 * MIB);
    test_flush("qed", "size=80G", 1024 * MIB);
    test_flush("qcow", "size=80G", 1024 * MIB);
    test_flush("vdi", "size=80G", 1024 * MIB);
    test_flush("vpc", "size=80G", 1024 * MIB);
    test_flush("vhdx", "size=80G,block_size=1M", 1024 * MIB);
    test_flush("vmdk", "size=80G", 1024 * MIB);
    test_flush("parallels", "size=80G", 1024 * MIB);
    /* Strides by which pieces lie in far more tables than there is memory for. */
    test_writers("qcow2", "size=64M,cluster_size=512", "l2-cache-size=64k,refcount-cache-size=64k,", 64 << 10);
    test_writers("vmdk", "size=64G", "", 64 * MIB);
    test_writers("vpc", "size=1000G", "", 960 * MIB);
    test_writers("vhdx", "size=1000G,block_size=1M", "", 960 * MIB);
    test_writers("qed", "size=1000G", "", 960 * MIB);
    test_encrypted();
    return test_end();
}
