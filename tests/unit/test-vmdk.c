/* SPDX-License-Identifier: MIT */
/*
 * vmdk between the two steps of a write: bytes left by a failed write never become a table, and a table is written
 * after all data that it refers to, even if another thread flushed while they were being written.
 */
#include "libimg/copy/internal.h"
#include "libimg/img.h"
#include "test.h"
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

/* A sparse image of 64 MiB has two tables: offsets of the entries in its directories, and in its first table. */
enum { GRAIN = 64 << 10, FAR = 40 << 20, REDUNDANT = 21 * 512, DIRECTORY = 30 * 512, TABLE = 31 * 512 };

static const char path[] = "test-vmdk.vmdk", through[] = "blkdebug:test-vmdk.rules:test-vmdk.vmdk";
static unsigned char bytes[2 * GRAIN], found[2 * GRAIN];

static void make(void)
{
    struct img_error err = IMG_ERROR_INIT;
    struct img_doc *flat = img_doc_object();

    unlink(path);
    if (img_options_add(flat, "size=64M", &err) < 0 || img_create(img_driver_find("vmdk"), path, flat, &err) < 0)
        abort();
    img_doc_free(flat);
}

static struct img *reach(const char *name)
{
    const struct img_open how = { .format = "vmdk", .flags = IMG_RDWR };
    struct img_error err = IMG_ERROR_INIT;
    struct img *image = NULL;

    if (img_open(&image, name, &how, &err) < 0)
        abort();
    return image;
}

static int shut(struct img *image)
{
    struct img_error err = IMG_ERROR_INIT;
    int ret = img_close(image, &err);

    img_error_clear(&err);
    return ret;
}

/* `length` bytes of the file; written if `write` is set. */
static void file_bytes(off_t offset, void *buffer, size_t length, bool write)
{
    int fd = open(path, O_RDWR);

    if (fd < 0 || (write ? pwrite(fd, buffer, length, offset) : pread(fd, buffer, length, offset)) != (ssize_t)length)
        abort();
    close(fd);
}

static void test_failed_write(void)
{
    struct img_reservation at;
    struct img *image;
    unsigned char none[4] = { 0 };

    make();
    file_bytes(REDUNDANT + 4, none, sizeof none, true);
    file_bytes(DIRECTORY + 4, none, sizeof none, true);
    image = reach(path);
    OK(img_place(image, 0, sizeof bytes, &at) == 0 && at.length == sizeof bytes, "two grains get a place");
    img_pwrite(at.file, bytes, at.host, sizeof bytes);
    OK(img_fill(image, &at, bytes, -EIO) == -EIO, "and cannot be written whole");
    OK(img_pwrite(image, bytes, FAR, GRAIN) == 0, "another grain, that needs a table");
    OK(img_pread(image, found, FAR + GRAIN, GRAIN) == 0 && img_is_zero(found, GRAIN), "of which the rest is empty");
    OK(img_pread(image, found, FAR, GRAIN) == 0 && memcmp(found, bytes, GRAIN) == 0, "the grain is there");
    OK(shut(image) == 0, "closed");
}

static void test_order(void)
{
    static const char rules[] = "[inject-error]\nevent = \"flush_to_disk\"\niotype = \"flush\"\n";
    struct img_reservation at;
    unsigned char entry[4];
    struct img *image;
    FILE *file = fopen("test-vmdk.rules", "w");

    if (!file || fputs(rules, file) < 0 || fclose(file) != 0)
        abort();
    make();
    image = reach(through);
    OK(img_pwrite(image, bytes, GRAIN, GRAIN) == 0, "a grain is written");
    OK(img_place(image, 0, GRAIN, &at) == 0, "another one gets a place");
    OK(img_flush(image) == -EIO, "somebody flushes, and from then on that fails");
    file_bytes(TABLE + 4, entry, sizeof entry, false);
    OK(!img_is_zero(entry, sizeof entry), "the table names the first");
    OK(img_fill(image, &at, bytes, 0) == 0, "the other one is written");
    OK(img_flush(image) == -EIO && img_flush(image) == -EIO, "it cannot be flushed");
    file_bytes(TABLE, entry, sizeof entry, false);
    OK(img_is_zero(entry, sizeof entry), "so the table does not name it");
    OK(shut(image) < 0, "closing tells");
    unlink("test-vmdk.rules");
}

int main(void)
{
    const struct img_driver *vmdk = img_driver_find("vmdk");
    bool built = vmdk && vmdk->create;

    /* As table entries they would refer to the first grain. */
    for (size_t i = 0; i < sizeof bytes; i += 4)
        bytes[i] = 0x80;
    if (built)
        test_failed_write();
    if (built && img_driver_find("blkdebug"))
        test_order();
    unlink(path);
    return test_end();
}
