/* SPDX-License-Identifier: MIT */
/*
 * The part of XML that descriptors use ("Extensible Markup Language (XML) 1.0", sections 2 and 4.6): elements with
 * attributes, text with the five predefined entities, comments, the declaration.  The text is hostile: document
 * types, other entities, deep nesting and unbalanced elements are refused.
 */
#include "parallels.h"

enum { MAX_DEPTH = 16, MAX_NAME = 48, MAX_TEXT = 4096, MAX_PATH = MAX_DEPTH * (MAX_NAME + 1) };

struct xml {
    const char *at, *end;
    char path[MAX_PATH];
    unsigned depth;
    struct img_strbuf text;         /* of the innermost element */
    const struct parallels_xml_handler *handler;
    struct img_error *err;
};

static int bad(struct xml *x, const char *what)
{
    return img_error_set(x->err, EINVAL, PARALLELS_DESCRIPTOR ": %s", what);
}

static bool starts(const struct xml *x, const char *text)
{
    size_t length = strlen(text);

    return (size_t)(x->end - x->at) >= length && memcmp(x->at, text, length) == 0;
}

/* Skip past the next `text`. */
static bool skip_behind(struct xml *x, const char *text)
{
    const char *found = memmem(x->at, (size_t)(x->end - x->at), text, strlen(text));

    if (found)
        x->at = found + strlen(text);
    return found != NULL;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool ends_name(char c)
{
    return is_blank(c) || c == '/' || c == '>' || c == '<' || c == '=' || c == '\0';
}

/* ---- Texts ----------------------------------------------------------------------- */

static int add_entity(struct xml *x)
{
    static const struct { const char *name; char c; } known[] = {
        { "&amp;", '&' }, { "&lt;", '<' }, { "&gt;", '>' }, { "&quot;", '"' }, { "&apos;", '\'' },
    };

    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (!starts(x, known[i].name))
            continue;
        img_strbuf_add_char(&x->text, known[i].c);
        x->at += strlen(known[i].name);
        return 0;
    }
    return bad(x, "unknown entity");
}

static int read_text(struct xml *x)
{
    while (x->at < x->end && *x->at != '<') {
        if (x->text.length >= MAX_TEXT)
            return bad(x, "text is too long");
        if (*x->at == '\0')
            return bad(x, "not a text");
        if (*x->at != '&')
            img_strbuf_add_char(&x->text, *x->at++);
        else if (add_entity(x) < 0)
            return -EINVAL;
    }
    return 0;
}

/* The text so far without surrounding blanks. */
static char *take_text(struct xml *x)
{
    CLEANUP_FREE char *all = img_strbuf_take(&x->text);
    char *start = all, *end = all ? all + strlen(all) : NULL;

    if (!all)
        return NULL;
    while (is_blank(*start))
        start++;
    while (end > start && is_blank(end[-1]))
        end--;
    return img_strndup(start, (size_t)(end - start));
}

/* ---- Elements ---------------------------------------------------------------------- */

static int tell(struct xml *x, enum parallels_xml_event event, const char *text)
{
    return x->handler->event(x->handler->context, event, x->path, text, x->err);
}

static int close_element(struct xml *x)
{
    CLEANUP_FREE char *text = take_text(x);
    char *slash = strrchr(x->path, '/');
    int status = text ? tell(x, PARALLELS_XML_CLOSE, text) : img_error_memory(x->err);

    *(slash ? slash : x->path) = '\0';
    x->depth--;
    return status;
}

/* Length of the name at x->at, 0 for none. */
static size_t name_length(const struct xml *x)
{
    size_t n = 0;

    while (x->at + n < x->end && !ends_name(x->at[n]))
        n++;
    return n <= MAX_NAME ? n : 0;
}

/* "/name>" */
static int read_end(struct xml *x)
{
    const char *slash = strrchr(x->path, '/'), *open = slash ? slash + 1 : x->path;
    size_t n;

    x->at++;
    n = name_length(x);
    if (x->depth == 0 || n != strlen(open) || memcmp(x->at, open, n) != 0)
        return bad(x, "elements are not balanced");
    x->at += n;
    while (x->at < x->end && is_blank(*x->at))
        x->at++;
    if (x->at == x->end || *x->at++ != '>')
        return bad(x, "elements are not balanced");
    return close_element(x);
}

/* The end of the attributes: a '>' outside quotes.  NULL: none. */
static const char *end_of_tag(const struct xml *x)
{
    char quote = '\0';

    for (const char *at = x->at; at < x->end; at++) {
        if (quote ? *at == quote : *at == '"' || *at == '\'')
            quote = quote ? '\0' : *at;
        else if (!quote && *at == '>')
            return at;
    }
    return NULL;
}

/* "name attributes>" or "name attributes/>" */
static int read_start(struct xml *x)
{
    size_t n = name_length(x), used = strlen(x->path);
    CLEANUP_FREE char *attributes = NULL;
    const char *end;
    bool empty;
    int status;

    if (n == 0 || memchr(x->at, '\0', n))
        return bad(x, "an element without a sound name");
    if (x->depth == MAX_DEPTH)
        return bad(x, "elements are nested too deep");
    snprintf(x->path + used, sizeof x->path - used, "%s%.*s", used ? "/" : "", (int)n, x->at);
    x->depth++;
    x->at += n;
    if (!(end = end_of_tag(x)))
        return bad(x, "elements are not balanced");
    empty = end > x->at && end[-1] == '/';
    attributes = img_strndup(x->at, (size_t)(end - x->at) - empty);
    if (!attributes)
        return img_error_memory(x->err);
    x->at = end + 1;
    img_strbuf_free(&x->text);
    status = tell(x, PARALLELS_XML_OPEN, attributes);
    return status < 0 || !empty ? status : close_element(x);
}

static int read_markup(struct xml *x)
{
    if (starts(x, "<!--"))
        return skip_behind(x, "-->") ? 0 : bad(x, "a comment without an end");
    if (starts(x, "<?"))
        return skip_behind(x, "?>") ? 0 : bad(x, "an instruction without an end");
    if (starts(x, "<!"))
        return bad(x, "document types and the like are not supported");
    x->at++;
    return x->at < x->end && *x->at == '/' ? read_end(x) : read_start(x);
}

int parallels_read_xml(const char *text, size_t length, const struct parallels_xml_handler *handler,
                       struct img_error *err)
{
    struct xml x = { .at = text, .end = text + length, .handler = handler, .err = err };
    int status = 0;

    while (x.at < x.end && status == 0) {
        status = read_text(&x);
        if (status == 0 && x.at < x.end)
            status = read_markup(&x);
    }
    if (status == 0 && x.depth)
        status = bad(&x, "elements are not balanced");
    img_strbuf_free(&x.text);
    return status;
}
