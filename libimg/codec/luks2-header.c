/* SPDX-License-Identifier: MIT */
/*
 * luks2-header.c - finds the header of LUKS version 2 that counts, and the disk that it describes.
 * Specification: "LUKS2 On-Disk Format Specification", sections 2 (binary header) and 3 (JSON area).
 */
#ifdef HAVE_NETTLE
#include "base64.h"
#include "luks2-json.h"
#include "util/checked.h"
#include "util/cleanup.h"
#include "util/endian.h"
#include "util/strbuf.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Where the second copy may lie: behind the first, which has one of these lengths. */
static const uint32_t sizes[] = { 0x4000, 0x8000, 0x10000, 0x20000, 0x40000, 0x80000, 0x100000, 0x200000, 0x400000 };

/* ---- One copy --------------------------------------------------------------------------- */

struct copy {
    uint8_t *bytes;                 /* all of it, and a NUL; NULL: no such copy */
    uint64_t size, sequence;
};

static bool size_allowed(uint64_t size)
{
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i] == size)
            return true;
    return false;
}

/* The checksum is that of the copy with zeroes in its place. */
static bool checksum_right(uint8_t *bytes, uint64_t size)
{
    char name[LUKS2_ALGORITHM_BYTES + 1] = "";
    uint8_t stored[LUKS2_CHECKSUM_BYTES], right[IMG_KDF_HASH_MAX];
    const struct img_kdf_hash *hash;

    memcpy(name, bytes + LUKS2_ALGORITHM, LUKS2_ALGORITHM_BYTES);
    hash = img_kdf_hash_find(name);
    if (!hash)
        return false;
    memcpy(stored, bytes + LUKS2_CHECKSUM, sizeof stored);
    memset(bytes + LUKS2_CHECKSUM, 0, LUKS2_CHECKSUM_BYTES);
    img_kdf_hash_of(hash, bytes, (size_t)size, right);
    memcpy(bytes + LUKS2_CHECKSUM, stored, sizeof stored);
    return memcmp(right, stored, img_kdf_hash_length(hash)) == 0;
}

/* *size: 0 if it is none. */
static bool is_header(const uint8_t *binary, const char *magic, uint64_t at, uint64_t *size)
{
    bool right = memcmp(binary, magic, LUKS2_VERSION) == 0 && img_get_be16(binary + LUKS2_VERSION) == 2 &&
                 size_allowed(img_get_be64(binary + LUKS2_SIZE)) && img_get_be64(binary + LUKS2_OFFSET) == at;

    *size = right ? img_get_be64(binary + LUKS2_SIZE) : 0;
    return right;
}

/* A copy that is not there, or not whole, is no error.  Most are of the smallest size, so that is read at once. */
static int read_bytes(const struct img_luks_place *place, uint64_t at, const char *magic, struct copy *copy,
                      struct img_error *err)
{
    uint8_t *all;
    int ret;

    copy->bytes = img_malloc(LUKS2_LEAST + 1);
    if (!copy->bytes)
        return img_error_memory(err);
    ret = place->read(place->context, at, copy->bytes, LUKS2_LEAST, err);
    if (ret < 0 || !is_header(copy->bytes, magic, at, &copy->size) || copy->size == LUKS2_LEAST)
        return ret;
    all = img_realloc(copy->bytes, (size_t)copy->size + 1);
    if (!all)
        return img_error_memory(err);
    copy->bytes = all;
    return place->read(place->context, at + LUKS2_LEAST, all + LUKS2_LEAST, (size_t)copy->size - LUKS2_LEAST, err);
}

static int read_copy(const struct img_luks_place *place, uint64_t at, const char *magic, struct copy *copy,
                     struct img_error *err)
{
    int ret = read_bytes(place, at, magic, copy, err);

    if (ret == 0 && copy->size && checksum_right(copy->bytes, copy->size)) {
        copy->bytes[copy->size] = 0;
        copy->sequence = img_get_be64(copy->bytes + LUKS2_SEQUENCE);
        return 0;
    }
    free(copy->bytes);
    copy->bytes = NULL;
    return ret;
}

static int find_second(const struct img_luks_place *place, const struct copy *first, struct copy *second,
                       struct img_error *err)
{
    int ret = 0;

    if (first->bytes)
        return read_copy(place, first->size, IMG_LUKS2_SECOND, second, err);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes && ret == 0 && !second->bytes; i++)
        ret = read_copy(place, sizes[i], IMG_LUKS2_SECOND, second, err);
    return ret;
}

/* ---- Members ------------------------------------------------------------------------------ */

int img_luks2_bad(const char *what, const char *number, struct img_error *err)
{
    return img_error_set(err, EINVAL, "LUKS2 header: the %s %s is not as it has to be", what, number);
}

bool img_luks2_number(const struct img_doc *object, const char *key, uint64_t *value)
{
    const char *text = img_doc_string_at(object, key);

    *value = 0;
    if (!text || !*text)
        return false;
    for (; *text >= '0' && *text <= '9'; text++)
        if (!img_mul(*value, 10, value) || !img_add(*value, (uint64_t)(*text - '0'), value))
            return false;
    return !*text && *value <= INT64_MAX;
}

bool img_luks2_small(const struct img_doc *object, const char *key, uint32_t least, uint32_t most, uint32_t *value)
{
    const struct img_doc *doc = img_doc_get(object, key);
    enum img_doc_type type = img_doc_type(doc);
    uint64_t number = img_doc_get_uint(doc);

    if (!doc || (type != IMG_DOC_INT && type != IMG_DOC_UINT) || number < least || number > most)
        return false;
    *value = (uint32_t)number;
    return true;
}

size_t img_luks2_bytes(const struct img_doc *object, const char *key, uint8_t *to, size_t room)
{
    const char *text = img_doc_string_at(object, key);
    size_t length = text ? strlen(text) : 0, count;
    uint8_t bytes[4 * IMG_LUKS2_LABEL];

    if (length == 0 || length > sizeof bytes || length % 4 || !img_base64_is(text, length))
        return 0;
    count = img_base64_decode(bytes, text, length);
    if (count > room)
        return 0;
    memcpy(to, bytes, count);
    return count;
}

int img_luks2_cipher(const char *name, struct img_luks_cipher *how, struct img_error *err)
{
    char family[64];
    char *mode;

    if (!name || strlen(name) >= sizeof family || !strchr(name, '-') || strncmp(name, "capi:", 5) == 0)
        return img_error_set(err, ENOTSUP, "Algorithm '%s' not supported", name ? name : "");
    strcpy(family, name);
    mode = strchr(family, '-');
    *mode++ = 0;
    return img_luks_find_cipher(how, family, mode, err);
}

/* ---- The disk ----------------------------------------------------------------------------- */

static bool is_crypt(const struct img_doc *segment)
{
    const char *type = img_doc_string_at(segment, "type");

    return type && strcmp(type, "crypt") == 0;
}

static int take_segment(struct img_luks2 *luks, const char *number, const struct img_doc *segment,
                        struct img_error *err)
{
    const char *size = img_doc_string_at(segment, "size");
    bool dynamic = size && strcmp(size, "dynamic") == 0;

    luks->segment = number;
    luks->size = UINT64_MAX;
    if (!img_luks2_number(segment, "offset", &luks->start) || !img_luks2_number(segment, "iv_tweak", &luks->first_iv) ||
        (!dynamic && !img_luks2_number(segment, "size", &luks->size)) ||
        !img_luks2_small(segment, "sector_size", IMG_LUKS_SECTOR, 4096, &luks->sector) ||
        !img_power_of_two(luks->sector) || luks->start % IMG_LUKS_SECTOR ||
        (!dynamic && (luks->size % luks->sector || luks->size > INT64_MAX - luks->start)))
        return img_luks2_bad("segment", number, err);
    return 0;
}

static int find_segment(struct img_luks2 *luks, struct img_error *err)
{
    const struct img_doc *segments = img_doc_get(luks->json, "segments");

    for (size_t i = 0; i < img_doc_count(segments); i++)
        if (is_crypt(img_doc_at(segments, i)))
            return take_segment(luks, img_doc_key_at(segments, i), img_doc_at(segments, i), err);
    return img_error_set(err, EINVAL, "LUKS2 header: no segment is encrypted");
}

int img_luks2_check(const struct img_luks2 *luks, struct img_error *err)
{
    const struct img_doc *segments = img_doc_get(luks->json, "segments");
    const struct img_doc *needs = img_doc_get(img_luks2_at(luks->json, "config", "requirements"), "mandatory");

    for (size_t i = 0; i < img_doc_count(needs); i++) {
        const char *name = img_doc_get_string(img_doc_at(needs, i));
        if (name && strstr(name, "reencrypt"))
            return img_error_set(err, ENOTSUP, "The image is being reencrypted ('%s'), which is not supported", name);
        return img_error_set(err, ENOTSUP, "The image requires '%s', which is not supported", name ? name : "?");
    }
    if (img_luks2_at(segments, luks->segment, "integrity"))
        return img_error_set(err, ENOTSUP, "The image has integrity tags, which are not supported");
    if (img_doc_count(segments) > 1)
        return img_error_set(err, ENOTSUP, "The image has more than one segment, which is not supported");
    return 0;
}

/* ---- Both copies ----------------------------------------------------------------------------- */

static void get_text(const uint8_t *field, size_t length, char *text)
{
    memcpy(text, field, length);
    text[length] = 0;
}

static int take(const struct copy *copy, struct img_luks2 *luks, struct img_error *err)
{
    luks->header_size = copy->size;
    luks->sequence = copy->sequence;
    get_text(copy->bytes + LUKS2_UUID, IMG_LUKS_UUID, luks->uuid);
    get_text(copy->bytes + LUKS2_LABEL, IMG_LUKS2_LABEL, luks->label);
    get_text(copy->bytes + LUKS2_SUBSYSTEM, IMG_LUKS2_LABEL, luks->subsystem);
    luks->json = img_doc_parse((const char *)copy->bytes + LUKS2_JSON, err);
    if (!luks->json)
        return img_error_prefix(err, "LUKS2 header: ");
    return find_segment(luks, err);
}

int img_luks2_read(const struct img_luks_place *place, struct img_luks2 *luks, struct img_error *err)
{
    struct copy first = { .bytes = NULL }, second = { .bytes = NULL };
    int ret = read_copy(place, 0, IMG_LUKS2_FIRST, &first, err);

    *luks = (struct img_luks2){ .json = NULL };
    if (ret == 0)
        ret = find_second(place, &first, &second, err);
    if (ret == 0) {
        luks->second = !first.bytes || (second.bytes && second.sequence > first.sequence);
        if (!first.bytes && !second.bytes)
            ret = img_error_set(err, EINVAL, "Neither copy of the LUKS2 header is whole");
        else
            ret = take(luks->second ? &second : &first, luks, err);
    }
    free(first.bytes);
    free(second.bytes);
    if (ret < 0)
        img_luks2_free(luks);
    return ret;
}

void img_luks2_free(struct img_luks2 *luks)
{
    img_doc_free(luks->json);
    luks->json = NULL;
}
#endif
