/* SPDX-License-Identifier: MIT */
/*
 * luks: a disk that is encrypted as a whole, LUKS version 1 or 2.
 * Specification: "LUKS1 On-Disk Format Specification", version 1.2.3; "LUKS2 On-Disk Format Specification", 1.1.3.
 *
 *     header, key slots       read once, changed by amend (libimg/io/luks-volume.h)
 *     payload                 the sectors of the disk, each encrypted by itself
 *
 * The payload is read and written through a cipher node, in parallel; this driver only says where it begins.
 */
#include "luks.h"
#include "../../libimg/util/checked.h"

IMG_NEEDS("nettle");

#define OPTION(TYPE, key, member, ...) \
    { .name = key, .help = __VA_ARGS__, .type = IMG_OPT_##TYPE, .when = IMG_AT_CREATE | IMG_AT_MEASURE, \
      .offset = offsetof(struct luks_create_options, member) }

#define AMEND(TYPE, key, member, ...) \
    { .name = key, .help = __VA_ARGS__, .type = IMG_OPT_##TYPE, .when = IMG_AT_AMEND, \
      .offset = offsetof(struct luks_create_options, member) }

/* key-secret stands first in both structures: it opens the new image, too. */
static const struct img_option luks_options[] = {
    OPTION(SIZE, "size", size, "Virtual disk size"),
    { .name = "key-secret", .help = "ID of the secret that provides the keyslot passphrase", .type = IMG_OPT_STRING,
      .when = IMG_AT_OPEN | IMG_AT_CREATE | IMG_AT_MEASURE | IMG_AT_RUN,
      .offset = offsetof(struct luks_create_options, key_secret) },
    OPTION(STRING, "cipher-alg", luks.cipher, "Name of encryption cipher algorithm", .choices = IMG_LUKS_CIPHERS),
    OPTION(STRING, "cipher-mode", luks.mode, "Name of encryption cipher mode", .choices = IMG_LUKS_MODES),
    OPTION(STRING, "ivgen-alg", luks.ivgen, "Name of IV generator algorithm", .choices = IMG_LUKS_IVGENS),
    OPTION(STRING, "ivgen-hash-alg", luks.ivgen_hash, "Name of IV generator hash algorithm",
        .choices = IMG_LUKS_HASHES),
    OPTION(STRING, "hash-alg", luks.hash, "Name of encryption hash algorithm", .choices = IMG_LUKS_HASHES),
    { .name = "iter-time", .help = "Time to spend in PBKDF in milliseconds", .type = IMG_OPT_NUMBER,
      .when = IMG_AT_CREATE | IMG_AT_MEASURE | IMG_AT_AMEND,
      .offset = offsetof(struct luks_create_options, luks.iter_time) },
    OPTION(NUMBER, "version", version, "Version of the header: 1 or 2", .choices = "1 2"),
    OPTION(STRING, "pbkdf", luks.pbkdf, "Version 2: pbkdf2, argon2i or argon2id",
        .choices = "pbkdf2 argon2i argon2id"),
    OPTION(SIZE, "pbkdf-memory", luks.pbkdf_memory, "Version 2: memory that Argon2 takes"),
    OPTION(SIZE, "sector-size", luks.sector_size, "Version 2: bytes that are encrypted as one, 512 to 4096"),
    OPTION(BOOL, "detached-header", detached, "Create a detached LUKS header"),
    AMEND(STRING, "state", luks.state, "Select new state of affected keyslots (active/inactive)",
        .choices = "active inactive"),
    AMEND(STRING, "new-secret", luks.new_secret, "New secret to set in the matching keyslots. Empty string to erase"),
    AMEND(STRING, "old-secret", luks.old_secret, "Select all keyslots that match this password"),
    AMEND(NUMBER, "keyslot", luks.keyslot, "Select a single keyslot to modify explicitly"),
    { .name = NULL }
};

/* ---- Opening ----------------------------------------------------------------------- */

static int unlock(struct img *image, const char *secret, struct img_error *err)
{
    struct luks *s = image->state;
    struct img_crypt *crypt;
    int ret = img_luks_volume_unlock(&s->volume, secret, image->flags & IMG_RDWR, &crypt, err);

    if (ret < 0)
        return ret;
    s->payload = img_cipher_node_new(image, image->file, &s->volume.range, crypt);
    return s->payload ? 0 : img_error_memory(err);
}

static int luks_close(struct img *image)
{
    struct luks *s = image->state;

    img_luks_volume_forget(&s->volume);
    img_cipher_node_free(s->payload);
    s->payload = NULL;
    return 0;
}

/* The header may be in a file of its own (cryptsetup luksFormat --header). */
static int open_header(struct img *image, struct img_doc *options, struct img_error *err)
{
    struct img_doc *header = img_doc_take(options, "header");
    int ret = header ? img_open_child(image, "header", NULL, header, &image->data_file, err) : 0;

    img_doc_free(header);
    return ret;
}

/* The disk ends with the file, or where the header says; the sectors of version 2 are whole. */
static int find_size(struct img *image, struct img_error *err)
{
    const struct img_luks_volume *volume = &((const struct luks *)image->state)->volume;
    uint64_t size = img_size(image->file), start = volume->range.start;

    if (size < start)
        return img_error_set(err, EIO, "Could not refresh total sector count: Input/output error");
    if (volume->size != UINT64_MAX && volume->size > size - start)
        return img_error_set(err, EINVAL, "The file is %llu bytes shorter than its header says",
                             (unsigned long long)(volume->size - (size - start)));
    image->size = volume->size != UINT64_MAX ? volume->size : size - start;
    if (volume->version == 2)
        image->size = img_align_down(image->size, volume->range.sector);
    return 0;
}

static int luks_open(struct img *image, const void *parsed, struct img_doc *options, struct img_error *err)
{
    const struct luks_open_options *given = parsed;
    struct luks *s = image->state;
    int ret;

    ret = open_header(image, options, err);
    if (ret < 0)
        return ret;
    s->volume = (struct img_luks_volume){
        .file = image->data_file ? image->data_file : image->file, .length = INT64_MAX, .prefix = "", .newer = true,
        .detached = image->data_file != NULL,
    };
    ret = img_luks_volume_read(&s->volume, err);
    if (ret < 0)
        return ret;
    image->encrypted = true;
    if (!(image->flags & IMG_NO_IO))
        ret = unlock(image, given->key_secret, err);
    if (ret == 0)
        ret = find_size(image, err);
    /* As qemu-img, it shows the unit of the storage, if that has one. */
    image->limits.cluster = image->file->limits.cluster;
    image->limits.write_unit = image->file->limits.write_unit;
    image->limits.lock_unit = image->file->limits.lock_unit;
    if (ret < 0)
        luks_close(image);
    return ret;
}

/* ---- Bytes --------------------------------------------------------------------------- */

/* All of it is data, whose place in the file means nothing to others. */
static int luks_map(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extent)
{
    const struct luks *s = image->state;

    extent->kind = IMG_DATA;
    extent->raw = true;
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
    uint64_t payload = s->volume.range.start;
    int ret;

    if (s->volume.version == 2 && s->volume.size != UINT64_MAX)
        return img_error_set(err, ENOTSUP, "The header says how long the disk is, so it cannot be resized");
    if (s->volume.version == 2 && size % s->volume.range.sector)
        return img_error_set(err, EINVAL, "The new size must be a multiple of %u", s->volume.range.sector);
    if (size > INT64_MAX - payload)
        return img_error_set(err, EFBIG, "The requested file size is too large");
    ret = img_resize(image->file, payload + size, preallocation, err);
    if (ret == 0)
        image->size = size;
    return ret;
}

/* ---- The header -------------------------------------------------------------------------- */

static int luks_info(struct img *image, struct img_doc *data, struct img_error *err)
{
    const struct luks *s = image->state;

    (void)err;
    img_luks_volume_info(&s->volume, NULL, data);
    return 0;
}

static int luks_amend(struct img *image, const void *options, const struct img_amend *how, struct img_error *err)
{
    const struct luks_create_options *given = options;
    struct luks *s = image->state;

    return img_luks_volume_amend(&s->volume, &given->luks, how->force, err);
}

static const char *const strong_options[] = { "key-secret", NULL };

const struct img_driver img_driver_luks = {
    IMG_ROW(
        .name = "luks", .kind = IMG_FORMAT, .alias = "crypto luks1",
        .marks = IMG_MARKS(IMG_AT(0, "LUKS\xba\xbe\0\1"), IMG_OR, IMG_AT(0, "LUKS\xba\xbe\0\2"))
    ),
    .traits = IMG_GROWS, .second_child = "header", .state_size = sizeof(struct luks), .options = luks_options,
    .strong_options = strong_options,
    .open_size = sizeof(struct luks_open_options), .create_size = sizeof(struct luks_create_options),
    .open = luks_open, .close = luks_close, .create = luks_create, .measure = luks_measure,
    .amend = luks_amend,
    .map = luks_map, .reserve = luks_reserve, .resize = luks_resize, .info = luks_info,
};
