/* SPDX-License-Identifier: MIT */
/* New luks images: the header, the first key slot, and a payload of holes, which reads as noise. */
#include "luks.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/strbuf.h"
#include "../../libimg/util/wipe.h"
#include <stdlib.h>
#include <string.h>

/* Everything that has to be right before a file is touched. */
static int plan(const struct luks_create_options *given, struct img_luks *luks, struct img_error *err)
{
    const struct img_luks_wish wish = { given->cipher, given->mode, given->ivgen, given->ivgen_hash, given->hash };

    if (given->detached == 1)
        return img_error_set(err, EINVAL, "Parameter 'detached-header' is unexpected");
    return img_luks_plan(&wish, luks, err);
}

/* The header, and what belongs into the first slot. */
struct made {
    struct img_luks luks;
    uint8_t *split;
};

static int make(const struct luks_create_options *given, struct made *made, struct img_error *err)
{
    uint64_t time = luks_iter_time(given);
    uint8_t key[IMG_CIPHER_KEY_MAX];
    const uint8_t *password;
    size_t length;
    int ret = plan(given, &made->luks, err);

    if (ret == 0)
        ret = luks_find_password(given->key_secret, &password, &length, err);
    if (ret < 0)
        return ret;
    made->split = img_malloc(img_luks_split_bytes(&made->luks));
    if (!made->split)
        return img_error_memory(err);
    ret = img_luks_new_key(&made->luks, time, key, err);
    if (ret == 0)
        ret = img_luks_fill_slot(&made->luks, 0, password, length, time, key, made->split, err);
    img_wipe(key, sizeof key);
    return ret;
}

static int write_image(struct img *file, const struct made *made, struct img_error *err)
{
    const struct img_luks *luks = &made->luks;
    uint8_t header[IMG_LUKS_HEADER];
    int ret = img_pwrite(file, made->split, luks->slots[0].key_offset, img_luks_split_bytes(luks));

    img_luks_put(luks, header);
    if (ret == 0)
        ret = img_pwrite(file, header, 0, sizeof header);
    return ret < 0 ? img_error_errno(err, -ret, "Could not write encryption header") : 0;
}

/* There are no metadata but the header, so `preallocation=metadata` is fulfilled without the file's help. */
static void take_preallocation(struct img_doc *rest)
{
    const char *mode = img_doc_string_at(rest, "preallocation");

    if (mode && strcmp(mode, "metadata") == 0)
        img_doc_remove(rest, "preallocation");
}

/* The file is made of whole sectors, but the disk may end inside one. */
static int write_all(struct img *file, const struct made *made, uint64_t size, struct img_error *err)
{
    int ret = write_image(file, made, err);

    if (ret == 0 && size % IMG_LUKS_SECTOR)
        ret = img_resize_file(file, made->luks.payload + size, NULL, err);
    return ret;
}

int luks_create(const struct img_create *request, struct img_error *err)
{
    const struct luks_create_options *given = request->options;
    uint64_t size = given->size < 0 ? 0 : (uint64_t)given->size;
    struct made made = { .split = NULL };
    struct img *file = NULL;
    int ret = make(given, &made, err);

    if (ret == 0 && size > INT64_MAX - made.luks.payload)
        ret = img_error_set(err, EFBIG, "The requested file size is too large");
    take_preallocation(request->rest);
    if (ret == 0)
        ret = img_create_file(request->name, made.luks.payload + size, IMG_PERM_ALL, request->rest, &file, err);
    if (ret == 0) {
        ret = write_all(file, &made, size, err);
        if (ret < 0)
            img_remove_file(file->filename);
        ret = img_close_file(file, ret, err);
    }
    free(made.split);
    return ret;
}

int luks_measure(const void *options, struct img *source, uint64_t size, struct img_measure *result,
                 struct img_error *err)
{
    const struct luks_create_options *given = options;
    struct img_luks luks;
    const uint8_t *password;
    size_t length;
    int ret = plan(given, &luks, err);

    (void)source;
    if (ret == 0)
        ret = luks_find_password(given->key_secret, &password, &length, err);
    if (ret < 0)
        return ret;
    if (size > INT64_MAX - luks.payload)
        return img_error_set(err, EFBIG, "The image size is too large");
    result->required = result->fully_allocated = luks.payload + size;
    return 0;
}
