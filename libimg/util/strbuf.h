/* SPDX-License-Identifier: MIT */
/*
 * A growing string. Initialise with {0}; text is NUL-terminated once something was added.  When memory runs out, `failed`
 * is set and nothing more is added: whoever takes the text, or reads it, sees that.
 */
#ifndef IMG_UTIL_STRBUF_H
#define IMG_UTIL_STRBUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

struct img_strbuf {
    char *text;
    size_t length, capacity;
    bool failed;
};

void img_strbuf_add(struct img_strbuf *buffer, const char *text);
void img_strbuf_add_bytes(struct img_strbuf *buffer, const void *bytes, size_t length);
void img_strbuf_add_char(struct img_strbuf *buffer, char c);
void img_strbuf_printf(struct img_strbuf *buffer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void img_strbuf_vprintf(struct img_strbuf *buffer, const char *format, va_list arguments)
    __attribute__((format(printf, 2, 0), nonnull(1, 2)));
/* Return the text (caller frees; NULL: out of memory) and empty the buffer. */
char *img_strbuf_take(struct img_strbuf *buffer);
void img_strbuf_free(struct img_strbuf *buffer);

/* malloc, realloc, strdup, with a pointer for size 0 too, whatever the C library; NULL: out of memory. */
void *img_malloc(size_t size);
void *img_calloc(size_t count, size_t size);
void *img_realloc(void *old, size_t size);
char *img_strdup(const char *text);
char *img_strndup(const char *text, size_t length);
char *img_asprintf(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Put a copy of `text` (or NULL) in the place of *kept, which is freed.  -ENOMEM: *kept stays. */
int img_replace_text(char **kept, const char *text) __attribute__((warn_unused_result));

#endif
