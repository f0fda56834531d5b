/* SPDX-License-Identifier: MIT */
/* serve-list.c - -L: the exports of another server, as qemu-nbd prints them. */
#include "serve.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { DIAL_MILLISECONDS = 60000 };

/* What a server says may hold what a terminal would obey. */
static void put_text(const char *text, bool lines)
{
    for (; *text; text++)
        putchar(lines && (*text == '\n' || *text == '\t') ? *text : img_printable(*text));
}

static void print_flags(uint64_t flags)
{
    /* by bit, from 1 on; bit 0 says only that there are flags */
    static const char *const names[] = { "readonly", "flush", "fua", "rotational", "trim", "zeroes", "df", "multi",
                                         "resize", "cache", "fast-zero", "block-status-payload" };

    printf("  flags: 0x%" PRIx64 " (", flags);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (flags & UINT64_C(2) << i)
            printf(" %s", names[i]);
    printf(" )\n");
}

static void print_number(const struct img_doc *export, const char *key, const char *title)
{
    const struct img_doc *value = img_doc_get(export, key);

    if (value)
        printf("  %s%" PRIu64 "\n", title, img_doc_get_uint(value));
}

static void print_contexts(const struct img_doc *contexts)
{
    size_t count = contexts ? img_doc_count(contexts) : 0;

    if (!count)
        return;
    printf("  available meta contexts: %zu\n", count);
    for (size_t i = 0; i < count; i++) {
        printf("   ");
        put_text(img_doc_get_string(img_doc_at(contexts, i)), false);
        printf("\n");
    }
}

static void print_export(const struct img_doc *export)
{
    const char *description = img_doc_string_at(export, "description");
    const char *mode = img_doc_string_at(export, "mode");
    const struct img_doc *flags = img_doc_get(export, "flags");

    printf(" export: '");
    put_text(img_doc_string_at(export, "name"), false);
    printf("'\n");
    if (description && *description) {
        printf("  description: ");
        put_text(description, true);
        printf("\n");
    }
    print_number(export, "size", "size:  ");
    if (flags)
        print_flags(img_doc_get_uint(flags));
    print_number(export, "min-block", "min block: ");
    print_number(export, "opt-block", "opt block: ");
    print_number(export, "max-block", "max block: ");
    printf("  transaction size: %s\n", mode && !strcmp(mode, "extended") ? "64-bit" : "32-bit");
    print_contexts(img_doc_get(export, "contexts"));
}

int serve_list(const struct serve *s)
{
    struct img_address address = serve_address(s);
    struct img_error err = IMG_ERROR_INIT;
    const char *host = s->tls_hostname ? s->tls_hostname : s->path ? NULL : address.host;
    int fd = img_dial(&address, DIAL_MILLISECONDS, -1, &err);
    struct img_doc *list;

    if (fd < 0 || img_server_list(fd, s->tls, s->tls ? host : NULL, &list, &err) < 0) {
        app_report(&err);
        return 1;
    }
    app_output_is_work(1);
    printf("exports available: %zu\n", img_doc_count(list));
    for (size_t i = 0; i < img_doc_count(list); i++)
        print_export(img_doc_at(list, i));
    img_doc_free(list);
    return 0;
}
