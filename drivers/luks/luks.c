/* SPDX-License-Identifier: MIT */
/*
 * luks: a disk that is encrypted as a whole, LUKS version 1.
 * Specification: "LUKS1 On-Disk Format Specification", version 1.2.3.
 *
 *     header, key slots       read once (libimg/codec/luks.h)
 *     payload                 the sectors of the disk, each encrypted by itself
 *
 * The payload is read and written through a cipher node, in parallel; this driver only says where it begins.
 */
#include "luks.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/wipe.h"
#include <string.h>

IMG_NEEDS("nettle");

#define OPTION(TYPE, key, member, text) \
    { .name = key, .help = text, .type = IMG_OPT_##TYPE, .when = IMG_AT_CREATE | IMG_AT_MEASURE, \
      .offset = offsetof(struct luks_create_options, member) }

#define AMEND(TYPE, key, member, text) \
    { .name = key, .help = text, .type = IMG_OPT_##TYPE, .when = IMG_AT_AMEND, \
      .offset = offsetof(struct luks_create_options, member) }

/* key-secret stands first in both structures: it opens the new image, too. */
static const struct img_option luks_options[] = {
    OPTION(SIZE, "size", size, "Virtual disk size"),
    { .name = "key-secret", .help = "ID of the secret that provides the keyslot passphrase", .type = IMG_OPT_STRING,
      .when = IMG_AT_OPEN | IMG_AT_CREATE | IMG_AT_MEASURE | IMG_AT_RUN,
      .offset = offsetof(struct luks_create_options, key_secret) },
    OPTION(STRING, "cipher-alg", cipher, "Name of encryption cipher algorithm"),
    OPTION(STRING, "cipher-mode", mode, "Name of encryption cipher mode"),
    OPTION(STRING, "ivgen-alg", ivgen, "Name of IV generator algorithm"),
    OPTION(STRING, "ivgen-hash-alg", ivgen_hash, "Name of IV generator hash algorithm"),
    OPTION(STRING, "hash-alg", hash, "Name of encryption hash algorithm"),
    { .name = "iter-time", .help = "Time to spend in PBKDF in milliseconds", .type = IMG_OPT_NUMBER,
      .when = IMG_AT_CREATE | IMG_AT_MEASURE | IMG_AT_AMEND, .offset = offsetof(struct luks_create_options, iter_time) },
    OPTION(BOOL, "detached-header", detached, "Create a detached LUKS header"),
    AMEND(STRING, "state", state, "Select new state of affected keyslots (active/inactive)"),
    AMEND(STRING, "new-secret", new_secret, "New secret to set in the matching keyslots. Empty string to erase"),
    AMEND(STRING, "old-secret", old_secret, "Select all keyslots that match this password"),
    AMEND(NUMBER, "keyslot", keyslot, "Select a single keyslot to modify explicitly"),
    { .name = NULL }
};

/* ---- Opening ----------------------------------------------------------------------- */

int luks_read_place(void *file, uint64_t offset, void *to, size_t length)
{
    return img_pread_padded(file, to, offset, length);
}

static int read_header(struct img *image, struct img_error *err)
{
    struct luks *s = image->state;
    uint8_t bytes[IMG_LUKS_HEADER];
    int ret = img_pread_padded(image->file, bytes, 0, sizeof bytes);

    if (ret < 0)
        return img_error_errno(err, -ret, "Unable to read LUKS header");
    return img_luks_parse(bytes, &s->header, err);
}

int luks_find_password(const char *key_secret, const uint8_t **password, size_t *length, struct img_error *err)
{
    if (!key_secret)
        return img_error_set(err, EINVAL, "Parameter 'key-secret' is required for cipher");
    *password = img_secret_find(key_secret, length, err);
    return *password ? 0 : -err->code;
}

static int unlock(struct img *image, const char *secret, struct img_error *err)
{
    struct luks *s = image->state;
    const struct img_luks_place place = { luks_read_place, image->file };
    uint8_t key[IMG_CIPHER_KEY_MAX];
    struct img_crypt *crypt;
    const uint8_t *password;
    size_t length;
    int ret = img_luks_check_mode(&s->header, err);

    if (ret == 0)
        ret = luks_find_password(secret, &password, &length, err);
    if (ret < 0)
        return ret;
    ret = img_luks_unlock(&s->header, &place, password, length, key, err);
    if (ret == -ENOKEY)
        return img_error_set(err, EINVAL, "Invalid password, cannot unlock any keyslot");
    if (ret < 0)
        return ret;
    crypt = img_luks_crypt(&s->header, key);
    if (image->flags & IMG_RDWR)
        memcpy(s->key, key, sizeof s->key);
    img_wipe(key, sizeof key);
    if (!crypt)
        return img_error_memory(err);
    s->payload = img_cipher_node_new(image, image->file, s->header.payload, IMG_LUKS_SECTOR, crypt);
    return s->payload ? 0 : img_error_memory(err);
}

static int luks_close(struct img *image)
{
    struct luks *s = image->state;

    img_wipe(s->key, sizeof s->key);
    img_cipher_node_free(s->payload);
    s->payload = NULL;
    return 0;
}

static int luks_open(struct img *image, const void *parsed, struct img_doc *options, struct img_error *err)
{
    const struct luks_open_options *given = parsed;
    struct luks *s = image->state;
    uint64_t size = img_size(image->file);
    int ret = read_header(image, err);

    (void)options;
    if (ret < 0)
        return ret;
    image->encrypted = true;
    if (!(image->flags & IMG_NO_IO))
        ret = unlock(image, given->key_secret, err);
    if (ret == 0 && size < s->header.payload)
        ret = img_error_set(err, EIO, "Could not refresh total sector count: Input/output error");
    if (ret < 0)
        luks_close(image);
    else
        image->size = size - s->header.payload;
    return ret;
}

/* ---- Bytes --------------------------------------------------------------------------- */

/* All of it is data, whose place in the file means nothing to others. */
static int luks_map(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extent)
{
    const struct luks *s = image->state;

    extent->kind = IMG_DATA;
    extent->length = length;
    extent->file = s->payload;
    extent->host = offset;
    return s->payload ? 0 : -ENOKEY;
}

/* A write goes where it belongs. */
static int luks_reserve(struct img *image, uint64_t offset, uint64_t length, struct img_reservation *to)
{
    const struct luks *s = image->state;

    *to = (struct img_reservation){ .offset = offset, .length = length, .file = s->payload, .host = offset,
                                    .published = true };
    return s->payload ? 0 : -ENOKEY;
}

static int luks_resize(struct img *image, uint64_t size, const char *preallocation, struct img_error *err)
{
    const struct luks *s = image->state;
    int ret;

    if (size > INT64_MAX - s->header.payload)
        return img_error_set(err, EFBIG, "The requested file size is too large");
    ret = img_resize(image->file, s->header.payload + size, preallocation, err);
    if (ret == 0)
        image->size = size;
    return ret;
}

/* ---- What info shows --------------------------------------------------------------------- */

static void put_slot(struct img_doc *slots, const struct img_luks_slot *from)
{
    struct img_doc *slot = img_doc_object();

    img_doc_put_bool(slot, "active", from->active);
    if (from->active)
        img_doc_put_uint(slot, "iters", from->iterations);
    img_doc_put_uint(slot, "key-offset", from->key_offset);
    if (from->active)
        img_doc_put_uint(slot, "stripes", from->stripes);
    img_doc_append(slots, slot);
}

static int luks_info(struct img *image, struct img_doc *data, struct img_error *err)
{
    const struct img_luks *h = &((const struct luks *)image->state)->header;
    struct img_doc *slots = img_doc_array();

    (void)err;
    for (unsigned i = 0; i < IMG_LUKS_SLOTS; i++)
        put_slot(slots, &h->slots[i]);
    img_doc_put_string(data, "ivgen-alg", img_luks_ivgen_name(h->ivgen));
    img_doc_put_bool(data, "detached-header", false);
    img_doc_put_string(data, "hash-alg", img_kdf_hash_name(h->hash));
    img_doc_put_string(data, "cipher-alg", img_cipher_name(h->cipher));
    img_doc_put_string(data, "uuid", h->uuid);
    if (h->ivgen == IMG_IV_ESSIV)
        img_doc_put_string(data, "ivgen-hash-alg", img_kdf_hash_name(h->ivgen_hash));
    img_doc_put_string(data, "cipher-mode", img_luks_mode_name(h->mode));
    img_doc_put(data, "slots", slots);
    img_doc_put_uint(data, "payload-offset", h->payload);
    img_doc_put_uint(data, "master-key-iters", h->iterations);
    return 0;
}

static const char *const strong_options[] = { "key-secret", NULL };

const struct img_driver img_driver_luks = {
    IMG_ROW(
        .name = "luks", .kind = IMG_FORMAT, .marks = IMG_MARKS(IMG_AT(0, "LUKS\xba\xbe\0\1"))
    ),
    .state_size = sizeof(struct luks), .options = luks_options, .strong_options = strong_options,
    .open_size = sizeof(struct luks_open_options), .create_size = sizeof(struct luks_create_options),
    .open = luks_open, .close = luks_close, .create = luks_create, .measure = luks_measure,
    .amend = luks_amend,
    .map = luks_map, .reserve = luks_reserve, .resize = luks_resize, .info = luks_info,
};
