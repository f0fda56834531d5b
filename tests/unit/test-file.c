/* SPDX-License-Identifier: MIT */
/*
 * The file driver under random requests: everything written, zeroed and discarded through libimg reads back the
 * same, also with unaligned requests and without the page cache, when several threads write next to each other, and
 * when map answers from its cache.
 */
#include "libimg/img.h"
#include "test.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SIZE = 1 << 20, ROUNDS = 1500, THREADS = 4, STRIPE = 100 };

static const char path[] = "test-file.raw";
static unsigned char model[SIZE], buffer[SIZE];
static unsigned long long seed = 1;

static uint64_t pick(uint64_t below)
{
    return test_random(&seed) % below;
}

static void make_file(off_t size)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0644);

    if (fd < 0 || ftruncate(fd, size) < 0)
        abort();
    close(fd);
}

static struct img *open_image(enum img_cache cache)
{
    struct img_open how = { .format = "raw", .flags = IMG_RDWR | IMG_RESIZE, .cache = cache };
    struct img_error err = IMG_ERROR_INIT;
    struct img *image = NULL;

    if (img_open(&image, path, &how, &err) < 0)
        printf("# %s\n", err.text);
    img_error_clear(&err);
    return image;
}

static bool close_image(struct img *image)
{
    struct img_error err = IMG_ERROR_INIT;
    int status = img_close(image, &err);

    img_error_clear(&err);
    return status == 0;
}

/* Any request; small ones are frequent, and so are those that touch the end. */
static void pick_range(uint64_t limit, uint64_t *offset, size_t *length)
{
    uint64_t most = pick(3) ? 5000 : 300000;

    *offset = pick(4) ? pick(limit) : limit - 1 - pick(limit < 9000 ? limit : 9000);
    *length = 1 + pick(most);
    if (*length > limit - *offset)
        *length = limit - *offset;
}

static int one_request(struct img *image, uint64_t limit)
{
    uint64_t offset;
    size_t length;

    pick_range(limit, &offset, &length);
    switch (pick(6)) {
    case 0:
        memset(model + offset, 0, length);
        return img_zero(image, offset, length, pick(2) ? IMG_ZERO_MAY_UNMAP : 0);
    case 1:
        if (img_pread(image, buffer + 1, offset, length < SIZE - 1 ? length : SIZE - 1) < 0)
            return -EIO;
        return memcmp(buffer + 1, model + offset, length < SIZE - 1 ? length : SIZE - 1) ? -EIO : 0;
    default:
        memset(model + offset, 1 + (int)pick(255), length);
        return img_pwrite(image, model + offset, offset, length);
    }
}

static bool same_content(struct img *image, uint64_t limit)
{
    return img_pread(image, buffer, 0, limit) == 0 && memcmp(buffer, model, limit) == 0;
}

/* Zeroes reported by map must be zeroes, and the answers must cover everything. */
static bool map_is_true(struct img *image, uint64_t limit)
{
    for (uint64_t at = 0; at < limit;) {
        struct img_extent extent;

        if (img_map_chain(image, NULL, at, limit - at, &extent) < 0 || extent.length == 0)
            return false;
        for (uint64_t i = 0; extent.kind != IMG_DATA && i < extent.length; i++) {
            if (model[at + i])
                return false;
        }
        at += extent.length;
    }
    return true;
}

static void random_requests(enum img_cache cache, uint64_t size, const char *what)
{
    uint64_t limit = (size + 511) / 512 * 512;
    struct img *image;
    bool good = true;

    make_file((off_t)size);
    memset(model, 0, sizeof model);
    image = open_image(cache);
    for (unsigned i = 0; image && good && i < ROUNDS; i++) {
        good = one_request(image, limit) == 0;
        if (good && i % 100 == 0)
            good = map_is_true(image, limit);
    }
    OK(image && good && same_content(image, limit) && map_is_true(image, limit), "%s", what);
    OK(close_image(image), "closed");
    image = open_image(IMG_CACHE_WRITEBACK);
    OK(image && img_size(image) == limit && same_content(image, limit), "the same when opened again");
    close_image(image);
}

/* Each thread owns every fourth stripe of 100 bytes: neighbours share blocks. */
struct stripes {
    struct img *image;
    unsigned number;
    int status;
};

static void *write_stripes(void *context)
{
    struct stripes *mine = context;
    unsigned char bytes[STRIPE];

    memset(bytes, (int)mine->number + 1, sizeof bytes);
    for (uint64_t at = mine->number * STRIPE; at + STRIPE <= 65536 && mine->status == 0; at += THREADS * STRIPE)
        mine->status = img_pwrite(mine->image, bytes, at, STRIPE);
    return NULL;
}

static void test_threads(enum img_cache cache, const char *what)
{
    struct stripes stripes[THREADS];
    pthread_t threads[THREADS];
    struct img *image;
    bool good = true;

    make_file(65536);
    image = open_image(cache);
    for (unsigned i = 0; image && i < THREADS; i++) {
        stripes[i] = (struct stripes){ image, i, 0 };
        pthread_create(&threads[i], NULL, write_stripes, &stripes[i]);
    }
    for (unsigned i = 0; image && i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        good = good && stripes[i].status == 0;
    }
    good = good && image && img_pread(image, buffer, 0, 65536) == 0;
    for (unsigned i = 0; good && i < 65536 / STRIPE * STRIPE; i++)
        good = buffer[i] == i / STRIPE % THREADS + 1;
    OK(good, "%s", what);
    close_image(image);
}

/* Cached data must not outlive a hole that is punched into it. */
static void test_map_memory(void)
{
    struct img_extent extent;
    struct img *image;

    make_file(SIZE);
    image = open_image(IMG_CACHE_WRITEBACK);
    memset(buffer, 7, SIZE);
    bool good = image && img_pwrite(image, buffer, 0, SIZE) == 0 && img_flush(image) == 0 &&
                img_map_chain(image, NULL, 0, SIZE, &extent) == 0 && extent.kind == IMG_DATA && extent.length == SIZE;
    OK(good, "all data is one extent");
    good = good && img_map_chain(image, NULL, 70000, 1000, &extent) == 0 && extent.length == 1000;
    OK(good, "an answer is cut to the question");
    good = good && img_zero(image, 65536, 65536, IMG_ZERO_MAY_UNMAP) == 0 &&
           img_map_chain(image, NULL, 70000, 1000, &extent) == 0 && extent.kind == IMG_ZERO;
    OK(good, "a hole shows at once");
    close_image(image);
}

static void resize(const char *name, const char *options, uint64_t size, const char *preallocation,
                   uint64_t length, const char *wanted)
{
    struct img_open how = { .flags = IMG_RDWR | IMG_RESIZE, .cache = IMG_CACHE_WRITEBACK, .image_opts = true };
    struct img_error err = IMG_ERROR_INIT;
    struct img *image = NULL;
    struct stat status = { 0 };

    if (img_open(&image, options, &how, &err) == 0)
        img_resize(image, size, preallocation, &err);
    test_same(err.text, wanted, name);
    OK(stat(path, &status) == 0 && (uint64_t)status.st_size == length, "its length: %s", name);
    if (!wanted)
        OK(image && img_size(image) == size, "its size: %s", name);
    img_error_clear(&err);
    close_image(image);
}

/*
 * Space that cannot be allocated.  A limit refuses it, not the size of the disk: if asked for terabytes, a file
 * system takes all free space before it fails, and meanwhile every other program sees a full disk.
 */
static void resize_beyond_limit(const char *options)
{
    struct rlimit limit, old;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);

    if (getrlimit(RLIMIT_FSIZE, &old) < 0)
        abort();
    limit = (struct rlimit){ .rlim_cur = 2 * SIZE, .rlim_max = old.rlim_max };
    if (setrlimit(RLIMIT_FSIZE, &limit) < 0)
        abort();
    resize("more than there may be", options, INT64_C(1) << 43, "falloc", 1024,
           "Could not preallocate new data: File too large");
    if (setrlimit(RLIMIT_FSIZE, &old) < 0)
        abort();
    signal(SIGXFSZ, handler);
}

static void test_resize(void)
{
    static const char plain[] = "driver=raw,file.driver=file,file.filename=test-file.raw";
    static const char window[] = "driver=raw,offset=512,size=512,file.driver=file,file.filename=test-file.raw";
    static const char rest[] = "driver=raw,offset=512,file.driver=file,file.filename=test-file.raw";
    struct stat status = { 0 };

    make_file(1024);
    resize("grow", plain, 4096, NULL, 4096, NULL);
    resize("grow, set aside", plain, 262144, "falloc", 262144, NULL);
    OK(stat(path, &status) == 0 && status.st_blocks >= 500, "blocks are set aside");
    resize("grow, written", plain, 524288, "full", 524288, NULL);
    OK(stat(path, &status) == 0 && status.st_blocks >= 1000, "blocks are written");
    resize("shrink", plain, 1024, "off", 1024, NULL);
    resize("shrink, set aside", plain, 512, "falloc", 1024, "Preallocation can't be used for shrinking files");
    resize("metadata", plain, 4096, "metadata", 1024, "Unsupported preallocation mode: metadata");
    resize("no such mode", plain, 4096, "some", 1024, "invalid parameter value: some");
    resize_beyond_limit(plain);
    resize("window of a fixed size", window, 1024, NULL, 1024, "Cannot resize fixed-size raw disks");
    resize("window", rest, 1024, NULL, 1536, NULL);
    resize("window, too large", rest, INT64_MAX, NULL, 1536,
           "offset(9223372036854775807) exceeds maximum(9223372035781033984)");
}

int main(void)
{
    static const struct { enum img_cache mode; const char *name; } caches[] = {
        { IMG_CACHE_WRITEBACK, "writeback" }, { IMG_CACHE_NONE, "none" }, { IMG_CACHE_WRITETHROUGH, "writethrough" },
        { IMG_CACHE_DIRECTSYNC, "directsync" }, { IMG_CACHE_UNSAFE, "unsafe" },
    };
    char folder[] = "/var/tmp/imgbox-test-file.XXXXXX";

    if (!mkdtemp(folder) || chdir(folder) < 0)
        return 1;
    for (size_t i = 0; i < sizeof caches / sizeof *caches; i++) {
        random_requests(caches[i].mode, SIZE, caches[i].name);
        random_requests(caches[i].mode, 300001, caches[i].name);
        test_threads(caches[i].mode, "threads write next to each other");
    }
    test_map_memory();
    test_resize();
    unlink(path);
    if (chdir("/") == 0)
        rmdir(folder);
    return test_end();
}
