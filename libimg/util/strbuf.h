/* SPDX-License-Identifier: MIT */
/* A growing string. Initialise with {0}; text is NUL-terminated once something was added. */
#ifndef IMG_UTIL_STRBUF_H
#define IMG_UTIL_STRBUF_H

#include <stdarg.h>
#include <stddef.h>

struct img_strbuf {
    char *text;
    size_t length, capacity;
};

void img_strbuf_add(struct img_strbuf *buffer, const char *text);
void img_strbuf_add_bytes(struct img_strbuf *buffer, const void *bytes, size_t length);
void img_strbuf_add_char(struct img_strbuf *buffer, char c);
void img_strbuf_printf(struct img_strbuf *buffer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void img_strbuf_vprintf(struct img_strbuf *buffer, const char *format, va_list arguments)
    __attribute__((format(printf, 2, 0), nonnull(1, 2)));
/* Return the text (never NULL; caller frees) and empty the buffer. */
char *img_strbuf_take(struct img_strbuf *buffer);
void img_strbuf_free(struct img_strbuf *buffer);

/* Called when memory has run out, before the process ends; may be NULL. */
extern void (*img_memory_handler)(void);
_Noreturn void img_out_of_memory(void);

/* malloc, realloc, strdup for small objects: end the process through img_out_of_memory. */
void *img_xmalloc(size_t size);
void *img_xcalloc(size_t count, size_t size);
void *img_xrealloc(void *old, size_t size);
char *img_xstrdup(const char *text);
char *img_xstrndup(const char *text, size_t length);
char *img_xasprintf(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
