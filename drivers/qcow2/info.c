/* SPDX-License-Identifier: MIT */
/*
 * The "Format specific information" of a qcow2 image.  The LUKS header is not encrypted (LUKS1 On-Disk Format
 * Specification), so its fields are shown without a key.
 */
#include "qcow2.h"

enum { LUKS_HEADER = 592, LUKS_SLOTS = 8, LUKS_SLOT_BYTES = 48, LUKS_FIRST_SLOT = 208 };
enum { LUKS_ACTIVE = 0x00ac71f3 };

static void put_text(struct img_doc *object, const char *key, const uint8_t *field, size_t length)
{
    CLEANUP_FREE char *text = img_strndup((const char *)field, strnlen((const char *)field, length));

    img_doc_put_string(object, key, text);
}

static void put_slots(struct img_doc *encrypt, const uint8_t *header)
{
    struct img_doc *slots = img_doc_array();

    for (int i = 0; i < LUKS_SLOTS; i++) {
        const uint8_t *raw = header + LUKS_FIRST_SLOT + i * LUKS_SLOT_BYTES;
        bool active = img_get_be32(raw) == LUKS_ACTIVE;
        struct img_doc *slot = img_doc_object();

        img_doc_put_bool(slot, "active", active);
        if (active)
            img_doc_put_uint(slot, "iters", img_get_be32(raw + 4));
        img_doc_put_uint(slot, "key-offset", img_get_be32(raw + 40) * 512ull);
        if (active)
            img_doc_put_uint(slot, "stripes", img_get_be32(raw + 44));
        img_doc_append(slots, slot);
    }
    img_doc_put(encrypt, "slots", slots);
}

/* "xts-plain64" or "cbc-essiv:sha256", split. */
struct cipher_mode {
    char mode[33];
    const char *ivgen, *ivgen_hash;
};

static void split_mode(const uint8_t *field, struct cipher_mode *parts)
{
    char *dash, *colon;

    memcpy(parts->mode, field, 32);
    parts->mode[32] = '\0';
    dash = strchr(parts->mode, '-');
    parts->ivgen = "";
    parts->ivgen_hash = NULL;
    if (!dash)
        return;
    *dash = '\0';
    parts->ivgen = dash + 1;
    colon = strchr(dash + 1, ':');
    if (colon) {
        *colon = '\0';
        parts->ivgen_hash = colon + 1;
    }
}

/* Name and key size combined: "aes-256"; an XTS key consists of two. */
static void put_cipher(struct img_doc *encrypt, const uint8_t *header, const char *mode)
{
    uint32_t bits = img_get_be32(header + 108) * 8u;
    CLEANUP_FREE char *name = img_strndup((const char *)header + 8, strnlen((const char *)header + 8, 32));
    CLEANUP_FREE char *text = !name ? NULL : img_asprintf("%s-%u", name, strcmp(mode, "xts") == 0 ? bits / 2 : bits);

    img_doc_put_string(encrypt, "cipher-alg", text);
}

static void put_luks(struct img *image, struct img_doc *encrypt)
{
    uint8_t header[LUKS_HEADER];
    struct cipher_mode parts;

    if (qcow2_read(image, header, qcow2_state(image)->crypto_offset, sizeof header) < 0 ||
        memcmp(header, "LUKS\xba\xbe", 6) != 0 || img_get_be16(header + 6) != 1) {
        img_doc_put_string(encrypt, "format", "luks");
        return;
    }
    split_mode(header + 40, &parts);
    img_doc_put_string(encrypt, "ivgen-alg", parts.ivgen);
    img_doc_put_bool(encrypt, "detached-header", false);
    put_text(encrypt, "hash-alg", header + 72, 32);
    put_cipher(encrypt, header, parts.mode);
    put_text(encrypt, "uuid", header + 168, 40);
    if (parts.ivgen_hash && strcmp(parts.ivgen, "essiv") == 0)
        img_doc_put_string(encrypt, "ivgen-hash-alg", parts.ivgen_hash);
    img_doc_put_string(encrypt, "format", "luks");
    img_doc_put_string(encrypt, "cipher-mode", parts.mode);
    put_slots(encrypt, header);
    img_doc_put_uint(encrypt, "payload-offset", img_get_be32(header + 104) * 512ull);
    img_doc_put_uint(encrypt, "master-key-iters", img_get_be32(header + 164));
}

static void put_encryption(struct img *image, struct img_doc *data)
{
    struct qcow2 *s = qcow2_state(image);
    if (s->h.crypt_method == 0)
        return;

    struct img_doc *encrypt = img_doc_object();
    if (s->h.crypt_method == 2)
        put_luks(image, encrypt);
    else
        img_doc_put_string(encrypt, "format", "aes");
    img_doc_put(data, "encrypt", encrypt);
}

static void put_bitmaps(const struct qcow2 *s, struct img_doc *data)
{
    if (s->bitmaps.count == 0)
        return;

    struct img_doc *list = img_doc_array();
    for (size_t i = 0; i < s->bitmaps.count; i++) {
        const struct qcow2_bitmap *bitmap = &s->bitmaps.at[i];
        struct img_doc *one = img_doc_object(), *flags = img_doc_array();

        if (bitmap->flags & QCOW2_BITMAP_IN_USE)
            img_doc_append(flags, img_doc_string("in-use"));
        if (bitmap->flags & QCOW2_BITMAP_AUTO)
            img_doc_append(flags, img_doc_string("auto"));
        img_doc_put(one, "flags", flags);
        img_doc_put_string(one, "name", bitmap->name);
        img_doc_put_uint(one, "granularity", 1ull << bitmap->granularity_bits);
        img_doc_append(list, one);
    }
    img_doc_put(data, "bitmaps", list);
}

int qcow2_info(struct img *image, struct img_doc *data, struct img_error *err)
{
    const struct qcow2 *s = qcow2_state(image);
    const struct qcow2_header *h = &s->h;

    (void)err;
    img_doc_put_string(data, "compat", h->version < 3 ? "0.10" : "1.1");
    img_doc_put_string(data, "compression-type", h->compression == QCOW2_ZSTD ? "zstd" : "zlib");
    if (h->version >= 3) {
        img_doc_put_bool(data, "lazy-refcounts", h->compatible & QCOW2_COMPAT_LAZY_REFCOUNTS);
        put_bitmaps(s, data);
    }
    img_doc_put_uint(data, "refcount-bits", s->refcount_bits);
    put_encryption(image, data);
    if (h->version < 3)
        return 0;
    if (s->data_file_name)
        img_doc_put_string(data, "data-file", s->data_file_name);
    if (h->incompatible & QCOW2_INCOMPAT_DATA_FILE)
        img_doc_put_bool(data, "data-file-raw", h->autoclear & QCOW2_AUTOCLEAR_DATA_FILE_RAW);
    img_doc_put_bool(data, "corrupt", h->incompatible & QCOW2_INCOMPAT_CORRUPT);
    img_doc_put_bool(data, "extended-l2", s->subclusters > 1);
    return 0;
}
