/* SPDX-License-Identifier: MIT */
/*
 * Opening, chains, maps, the gate and guest I/O on real files in a fresh directory: names and their errors, short
 * backing files, loops, the first sector of a guessed raw image, copy on write against a model in memory.
 */
#include "libimg/img.h"
#include "test.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum { MIB = 1 << 20 };

static char notes[1000];

static void notice(enum img_notice kind, const char *text)
{
    size_t used = strlen(notes);
    snprintf(notes + used, sizeof notes - used, "%d %s|", kind, text);
}

static void make(const char *format, const char *name, const char *options)
{
    struct img_error err = IMG_ERROR_INIT;
    struct img_doc *flat = img_doc_object();

    if (img_options_add(flat, options, &err) < 0 || img_create(img_driver_find(format), name, flat, &err) < 0)
        OK(false, "create %s: %s", name, err.text);
    img_doc_free(flat);
    img_error_clear(&err);
}

static struct img *open_with(const char *name, struct img_open how)
{
    struct img_error err = IMG_ERROR_INIT;
    struct img *image = NULL;

    if (img_open(&image, name, &how, &err) < 0)
        OK(false, "open %s: %s", name, err.text);
    img_error_clear(&err);
    return image;
}

static void shut(struct img *image)
{
    struct img_error err = IMG_ERROR_INIT;

    if (img_close(image, &err) < 0)
        OK(false, "close: %s", err.text);
    img_error_clear(&err);
}

static void refused(const char *name, struct img_open how, const char *wanted)
{
    struct img_error err = IMG_ERROR_INIT;
    struct img *image = NULL;

    img_open(&image, name, &how, &err);
    test_same(err.text, wanted, wanted);
    if (image)
        shut(image);
    img_error_clear(&err);
}

static void fill(struct img *image, uint64_t offset, size_t length, int byte)
{
    char *bytes = malloc(length);

    memset(bytes, byte, length);
    OK(img_pwrite(image, bytes, offset, length) == 0, "write %#llx", (unsigned long long)offset);
    free(bytes);
}

static void shown_as(const char *name, bool image_opts, const char *wanted)
{
    struct img *image = open_with(name, (struct img_open){ .image_opts = image_opts });

    if (image)
        test_same(img_filename(image), wanted, wanted);
    shut(image);
}

static void names(void)
{
    make("raw", "r.raw", "size=1M");
    refused("none", (struct img_open){ 0 }, "Could not open 'none': Could not open 'none': No such file or directory");
    refused("foo:bar", (struct img_open){ 0 }, "Could not open 'foo:bar': Unknown protocol 'foo'");
    refused("", (struct img_open){ 0 }, "Could not open '': The 'file' block driver requires a file name");
    refused("a/b:c", (struct img_open){ 0 },
            "Could not open 'a/b:c': Could not open 'a/b:c': No such file or directory");
    refused("driver=raw", (struct img_open){ .image_opts = true },
            "Could not open 'driver=raw': A block device must be specified for \"file\"");
    refused("driver=raw,file.filename=r.raw,foo.bar=1", (struct img_open){ .image_opts = true },
            "Could not open 'driver=raw,file.filename=r.raw,foo.bar=1': "
            "Block format 'raw' does not support the option 'foo.bar'");
    refused("json:{\"driver\":\"raw\",\"file\":\"x\"}", (struct img_open){ 0 },
            "Could not open 'json:{\"driver\":\"raw\",\"file\":\"x\"}': Cannot find device='x' nor node-name='x'");
    shown_as("r.raw", false, "r.raw");
    shown_as("file:r.raw", false, "r.raw");
    shown_as("json:{\"driver\":\"raw\",\"file\":{\"driver\":\"file\",\"filename\":\"r.raw\"}}", false, "r.raw");
    shown_as("driver=raw,offset=512,file.filename=r.raw", true,
             "json:{\"offset\": \"512\", \"driver\": \"raw\", \"file\": {\"driver\": \"file\", \"filename\": \"r.raw\"}}");
}

static void deep_nesting(void)
{
    char name[4000];
    size_t used = (size_t)snprintf(name, sizeof name, "driver=raw");

    for (int depth = 1; depth < 60; depth++) {
        used += (size_t)snprintf(name + used, sizeof name - used, ",");
        for (int i = 0; i < depth; i++)
            used += (size_t)snprintf(name + used, sizeof name - used, "%s", used < 3000 ? "file." : "");
        used += (size_t)snprintf(name + used, sizeof name - used, "driver=raw");
    }
    struct img_error err = IMG_ERROR_INIT;
    struct img *image = NULL;
    OK(img_open(&image, name, &(struct img_open){ .image_opts = true }, &err) < 0, "endless nesting is refused");
    img_error_clear(&err);
}

static void check_map(struct img *image, uint64_t offset, enum img_extent_kind kind, unsigned depth, uint64_t length)
{
    struct img_extent extent;
    int ret = img_map_chain(image, NULL, offset, img_size(image) - offset, &extent);

    OK(ret == 0 && extent.kind == kind && extent.depth == depth && extent.length == length,
       "map at %#llx: kind %d depth %u length %#llx", (unsigned long long)offset, (int)extent.kind, extent.depth,
       (unsigned long long)extent.length);
}

static void chains(void)
{
    struct img *image;
    unsigned char byte;

    make("raw", "base", "size=1M");
    image = open_with("base", (struct img_open){ .format = "raw", .flags = IMG_RDWR });
    fill(image, 0, 65536, 7);
    shut(image);
    make("qcow2", "middle", "size=2M,backing_file=base,backing_fmt=raw");
    make("qcow2", "top", "size=4M,backing_file=middle,backing_fmt=qcow2");
    image = open_with("top", (struct img_open){ 0 });
    check_map(image, 0, IMG_DATA, 2, 65536);
    check_map(image, 65536, IMG_ZERO, 2, MIB - 65536);
    check_map(image, MIB, IMG_HOLE, 1, MIB);
    check_map(image, 2 * MIB, IMG_HOLE, 0, 2 * MIB);
    OK(img_pread(image, &byte, 65535, 1) == 0 && byte == 7, "read through two layers");
    OK(img_pread(image, &byte, 3 * MIB, 1) == 0 && byte == 0, "behind the end of all backing files");
    OK(img_pread(image, &byte, 4 * MIB, 1) < 0, "behind the end of the image");
    OK(img_pwrite(image, &byte, 0, 1) == -EPERM, "no write to what is open for reading");
    shut(image);
    image = open_with("top", (struct img_open){ .flags = IMG_NO_BACKING });
    OK(!img_backing(image), "no backing file is opened where none is wanted");
    shut(image);
    refused("top", (struct img_open){ .gate = IMG_GATE_NO_BACKING },
            "Could not open 'top': Could not open backing file: The image names 'middle' as its backing file, "
            "which may not be opened");
    unlink("base");
    refused("top", (struct img_open){ 0 }, "Could not open 'top': Could not open backing file: "
            "Could not open backing file: Could not open 'base': No such file or directory");
}

static void loops(void)
{
    make("qcow2", "two", "size=1M");
    make("qcow2", "one", "size=1M,backing_file=two,backing_fmt=qcow2");
    make("qcow2", "two", "size=1M,backing_file=one,backing_fmt=qcow2");
    refused("one", (struct img_open){ 0 }, "Could not open 'one': Could not open backing file: "
            "Could not open backing file: Backing file 'one' creates an infinite loop.");
}

/* The gate: what a differencing disk names is not even looked at. */
static void parents(void)
{
    static const char *const formats[] = { "vpc", "vhdx" };

    for (size_t i = 0; i < 2; i++) {
        struct img *image;
        char options[100];

        make(formats[i], "parent", "size=1M");
        image = open_with("parent", (struct img_open){ 0 });
        snprintf(options, sizeof options, "size=%llu,backing_file=parent,backing_fmt=%s",
                 (unsigned long long)img_size(image), formats[i]);
        shut(image);
        make(formats[i], "child", options);
        image = open_with("child", (struct img_open){ 0 });
        OK(img_backing(image) && strcmp(img_filename(img_backing(image)), "parent") == 0, "the parent was found");
        shut(image);
        refused("child", (struct img_open){ .gate = IMG_GATE_NO_BACKING },
                "Could not open 'child': Could not open backing file: The image names 'parent' as its backing file, "
                "which may not be opened");
        make(formats[i], "parent", "size=1M");
        notes[0] = '\0';
        img_set_notice(notice);
        image = open_with("child", (struct img_open){ .flags = IMG_NO_BACKING });
        OK(strstr(notes, "'parent' is not its parent") != NULL, "another disk of that name is told");
        notes[0] = '\0';
        shut(image);
        image = open_with("child", (struct img_open){ .flags = IMG_NO_BACKING, .gate = IMG_GATE_CLOSED });
        img_set_notice(NULL);
        OK(!notes[0] && strcmp(img_backing_name(image), "parent") == 0, "but not behind a gate");
        shut(image);
    }
}

static void guessed_raw(void)
{
    static const char header[8] = { 'Q', 'F', 'I', '\xfb', 0, 0, 0, 3 };
    struct img *image;

    make("raw", "guess", "size=1M");
    notes[0] = '\0';
    img_set_notice(notice);
    image = open_with("guess", (struct img_open){ .flags = IMG_RDWR });
    img_set_notice(NULL);
    OK(strncmp(notes, "1 WARNING: Image format was not specified for 'guess' and probing guessed raw.|", 79) == 0,
       "opening a guessed raw image for writing is noted");
    OK(img_pwrite(image, header, 0, sizeof header) == -EPERM, "its first sector does not become a qcow2 header");
    OK(img_pwrite(image, header, 0, 4) == 0, "half of one is harmless");
    OK(img_pwrite(image, header + 4, 4, 4) == -EPERM, "and cannot be completed");
    OK(img_pwrite(image, header, 512, sizeof header) == 0, "other sectors are free");
    shut(image);
    image = open_with("guess", (struct img_open){ .format = "raw", .flags = IMG_RDWR });
    OK(img_pwrite(image, header, 0, sizeof header) == 0, "a raw image by name takes anything");
    shut(image);
}

/* Random writes, zeroes and compressed clusters against a copy in memory. */
static void against_model(const char *options, unsigned long long seed)
{
    struct img *image;
    size_t size, wrong = 0, cluster;
    unsigned char *model, *bytes;

    make("raw", "base", "size=300K");
    image = open_with("base", (struct img_open){ .format = "raw", .flags = IMG_RDWR });
    fill(image, 10000, 200000, 9);
    shut(image);
    make("qcow2", "cow", options);
    image = open_with("cow", (struct img_open){ .format = "qcow2", .flags = IMG_RDWR });
    size = (size_t)img_size(image);
    cluster = img_cluster_size(image);
    model = malloc(size);
    bytes = malloc(size);
    OK(img_pread(image, model, 0, size) == 0, "%s: first read", options);
    for (int step = 0; step < 200; step++) {
        size_t offset = test_random(&seed) % size, length = 1 + test_random(&seed) % 70000;
        int ret = 0;
        length = length > size - offset ? size - offset : length;
        switch (test_random(&seed) % 4) {
        case 0:
            ret = img_zero(image, offset, length, test_random(&seed) % 2 ? IMG_ZERO_MAY_UNMAP : 0);
            memset(model + offset, 0, length);
            break;
        case 1:
            offset -= offset % cluster;
            length = cluster > size - offset ? size - offset : cluster;
            memset(model + offset, (int)step, length);
            ret = img_pwrite_compressed(image, model + offset, offset, length);
            break;
        default:
            memset(model + offset, (int)test_random(&seed), length);
            ret = img_pwrite(image, model + offset, offset, length);
        }
        wrong += ret != 0;
        offset = test_random(&seed) % size;
        length = size - offset > 5000 ? 5000 : size - offset;
        wrong += img_pread(image, bytes, offset, length) != 0 || memcmp(bytes, model + offset, length) != 0;
    }
    OK(wrong == 0, "%s: 200 steps", options);
    shut(image);
    image = open_with("cow", (struct img_open){ .format = "qcow2" });
    OK(img_pread(image, bytes, 0, size) == 0 && memcmp(bytes, model, size) == 0, "%s: after reopening", options);
    shut(image);
    free(model);
    free(bytes);
}

int main(void)
{
    char directory[] = "/tmp/test-chain-XXXXXX";

    if (!mkdtemp(directory) || chdir(directory) < 0)
        return 1;
    names();
    deep_nesting();
    chains();
    loops();
    parents();
    guessed_raw();
    against_model("size=600K,backing_file=base,backing_fmt=raw,cluster_size=512", 1);
    against_model("size=1000448,backing_file=base,backing_fmt=raw", 2);
    against_model("size=1000448,backing_file=base,backing_fmt=raw,extended_l2=on,cluster_size=32K", 3);
    against_model("size=200K,backing_file=base,backing_fmt=raw,compat=0.10,cluster_size=4K", 4);
    static const char *const files[] = { "r.raw", "base", "middle", "top", "one", "two", "guess", "cow" };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        unlink(files[i]);
    if (chdir("/") == 0)
        rmdir(directory);
    return test_end();
}
