/* SPDX-License-Identifier: MIT */
/*
 * The descriptor: a text of KEY=VALUE lines and lines for the extents.  It is untrusted: every length is bounded.
 * Specification: "The Descriptor File".
 */
#include "vmdk.h"
#include <string.h>

int vmdk_read_text(struct img *file, uint64_t offset, uint64_t room, char **text)
{
    uint64_t size = img_size(file), length = offset < size ? img_min(room, size - offset) : 0;
    int ret;

    *text = malloc(length + 1);
    if (!*text)
        return -ENOMEM;
    (*text)[length] = '\0';
    ret = length ? img_pread(file, *text, offset, length) : 0;
    if (ret < 0) {
        free(*text);
        *text = NULL;
    }
    return ret;
}

/* The text after KEY and `skip` more characters; NULL: the text ends before. */
static const char *behind(const char *text, const char *key, size_t skip)
{
    const char *at = strstr(text, key);

    for (at = at ? at + strlen(key) : NULL; at && skip > 0; skip--)
        at = *at ? at + 1 : NULL;
    return at;
}

bool vmdk_text_value(const char *text, const char *key, char *value, size_t size)
{
    const char *at = behind(text, key, strlen("=\"")), *end = at ? strchr(at, '"') : NULL;

    if (!end || (size_t)(end - at) >= size)
        return false;
    memcpy(value, at, (size_t)(end - at));
    value[end - at] = '\0';
    return true;
}

bool vmdk_text_number(const char *text, const char *key, uint32_t *number)
{
    const char *at = behind(text, key, strlen("="));
    char *end = NULL;

    if (!at)
        return false;
    *number = (uint32_t)strtoull(at, &end, 16);
    return end != at;
}

/* ---- Lines of extents ------------------------------------------------------------------- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f';
}

static const char *skip_blanks(const char *at, const char *end)
{
    while (at < end && is_blank(*at))
        at++;
    return at;
}

/* Take a word of at most `size` - 1 characters; the rest of a longer one is the next field. */
static bool take_word(const char **at, const char *end, char *word, size_t size)
{
    const char *from = skip_blanks(*at, end), *to = from;

    while (to < end && !is_blank(*to) && (size_t)(to - from) < size - 1)
        to++;
    memcpy(word, from, (size_t)(to - from));
    word[to - from] = '\0';
    *at = to;
    return to > from;
}

/* Take a decimal number; one too large becomes the maximum. */
static bool take_number(const char **at, const char *end, int64_t *number)
{
    const char *from = skip_blanks(*at, end), *to;
    bool negative = from < end && *from == '-';
    int64_t value = 0;

    if (from < end && (*from == '-' || *from == '+'))
        from++;
    for (to = from; to < end && *to >= '0' && *to <= '9'; to++) {
        if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, *to - '0', &value))
            value = INT64_MAX;
    }
    *number = negative ? -value : value;
    *at = to;
    return to > from;
}

static bool take_name(const char **at, const char *end, char *name, size_t size)
{
    const char *from = skip_blanks(*at, end), *to;

    if (from == end || *from != '"')
        return false;
    from++;
    to = memchr(from, '"', (size_t)(end - from));
    if (!to || to == from || (size_t)(to - from) >= size)
        return false;
    memcpy(name, from, (size_t)(to - from));
    name[to - from] = '\0';
    *at = to + 1;
    return true;
}

static void read_line(const char *at, const char *end, struct vmdk_line *line)
{
    *line = (struct vmdk_line){ .fields = 0 };
    if (!take_word(&at, end, line->access, sizeof line->access))
        return;
    line->fields++;
    if (!take_number(&at, end, &line->sectors))
        return;
    line->fields++;
    if (!take_word(&at, end, line->type, sizeof line->type))
        return;
    line->fields++;
    if (!take_name(&at, end, line->name, sizeof line->name))
        return;
    line->fields++;
    if (take_number(&at, end, &line->offset))
        line->fields++;
}

/* Does the line begin with an access mode, as only those of extents do? */
static bool is_extent(const struct vmdk_line *line)
{
    static const char *const accesses[] = { "RW", "RDONLY", "NOACCESS" };

    for (size_t i = 0; i < sizeof accesses / sizeof *accesses && line->fields >= 2; i++) {
        if (strcmp(line->access, accesses[i]) == 0)
            return true;
    }
    return false;
}

bool vmdk_next_line(const char **at, struct vmdk_line *line, const char **text, size_t *length)
{
    while (**at) {
        const char *from = *at, *end = from + strcspn(from, "\n");

        *at = *end ? end + 1 : end;
        read_line(from, end, line);
        if (is_extent(line)) {
            *text = from;
            *length = (size_t)(end - from);
            return true;
        }
    }
    return false;
}
