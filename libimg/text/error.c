/* SPDX-License-Identifier: MIT */
/*
 * The error object, and notices: messages that are not errors.  Nothing
 * here prints; the handler that the applet installs does.
 */
#include "img.h"
#include "util/strbuf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* The text when there is no memory for one: never freed. */
static char no_memory[] = "Cannot allocate memory";

static void free_text(char *text)
{
    if (text != no_memory)
        free(text);
}

/* NULL: out of memory. */
__attribute__((format(printf, 1, 0), nonnull(1)))
static char *formatted(const char *format, va_list arguments)
{
    va_list again;
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    char *text = length < 0 ? NULL : img_malloc((size_t)length + 1);
    if (text)
        vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    return text;
}

/* Takes ownership of `text`; NULL: there was no memory for it.  A code of 0 would mean success to the callers. */
static int settle(struct img_error *err, int code, char *text)
{
    code = code < 0 ? -code : code;
    if (code == 0)
        code = EIO;
    if (err->text) {
        free_text(text);
        return -err->code;
    }
    err->code = code;
    err->text = text ? text : no_memory;
    return -code;
}

int img_error_set(struct img_error *err, int code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *text = formatted(format, arguments);
    va_end(arguments);
    return settle(err, code, text);
}

int img_error_errno(struct img_error *err, int code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *text = formatted(format, arguments);
    va_end(arguments);

    char *whole = text ? img_asprintf("%s: %s", text, img_strerror(code)) : NULL;
    free(text);
    return settle(err, code, whole);
}

int img_error_memory(struct img_error *err)
{
    return settle(err, ENOMEM, NULL);
}

int img_error_prefix(struct img_error *err, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *front = formatted(format, arguments);
    va_end(arguments);

    char *whole = front ? img_asprintf("%s%s", front, err->text ? err->text : "") : NULL;
    free(front);
    /* Better the old text than none. */
    if (whole) {
        free_text(err->text);
        err->text = whole;
    } else if (!err->text) {
        err->text = no_memory;
    }
    if (err->code == 0)
        err->code = EIO;
    return -err->code;
}

void img_error_hint(struct img_error *err, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *hint = formatted(format, arguments);
    va_end(arguments);
    free(err->hint);
    err->hint = hint;
}

void img_error_advise(struct img_error *err, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *line = formatted(format, arguments);
    va_end(arguments);

    char *whole = line ? img_asprintf("%s%s\n", err->advice ? err->advice : "", line) : NULL;
    free(line);
    if (!whole)
        return;
    free(err->advice);
    err->advice = whole;
}

static bool advice_wanted;

void img_seek_advice(bool wanted)
{
    advice_wanted = wanted;
}

bool img_advice_wanted(void)
{
    return advice_wanted;
}

void img_error_clear(struct img_error *err)
{
    free_text(err->text);
    free(err->hint);
    free(err->advice);
    *err = (struct img_error)IMG_ERROR_INIT;
}

static img_notice_fn *notice_handler;

void img_set_notice(img_notice_fn *handler)
{
    notice_handler = handler;
}

void img_notice(enum img_notice kind, const char *format, ...)
{
    if (!notice_handler)
        return;
    va_list arguments;
    va_start(arguments, format);
    char *text = formatted(format, arguments);
    va_end(arguments);
    notice_handler(kind, text ? text : no_memory);
    free(text);
}

void img_notice_text(enum img_notice kind, const char *text)
{
    if (notice_handler)
        notice_handler(kind, text);
}
