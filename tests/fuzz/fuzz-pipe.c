/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: the input is the beginning of an image that comes through a pipe, and that is read as it comes.  Zeroes
 * follow, so that it is too long to be kept whole.
 */
#include "fuzz-image.h"
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

enum { REST = 3 << 19 };

static void read_extent(struct img *image, const struct img_extent *extent)
{
    static uint8_t buffer[FUZZ_CHUNK];
    uint64_t length = extent->length < FUZZ_CHUNK ? extent->length : FUZZ_CHUNK;

    if (extent->kind == IMG_DATA || extent->kind == IMG_CODED)
        img_pread(image, buffer, extent->offset, (size_t)length);
}

static void read_forward(struct img *image)
{
    fuzz_extents(image, read_extent);
}

static void read_as_it_is(struct img_intake *intake, uint64_t length)
{
    static uint8_t buffer[FUZZ_CHUNK];
    int64_t n;

    for (uint64_t sum = 0; (n = img_intake_read(intake, buffer, sizeof buffer)) > 0; sum += (uint64_t)n)
        if (sum + (uint64_t)n > length)
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct img_open how = { .flags = IMG_NO_BACKING, .gate = IMG_GATE_CLOSED };
    struct img_error err = IMG_ERROR_INIT;
    struct img *image = NULL;
    int fd = size > FUZZ_MAX_INPUT ? -1 : memfd_create("pipe", 0), ret;

    if (fd < 0)
        return 0;
    if (write(fd, data, size) != (ssize_t)size || ftruncate(fd, (off_t)size + REST) < 0 || lseek(fd, 0, SEEK_SET) < 0)
        abort();
    struct img_intake *intake = img_intake_new(fd, "-");
    if (size % 8 == 7 && img_intake_take_trailer(intake, "vpc")) {
        read_as_it_is(intake, size + REST);
    } else if ((ret = img_intake_image(intake, &image, &how, &err)) == 0) {
        read_forward(image);
        img_intake_drain(intake);
    } else if (ret == -ESPIPE) {
        read_as_it_is(intake, size + REST);
        if (err.text)
            abort();
    }
    fuzz_close(image);
    img_error_clear(&err);
    img_intake_free(intake);
    close(fd);
    return 0;
}
