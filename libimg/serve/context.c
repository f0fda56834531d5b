/* SPDX-License-Identifier: MIT */
/* context.c - which metadata contexts there are, and which a client has chosen. */
#include "internal.h"
#include "util/endian.h"
#include "util/strbuf.h"

enum { QUERY_MAX = sizeof NBD_CONTEXT_BITMAP + NBD_MAX_STRING };    /* a longer one matches nothing */

void serve_contexts_clear(struct serve_contexts *contexts)
{
    free(contexts->bitmaps);
    *contexts = (struct serve_contexts){ .export = NULL };
}

int serve_contexts_begin(struct serve_contexts *contexts, const struct serve_export *export)
{
    serve_contexts_clear(contexts);
    contexts->export = export;
    contexts->bitmaps = img_calloc(export->told.bitmap_count, sizeof *contexts->bitmaps);
    return contexts->bitmaps ? 0 : -ENOMEM;
}

static void count(struct serve_contexts *contexts)
{
    contexts->count = (size_t)contexts->allocation + contexts->depth;
    for (size_t i = 0; i < contexts->export->told.bitmap_count; i++)
        contexts->count += contexts->bitmaps[i];
}

static void all_of_qemu(struct serve_contexts *contexts)
{
    contexts->depth |= contexts->export->told.allocation_depth;
    for (size_t i = 0; i < contexts->export->told.bitmap_count; i++)
        contexts->bitmaps[i] = true;
}

static const char *after(const char *text, const char *prefix)
{
    size_t length = strlen(prefix);

    return strncmp(text, prefix, length) == 0 ? text + length : NULL;
}

/* Add what a query matches.  While listing, a query that ends in ":" stands for all that begin with it. */
static void match(struct serve_contexts *contexts, const char *query, bool listing)
{
    const struct serve_export *export = contexts->export;
    const char *bitmap = after(query, NBD_CONTEXT_BITMAP);

    if (strcmp(query, NBD_CONTEXT_ALLOCATION) == 0 || (listing && strcmp(query, "base:") == 0))
        contexts->allocation = true;
    else if (strcmp(query, NBD_CONTEXT_DEPTH) == 0)
        contexts->depth |= export->told.allocation_depth;
    else if (listing && strcmp(query, "qemu:") == 0)
        all_of_qemu(contexts);
    for (size_t i = 0; bitmap && i < export->told.bitmap_count; i++)
        if ((listing && !*bitmap) || strcmp(bitmap, export->bitmaps[i].name) == 0)
            contexts->bitmaps[i] = true;
}

static int read_query(struct serve_client *client, struct serve_option *option, struct serve_contexts *contexts)
{
    char query[QUERY_MAX + 1];
    uint32_t length;
    int ret = serve_option_read32(client, option, &length);

    if (ret <= 0)
        return ret;
    if (length > QUERY_MAX)
        return serve_option_skip(client, option, length);
    ret = serve_option_read_text(client, option, query, length);
    if (ret <= 0)
        return ret;
    match(contexts, query, option->id == NBD_OPT_LIST_META_CONTEXT);
    return 1;
}

static int tell(struct serve_client *client, const struct serve_option *option, size_t id, const char *prefix,
                const char *name)
{
    unsigned char number[4];
    struct iovec parts[] = { { number, 4 }, { (char *)prefix, strlen(prefix) }, { (char *)name, strlen(name) } };

    img_put_be32(number, option->id == NBD_OPT_LIST_META_CONTEXT ? 0 : (uint32_t)id);
    return serve_option_reply(client, option, NBD_REP_META_CONTEXT, parts, 3);
}

static int tell_all(struct serve_client *client, const struct serve_option *option,
                    const struct serve_contexts *contexts)
{
    int ret = 0;

    if (contexts->allocation)
        ret = tell(client, option, SERVE_ALLOCATION, NBD_CONTEXT_ALLOCATION, "");
    if (ret == 0 && contexts->depth)
        ret = tell(client, option, SERVE_DEPTH, NBD_CONTEXT_DEPTH, "");
    for (size_t i = 0; ret == 0 && i < contexts->export->told.bitmap_count; i++)
        if (contexts->bitmaps[i])
            ret = tell(client, option, SERVE_BITMAPS + i, NBD_CONTEXT_BITMAP, contexts->export->bitmaps[i].name);
    return ret < 0 ? ret : serve_option_reply(client, option, NBD_REP_ACK, NULL, 0);
}

/* Returns 1 when all queries were read. */
static int read_queries(struct serve_client *client, struct serve_option *option, struct serve_contexts *contexts)
{
    uint32_t queries;
    int ret = serve_option_read32(client, option, &queries);

    if (ret > 0 && queries == 0 && option->id == NBD_OPT_LIST_META_CONTEXT) {
        contexts->allocation = true;
        all_of_qemu(contexts);
    }
    for (; ret > 0 && queries; queries--)
        ret = read_query(client, option, contexts);
    return ret;
}

int serve_option_contexts(struct serve_client *client, struct serve_option *option)
{
    bool listing = option->id == NBD_OPT_LIST_META_CONTEXT;
    struct serve_contexts listed = { .export = NULL }, *contexts = listing ? &listed : &client->contexts;
    char name[NBD_MAX_STRING + 1];
    const struct serve_export *export;
    int ret;

    if (!listing && client->mode == SERVE_SIMPLE)
        return serve_option_refuse(client, option, NBD_REP_ERR_INVALID,
                                   "request option '%s' when structured reply is not negotiated",
                                   img_nbd_option_name(option->id));
    serve_contexts_clear(contexts);
    ret = serve_option_read_name(client, option, name);
    if (ret <= 0)
        return ret;
    export = serve_find(client->server, name);
    if (!export)
        return serve_option_no_export(client, option, name);
    ret = serve_contexts_begin(contexts, export);
    if (ret == 0)
        ret = read_queries(client, option, contexts);
    if (ret > 0) {
        count(contexts);
        ret = tell_all(client, option, contexts);
        /* What follows the queries would be taken for the next option. */
        if (ret == 0 && option->left)
            ret = serve_give_up(client, "Bad magic received");
    } else {
        serve_contexts_clear(contexts);
    }
    serve_contexts_clear(&listed);
    return ret;
}
