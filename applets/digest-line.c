/* SPDX-License-Identifier: MIT */
/* digest-line.c - printing and parsing a line of a digest list, in the format of sha256sum(1). */
#include "digest.h"

#include <string.h>
#include <strings.h>

bool digest_choose(const char *text, struct digest_choice *choice)
{
    struct img_error err = IMG_ERROR_INIT;

    if (img_digest_parse(text, &choice->hash, &choice->tree, &err) == 0)
        return true;
    app_report(&err);
    return false;
}

/* ---- Printing -------------------------------------------------------------------- */

static const char escaped[] = "\\\n\r", letters[] = "\\nr";

static void print_escaped(FILE *stream, const char *name)
{
    for (; *name; name++) {
        const char *at = strchr(escaped, *name);

        if (at)
            putc('\\', stream);
        putc(at ? letters[at - escaped] : *name, stream);
    }
}

void digest_print_name(FILE *stream, const char *name)
{
    if (strchr(name, '\n')) {
        putc('\\', stream);
        print_escaped(stream, name);
    } else {
        fputs(name, stream);
    }
}

char *digest_hex(char *buffer, const struct digest_choice *choice, const uint8_t *result)
{
    static const char digits[] = "0123456789abcdef";
    size_t length = img_hash_length(choice->hash);

    for (size_t i = 0; i < length; i++) {
        buffer[2 * i] = digits[result[i] >> 4];
        buffer[2 * i + 1] = digits[result[i] & 15];
    }
    buffer[2 * length] = '\0';
    return buffer;
}

void digest_print(FILE *stream, const struct digest_choice *choice, const uint8_t *result, const char *name,
                  bool tagged)
{
    char hex[2 * IMG_HASH_MAX + 1];

    digest_hex(hex, choice, result);
    if (strpbrk(name, escaped))
        putc('\\', stream);
    if (tagged || choice->tree) {
        fprintf(stream, "%s%s (", img_hash_tag(choice->hash), choice->tree ? "-TREE" : "");
        print_escaped(stream, name);
        fprintf(stream, ") = %s\n", hex);
    } else {
        fprintf(stream, "%s  ", hex);
        print_escaped(stream, name);
        putc('\n', stream);
    }
}

/* ---- Reading --------------------------------------------------------------------- */

static int digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Parse [text, text+length), which must be exactly the digits of this hash. */
static bool parse_hex(const char *text, size_t length, const struct img_hash *hash, uint8_t *result)
{
    if (length != 2 * img_hash_length(hash))
        return false;
    for (size_t i = 0; i < length; i += 2) {
        int high = digit(text[i]), low = digit(text[i + 1]);

        if (high < 0 || low < 0)
            return false;
        result[i / 2] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static bool unescape(char *name)
{
    char *to = name;

    for (; *name; name++) {
        const char *at;

        if (*name != '\\') {
            *to++ = *name;
            continue;
        }
        at = name[1] ? strchr(letters, name[1]) : NULL;
        if (!at)
            return false;
        *to++ = escaped[at - letters];
        name++;
    }
    *to = '\0';
    return true;
}

/* "SHA256-TREE (NAME) = HEX". */
static bool parse_tagged(char *line, struct digest_choice *choice, uint8_t *result, char **name)
{
    char *open = strstr(line, " ("), *close = NULL;
    struct img_error err = IMG_ERROR_INIT;
    bool known;

    for (char *at = open; at && (at = strstr(at, ") = ")); at++)
        close = at;
    if (!close)
        return false;
    *open = '\0';
    known = img_digest_parse(line, &choice->hash, &choice->tree, &err) == 0 && strcasecmp(line, "tree");
    img_error_clear(&err);
    *open = ' ';
    if (!known || !parse_hex(close + 4, strlen(close + 4), choice->hash, result))
        return false;
    *close = '\0';
    *name = open + 2;
    return true;
}

/* The hash of a line without an algorithm. */
static const struct img_hash *by_length(size_t digits)
{
    for (const struct img_hash *hash = img_hash_next(NULL); hash; hash = img_hash_next(hash))
        if (2 * img_hash_length(hash) == digits)
            return hash;
    return NULL;
}

/* "HEX  NAME", "HEX *NAME", "HEX NAME". */
static bool parse_plain(char *line, const struct digest_choice *wanted, struct digest_choice *choice, uint8_t *result,
                        char **name)
{
    size_t digits = strspn(line, "0123456789abcdefABCDEF");

    *choice = (struct digest_choice){ .hash = wanted->hash ? wanted->hash : by_length(digits) };
    if (wanted->tree || !choice->hash || !parse_hex(line, digits, choice->hash, result) || line[digits] != ' ')
        return false;
    *name = line + digits + 1;
    if (**name == ' ' || **name == '*')
        ++*name;
    return true;
}

bool digest_parse_line(char *line, const struct digest_choice *wanted, struct digest_choice *choice, uint8_t *result,
                       char **name)
{
    size_t length = strlen(line);
    bool was_escaped;

    if (length && line[length - 1] == '\r')
        line[length - 1] = '\0';
    line += strspn(line, " \t");
    was_escaped = *line == '\\';
    line += was_escaped;
    if (!parse_plain(line, wanted, choice, result, name) && !parse_tagged(line, choice, result, name))
        return false;
    return (!was_escaped || unescape(*name)) && **name;
}
