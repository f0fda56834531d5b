/* SPDX-License-Identifier: MIT */
/* The address and the export in the options, and credentials for TLS. */
#include "nbd.h"
#include "../../libimg/util/cleanup.h"
#include "../../libimg/util/strbuf.h"
#include <stdlib.h>
#include <string.h>

/* ---- Address ------------------------------------------------------------------------------ */

/* "host" and "port", or "path", without "server". */
static int take_old_address(struct img_doc *options, struct img_address *address, struct img_error *err)
{
    int ret = img_options_take_text(options, "host", &address->host, err);

    address->ipv4 = address->ipv6 = -1;
    if (ret == 0)
        ret = img_options_take_text(options, "port", &address->port, err);
    if (ret == 0)
        ret = img_options_take_text(options, "path", &address->path, err);
    if (ret < 0)
        return ret;
    address->type = address->path ? IMG_UNIX : IMG_INET;
    if (address->path && address->host)
        return img_error_set(err, EINVAL, "path and host may not be used at the same time");
    if (address->path && address->port)
        return img_error_set(err, EINVAL, "port may not be used without host");
    if (!address->path && !address->host)
        return img_error_set(err, EINVAL, "NBD server address missing");
    if (address->host && !address->port && !(address->port = img_strdup(IMG_NBD_PORT)))
        return img_error_memory(err);
    return 0;
}

static bool has_old_address(const struct img_doc *options)
{
    return img_doc_get(options, "path") || img_doc_get(options, "host") || img_doc_get(options, "port");
}

static int take_address(struct img_doc *options, struct img_address *address, struct img_error *err)
{
    struct img_doc *server = img_doc_get(options, "server");
    int ret;

    if (!server || img_doc_type(server) != IMG_DOC_OBJECT)
        return take_old_address(options, address, err);
    if (has_old_address(options))
        return img_error_set(err, EINVAL, "Cannot use 'server' and path/host/port at the same time");
    server = img_doc_take(options, "server");
    ret = img_address_take(server, address, err);
    img_doc_free(server);
    return ret;
}

/* ---- TLS ------------------------------------------------------------------------------------ */

/* Credentials that a name defines: a file of keys, or a folder of certificates. */
static int define_tls(const struct nbd_open_options *given, struct nbd_target *target, struct img_error *err)
{
    const struct img_tls_definition definition = {
        .kind = given->psk_file ? IMG_TLS_PSK : IMG_TLS_X509, .psk_file = given->psk_file, .dir = given->certificates,
        .verify_peer = true, .sanity_check = true, .username = given->tls_username,
    };
    int ret;

    if (!given->psk_file && !given->certificates)
        return img_error_set(err, EINVAL, "TLS needs tls-psk-file=FILE, tls-certificates=FOLDER or tls-creds=ID");
    ret = img_tls_new(&definition, &target->own, err);
    target->tls = target->own;
    return ret;
}

static int take_tls(const struct nbd_open_options *given, struct nbd_target *target, struct img_error *err)
{
    if (given->tls_hostname && !(target->tls_host = img_strdup(given->tls_hostname)))
        return img_error_memory(err);
    if (given->psk_file && given->certificates)
        return img_error_set(err, EINVAL, "tls-psk-file and tls-certificates may not be used at the same time");
    if (given->tls_creds && (given->psk_file || given->certificates))
        return img_error_set(err, EINVAL, "tls-creds and '%s' may not be used at the same time",
                             given->psk_file ? "tls-psk-file" : "tls-certificates");
    if (given->tls_creds) {
        target->tls = img_tls_find(given->tls_creds, false, err);
        return target->tls ? 0 : -EINVAL;
    }
    return given->tls == 1 || given->psk_file || given->certificates ? define_tls(given, target, err) : 0;
}

/* ---- All of it -------------------------------------------------------------------------------- */

int nbd_target_take(struct img_doc *options, const struct nbd_open_options *given, struct nbd_target *target,
                    struct img_error *err)
{
    int ret;

    *target = (struct nbd_target){ .export = NULL };
    ret = take_address(options, &target->address, err);
    if (ret == 0)
        ret = img_options_take_text(options, "export", &target->export, err);
    if (ret == 0 && given->context && !(target->context = img_strdup(given->context)))
        ret = img_error_memory(err);
    if (ret == 0)
        ret = take_tls(given, target, err);
    if (ret < 0)
        nbd_target_free(target);
    return ret;
}

void nbd_target_free(struct nbd_target *target)
{
    img_address_free(&target->address);
    img_tls_free(target->own);
    free(target->export);
    free(target->context);
    free(target->tls_host);
    *target = (struct nbd_target){ .export = NULL };
}

const char *nbd_context(const struct nbd_target *target)
{
    return target->context ? target->context : LIBNBD_CONTEXT_BASE_ALLOCATION;
}

int nbd_target_text(const struct nbd_target *target, char **text)
{
    const struct img_address *address = &target->address;
    const char *slash = target->export && *target->export ? "/" : "";
    const char *export = *slash ? target->export : "";

    *text = NULL;
    if (target->own)
        return 0;
    if (address->type == IMG_UNIX)
        *text = img_asprintf("nbd+unix://%s%s?socket=%s", slash, export, address->path);
    else if (address->type == IMG_INET)
        *text = img_asprintf("nbd://%s:%s%s%s", address->host, address->port, slash, export);
    else
        return 0;
    return *text ? 0 : -ENOMEM;
}
