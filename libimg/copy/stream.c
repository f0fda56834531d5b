/* SPDX-License-Identifier: MIT */
/*
 * stream.c - an image that is written in order: checks its options before anything is read or written.  The copy is in
 * stream-pass.c.
 */
#include "internal.h"
#include "io/io.h"
#include "util/cleanup.h"
#include "util/strbuf.h"

bool img_driver_can_stream(const struct img_driver *driver)
{
    return driver->stream != NULL;
}

char *img_stream_formats(void)
{
    struct img_strbuf names = { 0 };

    for (size_t i = 0; img_drivers[i]; i++) {
        const struct img_driver *driver = img_drivers[i];
        if (driver->kind == IMG_SERVICE)
            continue;
        driver = img_driver_load(driver);
        if (!driver->stream && !(driver->kind == IMG_FORMAT && driver->traits & IMG_PASS_THROUGH))
            continue;
        img_strbuf_printf(&names, "%s%s", names.length ? ", " : "", driver->name);
        if (driver->stream && driver->stream->only)
            img_strbuf_printf(&names, " (%s)", driver->stream->only);
    }
    return img_strbuf_take(&names);
}

static int read_options(struct img_stream *stream, const struct img_doc *options, struct img_error *err)
{
    const struct img_driver *driver = stream->image->driver;
    /* There is no protocol below that could know other options. */
    const struct img_option *tables[] = { driver->options };
    struct img_doc *own;
    int ret = img_options_check(tables, 1, IMG_AT_CREATE, options, err);

    if (ret < 0)
        return ret;
    own = img_options_copy(options);
    stream->parsed = img_options_new(driver->options, IMG_AT_CREATE, driver->create_size, own, err);
    img_doc_free(own);
    return stream->parsed ? 0 : -err->code;
}

/* NULL: out of memory. */
static struct img_stream *make_stream(const struct img_driver *driver)
{
    struct img_stream *stream = img_calloc(1, sizeof *stream);
    struct img *image = img_node_new(driver, IMG_RDWR, IMG_CACHE_WRITEBACK, IMG_GATE_OPEN);
    void *state = img_calloc(1, driver->stream->state_size);

    if (!stream || !image || !state) {
        if (image)
            img_node_free(image);
        free(stream);
        free(state);
        return NULL;
    }
    free(image->state);
    image->state = state;
    stream->image = image;
    return stream;
}

int img_stream_open(struct img_stream **result, const struct img_driver *driver, const struct img_doc *options,
                    bool compress, struct img_error *err)
{
    struct img_stream *stream = make_stream(driver);
    int ret;

    *result = stream;
    if (!stream)
        return img_error_memory(err);
    ret = read_options(stream, options, err);
    if (ret == 0)
        ret = driver->stream->open(stream->image, stream->parsed, compress, err);
    if (ret == 0)
        return 0;
    if (!err->text)
        img_error_errno(err, -ret, "Could not create image");
    img_stream_close(stream);
    *result = NULL;
    return ret;
}

void img_stream_close(struct img_stream *stream)
{
    if (!stream)
        return;
    const struct img_driver *driver = stream->image->driver;
    driver->stream->close(stream->image);
    if (stream->parsed)
        img_options_free(driver->options, IMG_AT_CREATE, stream->parsed);
    img_node_free(stream->image);
    free(stream);
}
