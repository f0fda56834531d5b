/* SPDX-License-Identifier: MIT */
/*
 * Finds the block tables in the property list or the resource fork.
 * Specification: "Block table", "XML plist", "Resource fork".
 *
 * The property list is not parsed as XML: the text between "<data>" and "</data>" is base64, and its content is a
 * block table if it begins like one.  In the resource fork the resources follow one another, each with its length;
 * the map after them is not needed.
 */
#include "dmg.h"
#include "../../libimg/codec/base64.h"
#include "../../libimg/codec/codec.h"
#include <string.h>

enum { TABLE_HEAD = 204, ENTRY = 40, TABLE_START = 8, TABLE_DATA = 24 };
/* Largest property list; no resource fork can be larger. */
enum { MAX_TABLES = 16 << 20 };

/* ---- One table ------------------------------------------------------------------------- */

/* Warn once if the library for chunks of that kind is not built in.  Reading them fails. */
static void want_codec(enum img_codec codec, const char *name, bool *warned)
{
    if (!*warned && !img_codec_available(codec)) {
        img_notice(IMG_WARNING, "%s support is not built in, accessing %s compressed blocks will result in I/O errors",
                   name, name);
        *warned = true;
    }
}

/* Is there a way to read chunks of that type?  If not, warn once. */
static bool known_type(struct dmg *s, uint32_t type)
{
    switch (type) {
    case DMG_ZERO:
    case DMG_RAW:
    case DMG_IGNORE:
    case DMG_ADC:
    case DMG_LZFSE:
    case DMG_ZLIB:
        return true;
    case DMG_BZIP2:
        want_codec(IMG_CODEC_BZIP2, "bzip2", &s->warned_bzip2);
        return true;
    case DMG_XZ:
        want_codec(IMG_CODEC_XZ, "xz", &s->warned_xz);
        return true;
    case DMG_COMMENT:
    case DMG_TERMINATOR:
        return false;
    default:
        if (!s->warned_unknown)
            img_notice(IMG_WARNING, "Image contains chunks of unknown type %x, accessing them will result in "
                       "I/O errors", type);
        s->warned_unknown = true;
        return false;
    }
}

static int add_chunk(struct dmg *s, const uint8_t *entry, uint64_t first_sector, uint64_t data)
{
    struct dmg_chunk chunk = { .type = img_get_be32(entry), .sector = first_sector + img_get_be64(entry + 8),
                               .sectors = img_get_be64(entry + 16), .offset = data + img_get_be64(entry + 24) };
    uint64_t length = img_get_be64(entry + 32), end;

    if (chunk.type != DMG_COMMENT && chunk.type != DMG_TERMINATOR && img_add(chunk.sector, chunk.sectors, &end))
        s->end = img_max(s->end, end);
    if (!known_type(s, chunk.type))
        return 0;
    if (chunk.type == DMG_IGNORE)
        chunk.type = DMG_ZERO;
    if (chunk.type != DMG_ZERO && chunk.sectors > DMG_MAX_SECTORS) {
        img_notice(IMG_FAULT, "sector count %llu for chunk %zu is larger than max (%u)",
                   (unsigned long long)chunk.sectors, s->chunks.count, DMG_MAX_SECTORS);
        return -EINVAL;
    }
    if (length > DMG_MAX_LENGTH) {
        img_notice(IMG_FAULT, "length %llu for chunk %zu is larger than max (%u)", (unsigned long long)length,
                   s->chunks.count, DMG_MAX_LENGTH);
        return -EINVAL;
    }
    if (chunk.sectors == 0)
        return 0;
    chunk.length = (uint32_t)length;
    if (dmg_is_coded(&chunk))
        s->largest = (size_t)img_max(s->largest, chunk.sectors * DMG_SECTOR);
    return IMG_VECTOR_PUSH(&s->chunks, chunk) ? 0 : -ENOMEM;
}

/* Data that do not begin like a block table are skipped. */
static int add_table(struct dmg *s, const uint8_t *table, size_t length)
{
    if (length < TABLE_HEAD || memcmp(table, "mish", 4) != 0)
        return 0;
    uint64_t first_sector = img_get_be64(table + TABLE_START);
    uint64_t data = s->data_fork + img_get_be64(table + TABLE_DATA);
    for (size_t at = TABLE_HEAD; length - at >= ENTRY; at += ENTRY) {
        int ret = add_chunk(s, table + at, first_sector, data);
        if (ret < 0)
            return ret;
    }
    return 0;
}

/* ---- Property list ----------------------------------------------------------------------- */

int dmg_read_plist(struct img *image, uint64_t offset, uint64_t length)
{
    static const char open[] = "<data>", close[] = "</data>";

    if (length > MAX_TABLES)
        return -EINVAL;
    CLEANUP_FREE char *text = malloc((size_t)length + 1);
    if (!text)
        return -ENOMEM;
    int ret = img_pread(dmg_bytes(image), text, offset, (size_t)length);
    text[length] = '\0';
    char *at = text;
    while (ret == 0 && (at = strstr(at, open)) != NULL) {
        at += sizeof open - 1;
        char *end = strstr(at, close);
        if (!end)
            return -EINVAL;
        ret = add_table(dmg_state(image), (uint8_t *)at, img_base64_decode(at, at, (size_t)(end - at)));
        at = end + sizeof close - 1;
    }
    return ret;
}

/* ---- Resource fork ------------------------------------------------------------------------- */

int dmg_read_resources(struct img *image, uint64_t offset, uint64_t length)
{
    uint8_t head[16];
    int ret = img_pread(dmg_bytes(image), head, offset, sizeof head);

    if (ret < 0)
        return ret;
    uint32_t start = img_get_be32(head), left = img_get_be32(head + 8);
    if (left == 0 || left > MAX_TABLES || !img_within(start, left, length))
        return -EINVAL;
    CLEANUP_FREE uint8_t *data = malloc((size_t)left + 4);
    if (!data)
        return -ENOMEM;
    /* The length of the last resource may exceed the rest by 4 bytes. */
    ret = img_pread(dmg_bytes(image), data, offset + start, (size_t)left + 4);
    for (const uint8_t *at = data; ret == 0 && left > 0;) {
        uint32_t resource = img_get_be32(at);
        if (resource == 0 || resource > left)
            return -EINVAL;
        ret = add_table(dmg_state(image), at + 4, resource);
        at += 4 + resource;
        left = left > 4 + resource ? left - 4 - resource : 0;
    }
    return ret;
}
