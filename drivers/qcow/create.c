/* SPDX-License-Identifier: MIT */
/*
 * New qcow images: the header, the name of the backing file, and an empty L1 table in whole sectors.  All options
 * are checked before any file is touched.
 */
#include "qcow.h"
#include "../../libimg/io/encrypt-options.h"

#include <string.h>

enum { L1_ALIGNMENT = 8 };

#define NEW(kind, key, member, at, text) \
    { .name = key, .help = text, .type = IMG_OPT_##kind, .when = at, \
      .offset = offsetof(struct qcow_create_options, member) }

const struct img_option qcow_options[] = {
    NEW(SIZE, "size", size, IMG_AT_CREATE, "Virtual disk size"),
    NEW(STRING, "backing_file", backing_file, IMG_AT_CREATE, "File name of a base image"),
    NEW(STRING, "backing_fmt", backing_fmt, IMG_AT_CREATE, "Format of the backing image"),
    NEW(BOOL_WORD, "encryption", encryption, IMG_AT_CREATE,
        "Encrypt the image with format 'aes'. (Deprecated in favor of encrypt.format=aes)"),
    NEW(STRING, "encrypt.format", encrypt_format, IMG_AT_CREATE | IMG_AT_OPEN,
        "Encrypt the image, format choices: 'aes'"),
    NEW(STRING, "encrypt.key-secret", encrypt_key_secret, IMG_AT_CREATE | IMG_AT_OPEN | IMG_AT_RUN,
        "ID of the secret that provides the AES encryption key"),
    { .name = NULL }
};

/* Errors that are reported before any number is checked. */
static int check_options(const struct qcow_create_options *given, struct img_error *err)
{
    const char *format = img_cipher_new_format(given->encryption, given->encrypt_format);

    if (given->backing_fmt && !img_driver_find(given->backing_fmt))
        return img_error_set(err, EINVAL, "unrecognized backing format '%s'", given->backing_fmt);
    if (img_cipher_check_alias(given->encryption, given->encrypt_format, err) < 0)
        return -EINVAL;
    if (!format && given->encrypt_key_secret)
        return img_error_set(err, EINVAL, "Parameter 'encrypt.format' is missing");
    if (format && strcmp(format, "aes") != 0 && strcmp(format, "luks") != 0)
        return img_error_set(err, EINVAL, "Parameter 'format' does not accept value '%s'", format);
    return 0;
}

static int plan_encryption(const struct qcow_create_options *given, struct qcow_header *h, struct img_error *err)
{
    const char *format = img_cipher_new_format(given->encryption, given->encrypt_format);

    if (!format)
        return 0;
    if (strcmp(format, "luks") == 0)
        return img_error_set(err, EINVAL, "Unsupported encryption format");
    h->crypt_method = QCOW_CRYPT_AES;
    return img_cipher_aes_secret(given->encrypt_key_secret, err);
}

static int plan_header(const struct qcow_create_options *given, struct qcow_header *h, struct img_error *err)
{
    bool backed = given->backing_file && given->backing_file[0];
    size_t name_length = backed ? strlen(given->backing_file) : 0;
    uint64_t entries;

    *h = (struct qcow_header){ .version = 1, .size = given->size < 0 ? 0 : (uint64_t)given->size };
    h->size = img_align_up(h->size, QCOW_SECTOR);
    int status = check_options(given, err);
    if (status < 0)
        return status;
    if (h->size == 0)
        return img_error_set(err, EINVAL, "Image size is too small, cannot be zero length");
    if (name_length > QCOW_MAX_BACKING_NAME)
        return img_error_set(err, EINVAL, "Backing file name too long");
    /* Over a backing file a cluster is one sector, so that no write needs copy on write. */
    h->cluster_bits = backed ? 9 : 12;
    h->l2_bits = backed ? 12 : 9;
    h->backing_offset = backed ? QCOW_HEADER_BYTES : 0;
    h->backing_length = (uint32_t)name_length;
    h->l1_offset = img_align_up(QCOW_HEADER_BYTES + name_length, L1_ALIGNMENT);
    if (!qcow_l1_entries(h->size, h->cluster_bits, h->l2_bits, &entries))
        return img_error_set(err, EINVAL, "Image too large");
    return plan_encryption(given, h, err);
}

static void encode_header(const struct qcow_header *h, uint8_t bytes[QCOW_HEADER_BYTES])
{
    memset(bytes, 0, QCOW_HEADER_BYTES);
    img_put_be32(bytes, QCOW_MAGIC);
    img_put_be32(bytes + 4, h->version);
    img_put_be64(bytes + 8, h->backing_offset);
    img_put_be32(bytes + 16, h->backing_length);
    img_put_be64(bytes + 24, h->size);
    bytes[32] = h->cluster_bits;
    bytes[33] = h->l2_bits;
    img_put_be32(bytes + 36, h->crypt_method);
    img_put_be64(bytes + 40, h->l1_offset);
}

static int write_image(struct img *file, const struct qcow_header *h, const char *backing_file)
{
    uint8_t bytes[QCOW_HEADER_BYTES + QCOW_MAX_BACKING_NAME];
    uint64_t entries, table;

    encode_header(h, bytes);
    if (h->backing_length)
        memcpy(bytes + QCOW_HEADER_BYTES, backing_file, h->backing_length);
    int status = img_pwrite(file, bytes, 0, QCOW_HEADER_BYTES + h->backing_length);
    if (status < 0)
        return status;
    qcow_l1_entries(h->size, h->cluster_bits, h->l2_bits, &entries);
    table = img_align_up(entries * QCOW_ENTRY, QCOW_SECTOR);
    /* A device may hold old data there; a file is only extended. */
    status = img_zero(file, h->l1_offset, table, IMG_ZERO_MAY_UNMAP);
    return status < 0 ? status : img_lengthen_file(file, h->l1_offset + table);
}

int qcow_create(const struct img_create *request, struct img_error *err)
{
    const struct qcow_create_options *given = request->options;
    struct qcow_header h;
    struct img *file;

    int status = img_check_target(request->name, err);
    if (status < 0 || (status = plan_header(given, &h, err)) < 0 ||
        (status = img_check_can_grow("qcow", request->name, err)) < 0)
        return status;
    status = img_create_file(request->name, 0, IMG_PERM_ALL, request->rest, &file, err);
    if (status < 0)
        return status;
    status = write_image(file, &h, given->backing_file);
    if (status < 0)
        img_error_errno(err, -status, "Could not write qcow header");
    return img_close_file(file, status, err);
}
