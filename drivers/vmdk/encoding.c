/* SPDX-License-Identifier: MIT */
/*
 * The encoding of a descriptor.  It is UTF-8 here; other programs write UTF-16 (with a byte order mark), or the code
 * page of a machine, which encoding= names, and in which only names of files have other characters than ASCII.
 */
#include "vmdk.h"
#include "../../libimg/util/strbuf.h"
#include "../../libimg/util/utf16.h"
#include "../../libimg/util/utf8.h"
#if defined HAVE_ICONV && !defined IMG_CODE_PAGES
#include <iconv.h>
#endif
#include <string.h>
#include <strings.h>

int vmdk_plain_text(char **text, size_t length, bool *foreign)
{
    const uint8_t *bytes = (const uint8_t *)*text;
    char *plain;
    int ret = 0;

    *foreign = length >= 2 && ((bytes[0] == 0xff && bytes[1] == 0xfe) || (bytes[0] == 0xfe && bytes[1] == 0xff));
    if (*foreign) {
        ret = img_utf16_to_utf8(bytes + 2, length - 2, bytes[0] == 0xfe, &plain);
        if (ret < 0)
            return ret;
        free(*text);
        *text = plain;
    } else if (length >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0) {
        memmove(*text, *text + 3, length - 3 + 1);
    }
    return ret;
}

static bool is_ascii(const char *name)
{
    while (*name && (unsigned char)*name < 0x80)
        name++;
    return !*name;
}

#ifdef IMG_CODE_PAGES

static int from_encoding(const char *encoding, const char *name, char **converted)
{
    return vmdk_from_code_page(encoding, name, converted);
}

#elif defined HAVE_ICONV

/* The whole name, and then what the converter has kept for its end. */
static bool run(iconv_t how, char *name, char *to, size_t room)
{
    size_t left = strlen(name), failed = (size_t)-1;
    char *out = to;

    return iconv(how, &name, &left, &out, &room) != failed && iconv(how, NULL, NULL, &out, &room) != failed &&
           img_utf8_is_text(to, (size_t)(out - to));
}

static int convert(iconv_t how, const char *name, char **converted)
{
    /* At most four bytes stand for one, and four more for what was kept. */
    size_t room = 4 * strlen(name) + 4;
    CLEANUP_FREE char *from = img_strdup(name), *to = img_calloc(1, room + 1);

    if (!from || !to)
        return -ENOMEM;
    if (!run(how, from, to, room))
        return -EILSEQ;
    *converted = to;
    to = NULL;
    return 0;
}

/*
 * The descriptor chooses the converter, so only those of the code pages of machines are reached, and no name is
 * passed on in which the C library would see a path or an option.
 */
static bool is_code_page(const char *encoding)
{
    static const char *const families[] = { "windows-", "cp", "IBM", "ISO-8859-", "KOI8-", "GB", "Big5", "Shift_JIS",
                                            "SJIS", "EUC-" };

    if (strspn(encoding, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != strlen(encoding))
        return false;
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        if (strncasecmp(encoding, families[i], strlen(families[i])) == 0)
            return true;
    }
    return false;
}

static int from_encoding(const char *encoding, const char *name, char **converted)
{
    iconv_t how = is_code_page(encoding) ? iconv_open("UTF-8", encoding) : (iconv_t)-1;
    int ret;

    if (how == (iconv_t)-1)
        return -ENOTSUP;
    ret = convert(how, name, converted);
    iconv_close(how);
    return ret;
}

#else

static int from_encoding(const char *encoding, const char *name, char **converted)
{
    (void)encoding, (void)name, (void)converted;
    return -ENOTSUP;
}

#endif

int vmdk_name_in_utf8(const char *text, const char *name, char *encoding, size_t size, char **converted)
{
    *converted = NULL;
    if (!vmdk_text_value(text, "encoding", encoding, size))
        *encoding = '\0';
    if (is_ascii(name) || !*encoding || strcasecmp(encoding, "UTF-8") == 0)
        return 0;
    return from_encoding(encoding, name, converted);
}
