/* SPDX-License-Identifier: MIT */
/*
 * Adapters, such as ciphers: nodes between a format and its storage that change the bytes.  "xor" is an insecure
 * cipher with blocks of 512 bytes; "block" accepts only blocks of 64 KiB.  Both check the requests that they get.
 * Many threads write formats over them, and the result is read back.
 */
#include "libimg/driver.h"
#include "libimg/node/module.h"
#include "libimg/util/scratch.h"
#include "libimg/util/team.h"
#include "test.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

enum { XOR_BLOCK = 512, BLOCK = 65536, MOST = 4 * BLOCK, KEY = 0xa5, DISK = 6 << 20, WORKERS = 8, WRITES = 60 };

/* ---- The drivers ------------------------------------------------------------------ */

static unsigned asked, out_of_limits;

/* Requests must be whole blocks, or end at the end of the node, in aligned memory, and not exceed the maximum. */
static void judge(const struct img *image, const void *buffer, uint64_t offset, uint64_t length)
{
    const struct img_limits *limits = &image->limits;
    uint64_t end = offset + length, unit = limits->request_alignment;

    __atomic_add_fetch(&asked, 1, __ATOMIC_RELAXED);
    if (offset % unit || (end % unit && end < img_size(image)) || (uintptr_t)buffer % limits->memory_alignment ||
        (limits->max_transfer && length > limits->max_transfer))
        __atomic_add_fetch(&out_of_limits, 1, __ATOMIC_RELAXED);
}

static int xor_open(struct img *image, const void *parsed, struct img_doc *options, struct img_error *err)
{
    (void)parsed, (void)options, (void)err;
    image->limits.request_alignment = image->limits.memory_alignment = XOR_BLOCK;
    return 0;
}

/* The key depends on the offset, as in a real cipher. */
static void change(unsigned char *bytes, uint64_t offset, size_t length)
{
    for (size_t i = 0; i < length; i++)
        bytes[i] ^= (unsigned char)(KEY + (offset + i) / XOR_BLOCK);
}

static int xor_pread(struct img *image, void *buffer, uint64_t offset, size_t length)
{
    int ret = img_pread_padded(image->file, buffer, offset, length);

    judge(image, buffer, offset, length);
    change(buffer, offset, length);
    return ret;
}

static int xor_pwrite(struct img *image, const void *buffer, uint64_t offset, size_t length, unsigned flags)
{
    CLEANUP_SCRATCH unsigned char *coded = img_scratch_get(length);

    judge(image, buffer, offset, length);
    if (!coded)
        return -ENOMEM;
    memcpy(coded, buffer, length);
    change(coded, offset, length);
    return img_pwrite_flags(image->file, coded, offset, length, flags);
}

static const struct img_driver xor_driver = {
    IMG_ROW( .name = "xor", .kind = IMG_ADAPTER ),
    .traits = IMG_WRITES_FUA, .open = xor_open, .pread = xor_pread, .pwrite = xor_pwrite,
};

static int block_open(struct img *image, const void *parsed, struct img_doc *options, struct img_error *err)
{
    (void)parsed, (void)options, (void)err;
    image->limits.request_alignment = BLOCK;
    image->limits.memory_alignment = 4096;
    image->limits.max_transfer = MOST;
    image->limits.max_write_zeroes = MOST;
    return 0;
}

static int block_pread(struct img *image, void *buffer, uint64_t offset, size_t length)
{
    judge(image, buffer, offset, length);
    return img_pread_padded(image->file, buffer, offset, length);
}

static int block_pwrite(struct img *image, const void *buffer, uint64_t offset, size_t length, unsigned flags)
{
    judge(image, buffer, offset, length);
    return img_pwrite_flags(image->file, buffer, offset, length, flags);
}

static int block_zero(struct img *image, uint64_t offset, uint64_t length, unsigned flags)
{
    judge(image, NULL, offset, length);
    return img_zero(image->file, offset, length, flags);
}

static const struct img_driver block_driver = {
    IMG_ROW( .name = "block", .kind = IMG_ADAPTER ),
    .open = block_open, .pread = block_pread, .pwrite = block_pwrite, .zero = block_zero,
};

extern const struct img_driver img_driver_file, img_driver_raw, img_driver_qcow2, img_driver_vdi;
const struct img_driver *const img_drivers[] = { &img_driver_file, &img_driver_raw, &img_driver_qcow2, &img_driver_vdi,
                                                 &xor_driver, &block_driver, NULL };
struct img_module img_modules[] = { { .row = NULL } };
const char img_module_folder[] = "";

/* ---- Images ------------------------------------------------------------------------- */

static char name[] = "/tmp/imgbox-adapter-XXXXXX";
static unsigned char disk[DISK];        /* what the guest wrote */

/* Encrypt or decrypt the file in place. */
static void change_file(void)
{
    static unsigned char bytes[64 << 20];
    int fd = open(name, O_RDWR);
    ssize_t length = pread(fd, bytes, sizeof bytes, 0);

    change(bytes, 0, (size_t)length);
    OK(length > 0 && pwrite(fd, bytes, (size_t)length, 0) == length, "the file is changed");
    close(fd);
}

static bool make(const char *format)
{
    struct img_error err = IMG_ERROR_INIT;
    struct img_doc *options = img_doc_object();
    char size[32];

    snprintf(size, sizeof size, "%d", DISK);
    img_doc_put_string(options, "size", size);
    int ret = img_create(img_driver_find(format), name, options, &err);
    img_doc_free(options);
    return ret == 0;
}

static struct img *open_over(const char *format, const char *adapter, bool writable)
{
    struct img_open how = { .flags = writable ? IMG_RDWR : 0, .image_opts = true };
    struct img_error err = IMG_ERROR_INIT;
    struct img *image = NULL;
    char text[256];

    snprintf(text, sizeof text, "driver=%s,file.driver=%s,file.file.driver=file,file.file.filename=%s", format, adapter,
             name);
    if (img_open(&image, text, &how, &err) < 0)
        printf("# %s\n", err.text);
    img_error_clear(&err);
    return image;
}

/* ---- Writers ------------------------------------------------------------------------- */

struct writer {
    struct img *image;
    unsigned number;
    unsigned long long random;
    int error;
};

/* Each writer has the sectors of its number modulo WORKERS, so they meet in every cluster and every block. */
static void *scatter(void *argument)
{
    struct writer *writer = argument;
    unsigned char sector[512];

    for (int i = 0; i < WRITES && writer->error == 0; i++) {
        uint64_t at = (test_random(&writer->random) % (DISK / 512 / WORKERS) * WORKERS + writer->number) * 512;
        memset(sector, 1 + (int)(test_random(&writer->random) % 255), sizeof sector);
        memcpy(disk + at, sector, sizeof sector);
        writer->error = img_pwrite(writer->image, sector, at, sizeof sector);
        if (writer->error == 0 && i % 7 == 0) {
            memset(disk + at, 0, 512);
            writer->error = img_zero(writer->image, at, 512, IMG_ZERO_MAY_UNMAP);
        }
        if (writer->error == 0 && i % 20 == 0)
            writer->error = img_flush(writer->image);
    }
    return NULL;
}

static bool reads_the_same(struct img *image)
{
    static unsigned char got[DISK];

    return img_pread(image, got, 0, DISK) == 0 && memcmp(got, disk, DISK) == 0;
}

static void write_beside(const char *format, const char *adapter)
{
    struct img *image = open_over(format, adapter, true);
    struct img_error err = IMG_ERROR_INIT;
    struct writer writers[WORKERS];
    const struct img_team team = { .workers = writers, .count = WORKERS, .size = sizeof *writers, .stack = 256 << 10,
                                   .work = scatter };
    int error = 0;

    if (!image) {
        OK(false, "%s over %s opens", format, adapter);
        return;
    }
    memset(disk, 0, sizeof disk);
    asked = out_of_limits = 0;
    for (unsigned i = 0; i < WORKERS; i++)
        writers[i] = (struct writer){ .image = image, .number = i, .random = i + 1 };
    img_team_run(&team);
    for (unsigned i = 0; i < WORKERS; i++)
        error = error ? error : writers[i].error;
    OK(error == 0, "%d writers into %s over %s", WORKERS, format, adapter);
    OK(reads_the_same(image), "what was written is read");
    OK(img_close(image, &err) == 0, "closed");
    OK(asked > 0 && out_of_limits == 0, "%u requests, %u of them out of the limits of %s", asked, out_of_limits, adapter);
    image = open_over(format, adapter, false);
    OK(image && reads_the_same(image), "and when it is opened again");
    img_close(image, &err);
}

static void shows_nothing(void)
{
    struct img_error err = IMG_ERROR_INIT;
    struct img_extent extent;
    struct img *image;

    OK(truncate(name, 0) == 0 && truncate(name, DISK) == 0, "a hole");
    image = open_over("raw", "xor", false);
    OK(image && img_map_chain(image, NULL, 0, DISK, &extent) == 0 && extent.kind == IMG_DATA && extent.length == DISK,
       "a hole below a cipher is data");
    OK(!xor_driver.copy_range && !xor_driver.zero, "zeroes are written, and nothing is copied past it");
    img_close(image, &err);
}

int main(void)
{
    close(mkstemp(name));
    if (make("qcow2")) {
        change_file();
        write_beside("qcow2", "xor");
        /* The storage holds no plain text: it is an image only after decryption. */
        struct img *plain = open_over("qcow2", "block", false);
        OK(!plain, "the file is no image without the cipher");
        change_file();
        plain = open_over("qcow2", "block", false);
        OK(plain && reads_the_same(plain), "and is one when it is decrypted");
        struct img_error err = IMG_ERROR_INIT;
        img_close(plain, &err);
        write_beside("qcow2", "block");
    }
    if (make("vdi"))
        write_beside("vdi", "block");
    if (make("raw")) {
        write_beside("raw", "block");
        write_beside("raw", "block");
        shows_nothing();
        change_file();
        write_beside("raw", "xor");
    }
    unlink(name);
    return test_end();
}
