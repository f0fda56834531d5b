/* SPDX-License-Identifier: MIT */
/*
 * Printing a document as JSON (RFC 8259), byte for byte as qemu-img does: the
 * output is ASCII, and in the indented form an empty container takes two lines.
 */
#include "img.h"
#include "util/strbuf.h"
#include "util/utf8.h"

#include <inttypes.h>
#include <string.h>

static void print_escaped(struct img_strbuf *out, uint32_t code)
{
    if (code >= 0x10000) {
        code -= 0x10000;
        img_strbuf_printf(out, "\\u%04X\\u%04X", 0xD800u + (code >> 10), 0xDC00u + (code & 0x3FF));
        return;
    }
    img_strbuf_printf(out, "\\u%04X", code);
}

static void print_character(struct img_strbuf *out, int32_t code)
{
    static const char named[] = "\"\"\\\\\bb\ff\nn\rr\tt";
    if (code < 0) {
        img_strbuf_add(out, "\\uFFFD");
        return;
    }
    for (const char *pair = named; *pair; pair += 2) {
        if (*pair == code) {
            img_strbuf_add_char(out, '\\');
            img_strbuf_add_char(out, pair[1]);
            return;
        }
    }
    if (code >= 0x20 && code < 0x7F)
        img_strbuf_add_char(out, (char)code);
    else
        print_escaped(out, (uint32_t)code);
}

static void print_string(struct img_strbuf *out, const char *text)
{
    const char *end = text + strlen(text);
    img_strbuf_add_char(out, '"');
    while (text < end)
        print_character(out, img_utf8_next(&text, end));
    img_strbuf_add_char(out, '"');
}

static void new_line(struct img_strbuf *out, int indent, int level)
{
    if (indent < 0)
        return;
    img_strbuf_add_char(out, '\n');
    for (int i = 0; i < indent * level; i++)
        img_strbuf_add_char(out, ' ');
}

static void print(struct img_strbuf *out, const struct img_doc *doc, int indent, int level);

static void print_members(struct img_strbuf *out, const struct img_doc *doc, int indent, int level)
{
    bool object = img_doc_type(doc) == IMG_DOC_OBJECT;
    size_t count = img_doc_count(doc);
    img_strbuf_add_char(out, object ? '{' : '[');
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            img_strbuf_add(out, indent < 0 ? ", " : ",");
        new_line(out, indent, level + 1);
        if (object) {
            print_string(out, img_doc_key_at(doc, i));
            img_strbuf_add(out, ": ");
        }
        print(out, img_doc_at(doc, i), indent, level + 1);
    }
    new_line(out, indent, level);
    img_strbuf_add_char(out, object ? '}' : ']');
}

static void print(struct img_strbuf *out, const struct img_doc *doc, int indent, int level)
{
    switch (img_doc_type(doc)) {
    case IMG_DOC_NULL:
        img_strbuf_add(out, "null");
        break;
    case IMG_DOC_BOOL:
        img_strbuf_add(out, img_doc_get_bool(doc) ? "true" : "false");
        break;
    case IMG_DOC_INT:
        img_strbuf_printf(out, "%" PRId64, img_doc_get_int(doc));
        break;
    case IMG_DOC_UINT:
        img_strbuf_printf(out, "%" PRIu64, img_doc_get_uint(doc));
        break;
    case IMG_DOC_DOUBLE:
        img_strbuf_printf(out, "%.17g", img_doc_get_double(doc));
        break;
    case IMG_DOC_STRING:
        print_string(out, img_doc_get_string(doc));
        break;
    case IMG_DOC_ARRAY:
    case IMG_DOC_OBJECT:
        print_members(out, doc, indent, level);
        break;
    }
}

char *img_doc_json(const struct img_doc *doc, int indent)
{
    struct img_strbuf out = { 0 };
    if (img_doc_broken(doc))
        return NULL;
    print(&out, doc, indent, 0);
    return img_strbuf_take(&out);
}
