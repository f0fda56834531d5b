/* SPDX-License-Identifier: MIT */
/*
 * The descriptor: a text of KEY=VALUE lines and lines for the extents.  It is untrusted: every length is bounded.
 * Specification: "The Descriptor File".
 */
#include "vmdk.h"
#include <string.h>

int vmdk_read_text(struct img *file, uint64_t offset, uint64_t room, char **text, size_t *read)
{
    uint64_t size = img_size(file), length = offset < size ? img_min(room, size - offset) : 0;
    int ret;

    *text = malloc(length + 1);
    if (!*text)
        return -ENOMEM;
    (*text)[length] = '\0';
    if (read)
        *read = (size_t)length;
    ret = length ? img_pread(file, *text, offset, length) : 0;
    if (ret < 0) {
        free(*text);
        *text = NULL;
    }
    return ret;
}

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

static const char *drop_blanks(const char *from, const char *end)
{
    while (end > from && is_blank(end[-1]))
        end--;
    return end;
}

/* ---- Values -------------------------------------------------------------------------------- */

/* The value in the first line KEY=VALUE, without the blanks around it, to *end; blanks around "=" do not count.  NULL:
 * there is none. */
static const char *setting(const char *text, const char *key, const char **end)
{
    for (const char *line = text; *line; ) {
        const char *stop = line + strcspn(line, "\n"), *at = skip_blanks(line, stop);

        if ((size_t)(stop - at) > strlen(key) && strncmp(at, key, strlen(key)) == 0) {
            at = skip_blanks(at + strlen(key), stop);
            if (at < stop && *at == '=') {
                at = skip_blanks(at + 1, stop);
                *end = drop_blanks(at, stop);
                return at;
            }
        }
        line = stop + (*stop != '\0');
    }
    return NULL;
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
    const char *end, *at = setting(text, key, &end);

    if (at && end - at >= 2 && *at == '"' && end[-1] == '"' && !memchr(at + 1, '"', (size_t)(end - at - 2))) {
        at++;
        end--;
    } else {
        at = behind(text, key, strlen("=\""));
        end = at ? strchr(at, '"') : NULL;
    }
    if (!at || !end || (size_t)(end - at) >= size)
        return false;
    memcpy(value, at, (size_t)(end - at));
    value[end - at] = '\0';
    return true;
}

/* The number of the line with this key; if no line has it, of the first key that ends with it. */
static const char *find_number(const char *text, const char *key)
{
    const char *end, *at = setting(text, key, &end);

    return at ? at : behind(text, key, strlen("="));
}

bool vmdk_text_number(const char *text, const char *key, uint32_t *number)
{
    const char *at = find_number(text, key);
    char *end = NULL;

    if (!at)
        return false;
    *number = (uint32_t)strtoull(at, &end, 16);
    return end != at;
}

int vmdk_text_with_id(const char *text, uint32_t cid, char **changed)
{
    const char *end, *value = setting(text, "CID", &end);

    *changed = NULL;
    if (!value)
        value = behind(text, "CID=", 0);
    if (!value)
        return 0;
    *changed = img_asprintf("%.*s%08x%s", (int)(value - text), text, (unsigned)cid, value + strcspn(value, "\r\n"));
    return *changed ? 0 : -ENOMEM;
}

/* ---- Lines of extents ------------------------------------------------------------------- */

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

/* A comment, a value, or nothing: such a line says nothing of extents. */
static bool is_other(const char *from, const char *end)
{
    const char *equals = memchr(from, '=', (size_t)(end - from)), *quote = memchr(from, '"', (size_t)(end - from));

    from = skip_blanks(from, end);
    /* DOS ends a text with Control-Z. */
    return from == end || *from == '#' || *from == '\x1a' || (equals && equals > from && (!quote || quote > equals));
}

bool vmdk_next_line(struct vmdk_lines *lines, struct vmdk_line *line)
{
    while (*lines->at) {
        const char *from = lines->at, *end = from + strcspn(from, "\n");

        lines->at = *end ? end + 1 : end;
        lines->number++;
        read_line(from, end, line);
        line->text = from;
        line->length = (size_t)(drop_blanks(from, end) - from);
        line->known = is_extent(line);
        if (line->known || !is_other(from, end))
            return true;
    }
    return false;
}
