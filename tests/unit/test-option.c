/* SPDX-License-Identifier: MIT */
/* Option texts, folding and flattening, option tables: values, errors, help and description as qemu-img has them. */
#include "libimg/img.h"
#include "test.h"

#include <stddef.h>
#include <stdlib.h>

static char noticed[400];

static void notice(enum img_notice kind, const char *text)
{
    size_t used = strlen(noticed);
    snprintf(noticed + used, sizeof noticed - used, "%d %s|", kind, text);
}

static void same_json(struct img_doc *doc, struct img_error *err, const char *wanted, const char *name)
{
    char *text = doc ? img_doc_json(doc, -1) : NULL;
    test_same(text ? text : err->text, wanted, name);
    free(text);
    img_doc_free(doc);
    img_error_clear(err);
}

static void parsed(const char *text, const char *wanted)
{
    struct img_error err = IMG_ERROR_INIT;
    same_json(img_options_parse(text, "file", &err), &err, wanted, text);
}

static void image_opts(void)
{
    img_set_notice(notice);
    parsed("", "{}");
    parsed("driver=qcow2,file.filename=a,,b", "{\"driver\": \"qcow2\", \"file\": {\"filename\": \"a,b\"}}");
    parsed("file.filename=a.q,", "{\"file\": {\"filename\": \"a.q\"}}");
    parsed("a.qcow2", "{\"file\": \"a.qcow2\"}");
    parsed(",,x,driver=raw", "{\"file\": \",x\", \"driver\": \"raw\"}");
    parsed("driver=raw,driver=qcow2", "{\"driver\": \"qcow2\"}");
    parsed("=x", "{\"\": \"x\"}");
    parsed("a.b.c=1,a.b.d=2,a.e=3", "{\"a\": {\"b\": {\"c\": \"1\", \"d\": \"2\"}, \"e\": \"3\"}}");
    parsed("a..b=1", "{\"a\": {\"\": {\"b\": \"1\"}}}");
    parsed("file=a,file.filename=b", "{\"file\": \"a\", \"file.filename\": \"b\"}");
    parsed("file.filename=b,file=a", "{\"file\": \"a\", \"file.filename\": \"b\"}");
    parsed("a.b.c=1,a.b=2", "{\"a\": {\"b\": \"2\", \"b.c\": \"1\"}}");
    parsed("id=1", "Parameter 'id' expects an identifier");
    parsed("a=b,id=x y", "Parameter 'id' expects an identifier");
    parsed("id=a_b.c-9", "{\"id\": \"a_b.c-9\"}");
    OK(noticed[0] == '\0', "no warning so far");
    parsed("a=b,help,?", "{\"a\": \"b\", \"help\": \"on\", \"?\": \"on\"}");
    OK(noticed[0] == '\0', "help gives no warning");
    parsed("a=b,foo,nobar", "{\"a\": \"b\", \"foo\": \"on\", \"bar\": \"off\"}");
    test_same(noticed, "0 short-form boolean option 'foo' deprecated\nPlease use foo=on instead|"
              "0 short-form boolean option 'nobar' deprecated\nPlease use bar=off instead|",
              "short forms are deprecated");
    img_set_notice(NULL);
}

static void json_options(void)
{
    struct img_error err = IMG_ERROR_INIT;
    static const struct { const char *json, *wanted; } cases[] = {
        { "{\"file.filename\":\"a\",\"driver\":\"raw\"}", "{\"driver\": \"raw\", \"file\": {\"filename\": \"a\"}}" },
        { "{\"file.filename\":\"b\",\"file\":{\"filename\":\"a\"}}", "{\"file\": {\"filename\": \"a\"}}" },
        { "{\"a\":[{\"b.c\":1}]}", "{\"a\": [{\"b\": {\"c\": 1}}]}" },
        { "[]", "Invalid JSON object given" },
        { "{", "Could not parse the JSON options: JSON parse error, premature EOI" },
        { "", "Could not parse the JSON options: Expecting a JSON value" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        same_json(img_doc_parse_options(cases[i].json, &err), &err, cases[i].wanted, cases[i].json);
    struct img_doc *doc = img_doc_parse_options("{'a':{'b':[1,{'c':2}],'d':{}},'e':null}", &err);
    struct img_doc *flat = img_options_flatten(doc);
    img_doc_free(doc);
    same_json(flat, &err, "{\"a.b.0\": 1, \"a.b.1.c\": 2, \"a.d\": {}, \"e\": null}", "flattened");
}

static void added(const char *text, const char *wanted)
{
    struct img_error err = IMG_ERROR_INIT;
    struct img_doc *doc = img_doc_object();
    if (img_options_add(doc, text, &err) < 0) {
        img_doc_free(doc);
        doc = NULL;
    }
    same_json(doc, &err, wanted, text);
}

static void create_options(void)
{
    added("a=1,b=2,a=3", "{\"a\": \"3\", \"b\": \"2\"}");
    added("a=x,,y", "{\"a\": \"x,y\"}");
    added("a=1,,", "{\"a\": \"1,\"}");
    added("encrypt.format=luks", "{\"encrypt.format\": \"luks\"}");
    added("lazy,nocow", "{\"lazy\": \"on\", \"cow\": \"off\"}");
    added("id=5,a=1", "{\"a\": \"1\"}");
    added("a,,", "{\"a\": \"on\", \"\": \"on\"}");
    added("", "Invalid option list: ");
    added(",", "Invalid option list: ,");
    added(",,", "Invalid option list: ,,");
    added(",a=1", "Invalid option list: ,a=1");
    added("a=1,", "Invalid option list: a=1,");
    added("a=1,,,", "Invalid option list: a=1,,,");
    OK(img_options_want_help("help") && img_options_want_help("a=1,?"), "help is asked for");
    OK(img_options_want_help("x,,help"), "behind a flag a comma is no escape");
    OK(!img_options_want_help("help=on") && !img_options_want_help("a=1,,help") && !img_options_want_help("a=help"),
       "help is not asked for");
}

struct values {
    char *name, *mode;
    int8_t lazy;
    int64_t bits, size, offset;
};

static const struct img_option table[] = {
    { .name = "size", .help = "Virtual disk size", .type = IMG_OPT_SIZE, .when = IMG_AT_CREATE,
      .offset = offsetof(struct values, size) },
    { .name = "name", .help = "A name", .type = IMG_OPT_STRING, .when = IMG_AT_CREATE | IMG_AT_AMEND,
      .offset = offsetof(struct values, name) },
    { .name = "bits", .type = IMG_OPT_NUMBER, .standard = "16", .when = IMG_AT_CREATE | IMG_AT_AMEND,
      .offset = offsetof(struct values, bits) },
    { .name = "lazy", .help = "Postpone", .type = IMG_OPT_BOOL, .standard = "off", .when = IMG_AT_CREATE,
      .offset = offsetof(struct values, lazy) },
    { .name = "mode", .help = "Preallocation mode", .type = IMG_OPT_STRING, .when = IMG_AT_CREATE | IMG_AT_OPEN,
      .offset = offsetof(struct values, mode) },
    { .name = "cache.offset", .type = IMG_OPT_SIZE, .when = IMG_AT_OPEN,
      .offset = offsetof(struct values, offset) },
    { .name = NULL }
};
static const struct img_option other[] = {
    { .name = "size", .help = "Another size", .type = IMG_OPT_SIZE, .when = IMG_AT_CREATE },
    { .name = "compression_kind", .help = "How", .type = IMG_OPT_STRING, .when = IMG_AT_CREATE },
    { .name = NULL }
};

/* Result of reading `json`: "" is success; the rest is stored in *left. */
static char *reading(unsigned when, const char *json, struct values *values, char **left)
{
    struct img_error err = IMG_ERROR_INIT;
    struct img_doc *doc = img_doc_parse_options(json, &err);
    int status = img_options_read(table, when, doc, values, &err);
    *left = img_doc_json(doc, -1);
    img_doc_free(doc);
    char *text = strdup(status < 0 ? err.text : "");
    img_error_clear(&err);
    return text;
}

static void fails(unsigned when, const char *json, const char *wanted)
{
    struct values values;
    char *left, *text = reading(when, json, &values, &left);
    test_same(text, wanted, json);
    free(text);
    free(left);
    img_options_release(table, when, &values);
}

static void read_errors(void)
{
    fails(IMG_AT_CREATE, "{'lazy':'maybe'}", "Parameter 'lazy' expects 'on' or 'off'");
    fails(IMG_AT_CREATE, "{'lazy':''}", "Parameter 'lazy' expects 'on' or 'off'");
    fails(IMG_AT_CREATE, "{'lazy':1}", "Parameter 'lazy' expects 'on' or 'off'");
    fails(IMG_AT_CREATE, "{'bits':'abc'}", "Parameter 'bits' expects a number");
    fails(IMG_AT_CREATE, "{'bits':''}", "Parameter 'bits' expects a number");
    fails(IMG_AT_CREATE, "{'bits':1.5}", "Parameter 'bits' expects a number");
    fails(IMG_AT_CREATE, "{'bits':'99999999999999999999'}",
          "Value '99999999999999999999' is too large for parameter 'bits'");
    fails(IMG_AT_CREATE, "{'bits':'99999999999999999999x'}", "Parameter 'bits' expects a number");
    fails(IMG_AT_CREATE, "{'name':'x','size':'16E'}", "Value '16E' is out of range for parameter 'size'");
    fails(IMG_AT_CREATE, "{'name':'x','size':-1}", "Value '-1' is out of range for parameter 'size'");
    fails(IMG_AT_CREATE, "{'size':true}", "Parameter 'size' expects a non-negative number below 2^64");
    fails(IMG_AT_OPEN, "{'cache':{'offset':'1k'}}", "");
}

static void read_values(void)
{
    struct values values;
    char *left, *text = reading(IMG_AT_CREATE, "{'bits':'0x20','lazy':true,'name':'n','x':1}", &values, &left);
    OK(*text == '\0' && values.bits == 32 && values.lazy == 1 && values.size == -1 && !values.mode, "values are read");
    test_same(values.name, "n", "a string");
    test_same(left, "{\"x\": 1}", "unknown options are left");
    img_options_release(table, IMG_AT_CREATE, &values);
    OK(!values.name, "released");
    free(text);
    free(left);

    text = reading(IMG_AT_CREATE, "{'bits':-1,'size':18446744073709551615,'lazy':null,'name':{'a':1}}", &values, &left);
    OK(*text == '\0' && values.bits == INT64_MAX && values.size == INT64_MAX && values.lazy == 0, "odd values");
    test_same(left, "{\"name\": {\"a\": 1}}", "a container with members is no value");
    img_options_release(table, IMG_AT_CREATE, &values);
    free(text);
    free(left);

    text = reading(IMG_AT_AMEND, "{'name':'n'}", &values, &left);
    OK(*text == '\0' && values.bits == -1, "amend sets no defaults");
    img_options_release(table, IMG_AT_AMEND, &values);
    free(text);
    free(left);

    text = reading(IMG_AT_OPEN, "{'cache':{'offset':1024,'direct':true},'mode':'full'}", &values, &left);
    OK(*text == '\0' && values.offset == 1024, "a nested value is found by its dotted name");
    test_same(values.mode, "full", "a string beside it");
    test_same(left, "{\"cache\": {\"direct\": true}}", "its neighbours are left");
    img_options_release(table, IMG_AT_OPEN, &values);
    free(text);
    free(left);
}

static void checked(const char *text, const char *wanted)
{
    struct img_error err = IMG_ERROR_INIT;
    const struct img_option *tables[] = { table, other };
    struct img_doc *doc = img_doc_object();
    int status = img_options_add(doc, text, &err);
    if (status == 0)
        status = img_options_check(tables, 2, IMG_AT_CREATE, doc, &err);
    test_same(status < 0 ? err.text : "", wanted, text);
    img_doc_free(doc);
    img_error_clear(&err);
}

static void described(const char *text, const char *wanted)
{
    struct img_error err = IMG_ERROR_INIT;
    const struct img_option *tables[] = { table, other };
    struct img_doc *doc = img_doc_object();
    img_options_add(doc, text, &err);
    char *line = img_options_describe(tables, 2, doc);
    test_same(line, wanted, text);
    free(line);
    img_doc_free(doc);
}

static void several_tables(void)
{
    checked("size=1M,compression_kind=x", "");
    checked("foo=1,size=abc", "Invalid parameter 'foo'");
    checked("size=abc,foo=1", "Parameter 'size' expects a non-negative number below 2^64");
    checked("=x", "Invalid parameter ''");
    checked("cache.offset=1k", "Invalid parameter 'cache.offset'");
    checked("mode=half", "");
    described("size=1M", "size=1048576 bits=16 lazy=off");
    described("lazy=yes,bits= 0x10,size=18446744073709551615,compression_kind=q w,name=a,,b",
              "size=-1 name=a,,b bits=16 lazy=yes compression_kind=q w");
    const struct img_option *tables[] = { table, NULL, other };
    char *help = img_options_help(tables, 3, IMG_AT_CREATE);
    test_same(help,
              "  bits=<num>\n"
              "  compression_kind=<str> - How\n"
              "  lazy=<bool (on/off)>   - Postpone\n"
              "  mode=<str>             - Preallocation mode\n"
              "  name=<str>             - A name\n"
              "  size=<size>            - Virtual disk size\n", "help table");
    free(help);
    help = img_options_help(tables, 3, IMG_AT_MEASURE);
    test_same(help, "", "empty help table");
    free(help);
}

/* Texts that could be expensive: deep keys, many keys, one key many times. */
static void hostile(void)
{
    enum { LENGTH = 1 << 20 };
    struct img_error err = IMG_ERROR_INIT;
    char *text = malloc(LENGTH + 1);
    for (size_t i = 0; i < LENGTH; i++)
        text[i] = i % 2 ? '.' : 'a';
    memcpy(text + LENGTH - 2, "=1", 3);
    struct img_doc *doc = img_options_parse(text, NULL, &err);
    char *json = img_doc_json(doc, -1);
    OK(img_doc_count(doc) == 1 && strlen(json) < LENGTH * 2, "a key with half a million dots");
    free(json);
    img_doc_free(doc);

    size_t used = 0;
    for (unsigned i = 0; used < LENGTH - 32; i++)
        used += (size_t)sprintf(text + used, "k%u.x=1,k%u=2,", i, i % 3000);
    doc = img_options_parse(text, NULL, &err);
    OK(doc && img_doc_count(doc) > 3000, "many keys, many conflicts");
    img_doc_free(doc);
    free(text);
}

int main(void)
{
    image_opts();
    json_options();
    create_options();
    read_errors();
    read_values();
    several_tables();
    hostile();
    return test_end();
}
