/* SPDX-License-Identifier: MIT */
/*
 * img-digest.c - print digests of guest-visible content, which do not depend on the
 * format or layout of the image, and check lists of digests.  Lines and messages
 * are those of sha256sum(1).
 */
#include "digest.h"
#include "source.h"
#include "../libimg/copy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OPT_TREE = APP_LONG, OPT_TAG, OPT_OUTPUT, OPT_QUIET, OPT_STATUS, OPT_STRICT, OPT_IGNORE_MISSING };

static const struct app_option options[] = {
    { 'a', "algorithm", "ALGO", "sha256 (default), sha512, sha1, md5, ripemd160" },
    { OPT_TREE, "tree", NULL, "compute a tree digest: segments are hashed in parallel, holes are not read" },
    { 'f', "format", "FMT", "format of the images; probed if omitted" },
    { APP_IMAGE_OPTS, "image-opts", NULL, "FILE is a list key=value,..., not a file name" },
    APP_STRICT_FORMAT_ROW,
    { 'l', "snapshot", "SNAPSHOT", "read this internal snapshot: its id or name,\n"
                                   "or snapshot.id=ID,snapshot.name=NAME" },
    { 'T', "cache", "CACHE_MODE", "cache mode of the images (writeback)" },
    { 'U', "force-share", NULL, "do not lock the images, and ignore locks" },
    { 'm', "parallel", "NUM", "number of workers, 1 to 16" },
    { OPT_TAG, "tag", NULL, "print lines that name the algorithm" },
    { OPT_OUTPUT, "output", "human|json", "output format (human)" },
    { 'c', "check", NULL, "FILE is a list of digests: compare each digest with its image" },
    { OPT_IGNORE_MISSING, "ignore-missing", NULL, "with --check: skip images that do not exist" },
    { OPT_QUIET, "quiet", NULL, "with --check: print nothing for images that match" },
    { OPT_STATUS, "status", NULL, "with --check: print nothing; the exit code gives the result" },
    { OPT_STRICT, "strict", NULL, "with --check: exit with 1 if a line is not a digest" },
    { 'w', "warn", NULL, "with --check: warn about each line that is not a digest" },
    APP_OBJECT_ROW,
    { 0, NULL, NULL, NULL }
};

struct request {
    struct app *app;
    struct digest_choice choice;    /* hash NULL: not given */
    struct img_open how;
    const char *snapshot, *cache;
    uint64_t workers;
    bool tag, json, check;
    bool ignore_missing, quiet, status_only, strict, warn;
    const char *check_option;       /* an option that is given and needs --check */
    struct img_doc *report;         /* --output=json */
};

/* ---- One image ---------------------------------------------------------------------- */

static void explain(const char *name, struct img *image, const struct img_copy_fault *fault, int error)
{
    unsigned long long at = fault->offset;
    const char *why = img_read_error(image, error);

    if (fault->stage == IMG_COPY_MAPPING)
        app_error("%s: error while reading block status at offset %llu: %s", name, at, why);
    else if (fault->stage == IMG_COPY_STARTING)
        app_error("%s: error while starting to read: %s", name, why);
    else
        app_error("%s: error while reading at byte %llu: %s", name, at, why);
}

static int digest_content(const struct request *r, const char *name, const struct app_source *source,
                          const struct digest_choice *choice, uint8_t *result, uint64_t *length)
{
    struct img_digest *digest = app_need(img_digest_new(choice->hash, choice->tree));
    struct img_copy what = {
        .sources = &source->image, .source_count = source->image ? 1 : 0,
        .intake = source->image ? NULL : source->intake, .target_fd = -1,
        .workers = (unsigned)r->workers, .sparse = 512,
        .digest = digest, .progress = app_progress,
    };
    struct img_copy_fault fault;
    int ret;

    app_progress_start(false, 1.0);
    ret = img_copy(&what, NULL, &fault);
    app_progress_end(ret == 0);
    if (ret < 0)
        explain(name, source->image, &fault, -ret);
    *length = img_digest_length(digest);
    img_digest_finish(digest, result);
    img_digest_free(digest);
    return ret;
}

/* 0, or -1 after a message. */
static int digest_file(const struct request *r, const char *name, const struct digest_choice *choice, uint8_t *result,
                       uint64_t *length)
{
    struct app_reading reading = { .any_order = r->snapshot };
    struct app_source source;
    int ret = -1;

    if (app_open_source(&source, name, &r->how, &reading) < 0)
        return -1;
    if (!r->snapshot || app_load_snapshot(source.image, r->snapshot) == 0)
        ret = digest_content(r, name, &source, choice, result, length);
    return app_close_source(&source, ret < 0) ? -1 : 0;
}

static int print_file(struct request *r, const char *name)
{
    char hex[2 * IMG_HASH_MAX + 1];
    uint8_t result[IMG_HASH_MAX];
    struct img_doc *entry;
    uint64_t length = 0;

    if (digest_file(r, name, &r->choice, result, &length) < 0)
        return 1;
    if (!r->json) {
        digest_print(stdout, &r->choice, result, name, r->tag);
        return app_flush() ? 0 : 1;
    }
    entry = img_doc_object();
    img_doc_put_string(entry, "filename", name);
    img_doc_put_string(entry, "algorithm", img_hash_name(r->choice.hash));
    img_doc_put_bool(entry, "tree", r->choice.tree);
    img_doc_put_uint(entry, "length", length);
    img_doc_put_string(entry, "digest", digest_hex(hex, &r->choice, result));
    img_doc_append(r->report, entry);
    return 0;
}

static int print_files(struct request *r)
{
    int status = 0;

    if (r->json)
        r->report = img_doc_array();
    for (int i = 0; i < r->app->operand_count && !app_output_lost(); i++)
        status |= print_file(r, r->app->operands[i]);
    if (r->json)
        app_print_json(r->report);
    img_doc_free(r->report);
    return status;
}

/* ---- Lists of digests ------------------------------------------------------------------ */

/* The result of checking a list. */
struct tally {
    uint64_t good_lines, bad_lines, unreadable, different, verified;
};

static bool is_missing(const struct request *r, const char *name)
{
    struct stat st;

    return !r->how.image_opts && strcmp(name, "-") && stat(name, &st) < 0 && errno == ENOENT;
}

static void say_result(const struct request *r, const char *name, const char *result)
{
    if (r->status_only)
        return;
    digest_print_name(stdout, name);
    printf(": %s\n", result);
    app_flush();
}

static void check_file(const struct request *r, const char *name, const struct digest_choice *choice,
                       const uint8_t *wanted, struct tally *tally)
{
    uint8_t result[IMG_HASH_MAX];
    uint64_t length;

    if (r->ignore_missing && is_missing(r, name))
        return;
    if (digest_file(r, name, choice, result, &length) < 0) {
        tally->unreadable++;
        say_result(r, name, "FAILED open or read");
    } else if (memcmp(result, wanted, img_hash_length(choice->hash))) {
        tally->different++;
        say_result(r, name, "FAILED");
    } else {
        tally->verified++;
        if (!r->quiet)
            say_result(r, name, "OK");
    }
}

static void check_line(const struct request *r, char *line, const char *list, uint64_t number, struct tally *tally)
{
    struct digest_choice choice;
    uint8_t wanted[IMG_HASH_MAX];
    char *name;

    line[strcspn(line, "\n")] = '\0';
    if (!line[0] || line[0] == '#')
        return;
    if (digest_parse_line(line, &r->choice, &choice, wanted, &name)) {
        tally->good_lines++;
        check_file(r, name, &choice, wanted, tally);
        return;
    }
    tally->bad_lines++;
    if (r->warn)
        app_error("%s: %llu: improperly formatted %s checksum line", list, (unsigned long long)number,
                  img_hash_tag(r->choice.hash ? r->choice.hash : img_hash_next(NULL)));
}

static void warn_count(uint64_t count, const char *one, const char *many)
{
    if (count)
        app_error("WARNING: %llu %s", (unsigned long long)count, count == 1 ? one : many);
}

static bool judge(const struct request *r, const char *list, const struct tally *tally)
{
    if (!tally->good_lines) {
        app_error("%s: no properly formatted checksum lines found", list);
        return false;
    }
    if (!r->status_only) {
        warn_count(tally->bad_lines, "line is improperly formatted", "lines are improperly formatted");
        warn_count(tally->unreadable, "listed file could not be read", "listed files could not be read");
        warn_count(tally->different, "computed checksum did NOT match", "computed checksums did NOT match");
    }
    if (r->ignore_missing && !tally->verified && !tally->different && !tally->unreadable) {
        if (!r->status_only)
            app_error("%s: no file was verified", list);
        return false;
    }
    return !tally->different && !tally->unreadable && !(r->strict && tally->bad_lines);
}

static bool check_list(const struct request *r, const char *operand)
{
    bool from_stdin = !strcmp(operand, "-");
    const char *list = from_stdin ? "'standard input'" : operand;
    FILE *stream = from_stdin ? stdin : fopen(operand, "re");
    struct tally tally = { 0 };
    uint64_t number = 0;
    size_t capacity = 0;
    char *line = NULL;
    bool failed;

    if (!stream) {
        app_error("%s: %s", operand, img_strerror(errno));
        return false;
    }
    errno = 0;
    while (getline(&line, &capacity, stream) > 0)
        check_line(r, line, list, ++number, &tally);
    failed = ferror(stream);
    free(line);
    if (failed)
        app_error("%s: %s", list, img_strerror(errno ? errno : EIO));
    if (!from_stdin)
        fclose(stream);
    return !failed && judge(r, list, &tally);
}

static int check_lists(const struct request *r)
{
    int status = 0;

    if (r->app->operand_count == 0)
        return check_list(r, "-") ? 0 : 1;
    for (int i = 0; i < r->app->operand_count; i++)
        status |= check_list(r, r->app->operands[i]) ? 0 : 1;
    return status;
}

/* ---- The command line ---------------------------------------------------------------------- */

static bool parse_option(struct request *r, int letter)
{
    const char *argument = r->app->argument;
    bool tree = r->choice.tree;

    switch (letter) {
    case 'a':
        if (!digest_choose(argument, &r->choice))
            return false;
        r->choice.tree |= tree;
        break;
    case OPT_TREE: r->choice.tree = true; break;
    case 'f': r->how.format = argument; break;
    case APP_IMAGE_OPTS: r->how.image_opts = true; break;
    case 'l': r->snapshot = argument; return app_check_snapshot(argument, '\'');
    case 'T': r->cache = argument; break;
    case 'U': r->how.flags = IMG_SHARE; break;
    case 'm': return app_number(argument, "number of workers", 1, IMG_COPY_MAX_WORKERS, &r->workers);
    case OPT_TAG: r->tag = true; break;
    case OPT_OUTPUT: r->json = app_output_format(r->app) == APP_JSON; break;
    case 'c': r->check = true; break;
    case OPT_IGNORE_MISSING: r->ignore_missing = true; r->check_option = "ignore-missing"; break;
    case OPT_STRICT: r->strict = true; r->check_option = "strict"; break;
    /* The last one of these three counts. */
    case OPT_QUIET: r->quiet = true; r->status_only = r->warn = false; r->check_option = "quiet"; break;
    case OPT_STATUS: r->status_only = true; r->quiet = r->warn = false; r->check_option = "status"; break;
    case 'w': r->warn = true; r->quiet = r->status_only = false; r->check_option = "warn"; break;
    }
    return true;
}

static void check_combination(const struct request *r)
{
    if (r->check_option && !r->check)
        app_usage(r->app, "the --%s option is meaningful only when verifying checksums", r->check_option);
    if (r->check && r->tag)
        app_usage(r->app, "the --tag option is meaningless when verifying checksums");
    if (r->check && r->json)
        app_usage(r->app, "the --output option is meaningless when verifying checksums");
    if (!r->check && r->app->operand_count == 0)
        app_usage(r->app, "Expecting at least one image file name");
}

static int run(struct app *app)
{
    struct request r = { .app = app, .how = { .flags = IMG_NO_WRITERS }, .cache = "writeback" };
    struct digest_choice standard;
    int letter;

    while ((letter = app_next(app)) != -1)
        if (!parse_option(&r, letter))
            return 1;
    check_combination(&r);
    if (!app_cache(r.cache, "cache", &r.how.cache) || !digest_choose("sha256", &standard))
        return 1;
    if (!app_one_format(r.how.image_opts, r.how.format))
        return 1;
    if (r.check)
        return check_lists(&r);
    if (!r.choice.hash)
        r.choice.hash = standard.hash;
    return print_files(&r);
}

const struct applet applet_digest = {
    .name = "digest",
    .title = "print or check digests of the content of images, whatever their formats",
    .synopsis = "[-a ALGO] [--tree] [-f FMT | --image-opts] [--strict-format] "
                "[-l SNAPSHOT] [-T CACHE_MODE] [-U] [-m NUM] [--tag]"
                " [--output human|json] [--check [--ignore-missing] [--quiet | --status | --warn] [--strict]]"
                " [--object OBJDEF] FILE...",
    .options = options,
    .operands = "FILE   image to read; `-` is standard input.  With --check: a list of digests\n"
                "       (`-` or no FILE: standard input)\n\n"
                "The content is what a guest reads, with the length of the virtual size, so the\n"
                "digest is that of the raw file.  sha256sum(1) can check a list, too, if its\n"
                "files are raw.",
    .owes_output = 1,
    .main = run,
};
