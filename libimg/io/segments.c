/* SPDX-License-Identifier: MIT */
/* segments.c - where the decoding of a compressed storage can begin, and its coded bytes (unpacked.h). */
#include "unpacked.h"
#include "util/checked.h"
#include "util/strbuf.h"
#include "util/vector.h"
#include <stdlib.h>
#include <string.h>

/* Of segments that cannot be joined: 96 MiB of them, for 4 TiB in blocks of 1 MiB. */
enum { MOST_SEGMENTS = 4 << 20 };
enum { SECTOR = 512 };

bool img_segments_want(const struct img_segments *list, uint64_t plain)
{
    return list->count == 0 || plain - list->at[list->count - 1].plain >= list->spacing;
}

/* Join every second segment to the one before it. */
static void thin(struct img_segments *list)
{
    size_t kept = 0;

    for (size_t i = 0; i < list->count; i++) {
        if (i % 2 == 0)
            list->at[kept++] = list->at[i];
        else
            free(list->at[i].state);
    }
    list->count = kept;
    list->spacing *= 2;
}

int img_segments_add(struct img_segments *list, uint64_t plain, uint64_t coded, void *state)
{
    int ret = 0;

    if (!img_segments_want(list, plain)) {
        free(state);
        return 0;
    }
    if (list->spacing && list->count >= list->most)
        thin(list);
    if (list->count >= MOST_SEGMENTS)
        ret = -EFBIG;
    else if (!IMG_VECTOR_PUSH(list, (struct img_segment){ .plain = plain, .coded = coded, .state = state }))
        ret = -ENOMEM;
    if (ret < 0)
        free(state);
    return ret;
}

void img_segments_free(struct img_segments *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->at[i].state);
    free(list->at);
    *list = (struct img_segments){ 0 };
}

/* ---- Input ------------------------------------------------------------------------ */

int img_input_start(struct img_input *input, struct img *file, uint64_t offset)
{
    if (!input->buffer && !(input->buffer = img_malloc(IMG_INPUT)))
        return -ENOMEM;
    input->file = file;
    input->next = offset;
    input->bytes = input->buffer;
    input->left = 0;
    return 0;
}

int img_input_need(struct img_input *input, size_t least)
{
    uint64_t size = img_size(input->file);
    size_t more;
    int ret;

    if (input->left >= least)
        return 1;
    if (input->left)
        memmove(input->buffer, input->bytes, input->left);
    input->bytes = input->buffer;
    more = input->next < size ? (size_t)img_min(IMG_INPUT - input->left, size - input->next) : 0;
    if (more < least - input->left)
        return 0;
    ret = img_pread(input->file, input->buffer + input->left, input->next, more);
    if (ret < 0)
        return ret;
    input->next += more;
    input->left += more;
    return 1;
}

void img_input_skip(struct img_input *input, size_t used)
{
    input->bytes += used;
    input->left -= used;
}

uint64_t img_input_at(const struct img_input *input)
{
    return input->next - input->left;
}

void img_input_end(struct img_input *input)
{
    free(input->buffer);
    *input = (struct img_input){ 0 };
}

int img_input_is_end(struct img *file, uint64_t offset)
{
    unsigned char rest[SECTOR];
    uint64_t size = img_size(file);
    int ret;

    if (offset >= size)
        return 1;
    if (size - offset >= SECTOR)
        return 0;
    ret = img_pread(file, rest, offset, (size_t)(size - offset));
    return ret < 0 ? ret : img_is_zero(rest, (size_t)(size - offset));
}

/* ---- Names ------------------------------------------------------------------------- */

uint64_t img_unpacked_length(struct img *image, bool now)
{
    (void)now;
    return image->size;
}

int img_unpacked_parse_name(const char *prefix, const char *name, struct img_doc *options)
{
    size_t length = strlen(prefix);

    if (strncmp(name, prefix, length) == 0 && name[length] == ':')
        name += length + 1;
    img_doc_put_string(options, "x-file", name);
    return 0;
}

int img_unpacked_plain_name(const struct img *image, char **name)
{
    const char *below = img_filename(image->file);

    if (strncmp(below, "json:", 5) == 0)
        return 0;
    *name = image->probed ? img_strdup(below) : img_asprintf("%s:%s", image->driver->prefix, below);
    return *name ? 0 : -ENOMEM;
}
