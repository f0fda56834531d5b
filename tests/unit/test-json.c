/* SPDX-License-Identifier: MIT */
/* Documents and JSON: printing, parsing, qemu-img's error texts, hostile depth and size. */
#include "libimg/img.h"
#include "test.h"

#include <stdlib.h>

/* Parsed and printed again on one line. */
static void round_trip(const char *json, const char *wanted)
{
    struct img_error err = IMG_ERROR_INIT;
    struct img_doc *doc = img_doc_parse(json, &err);
    char *text = doc ? img_doc_json(doc, -1) : NULL;
    test_same(text ? text : err.text, wanted, json);
    free(text);
    img_doc_free(doc);
    img_error_clear(&err);
}

static void refused(const char *json, const char *wanted)
{
    struct img_error err = IMG_ERROR_INIT;
    struct img_doc *doc = img_doc_parse(json, &err);
    test_same(doc ? "(accepted)" : err.text, wanted, json);
    img_doc_free(doc);
    img_error_clear(&err);
}

static void strings(void)
{
    round_trip("\"a\\\"b\\\\c\\/d\"", "\"a\\\"b\\\\c/d\"");
    round_trip("'a\"b'", "\"a\\\"b\"");
    round_trip("'a\\'b'", "\"a'b\"");
    round_trip("\"\\b\\f\\n\\r\\t\"", "\"\\b\\f\\n\\r\\t\"");
    round_trip("\"\\u00e9\\u20AC\"", "\"\\u00E9\\u20AC\"");
    round_trip("\"\xC3\xA9\"", "\"\\u00E9\"");
    round_trip("\"\\ud83d\\ude00\"", "\"\\uD83D\\uDE00\"");
    round_trip("\"\xF0\x9F\x98\x80\"", "\"\\uD83D\\uDE00\"");
    round_trip("\"\\u0000x\"", "\"\\u0000x\"");
    round_trip("\"\x7F\"", "\"\\u007F\"");
    struct img_doc *doc = img_doc_string("x\xFF\xFE\xC3y\x01\v");
    char *text = img_doc_json(doc, 4);
    test_same(text, "\"x\\uFFFD\\uFFFD\\uFFFDy\\u0001\\u000B\"", "bytes that are no UTF-8");
    free(text);
    img_doc_free(doc);
}

static void numbers(void)
{
    round_trip("0", "0");
    round_trip("-0", "0");
    round_trip("-9223372036854775808", "-9223372036854775808");
    round_trip("9223372036854775807", "9223372036854775807");
    round_trip("18446744073709551615", "18446744073709551615");
    round_trip("99999999999999999999", "1e+20");
    round_trip("-9223372036854775809", "-9.2233720368547758e+18");
    round_trip("1e3", "1000");
    round_trip("1.5E-1", "0.14999999999999999");
    refused("01", "JSON parse error, stray '01'");
    refused("-", "JSON parse error, stray '-'");
    refused("1.5e}", "JSON parse error, stray '1.5e}'");
    refused("+1", "JSON parse error, stray '+'");
    refused("[0e5]", "JSON parse error, expected separator in list");
    round_trip("[0.0e5]", "[0]");
    refused("[5.x]", "JSON parse error, stray '5.x'");
}

static void structure(void)
{
    round_trip(" [1 , true,null,\t\"x\"]\n", "[1, true, null, \"x\"]");
    round_trip("{\"b\":{},\"a\":[],\"c\":{\"d\":false}}", "{\"b\": {}, \"a\": [], \"c\": {\"d\": false}}");
    refused("", "Expecting a JSON value");
    refused("{", "JSON parse error, premature EOI");
    refused("{\"a\":}", "JSON parse error, expecting value");
    refused("{]", "JSON parse error, expecting value");
    refused("{\"a\" 1}", "JSON parse error, missing : in object pair");
    refused("{\"a\"", "JSON parse error, premature EOI");
    refused("{\"a\":1,}", "JSON parse error, expecting value");
    refused("{\"a\":1 \"b\":2}", "JSON parse error, expected separator in dict");
    refused("[1 2]", "JSON parse error, expected separator in list");
    refused("{\"a\":[1}", "JSON parse error, expected separator in list");
    refused("{1:2}", "JSON parse error, key is not a string in object");
    refused("{{}", "JSON parse error, key is not a string in object");
    refused("{\"a\":1,\"a\":2}", "JSON parse error, duplicate key");
    refused("{\"a\":1,\"a\":}", "JSON parse error, expecting value");
    refused("{}x", "Expecting at most one JSON value");
    refused("1@", "Expecting at most one JSON value");
    refused("tru@", "JSON parse error, invalid keyword 'tru'");
    refused("{\"a\":tru,\"b\":@", "JSON parse error, stray '@'");
    refused("trueX", "Expecting at most one JSON value");
    refused("[trueX]", "JSON parse error, stray 'X'");
    refused("\"abc", "JSON parse error, stray '\"abc'");
    refused("\"abc\\", "JSON parse error, stray '\"abc\\'");
    refused("\"\x01\"", "JSON parse error, stray '\"\x01'");
    refused("\"\xFF\"", "JSON parse error, stray '\"\xFF'");
    refused("\"\\q\"", "JSON parse error, invalid escape sequence in string");
    refused("\"\xC3\"", "JSON parse error, invalid UTF-8 sequence in string");
    refused("\"\\ud800\"", "JSON parse error, \\ud800 is not a valid Unicode character");
    refused("\"\\u12\"", "JSON parse error, \\u12\" is not a valid Unicode character");
    refused("\"\\u12G4\"", "JSON parse error, \\u12G4 is not a valid Unicode character");
    refused("\"\\uffff\"", "JSON parse error, \\uffff is not a valid Unicode character");
}

/* `open` so many times, then `close` as often. */
static char *nested(const char *open, const char *close, size_t depth)
{
    char *text = malloc(depth * (strlen(open) + strlen(close)) + 1), *at = text;
    for (size_t i = 0; i < depth; i++)
        at = stpcpy(at, open);
    for (size_t i = 0; i < depth; i++)
        at = stpcpy(at, close);
    *at = '\0';
    return text;
}

static void hostile(void)
{
    struct img_error err = IMG_ERROR_INIT;
    char *text = nested("[", "]", 1024);
    struct img_doc *doc = img_doc_parse(text, &err);
    OK(doc, "1024 levels are parsed");
    struct img_doc *copy = img_doc_copy(doc);
    OK(img_doc_equal(doc, copy), "copied and compared");
    char *printed = img_doc_json(doc, -1);
    OK(strcmp(printed, text) == 0, "and printed");
    free(printed);
    free(text);
    img_doc_free(doc);
    img_doc_free(copy);

    static const size_t depths[] = { 1025, 100000, 1000000 };
    for (size_t i = 0; i < sizeof depths / sizeof *depths; i++) {
        text = nested("{\"a\":[", "]}", depths[i]);
        OK(!img_doc_parse(text, &err), "%zu levels are refused", depths[i]);
        test_same(err.text, "JSON nesting depth limit exceeded", "with the reason");
        img_error_clear(&err);
        free(text);
    }

    /* Many keys: lookups must not cost the square of their number. */
    enum { KEYS = 200000 };
    doc = img_doc_object();
    for (unsigned i = 0; i < KEYS; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%u", i);
        img_doc_put_uint(doc, key, i);
    }
    text = img_doc_json(doc, -1);
    img_doc_free(doc);
    doc = img_doc_parse(text, &err);
    OK(img_doc_count(doc) == KEYS && img_doc_get_uint(img_doc_get(doc, "k199999")) == 199999, "200000 keys");
    free(text);
    img_doc_free(doc);
}

static void members(void)
{
    struct img_doc *doc = img_doc_object();
    for (unsigned i = 0; i < 100; i++) {
        char key[16];
        snprintf(key, sizeof key, "%u", i);
        img_doc_put_uint(doc, key, i);
    }
    img_doc_put_string(doc, "50", "new");
    test_same(img_doc_key_at(doc, 50), "50", "put keeps the place of a key");
    test_same(img_doc_string_at(doc, "50"), "new", "and replaces its value");
    OK(!img_doc_string_at(doc, "51") && !img_doc_string_at(doc, "none"), "no string there");
    img_doc_remove(doc, "10");
    struct img_doc *taken = img_doc_take(doc, "20");
    OK(img_doc_get_uint(taken) == 20 && !img_doc_get(doc, "20") && !img_doc_take(doc, "20"), "take removes");
    img_doc_free(taken);
    OK(img_doc_count(doc) == 98 && img_doc_get_uint(img_doc_get(doc, "99")) == 99, "the rest is still found");
    img_doc_put_uint(doc, "10", 10);
    OK(img_doc_count(doc) == 99 && img_doc_get_uint(img_doc_get(doc, "10")) == 10, "added again");
    OK(!img_doc_at(doc, 99) && !img_doc_key_at(doc, 99), "no member behind the last");
    img_doc_free(doc);

    struct img_error err = IMG_ERROR_INIT;
    struct img_doc *a = img_doc_parse("{\"a\":1,\"b\":[1,2]}", &err), *b = img_doc_parse("{\"b\":[1,2],\"a\":1}", &err);
    OK(img_doc_equal(a, b), "objects are equal in any order");
    img_doc_put_uint(b, "a", 1);
    OK(img_doc_equal(a, b), "and whatever the kind of integer");
    img_doc_append(img_doc_get(b, "b"), img_doc_null());
    OK(!img_doc_equal(a, b), "arrays differ by length");
    img_doc_free(a);
    img_doc_free(b);
    struct img_doc *minus = img_doc_int(-1), *large = img_doc_uint(UINT64_MAX);
    OK(!img_doc_equal(minus, large) && img_doc_get_uint(minus) == 0 && img_doc_get_int(large) == INT64_MAX,
       "-1 is not 2^64-1");
    img_doc_free(minus);
    img_doc_free(large);
}

static void indented(void)
{
    struct img_error err = IMG_ERROR_INIT;
    struct img_doc *doc = img_doc_parse("{'a':[1,{'b':[]}],'c':{}}", &err);
    char *text = img_doc_json(doc, 4);
    test_same(text, "{\n    \"a\": [\n        1,\n        {\n            \"b\": [\n            ]\n        }\n    ],\n"
              "    \"c\": {\n    }\n}", "indented as qemu-img does");
    free(text);
    img_doc_free(doc);
}

int main(void)
{
    strings();
    numbers();
    structure();
    hostile();
    members();
    indented();
    return test_end();
}
