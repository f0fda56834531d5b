/* SPDX-License-Identifier: MIT */
/* serve-options.c - the command line of img-serve and qemu-nbd. */
#include "face.h"
#include "serve.h"
#include "version.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_STRING = 4096 };         /* of a name, a description: what the protocol allows */

static bool is_one_of(const char *text, const char *const *choices)
{
    for (; *choices; choices++)
        if (!strcmp(text, *choices))
            return true;
    return false;
}

/* A whole number in C's notation. */
static bool parse_int(const char *text, const char *what, int *number)
{
    char *end;
    long long value;

    errno = 0;
    value = strtoll(text, &end, 0);
    if (end != text && !*end && !errno && value >= 0 && value <= INT32_MAX) {
        *number = (int)value;
        return true;
    }
    app_error("Invalid %s '%s'", what, text);
    return false;
}

/* qemu-nbd takes no suffixes, and a negative number for a large one. */
static bool parse_offset(const struct serve *s, const char *text, uint64_t *offset)
{
    char *end;

    if (!s->nbd)
        return app_size(text, "offset", offset);
    errno = 0;
    *offset = strtoull(text, &end, 0);
    if (end != text && !*end && !errno)
        return true;
    app_error("Invalid offset '%s'", text);
    return false;
}

static bool check_string(const char *text, const char *what)
{
    if (strlen(text) <= MAX_STRING)
        return true;
    app_error("export %s '%s' too long", what, text);
    return false;
}

/* ---- Options of one disk ------------------------------------------------------------- */

static bool check_disk_option(const struct serve *s, int letter, const char *argument)
{
    uint64_t number;

    switch (letter) {
    case 'x': return check_string(argument, "name");
    case 'D': return check_string(argument, "description");
    case 'o': return parse_offset(s, argument, &number);
    case 'l': return app_check_snapshot(argument, '`');
    case SERVE_LENGTH: return app_size(argument, "length", &number);
    }
    return true;
}

static void take_disk_option(const struct serve *s, struct serve_disk *disk, const struct serve_word *word)
{
    switch (word->letter) {
    case 'x': disk->name = word->argument; break;
    case 'D': disk->description = word->argument; break;
    case 'f': disk->format = word->argument; break;
    case 'r': disk->read_only = true; break;
    case 'A': disk->depth = true; break;
    case 'o': parse_offset(s, word->argument, &disk->offset); break;
    case 'l':
        disk->snapshot = word->argument;
        disk->read_only = true;
        break;
    case 'B':
        if (!IMG_VECTOR_PUSH(&disk->bitmaps, word->argument))
            app_need(NULL);
        break;
    case APP_IMAGE_OPTS: disk->image_opts = true; break;
    case SERVE_LENGTH: disk->has_length = app_size(word->argument, "length", &disk->length); break;
    }
}

static bool is_disk_option(int letter)
{
    static const int letters[] = { 'x', 'D', 'f', 'r', 'A', 'o', 'l', 'B', APP_IMAGE_OPTS, SERVE_LENGTH };

    for (size_t i = 0; i < sizeof letters / sizeof *letters; i++)
        if (letters[i] == letter)
            return true;
    return false;
}

bool serve_has_disk_options(const struct serve *s)
{
    uint64_t offset;

    for (size_t i = 0; i < s->words.count; i++) {
        const struct serve_word *word = &s->words.at[i];

        if (word->letter == 'o' && parse_offset(s, word->argument, &offset) && offset == 0)
            continue;
        if (word->letter != 'r' && word->letter != APP_IMAGE_OPTS)
            return true;
    }
    return s->device || s->disconnect || s->aio || s->discard || s->cache_given;
}

/* qemu-nbd names the bitmaps from the last -B to the first. */
static void reverse_bitmaps(struct serve_disk *disk)
{
    for (size_t i = 0, end = disk->bitmaps.count; i + 1 < end; i++) {
        const char *first = disk->bitmaps.at[i];

        disk->bitmaps.at[i] = disk->bitmaps.at[--end];
        disk->bitmaps.at[end] = first;
    }
}

/* The operands are complete: give each its options. */
static void make_disks(struct serve *s)
{
    int count = s->app->operand_count;

    for (int i = 0; i < count; i++)
        if (!IMG_VECTOR_PUSH(&s->disks, (struct serve_disk){ .file = s->app->operands[i], .name = "" }))
            app_need(NULL);
    for (size_t i = 0; count && i < s->words.count; i++) {
        const struct serve_word *word = &s->words.at[i];

        take_disk_option(s, &s->disks.at[word->disk < count ? word->disk : count - 1], word);
    }
    for (size_t i = 0; i < s->disks.count; i++)
        reverse_bitmaps(&s->disks.at[i]);
}

/* ---- How images are opened -------------------------------------------------------------- */

static bool parse_cache(struct serve *s, const char *mode)
{
    if (s->cache_given)
        return app_refuse("-n and --cache can only be specified once");
    s->cache_given = true;
    if (img_cache_parse(mode, &s->cache) == 0)
        return true;
    app_error("Invalid cache mode `%s'", mode);
    return false;
}

static bool parse_aio(struct serve *s, const char *mode)
{
    static const char *const modes[] = { "native", "threads", "io_uring", NULL };

    if (s->aio)
        return app_refuse("--aio can only be specified once");
    s->aio = mode;
    if (is_one_of(mode, modes))
        return true;
    app_error("Invalid aio mode '%s'", mode);
    return false;
}

static bool parse_discard(struct serve *s, const char *mode)
{
    static const char *const modes[] = { "ignore", "off", "unmap", "on", NULL };

    if (s->discard)
        return app_refuse("--discard can only be specified once");
    s->discard = mode;
    if (is_one_of(mode, modes))
        return true;
    app_error("Invalid discard mode `%s'", mode);
    return false;
}

/* qemu-nbd wants --discard before it, and so does img-serve, whose default frees nothing less. */
static bool parse_detect(struct serve *s, const char *mode)
{
    static const char *const modes[] = { "off", "on", "unmap", NULL }, *const unmap[] = { "unmap", "on", NULL };
    bool unmaps = s->discard ? is_one_of(s->discard, unmap) : !s->nbd;

    if (!is_one_of(mode, modes)) {
        app_error("Failed to parse detect_zeroes mode: invalid parameter value: %s", mode);
        return false;
    }
    if (!strcmp(mode, "unmap") && !unmaps)
        return app_refuse("setting detect-zeroes to unmap is not allowed without setting discard operation to unmap");
    s->detect = mode;
    return true;
}

/* ---- All options ---------------------------------------------------------------------------- */

static bool parse_path(struct serve *s, const char *path)
{
    s->path = path;
    return *path == '/' || (!s->nbd && *path) || app_refuse("socket path must be absolute");
}

static bool parse_handshake(struct serve *s, const char *text)
{
    int seconds = 0;

    if (!parse_int(text, "handshake limit", &seconds))
        return false;
    s->handshake = (unsigned)seconds;
    return true;
}

static bool parse_image_option(struct serve *s, int letter, const char *argument)
{
    switch (letter) {
    case 'n': return parse_cache(s, "none");
    case 's': s->temporary = true; break;
    case SERVE_CACHE: return parse_cache(s, argument);
    case SERVE_AIO: return parse_aio(s, argument);
    case SERVE_DISCARD: return parse_discard(s, argument);
    case SERVE_DETECT: return parse_detect(s, argument);
    }
    return true;
}

static bool parse_tls_option(struct serve *s, int letter, const char *argument)
{
    switch (letter) {
    case SERVE_TLS_CREDS: s->tls_id = argument; break;
    case SERVE_TLS_AUTHZ: s->tls_authz = argument; break;
    case SERVE_TLS_HOSTNAME: s->tls_hostname = argument; break;
    case SERVE_TLS_PSK: s->tls_psk = argument; break;
    case SERVE_TLS_CERTIFICATES: s->tls_certificates = argument; break;
    case SERVE_TLS_VERIFY: s->tls_verify = true; break;
    default: return parse_image_option(s, letter, argument);
    }
    return true;
}

static bool parse_option(struct serve *s, int letter, const char *argument)
{
    switch (letter) {
    case 'p': s->port = argument; break;
    case 'b': s->bind = argument; break;
    case 'k': return parse_path(s, argument);
    case 'e': return parse_int(argument, "shared device number", &s->shared);
    case 't': s->persistent = true; break;
    case 'v': s->verbose = true; break;
    case 'L': s->list = true; break;
    case 'c': s->device = argument; break;
    case 'd': s->disconnect = true; break;
    case SERVE_HANDSHAKE: return parse_handshake(s, argument);
    case SERVE_FORK: s->fork = true; break;
    case SERVE_PID_FILE: s->pid_file = argument; break;
    case SERVE_SELINUX: s->selinux = argument; break;
    case SERVE_STDIO: s->stdio = true; break;
    default: return parse_tls_option(s, letter, argument);
    }
    return true;
}

/* Options after which nothing else counts. */
static void answer_and_exit(const struct serve *s, int letter)
{
    enum app_trace traced = letter == 'T' ? app_trace(s->app->argument) : APP_TRACE_GOOD;

    if (letter == 'h' || letter == 'V')
        app_output_is_help();
    if (letter == 'h')
        serve_nbd_help(s->app->called);
    else if (letter == 'V' && s->nbd)
        serve_nbd_version();
    else if (letter == 'V')
        app_print_version(app_name);
    else if (traced == APP_TRACE_GOOD)
        return;
    exit(app_finish(traced == APP_TRACE_BAD));
}

bool serve_parse(struct serve *s)
{
    int letter;

    while ((letter = app_next(s->app)) != -1) {
        struct serve_word word = { .letter = letter, .argument = s->app->argument, .disk = s->app->operand_count };

        answer_and_exit(s, letter);
        if (!is_disk_option(letter)) {
            if (!parse_option(s, letter, word.argument))
                return false;
            continue;
        }
        if (!check_disk_option(s, letter, word.argument))
            return false;
        if (!IMG_VECTOR_PUSH(&s->words, word))
            app_need(NULL);
    }
    make_disks(s);
    return true;
}
