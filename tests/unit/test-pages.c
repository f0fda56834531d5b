/* SPDX-License-Identifier: MIT */
/*
 * The page cache of tables: under random changes, with memory for far fewer pages than are used, reads return what
 * was written, only dirty bytes reach the file, and `ready` is called before any of them does.
 */
#include "libimg/io/pages.h"
#include "test.h"
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

enum { PAGE = 512, PAGES = 64, SIZE = PAGE * PAGES, ROUNDS = 3000 };

static const char path[] = "test-pages.raw", other_path[] = "test-pages-other.raw";
static unsigned char model[SIZE];
static unsigned long long seed = 1;
static unsigned asked;
static int answer;

static unsigned pick(unsigned below)
{
    return test_random(&seed) % below;
}

static int ready(struct img *image)
{
    (void)image;
    asked++;
    return answer;
}

static struct img *open_image(const char *name)
{
    struct img_open how = { .format = "raw", .flags = IMG_RDWR | IMG_RESIZE, .cache = IMG_CACHE_UNSAFE };
    struct img_error err = IMG_ERROR_INIT;
    struct img *image = NULL;
    int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0644);

    if (fd < 0 || img_open(&image, name, &how, &err) < 0)
        abort();
    close(fd);
    img_error_clear(&err);
    return image;
}

/* Change some bytes of a page; returns false if it has the wrong content. */
static bool change(struct img_pages *pages)
{
    uint64_t offset = (uint64_t)PAGE * pick(PAGES);
    uint32_t from = pick(PAGE), length = 1 + pick(PAGE - from);
    uint8_t *bytes;

    if (img_pages_get(pages, offset, &bytes) < 0 || memcmp(bytes, model + offset, PAGE) != 0)
        return false;
    if (pick(3) == 0)
        return true;
    memset(bytes + from, (int)pick(256), length);
    memcpy(model + offset + from, bytes + from, length);
    img_pages_changed(pages, from, length);
    return true;
}

static bool file_is_model(struct img *image)
{
    static unsigned char found[SIZE];

    return img_pread(img_file(image), found, 0, SIZE) == 0 && memcmp(found, model, SIZE) == 0;
}

static void test_changes(struct img *image)
{
    struct img_pages *pages = img_pages_new(image, PAGE, 8 * PAGE, ready);
    bool good = true;

    for (int i = 0; i < ROUNDS; i++)
        good &= change(pages);
    OK(good, "pages hold what was put there");
    OK(asked > 10, "changed pages make room, and ask first");
    OK(img_pages_write(pages) == 0 && file_is_model(image), "all of it is in the file");
    unsigned before = asked;
    OK(img_pages_write(pages) == 0 && asked == before, "nothing is written twice");
    img_pages_free(pages);
}

static void test_only_changes(struct img *image)
{
    struct img_pages *pages = img_pages_new(image, PAGE, 8 * PAGE, NULL);
    uint8_t *bytes;

    OK(img_pages_get(pages, 0, &bytes) == 0, "a page is read");
    img_pwrite(img_file(image), "other", 100, 5);
    memcpy(model + 100, "other", 5);
    bytes[7] = model[7] = 0x77;
    img_pages_changed(pages, 7, 1);
    bytes[20] = model[20] = 0x88;
    img_pages_changed(pages, 20, 1);
    OK(img_pages_write(pages) == 0 && file_is_model(image), "bytes that did not change are left alone");
    bytes[7] = 0x99;
    img_pages_changed(pages, 7, 1);
    img_pages_forget(pages);
    OK(img_pages_write(pages) == 0 && file_is_model(image), "what is forgotten is not written");
    OK(img_pages_get(pages, 0, &bytes) == 0 && bytes[7] == 0x77, "and read again");
    img_pages_free(pages);
}

static void test_refusal(struct img *image)
{
    struct img_pages *pages = img_pages_new(image, PAGE, 4 * PAGE, ready);
    uint8_t *bytes;

    answer = -EIO;
    img_pages_get(pages, 0, &bytes);
    bytes[0] ^= 1;
    img_pages_changed(pages, 0, 1);
    OK(img_pages_write(pages) == -EIO && file_is_model(image), "nothing is written before it may be");
    answer = 0;
    model[0] ^= 1;
    OK(img_pages_write(pages) == 0 && file_is_model(image), "it is written later");
    OK(img_pages_get(pages, (uint64_t)PAGE * PAGES * 10, &bytes) == 0 && img_is_zero(bytes, PAGE),
       "behind the end of the file all is zero");
    OK(img_pages_get(pages, UINT64_MAX - PAGE, &bytes) == 0 && img_is_zero(bytes, PAGE), "as far as can be told");
    img_pages_free(pages);
}

/* Pages at the same offsets of two files, far more than fit into memory. */
static void test_two_files(struct img *image, struct img *other)
{
    static unsigned char second[SIZE], found[SIZE];
    struct img_pages *pages = img_pages_new(image, PAGE, 4 * PAGE, NULL);
    bool good = true;

    for (int i = 0; i < ROUNDS; i++) {
        bool first = pick(2) == 0;
        uint64_t offset = (uint64_t)PAGE * pick(PAGES);
        unsigned char *expected = (first ? model : second) + offset;
        uint8_t *bytes;

        if (img_pages_entry_of(pages, img_file(first ? image : other), offset, 0, &bytes) < 0)
            abort();
        good &= memcmp(bytes, expected, PAGE) == 0;
        uint32_t at = pick(PAGE);
        bytes[at] = expected[at] = (unsigned char)i;
        img_pages_changed(pages, at, 1);
    }
    OK(good, "pages of two files are told apart");
    OK(img_pages_write(pages) == 0 && file_is_model(image), "the one has what belongs to it");
    OK(img_pread(img_file(other), found, 0, SIZE) == 0 && memcmp(found, second, SIZE) == 0, "and the other");
    img_pages_free(pages);
}

int main(void)
{
    struct img_error err = IMG_ERROR_INIT;
    struct img *image = open_image(path), *other = open_image(other_path);

    test_changes(image);
    test_only_changes(image);
    test_refusal(image);
    test_two_files(image, other);
    OK(img_close(image, &err) == 0 && img_close(other, &err) == 0, "closed");
    unlink(path);
    unlink(other_path);
    return test_end();
}
