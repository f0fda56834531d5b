/* SPDX-License-Identifier: MIT */
/*
 * parent.c - the parent of a differencing disk: its identifier and its names.  [MS-VHDX] 2.6.2.6 "Parent Locator": keys
 * and values, all of them texts in UTF-16.
 */
#include "vhdx.h"
#include "../../libimg/util/strbuf.h"
#include "../../libimg/util/utf16.h"

enum { LOCATOR_HEADER = 20, LOCATOR_ENTRY = 12 };
/* Of a new one: bytes of the path in UTF-8; of all but the path. */
enum { MAX_PATH = 4096, ROOM_FOR_TEXTS = 512 };

static const uint8_t locator_type[VHDX_GUID] = {
    0xb7, 0xef, 0x4a, 0xb0, 0x9e, 0xd1, 0x81, 0x4a, 0xb7, 0x89, 0x25, 0xb8, 0xe9, 0x44, 0x59, 0x13
};

/* ---- Texts ----------------------------------------------------------------------------- */

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

/* "{01234567-89ab-cdef-0123-456789abcdef}", as it is stored elsewhere; braces and dashes do not matter. */
static bool parse_guid(const char *text, uint8_t guid[VHDX_GUID])
{
    unsigned digits = 0;

    for (; *text; text++) {
        int value = hex_value(*text);
        if (value < 0 && !strchr("{-}", *text))
            return false;
        if (value < 0)
            continue;
        if (digits == 2 * VHDX_GUID)
            return false;
        guid[digits / 2] = (uint8_t)(digits % 2 ? guid[digits / 2] << 4 | value : value);
        digits++;
    }
    img_uuid_swap(guid);
    return digits == 2 * VHDX_GUID;
}

static void guid_text(const uint8_t guid[VHDX_GUID], char text[IMG_UUID_TEXT])
{
    uint8_t swapped[VHDX_GUID];

    memcpy(swapped, guid, VHDX_GUID);
    img_uuid_swap(swapped);
    img_uuid_text(swapped, text);
}

/* ---- The locator ------------------------------------------------------------------------------ */

/* *text: a key or a value; caller frees; NULL: it is not valid.  0 or -ENOMEM. */
static int text_at(const uint8_t *locator, size_t length, uint32_t offset, uint16_t bytes, char **text)
{
    int ret = 0;

    *text = NULL;
    if (img_within(offset, bytes, length))
        ret = img_utf16_to_utf8(locator + offset, bytes, false, text);
    return ret == -ENOMEM ? ret : 0;
}

/* *value: that of a key; caller frees; NULL: it has none.  0 or -ENOMEM. */
static int value_of(const uint8_t *locator, size_t length, const char *key, char **value)
{
    size_t count = img_min(img_get_le16(locator + 18), (length - LOCATOR_HEADER) / LOCATOR_ENTRY);
    int ret = 0;

    *value = NULL;
    for (size_t i = 0; i < count && !*value && ret == 0; i++) {
        const uint8_t *entry = locator + LOCATOR_HEADER + i * LOCATOR_ENTRY;
        CLEANUP_FREE char *found = NULL;
        ret = text_at(locator, length, img_get_le32(entry), img_get_le16(entry + 8), &found);
        if (found && strcmp(found, key) == 0)
            ret = text_at(locator, length, img_get_le32(entry + 4), img_get_le16(entry + 10), value);
    }
    return ret;
}

/* *good: there is one, and it is valid. */
static int read_linkage(const uint8_t *locator, size_t length, const char *key, uint8_t guid[VHDX_GUID], bool *good)
{
    CLEANUP_FREE char *text = NULL;
    int ret = value_of(locator, length, key, &text);

    *good = text && parse_guid(text, guid);
    return ret;
}

int vhdx_read_locator(struct img *image, const uint8_t *locator, size_t length)
{
    static const char *const names[] = { "relative_path", "absolute_win32_path", "volume_path" };
    struct vhdx *s = vhdx_state(image);
    bool first, second;
    int ret;

    if (length < LOCATOR_HEADER || memcmp(locator, locator_type, VHDX_GUID) != 0)
        return -EINVAL;
    if ((ret = read_linkage(locator, length, "parent_linkage", s->parent_id, &first)) < 0 ||
        (ret = read_linkage(locator, length, "parent_linkage2", s->parent_id_2, &second)) < 0)
        return ret;
    if (!second)
        memset(s->parent_id_2, 0, VHDX_GUID);
    for (size_t i = 0; i < sizeof names / sizeof *names && ret == 0; i++) {
        CLEANUP_FREE char *name = NULL;
        ret = value_of(locator, length, names[i], &name);
        if (name)
            ret = img_add_parent_name(image, name);
    }
    return first ? ret : -EINVAL;
}

/* ---- New disks -------------------------------------------------------------------------------------- */

/* In UTF-16, one behind the other; `at` is where the next goes. */
static int put_text(const char *text, uint8_t *locator, size_t *at, uint8_t *offset_field, uint8_t *length_field)
{
    CLEANUP_FREE uint8_t *bytes = NULL;
    size_t length;
    int ret = img_utf16_from_utf8(text, false, &bytes, &length);

    if (ret < 0)
        return ret;
    img_put_le32(offset_field, (uint32_t)*at);
    img_put_le16(length_field, (uint16_t)length);
    memcpy(locator + *at, bytes, length);
    *at += length;
    return 0;
}

uint8_t *vhdx_build_locator(const struct vhdx *s, const char *backing, size_t *length, struct img_error *err)
{
    bool relative = false;
    CLEANUP_FREE char *path = img_parent_path(backing, &relative, err);
    char guid[IMG_UUID_TEXT], linkage[IMG_UUID_TEXT + 2];
    const char *const texts[][2] = {
        { "parent_linkage", linkage }, { relative ? "relative_path" : "absolute_win32_path", path }
    };
    uint8_t *locator;
    size_t at = LOCATOR_HEADER + 2 * LOCATOR_ENTRY;
    int ret = 0;

    if (!path)
        return NULL;
    guid_text(s->parent_id, guid);
    snprintf(linkage, sizeof linkage, "{%s}", guid);
    if (strlen(path) > MAX_PATH) {
        img_error_set(err, ENAMETOOLONG, "The name of the parent is too long");
        return NULL;
    }
    locator = img_calloc(1, ROOM_FOR_TEXTS + 2 * strlen(path));
    if (!locator) {
        img_error_memory(err);
        return NULL;
    }
    memcpy(locator, locator_type, VHDX_GUID);
    img_put_le16(locator + 18, 2);
    for (size_t i = 0; i < 2 && ret == 0; i++) {
        uint8_t *entry = locator + LOCATOR_HEADER + i * LOCATOR_ENTRY;
        ret = put_text(texts[i][0], locator, &at, entry, entry + 8);
        if (ret == 0)
            ret = put_text(texts[i][1], locator, &at, entry + 4, entry + 10);
    }
    *length = at;
    if (ret == 0)
        return locator;
    free(locator);
    img_error_errno(err, -ret, "Cannot store the name of the parent '%s'", backing);
    return NULL;
}

/* ---- Identity ------------------------------------------------------------------------------------ */

int vhdx_check_parent(struct img *image, struct img *candidate, struct img_error *err)
{
    const struct vhdx *s = vhdx_state(image);
    const uint8_t *found = vhdx_state(candidate)->header.data_id;
    char wanted_text[IMG_UUID_TEXT], found_text[IMG_UUID_TEXT];

    if (memcmp(found, s->parent_id, VHDX_GUID) == 0 ||
        (!img_is_zero(s->parent_id_2, VHDX_GUID) && memcmp(found, s->parent_id_2, VHDX_GUID) == 0))
        return 0;
    guid_text(s->parent_id, wanted_text);
    guid_text(found, found_text);
    return img_error_set(err, EINVAL, "its data identifier is %s, that of the parent is %s: it is another disk, or was "
                         "written to since", found_text, wanted_text);
}
