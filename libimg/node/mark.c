/* SPDX-License-Identifier: MIT */
/* mark.c - looks for the marks of a format in the first bytes of a file, or in its name. */
#include "mark.h"
#include <string.h>

/* The end of the comment or blank line at `at`; `at` itself if it is neither. */
static const char *skip_line(const char *at, const char *end)
{
    const char *line = at;

    if (*at == '#') {
        at = memchr(at, '\n', (size_t)(end - at));
        return at ? at + 1 : end;
    }
    while (at < end && *at == ' ')
        at++;
    if (at == line)
        return line;
    if (at < end && *at == '\r')
        at++;
    return at < end && *at == '\n' ? at + 1 : line;
}

static bool has_line(const struct img_mark *mark, const char *at, const char *end)
{
    while (at < end) {
        const char *next = skip_line(at, end);

        if (next == at)
            break;
        at = next;
    }
    if ((size_t)(end - at) <= mark->length || memcmp(at, mark->bytes, mark->length) != 0)
        return false;
    at += mark->length;
    return *at == '\n' || (*at == '\r' && at + 1 < end && at[1] == '\n');
}

static bool has_element(const struct img_mark *mark, const char *text, size_t length)
{
    static const char byte_order[] = { '\xef', '\xbb', '\xbf' };

    if (length >= sizeof byte_order && memcmp(text, byte_order, sizeof byte_order) == 0) {
        text += sizeof byte_order;
        length -= sizeof byte_order;
    }
    return length > 0 && *text == '<' && memmem(text, length, mark->bytes, mark->length) != NULL;
}

/* ---- Texts in any encoding -------------------------------------------------------------- */

enum { MAX_TEXT = 512 };

/* Make UTF-8 or UTF-16 with a byte order mark plain; what is not ASCII becomes '?'.  Returns its length. */
static size_t plain_text(const uint8_t *head, size_t length, char text[MAX_TEXT])
{
    bool little = length >= 2 && head[0] == 0xff && head[1] == 0xfe;
    bool big = length >= 2 && head[0] == 0xfe && head[1] == 0xff;
    size_t step = little || big ? 2 : 1, at = step == 2 ? 2 : 0, made = 0;

    if (length >= 3 && memcmp(head, "\xef\xbb\xbf", 3) == 0)
        at = 3;
    for (; at + step <= length && made < MAX_TEXT; at += step) {
        unsigned high = step == 2 ? head[at + little] : 0, low = head[at + (step == 2 && big)];

        text[made++] = high || low > 0x7f ? '?' : (char)low;
    }
    return made;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool begins_with(const struct img_mark *mark, const uint8_t *head, size_t length)
{
    char text[MAX_TEXT];
    size_t made = plain_text(head, length, text), found = 0;

    for (size_t at = 0; at < made && found < mark->length; at++) {
        if (is_space(text[at]) && (found == 0 || text[at] == ' ' || text[at] == '\t'))
            continue;
        if (lower(text[at]) != lower(mark->bytes[found]))
            return false;
        found++;
    }
    return found == mark->length;
}

static bool has_setting(const struct img_mark *mark, const uint8_t *head, size_t length)
{
    char text[MAX_TEXT];
    size_t made = plain_text(head, length, text);

    made = strnlen(text, made);
    for (size_t line = 0; line < made; ) {
        const char *next = memchr(text + line, '\n', made - line);
        size_t end = next ? (size_t)(next - text) : made, at = line;

        while (at < end && is_space(text[at]))
            at++;
        if (end - at > mark->length && memcmp(text + at, mark->bytes, mark->length) == 0) {
            at += mark->length;
            while (at < end && is_space(text[at]))
                at++;
            if (at < end && text[at] == '=')
                return true;
        }
        line = end + 1;
    }
    return false;
}

static bool is_named(const struct img_mark *mark, const char *name)
{
    const char *slash = strrchr(name, '/');

    return strcmp(slash ? slash + 1 : name, mark->bytes) == 0;
}

static bool name_ends(const struct img_mark *mark, const char *name)
{
    size_t length = strlen(name);

    return length > mark->length && strcmp(name + length - mark->length, mark->bytes) == 0;
}

static bool shows(const struct img_mark *mark, const uint8_t *head, size_t length, const char *name)
{
    const char *text = (const char *)head;
    bool reaches = mark->offset <= length && mark->length <= length - mark->offset;

    switch (mark->kind) {
    case IMG_MARK_BYTES:
        return reaches && memcmp(head + mark->offset, mark->bytes, mark->length) == 0;
    case IMG_MARK_AT_LEAST:
        return reaches && memcmp(head + mark->offset, mark->bytes, mark->length) >= 0;
    case IMG_MARK_LINE:
        return has_line(mark, text, text + length);
    case IMG_MARK_XML:
        return has_element(mark, text, length);
    case IMG_MARK_NAME:
        return is_named(mark, name);
    case IMG_MARK_NAME_END:
        return name_ends(mark, name);
    case IMG_MARK_TEXT:
        return begins_with(mark, head, length);
    case IMG_MARK_SETTING:
        return has_setting(mark, head, length);
    case IMG_MARK_ANYTHING:
        return true;
    case IMG_MARK_OR:
    case IMG_MARK_END:
        break;
    }
    return false;
}

bool img_marks_show(const struct img_mark *marks, const uint8_t *head, size_t length, const char *name)
{
    bool all = true;

    if (!marks)
        return false;
    for (const struct img_mark *mark = marks; mark->kind != IMG_MARK_END; mark++) {
        if (mark->kind != IMG_MARK_OR)
            all = all && shows(mark, head, length, name);
        else if (all)
            return true;
        else
            all = true;
    }
    return all;
}
