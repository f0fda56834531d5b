/* SPDX-License-Identifier: MIT */
/* The qcow driver: the header, the vtable, open and close.  Specification: "The Header". */
#include "qcow.h"
#include "../../libimg/io/encrypt-options.h"

static int check_version(const struct qcow_header *h, struct img_error *err)
{
    if (h->version == 1)
        return 0;
    img_error_set(err, ENOTSUP, "qcow (v1) does not support qcow version %u", h->version);
    if (h->version == 2 || h->version == 3)
        img_error_hint(err, "Try the 'qcow2' driver instead.");
    return -ENOTSUP;
}

/* In the order of qemu-img. */
static int check_header(struct qcow *s, const char *name, struct img_error *err)
{
    const struct qcow_header *h = &s->h;

    if (h->size <= 1)
        return img_error_set(err, EINVAL, "Image size is too small (must be at least 2 bytes)");
    if (h->cluster_bits < QCOW_MIN_CLUSTER_BITS || h->cluster_bits > QCOW_MAX_CLUSTER_BITS)
        return img_error_set(err, EINVAL, "Cluster size must be between 512 and 64k");
    if (h->l2_bits < QCOW_MIN_L2_BITS || h->l2_bits > QCOW_MAX_L2_BITS)
        return img_error_set(err, EINVAL, "L2 table size must be between 512 and 64k");
    if (h->crypt_method > QCOW_CRYPT_AES)
        return img_error_set(err, EINVAL, "invalid encryption method in qcow header");
    if (!qcow_l1_entries(h->size, h->cluster_bits, h->l2_bits, &s->l1_entries))
        return img_error_set(err, EINVAL, "Image too large");
    if (!img_within(h->l1_offset, s->l1_entries * QCOW_ENTRY, QCOW_MAX_OFFSET))
        return img_error_errno(err, EIO, "Could not open '%s'", name);
    return 0;
}

static int read_backing(struct img *image, struct img_error *err)
{
    const struct qcow_header *h = &qcow_state(image)->h;
    char name[QCOW_MAX_BACKING_NAME + 1];

    if (h->backing_offset == 0)
        return 0;
    if (h->backing_length > QCOW_MAX_BACKING_NAME)
        return img_error_set(err, EINVAL, "Backing file name too long");
    if (!img_within(h->backing_offset, h->backing_length, QCOW_MAX_OFFSET) ||
        img_pread(image->file, name, h->backing_offset, h->backing_length) < 0)
        return img_error_errno(err, EIO, "Could not open '%s'", image->file->filename);
    name[h->backing_length] = '\0';
    return img_replace_text(&image->backing_name, name[0] ? name : NULL) < 0 ? img_error_memory(err) : 0;
}

static int read_header(struct img *image, struct img_error *err)
{
    struct qcow *s = qcow_state(image);
    uint8_t bytes[QCOW_HEADER_BYTES];

    int status = img_pread(image->file, bytes, 0, sizeof bytes);
    if (status < 0)
        return img_error_errno(err, -status, "Could not read qcow header");
    if (img_get_be32(bytes) != QCOW_MAGIC)
        return img_error_set(err, EINVAL, "Image not in qcow format");
    s->h = (struct qcow_header){
        .version = img_get_be32(bytes + 4),
        .backing_offset = img_get_be64(bytes + 8), .backing_length = img_get_be32(bytes + 16),
        .size = img_get_be64(bytes + 24),
        .cluster_bits = bytes[32], .l2_bits = bytes[33],
        .crypt_method = img_get_be32(bytes + 36),
        .l1_offset = img_get_be64(bytes + 40),
    };
    if ((status = check_version(&s->h, err)) < 0 ||
        (status = check_header(s, image->file->filename, err)) < 0)
        return status;
    return read_backing(image, err);
}

static void release(struct qcow *s)
{
    img_pages_free(s->l1);
    img_pages_free(s->l2);
    img_cipher_node_free(s->cipher);
    *s = (struct qcow){ .l1 = NULL };
}

static int qcow_open(struct img *image, const void *parsed, struct img_doc *options, struct img_error *err)
{
    const struct qcow_open_options *given = parsed;
    struct qcow *s = qcow_state(image);
    int status = read_header(image, err);

    if (status < 0)
        return status;
    image->encrypted = s->h.crypt_method != QCOW_CRYPT_NONE;
    status = img_cipher_check_options(image->encrypted ? "aes" : NULL, given->encrypt_format, options, err);
    if (status == 0 && image->encrypted && !(image->flags & IMG_NO_IO))
        status = img_cipher_node_aes(image, image->file, given->encrypt_key_secret, &s->cipher, err);
    if (status < 0)
        return status;
    s->cluster_size = 1u << s->h.cluster_bits;
    s->l2_bytes = (uint32_t)QCOW_ENTRY << s->h.l2_bits;
    s->span = 1ull << (s->h.cluster_bits + s->h.l2_bits);
    s->end = img_max(img_size(image->file), s->h.l1_offset + s->l1_entries * QCOW_ENTRY);
    image->size = img_align_down(s->h.size, QCOW_SECTOR);
    image->limits.cluster = s->cluster_size;
    if (qcow_open_tables(image) == 0)
        return 0;
    release(s);
    return img_error_memory(err);
}

static int qcow_close(struct img *image)
{
    struct qcow *s = qcow_state(image);
    int status = image->flags & IMG_RDWR ? qcow_flush(image) : 0;

    release(s);
    return status;
}

static bool qcow_zero_initialised(struct img *image)
{
    (void)image;
    return true;
}

static const char *const strong_options[] = { "encrypt.key-secret", NULL };

const struct img_driver img_driver_qcow = {
    IMG_ROW(
        .name = "qcow", .kind = IMG_FORMAT, .marks = IMG_MARKS(IMG_AT(0, "QFI\xfb\0\0\0\1"))
    ),
    .traits = IMG_CAN_BACK | IMG_CAN_COMPRESS,
    .state_size = sizeof(struct qcow),
    .options = qcow_options,
    .create_size = sizeof(struct qcow_create_options),
    .open_size = sizeof(struct qcow_open_options),
    .open = qcow_open,
    .close = qcow_close,
    .create = qcow_create,
    .look_for_missing = qcow_look_for_missing,
    .map = qcow_map,
    .reserve = qcow_reserve,
    .publish = qcow_publish,
    .encode = qcow_encode,
    .decode = qcow_decode,
    .reserve_coded = qcow_reserve_coded,
    .zero = qcow_zero,
    .flush = qcow_flush,
    .make_empty = qcow_make_empty,
    .zero_initialised = qcow_zero_initialised,
    .strong_options = strong_options,
};
