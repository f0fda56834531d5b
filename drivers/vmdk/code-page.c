/* SPDX-License-Identifier: MIT */
/* Names in a code page of a machine, by the tables of the static file.  (Other builds have the C library's iconv.) */
#include "vmdk.h"
#ifdef IMG_CODE_PAGES
#include "code-pages.h"
#include "../../libimg/codec/codec.h"
#include "../../libimg/util/endian.h"
#include "../../libimg/util/utf16.h"
#include <string.h>
#include <strings.h>

/* ---- Which one --------------------------------------------------------------------------------- */

static int page_of(const char *name)
{
    for (int i = 0; i < CODE_PAGES; i++) {
        if (strcasecmp(name, code_page_names[i]) == 0)
            return i;
    }
    return -1;
}

/* The page of an encoding as a descriptor names it; -1: there is none.  *euc: in the form of Unix. */
static int find_page(const char *encoding, bool *euc)
{
    static const char *const numbered[] = { "windows-", "IBM", "cp" };
    static const struct { const char *name, *page; } others[] = {
        { "GB2312", "GBK" }, { "GB18030", "GBK" }, { "EUC-CN", "GBK" }, { "CP936", "GBK" }, { "CP950", "BIG5" },
        { "EUC-KR", "CP949" }, { "Shift_JIS", "CP932" }, { "Shift-JIS", "CP932" }, { "SJIS", "CP932" },
        { "EUC-JP", "CP932" }
    };
    char name[16];

    *euc = strcasecmp(encoding, "EUC-JP") == 0;
    for (size_t i = 0; i < sizeof numbered / sizeof *numbered; i++) {
        size_t length = strlen(numbered[i]);
        if (strncasecmp(encoding, numbered[i], length) == 0 && strlen(encoding + length) < 8) {
            snprintf(name, sizeof name, "CP%s", encoding + length);
            encoding = name;
            break;
        }
    }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        if (strcasecmp(encoding, others[i].name) == 0)
            return page_of(others[i].page);
    }
    return page_of(encoding);
}

/* The table of a page within all that were unpacked to `bytes`. */
static const uint8_t *unpack(uint8_t *bytes, int page)
{
    size_t at = (size_t)(page < CODE_PAGES_NARROW ? page : CODE_PAGES_NARROW) * NARROW_LENGTH;
    uint16_t unit = 0;

    if (page >= CODE_PAGES_NARROW)
        at += (size_t)(page - CODE_PAGES_NARROW) * WIDE_LENGTH;
    if (img_decode_exact(IMG_CODEC_DEFLATE, vmdk_code_pages, vmdk_code_pages_length, bytes,
                         (size_t)CODE_PAGES_LENGTH * 2) < 0)
        return NULL;
    for (size_t i = 0; i < CODE_PAGES_LENGTH; i++) {
        unit = (uint16_t)(unit + img_get_le16(bytes + 2 * i));
        img_put_le16(bytes + 2 * i, unit);
    }
    return bytes + 2 * at;
}

/* ---- Converting ----------------------------------------------------------------------------------- */

/* EUC-JP has the rows and cells of Shift_JIS in other bytes. */
static void shift(uint8_t *lead, uint8_t *trail)
{
    unsigned row = *lead - 0x80u, cell = *trail - 0x80u;

    *lead = (uint8_t)((row + 1) / 2 + (row < 0x5f ? 0x70 : 0xb0));
    *trail = (uint8_t)(row % 2 ? cell + (cell < 0x60 ? 0x1f : 0x20) : cell + 0x7e);
}

/* The character at *text, which moves on; 0: there is none. */
static uint16_t take_character(const uint8_t **text, const uint8_t *table, bool wide, bool euc)
{
    uint8_t lead = *(*text)++, trail = **text;
    uint16_t unit;

    if (lead < 0x80)
        return lead;
    unit = euc ? 0 : img_get_le16(table + 2 * (lead - 0x80));
    if (unit || !wide || trail == 0)
        return unit;
    ++*text;
    if (euc && lead == 0x8e)        /* half a character wide: one byte in Shift_JIS */
        return trail >= 0xa1 && trail <= 0xdf ? img_get_le16(table + 2 * (trail - 0x80)) : 0;
    if (euc) {
        if (lead < 0xa1 || trail < 0xa1 || lead == 0xff || trail == 0xff)
            return 0;
        shift(&lead, &trail);
    }
    if (lead < LEAD_FIRST || lead > LEAD_LAST || trail < TRAIL_FIRST || trail > TRAIL_LAST)
        return 0;
    return img_get_le16(table + 2 * (NARROW_LENGTH + (lead - LEAD_FIRST) * TRAILS + (trail - TRAIL_FIRST)));
}

int vmdk_from_code_page(const char *encoding, const char *name, char **converted)
{
    bool euc;
    int page = find_page(encoding, &euc);
    size_t length = 0;
    const uint8_t *text = (const uint8_t *)name, *table;

    if (page < 0)
        return -ENOTSUP;
    CLEANUP_FREE uint8_t *tables = img_calloc(CODE_PAGES_LENGTH, 2), *units = img_calloc(strlen(name) + 1, 2);
    if (!tables || !units)
        return -ENOMEM;
    table = unpack(tables, page);
    if (!table)
        return -ENOTSUP;
    while (*text) {
        uint16_t unit = take_character(&text, table, page >= CODE_PAGES_NARROW, euc);
        if (!unit)
            return -EILSEQ;
        img_put_le16(units + 2 * length++, unit);
    }
    return img_utf16_to_utf8(units, 2 * length, false, converted);
}
#else
typedef int vmdk_no_code_pages;
#endif
