/* SPDX-License-Identifier: MIT */
/*
 * applet.h - what an applet sees besides libimg/img.h: its own description, the
 * option parser, and the words that all tools share.
 *
 * An applet is one file applets/img-NAME.c with, at line start,
 *
 *     const struct applet applet_NAME = { .name = "NAME", ... };
 *
 * The build finds that line and makes the table applets[] of it.  The option
 * table of the applet alone feeds the parser, the help text and the test of docs/applets/.
 * The applet layer is the only one that prints and exits.
 */
#ifndef APPLET_H
#define APPLET_H

#include "../compat/compat.h"
#include "../libimg/img.h"

/*
 * One option.  `letter` is its short letter, or a number from APP_LONG on for
 * one that has only a long name; app_next() returns it.  `name` is the long name
 * or NULL.  A row whose `help` is NULL is a further spelling of the row that it stands below.
 * The table ends with a row of zeroes.  -h/--help is in every table by itself.
 */
struct app_option {
    int letter;
    const char *name;
    const char *argument;       /* what it takes, in capitals for the help; NULL: nothing */
    const char *help;           /* lines, without indent; NULL: a further spelling */
};
enum { APP_LONG = 256, APP_IMAGE_OPTS = 512, APP_OBJECT };

/* Rows of many tables: how FILENAME is opened ('f' and APP_IMAGE_OPTS), and --object, which app_next() sees to. */
#define APP_IMAGE_ROWS \
    { 'f', "format", "FMT", "format of the image; probed if omitted" }, \
    { APP_IMAGE_OPTS, "image-opts", NULL, "FILENAME is a list key=value,..., not a file name" }
#define APP_OBJECT_ROW { APP_OBJECT, "object", "OBJDEF", "define an object (such as a secret)" }

struct app;

struct applet {
    const char *name;           /* "convert" */
    const char *title;          /* "copy images, with a change of format where wanted" */
    const char *synopsis;       /* options and operands on one line: "[-f FMT] [-U] FILE" */
    const struct app_option *options;
    const char *operands;       /* help lines about the operands and whatever else; may be NULL */
    int usage_status;           /* exit code of a usage error; 0 stands for 1 */
    bool minus_number;          /* "-512" right behind the first operand is one too, not options */
    int (*main)(struct app *app);   /* returns the exit code */
};
/* All applets that are linked, NULL-ended, by name.  Written by the build. */
extern const struct applet *const applets[];

/* ---- Options and operands (getopt.c) ------------------------------------ */

/* One run of an applet. */
struct app {
    const struct applet *applet;
    const char *called;         /* for "Try '... --help'": "./qemu-img info", "img-info" */
    char *argument;             /* of the option that app_next() returned last */
    char **operands;            /* what is no option, in order; complete once app_next() returned -1 */
    int operand_count;
    /* The parser's own. */
    char **argv;
    int argc, next;
    const char *cluster;        /* rest of a group of short options */
    bool only_operands;         /* `--` was seen */
    bool stop_at_operand;       /* the first operand ends the options too (global options) */
};
/* Make ready to parse argv[1] and on; ends the process if memory runs out. */
void app_start(struct app *app, const struct applet *applet, const char *called, int argc, char **argv);

/*
 * The letter of the next option, -1 after the last.  Options and operands come
 * in any order, long names may be shortened, `--` ends the options.  --object is taken (app_object) and not returned.
 * -h and --help print the help and exit; an unknown option, a missing argument end the process as a
 * usage error in qemu-img's words.
 */
int app_next(struct app *app);

/* Print "NAME: TEXT" and "Try 'CALLED --help' for more info", and exit. */
_Noreturn void app_usage(const struct app *app, const char *format, ...) IMG_PRINTF(2, 3);
/* The full help of an applet, on standard output. */
void app_help(const struct app *app);

/* ---- Words (common.c) ----------------------------------------------------- */

extern const char *app_name;    /* what error lines begin with: "qemu-img", "img-convert" */
extern bool app_quiet;          /* -q: app_say is silent */

/* "NAME: TEXT" and a newline on standard error. */
void app_error(const char *format, ...) IMG_PRINTF(1, 2);
void app_warning(const char *format, ...) IMG_PRINTF(1, 2);
/* Print an error with its hint, and clear it. */
void app_report(struct img_error *err);
/* The same with text in front ("error while converting qcow2: "). */
void app_report_with(struct img_error *err, const char *format, ...) IMG_PRINTF(2, 3);
/* printf on standard output unless -q. */
void app_say(const char *format, ...) IMG_PRINTF(1, 2);
/* Flush standard output; an error there is reported once and makes the status 1 where it was 0.
 * main() does it after every applet. */
int app_finish(int status);

/* ---- Arguments that several tools take (common.c) ------------------------- */

enum app_output { APP_HUMAN, APP_JSON };
/* Of --output; a bad one is a usage error. */
enum app_output app_output_format(const struct app *app);
/* Cache mode by name; false (after "Invalid WHAT option: x", WHAT "cache" or "source cache") for a bad one. */
bool app_cache(const char *text, const char *what, enum img_cache *mode);
/* img_parse_size in bytes; but the older profile calls a number below zero malformed, the newer one out of range. */
int app_parse_size(const char *text, uint64_t *number);
/*
 * A size given by the user (suffix optional, bytes without one), 0 to INT64_MAX; false with a message
 * about `what` ("image size", "start offset" ...) in qemu-img's words for a bad one.
 */
bool app_size(const char *text, const char *what, uint64_t *size);
/* The same for a plain or suffixed number with its own bounds ("number of coroutines", 1, 16). */
bool app_number(const char *text, const char *what, uint64_t min, uint64_t max, uint64_t *number);
/* --object: accepted when it is a well-formed object that qemu-img would take (object.c); exits with 1 and
 * qemu-img's text if not. */
void app_object(const char *text);
/* With which status it does that from now on. */
void app_object_status(int status);
/* An image given as key=value,... has its format there: false after a message if there is another one. */
bool app_one_format(bool image_opts, const char *format);
/* The image, or NULL after the error was printed (no message prefix is needed: img_open words it); app_one_format is
 * asked first. */
struct img *app_open(const char *name, const struct img_open *how);
/* Take the "Could not open 'NAME': " off that img_open put in front, where another wording stands around it. */
void app_cut_prefix(struct img_error *err, const char *name);
/* Close; an error is printed and makes the status 1 where it was 0. */
int app_close(struct img *image, int status);
/* The same behind work whose failure, if `status` is not 0, has been told: a close that fails then too says nothing. */
int app_close_after(struct img *image, int status);
/* Print `why`; false, so that a check can end with it. */
bool app_refuse(const char *why);
/* The argument of -o into *options, which are made with the first one; *want_help (NULL: there is none) where that is
 * what it asks for.  False after a message. */
bool app_add_options(struct img_doc **options, const char *text, bool *want_help);
/* Can images of this driver be made?  False after a message. */
bool app_can_create(const struct img_driver *driver);

/* ---- Streams (stream.c) ---------------------------------------------------------- */

/* Is it a pipe or a socket that is there under this name? */
bool app_is_stream(const char *name);
/* Open it for reading or for writing (O_RDONLY, O_WRONLY).  NULL: standard input or output, as the flag tells.  A file
 * descriptor for app_close_stream, or -1 after a message. */
int app_open_stream(const char *name, int flag);
/* Standard streams stay open.  0, or a negative errno; -1 as descriptor is fine. */
int app_close_stream(int fd);
/* Can an image of this format be written in order?  False after a message that names those that can. */
bool app_can_stream(const struct img_driver *driver);

/* ---- Snapshots (snapshot-arg.c) ------------------------------------------------ */

/* Show of `image` the internal snapshot that the argument of -l names: its id or name, or
 * snapshot.id=ID,snapshot.name=NAME.  0, or -1 after a message. */
int app_load_snapshot(struct img *image, const char *text);

/* ---- Creation options (create-help.c) ---------------------------------------- */

/* Print the text of `-o help`, as the profile lists it; returns the exit code. `name` NULL: the format alone. */
int app_create_help(const struct img_driver *driver, const char *name);

/* ---- Documents (common.c) -------------------------------------------------- */

/* Print as JSON with 4 spaces a level and a newline. */
void app_print_json(const struct img_doc *doc);

/* ---- Progress (progress.c) -------------------------------------------------- */

/*
 * "    (12.34/100%)\r" on standard output, each a write of its own, at most once per `step` percent (qemu-img's
 * convert and compare use 1.0; dd, rebase and commit 1.0 too);
 * without `shown` it comes only on SIGUSR1, on standard error.  SIGUSR1 is harmless from start on.
 */
void app_progress_start(bool shown, double step);
/* An img_progress_fn (context unused): `done` of `total` bytes; both 0 counts as nothing done. */
void app_progress(void *context, uint64_t done, uint64_t total);
/* The same without the last step: where something still follows, which only app_progress_end tells. */
void app_progress_before_end(void *context, uint64_t done, uint64_t total);
/* The last line: "(100.00/100%)" if `complete`, and the newline, when shown. */
void app_progress_end(bool complete);

#endif
