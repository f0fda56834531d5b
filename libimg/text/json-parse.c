/* SPDX-License-Identifier: MIT */
/*
 * The JSON parser (RFC 8259, plus strings in single quotes).  As in qemu-img
 * there are two steps, which determine the error that is found first: the text is split into
 * tokens until all braces and brackets are closed (or until a character that starts no
 * token), then the tokens are parsed.  The parser has its own stack of open containers,
 * whose depth the first step limits, so the C stack does not grow with the input.
 */
#include "img.h"
#include "util/hex.h"
#include "util/cleanup.h"
#include "util/strbuf.h"
#include "util/utf8.h"
#include "util/vector.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 1024, MAX_TOKENS = 2 << 20, MAX_TEXT = 64 << 20 };

enum token_type { TOKEN_END, TOKEN_ERROR, TOKEN_MARK, TOKEN_WORD, TOKEN_INTEGER, TOKEN_REAL, TOKEN_STRING };

struct token {
    enum token_type type;
    const char *text;
    size_t length;
};

typedef IMG_VECTOR(struct token) token_list;

/* ---- Text to tokens ------------------------------------------------------------ */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static struct token token_of(enum token_type type, const char *text, const char *end)
{
    return (struct token){ type, text, (size_t)(end - text) };
}

/* Up to and including the invalid character; at the end of the text there is none. */
static struct token stray(const char *text, const char *at)
{
    return token_of(TOKEN_ERROR, text, *at ? at + 1 : at);
}

static struct token string_token(const char *text)
{
    const char *at = text + 1;
    for (; *at != *text; at++) {
        if (*at == '\\')
            at++;
        if ((unsigned char)*at < 0x20 || (unsigned char)*at >= 0xFE)
            return stray(text, at);
    }
    return token_of(TOKEN_STRING, text, at + 1);
}

static struct token number_token(const char *text)
{
    enum token_type type = TOKEN_INTEGER;
    const char *at = text + (*text == '-');
    if (!is_digit(*at) || (*at == '0' && is_digit(at[1])))
        return stray(text, is_digit(*at) ? at + 1 : at);
    /* qemu-img accepts no exponent directly after a zero. */
    if (*at == '0' && at[1] != '.')
        return token_of(type, text, at + 1);
    while (is_digit(*at))
        at++;
    if (*at == '.') {
        type = TOKEN_REAL;
        if (!is_digit(*++at))
            return stray(text, at);
        while (is_digit(*at))
            at++;
    }
    if (*at == 'e' || *at == 'E') {
        type = TOKEN_REAL;
        at++;
        at += *at == '+' || *at == '-';
        if (!is_digit(*at))
            return stray(text, at);
        while (is_digit(*at))
            at++;
    }
    return token_of(type, text, at);
}

static const char *skip_space(const char *text)
{
    return text + strspn(text, " \t\r\n");
}

static struct token next_token(const char *text)
{
    if (*text == '\0')
        return token_of(TOKEN_END, text, text);
    if (strchr("{}[]:,", *text))
        return token_of(TOKEN_MARK, text, text + 1);
    if (*text == '"' || *text == '\'')
        return string_token(text);
    if (*text == '-' || is_digit(*text))
        return number_token(text);
    const char *at = text;
    while (*at >= 'a' && *at <= 'z')
        at++;
    return at > text ? token_of(TOKEN_WORD, text, at) : stray(text, text);
}

/* NULL: out of memory. */
static char *token_text(struct token token)
{
    return img_strndup(token.text, token.length);
}

/*
 * Collect the tokens of one value from *text, and advance it.  The value is complete if
 * braces and brackets are closed (or over-closed: the parser reports that), or at the end of the text.
 */
static int collect(const char **text, token_list *tokens, struct img_error *err)
{
    int braces = 0, brackets = 0;
    for (;;) {
        struct token token = next_token(skip_space(*text));
        *text = token.text + token.length;
        if (token.type == TOKEN_END)
            return 0;
        if (token.type == TOKEN_ERROR) {
            CLEANUP_FREE char *bad = token_text(token);
            return !bad ? img_error_memory(err) : img_error_set(err, EINVAL, "JSON parse error, stray '%s'", bad);
        }
        if (token.type == TOKEN_MARK) {
            braces += (*token.text == '{') - (*token.text == '}');
            brackets += (*token.text == '[') - (*token.text == ']');
        }
        if (braces + brackets > MAX_DEPTH)
            return img_error_set(err, EINVAL, "JSON nesting depth limit exceeded");
        if (tokens->count >= MAX_TOKENS)
            return img_error_set(err, EINVAL, "JSON token count limit exceeded");
        if (!IMG_VECTOR_PUSH(tokens, token))
            return img_error_memory(err);
        if (braces < 0 || brackets < 0 || (braces == 0 && brackets == 0))
            return 0;
    }
}

/* ---- Tokens to values ------------------------------------------------------------ */

enum expected { EXPECT_KEY, EXPECT_MEMBER, EXPECT_ELEMENT };

/* An open container, and the role of the next value in it. */
struct open {
    struct img_doc *doc;
    char *key;
    enum expected expected;
};

struct parser {
    const struct token *next, *end;
    IMG_VECTOR(struct open) stack;
    struct img_error *err;
};

/* NULL: there was no memory for a reason. */
static void *fail(struct parser *parser, const char *why)
{
    if (why)
        img_error_set(parser->err, EINVAL, "JSON parse error, %s", why);
    else
        img_error_memory(parser->err);
    return NULL;
}

/* Consume the token if it is this mark. */
static bool take_mark(struct parser *parser, char mark)
{
    if (parser->next == parser->end || parser->next->type != TOKEN_MARK || *parser->next->text != mark)
        return false;
    parser->next++;
    return true;
}

static int hex4(const char *text, const char *end, uint32_t *code)
{
    *code = 0;
    if (end - text < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int value = img_hex_digit(text[i]);
        if (value < 0)
            return -1;
        *code = *code << 4 | (uint32_t)value;
    }
    return 0;
}

/* *at points after "\u"; advance it past the digits, and past both halves of a surrogate pair. */
static int unicode_escape(const char **at, const char *end, uint32_t *code)
{
    uint32_t low;
    if (hex4(*at, end, code) < 0)
        return -1;
    const char *behind = *at + 4;
    if (*code >= 0xD800 && *code < 0xDC00) {
        if (end - behind < 6 || behind[0] != '\\' || behind[1] != 'u' || hex4(behind + 2, end, &low) < 0 ||
            low < 0xDC00 || low > 0xDFFF)
            return -1;
        *code = 0x10000 + ((*code & 0x3FF) << 10 | (low & 0x3FF));
        behind += 6;
    }
    *at = behind;
    return img_utf8_valid(*code) ? 0 : -1;
}

/* *at points after the backslash. */
static int escape(struct parser *parser, const char **at, const char *end, struct img_strbuf *out)
{
    static const char named[] = "\"\"''\\\\//b\bf\fn\nr\rt\t";
    char c = *(*at)++;
    for (const char *pair = named; *pair; pair += 2) {
        if (*pair == c) {
            img_strbuf_add_char(out, pair[1]);
            return 0;
        }
    }
    if (c != 'u') {
        fail(parser, "invalid escape sequence in string");
        return -1;
    }
    const char *digits = *at;
    uint32_t code;
    if (unicode_escape(at, end, &code) < 0) {
        /* If there are too few digits, the closing quote is shown too. */
        int shown = end + 1 - digits < 4 ? (int)(end + 1 - digits) : 4;
        CLEANUP_FREE char *why = img_asprintf("\\u%.*s is not a valid Unicode character", shown, digits);
        fail(parser, why);
        return -1;
    }
    char bytes[4];
    img_strbuf_add_bytes(out, bytes, img_utf8_put(bytes, code));
    return 0;
}

/* The text of a string token; NULL with the error set. */
static char *string_value(struct parser *parser, struct token token)
{
    struct img_strbuf out = { 0 };
    const char *at = token.text + 1, *end = token.text + token.length - 1;
    while (at < end) {
        const char *start = at;
        if (*at == '\\') {
            at++;
            if (escape(parser, &at, end, &out) < 0)
                goto bad;
        } else if (img_utf8_next(&at, end) < 0) {
            fail(parser, "invalid UTF-8 sequence in string");
            goto bad;
        } else {
            img_strbuf_add_bytes(&out, start, (size_t)(at - start));
        }
    }
    return img_strbuf_take(&out);
bad:
    img_strbuf_free(&out);
    return NULL;
}

static struct img_doc *number_value(struct token token)
{
    CLEANUP_FREE char *text = token_text(token);
    if (!text)
        return NULL;
    if (token.type == TOKEN_INTEGER) {
        errno = 0;
        intmax_t integer = strtoimax(text, NULL, 10);
        if (errno == 0)
            return img_doc_int(integer);
        errno = 0;
        uintmax_t natural = *text == '-' ? 0 : strtoumax(text, NULL, 10);
        if (*text != '-' && errno == 0)
            return img_doc_uint(natural);
    }
    return img_doc_double(strtod(text, NULL));
}

static struct img_doc *word_value(struct parser *parser, struct token token)
{
    CLEANUP_FREE char *word = token_text(token);
    if (!word)
        return NULL;
    if (strcmp(word, "true") == 0 || strcmp(word, "false") == 0)
        return img_doc_bool(*word == 't');
    if (strcmp(word, "null") == 0)
        return img_doc_null();
    CLEANUP_FREE char *why = img_asprintf("invalid keyword '%s'", word);
    return fail(parser, why);
}

static struct img_doc *scalar(struct parser *parser, struct token token)
{
    if (token.type == TOKEN_WORD)
        return word_value(parser, token);
    if (token.type != TOKEN_STRING)
        return number_value(token);
    CLEANUP_FREE char *text = string_value(parser, token);
    return text ? img_doc_string(text) : NULL;
}

/*
 * Parse a scalar or an empty container.  Any other container is put on the stack, and *opened
 * is set.  NULL without an error: out of memory.
 */
static struct img_doc *begin_value(struct parser *parser, bool *opened)
{
    *opened = false;
    if (parser->next == parser->end)
        return fail(parser, "premature EOI");
    bool object = take_mark(parser, '{');
    if (!object && !take_mark(parser, '[')) {
        if (parser->next->type == TOKEN_MARK)
            return fail(parser, "expecting value");
        return scalar(parser, *parser->next++);
    }
    struct img_doc *doc = object ? img_doc_object() : img_doc_array();
    if (!doc || take_mark(parser, object ? '}' : ']'))
        return doc;
    if (!IMG_VECTOR_PUSH(&parser->stack, (struct open){ doc, NULL, object ? EXPECT_KEY : EXPECT_ELEMENT })) {
        img_doc_free(doc);
        return NULL;
    }
    *opened = true;
    return NULL;
}

/* `value` is a key: keep its text.  Takes ownership of the value. */
static int accept_key(struct parser *parser, struct open *top, struct img_doc *value)
{
    const char *text = img_doc_get_string(value);
    if (text)
        top->key = img_strdup(text);
    bool kept = top->key != NULL;
    img_doc_free(value);
    if (!text)
        fail(parser, "key is not a string in object");
    else if (!kept)
        fail(parser, NULL);
    else if (parser->next == parser->end)
        fail(parser, "premature EOI");
    else if (!take_mark(parser, ':'))
        fail(parser, "missing : in object pair");
    else
        top->expected = EXPECT_MEMBER;
    return parser->err->text ? -1 : 0;
}

/* Add `value` to the container.  Takes ownership of the value. */
static int accept_member(struct parser *parser, struct open *top, struct img_doc *value)
{
    if (top->expected == EXPECT_ELEMENT) {
        img_doc_append(top->doc, value);
        return 0;
    }
    if (img_doc_get(top->doc, top->key)) {
        img_doc_free(value);
        fail(parser, "duplicate key");
        return -1;
    }
    img_doc_put(top->doc, top->key, value);
    free(top->key);
    top->key = NULL;
    top->expected = EXPECT_KEY;
    return 0;
}

/*
 * A value is complete: add it to its container, and containers that end here to theirs.
 * Returns 1 if another value is needed, 0 if *value is the outermost one, -1 on error.
 */
static int complete_value(struct parser *parser, struct img_doc **value)
{
    while (parser->stack.count > 0) {
        struct open *top = &parser->stack.at[parser->stack.count - 1];
        if (top->expected == EXPECT_KEY)
            return accept_key(parser, top, *value) < 0 ? -1 : 1;
        bool object = top->expected == EXPECT_MEMBER;
        if (accept_member(parser, top, *value) < 0)
            return -1;
        if (take_mark(parser, ','))
            return 1;
        if (!take_mark(parser, object ? '}' : ']')) {
            fail(parser, parser->next == parser->end ? "premature EOI"
                         : object ? "expected separator in dict" : "expected separator in list");
            return -1;
        }
        *value = top->doc;
        parser->stack.count--;
    }
    return 0;
}

static struct img_doc *parse_tokens(struct parser *parser)
{
    for (;;) {
        bool opened;
        struct img_doc *value = begin_value(parser, &opened);
        if (opened)
            continue;
        int more = value ? complete_value(parser, &value) : -1;
        if (more == 0)
            return value;
        if (more < 0)
            break;
    }
    for (size_t i = 0; i < parser->stack.count; i++) {
        free(parser->stack.at[i].key);
        img_doc_free(parser->stack.at[i].doc);
    }
    return NULL;
}

struct img_doc *img_doc_parse(const char *text, struct img_error *err)
{
    if (strnlen(text, MAX_TEXT + 1) > MAX_TEXT) {
        img_error_set(err, EINVAL, "JSON token size limit exceeded");
        return NULL;
    }
    token_list tokens = { 0 };
    struct img_doc *doc = NULL;
    if (collect(&text, &tokens, err) == 0) {
        if (tokens.count == 0) {
            img_error_set(err, EINVAL, "Expecting a JSON value");
        } else {
            struct parser parser = { .next = tokens.at, .end = tokens.at + tokens.count, .err = err };
            doc = parse_tokens(&parser);
            free(parser.stack.at);
        }
    }
    free(tokens.at);
    if (!doc || img_doc_broken(doc)) {
        img_error_memory(err);
        img_doc_free(doc);
        return NULL;
    }
    if (doc && *skip_space(text)) {
        img_doc_free(doc);
        img_error_set(err, EINVAL, "Expecting at most one JSON value");
        return NULL;
    }
    return doc;
}
