/* SPDX-License-Identifier: MIT */
/* What the options say: the address of a sheep, the VDI, and perhaps a snapshot of it. */
#include "sheepdog.h"
#include "../../libimg/util/cleanup.h"
#include "../../libimg/util/strbuf.h"
#include <stdlib.h>
#include <string.h>

/* ---- Taking them -------------------------------------------------------------------------------- */

static int usual_address(struct img_address *address, struct img_error *err)
{
    *address = (struct img_address){
        .type = IMG_INET, .ipv4 = -1, .ipv6 = -1, .host = img_strdup(SHEEPDOG_HOST), .port = img_strdup(SHEEPDOG_PORT),
    };
    return address->host && address->port ? 0 : img_error_memory(err);
}

static int take_address(struct img_doc *options, struct img_address *address, struct img_error *err)
{
    struct img_doc *server = img_doc_get(options, "server");
    int ret;

    if (!server || img_doc_type(server) != IMG_DOC_OBJECT)
        return usual_address(address, err);
    server = img_doc_take(options, "server");
    ret = img_address_take(server, address, err);
    img_doc_free(server);
    return ret;
}

static int judge(const struct sheepdog_open_options *given, struct img_error *err)
{
    if (!given->vdi)
        return img_error_set(err, EINVAL, "Parameter 'vdi' is missing");
    if (!*given->vdi || strlen(given->vdi) > SHEEPDOG_NAME)
        return img_error_set(err, EINVAL, "The name of a VDI has 1 to %d bytes", SHEEPDOG_NAME);
    if (given->snap_id >= 0 && given->tag)
        return img_error_set(err, EINVAL, "snap-id and tag may not be used at the same time");
    if (given->snap_id == 0 || given->snap_id > UINT32_MAX)
        return img_error_set(err, EINVAL, "snap-id must be between 1 and %u", UINT32_MAX);
    if (given->tag && (!*given->tag || strlen(given->tag) > SHEEPDOG_NAME))
        return img_error_set(err, EINVAL, "The tag of a snapshot has 1 to %d bytes", SHEEPDOG_NAME);
    return 0;
}

static int copy(const struct sheepdog_open_options *given, struct sheepdog_target *target, struct img_error *err)
{
    target->snap_id = given->snap_id > 0 ? (uint32_t)given->snap_id : 0;
    target->vdi = img_strdup(given->vdi);
    if (given->tag)
        target->tag = img_strdup(given->tag);
    return target->vdi && (target->tag || !given->tag) ? 0 : img_error_memory(err);
}

int sheepdog_target_take(struct img_doc *options, const struct sheepdog_open_options *given,
                         struct sheepdog_target *target, struct img_error *err)
{
    int ret;

    *target = (struct sheepdog_target){ .vdi = NULL };
    ret = judge(given, err);
    if (ret == 0)
        ret = take_address(options, &target->address, err);
    if (ret == 0)
        ret = copy(given, target, err);
    if (ret < 0)
        sheepdog_target_free(target);
    return ret;
}

void sheepdog_target_free(struct sheepdog_target *target)
{
    img_address_free(&target->address);
    free(target->vdi);
    free(target->tag);
    *target = (struct sheepdog_target){ .vdi = NULL };
}

/* ---- As text --------------------------------------------------------------------------------------- */

const char *sheepdog_place(const struct sheepdog_target *target)
{
    return target->address.type == IMG_INET || target->address.type == IMG_VSOCK ? target->address.host
                                                                                : target->address.path;
}

/* As a part of a URI (RFC 3986: all but unreserved characters is encoded). */
static void add_encoded(struct img_strbuf *text, const char *part)
{
    static const char unreserved[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/";

    for (; *part; part++) {
        if (strchr(unreserved, *part))
            img_strbuf_add_char(text, *part);
        else
            img_strbuf_printf(text, "%%%02X", (unsigned char)*part);
    }
}

static void add_address(struct img_strbuf *text, const struct img_address *address)
{
    bool bracket = strchr(address->host, ':') != NULL;

    img_strbuf_printf(text, "sheepdog://%s%s%s:%s", bracket ? "[" : "", address->host, bracket ? "]" : "",
                      address->port);
}

/* A tag that looks like a number would be taken for one. */
static bool has_name(const struct sheepdog_target *target)
{
    const struct img_address *address = &target->address;

    if (target->tag && sheepdog_snapshot_number(target->tag))
        return false;
    return address->type == IMG_INET || (address->type == IMG_UNIX && !address->abstract);
}

int sheepdog_target_text(const struct sheepdog_target *target, char **name)
{
    bool local = target->address.type == IMG_UNIX;
    struct img_strbuf text = { 0 };

    *name = NULL;
    if (!has_name(target))
        return 0;
    if (local)
        img_strbuf_add(&text, "sheepdog+unix://");
    else
        add_address(&text, &target->address);
    img_strbuf_add_char(&text, '/');
    add_encoded(&text, target->vdi);
    if (local) {
        img_strbuf_add(&text, "?socket=");
        add_encoded(&text, target->address.path);
    }
    if (target->snap_id || target->tag)
        img_strbuf_add_char(&text, '#');
    if (target->snap_id)
        img_strbuf_printf(&text, "%u", target->snap_id);
    else if (target->tag)
        add_encoded(&text, target->tag);
    *name = img_strbuf_take(&text);
    return *name ? 0 : -ENOMEM;
}
