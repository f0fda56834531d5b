/* SPDX-License-Identifier: MIT */
/* tls-files.c - which files make up the credentials, and are they there?  Reading them is the work of the TLS library. */
#include "tls-files.h"
#include "util/strbuf.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

static int look(const char *path, bool needed, struct img_error *err)
{
    struct stat status;

    if (stat(path, &status) == 0)
        return 1;
    if (errno == ENOENT && !needed)
        return 0;
    return img_error_errno(err, errno, "Unable to access credentials %s", path);
}

/* *file: the name of a file in the folder; stays NULL if it is not there and not needed. */
static int find(const char *folder, const char *name, bool needed, char **file, struct img_error *err)
{
    char *path = img_asprintf("%s/%s", folder, name);
    int ret = path ? look(path, needed, err) : img_error_memory(err);

    if (ret > 0)
        *file = path;
    else
        free(path);
    return ret < 0 ? ret : 0;
}

static int find_x509(const struct img_tls_definition *definition, struct img_tls_files *files, struct img_error *err)
{
    const char *folder = definition->dir;
    bool server = definition->server;
    int ret = find(folder, "ca-cert.pem", true, &files->ca_cert, err);

    if (ret == 0)
        ret = find(folder, "ca-crl.pem", false, &files->ca_crl, err);
    if (ret == 0)
        ret = find(folder, server ? "server-cert.pem" : "client-cert.pem", server, &files->cert, err);
    if (ret == 0)
        ret = find(folder, server ? "server-key.pem" : "client-key.pem", server, &files->key, err);
    return ret;
}

/* The file is read again at each handshake of a server, which may have gone to another folder until then. */
static int find_psk(const struct img_tls_definition *definition, struct img_tls_files *files, struct img_error *err)
{
    char *path = NULL;
    int ret;

    if (definition->psk_file) {
        path = img_strdup(definition->psk_file);
        ret = path ? look(path, true, err) : img_error_memory(err);
    } else {
        ret = find(definition->dir, "keys.psk", true, &path, err);
    }
    if (ret >= 0 && definition->server && !(files->psk = realpath(path, NULL)))
        ret = img_error_errno(err, errno, "Unable to access credentials %s", path);
    if (ret < 0 || definition->server)
        free(path);
    else
        files->psk = path;
    return ret < 0 ? ret : 0;
}

int img_tls_files_find(const struct img_tls_definition *definition, struct img_tls_files *files,
                       struct img_error *err)
{
    int ret = 0;

    *files = (struct img_tls_files){ 0 };
    if (definition->kind == IMG_TLS_PSK && definition->server && definition->username)
        return img_error_set(err, EINVAL, "username should not be set when endpoint=server");
    if (!definition->dir && definition->kind != IMG_TLS_ANON &&
        !(definition->kind == IMG_TLS_PSK && definition->psk_file))
        return img_error_set(err, EINVAL, "Missing 'dir' property value");
    if (definition->kind == IMG_TLS_X509)
        ret = find_x509(definition, files, err);
    else if (definition->kind == IMG_TLS_PSK)
        ret = find_psk(definition, files, err);
    if (ret == 0 && definition->server && definition->dir)
        ret = find(definition->dir, "dh-params.pem", false, &files->dh_params, err);
    return ret;
}

void img_tls_files_free(struct img_tls_files *files)
{
    free(files->ca_cert);
    free(files->ca_crl);
    free(files->cert);
    free(files->key);
    free(files->dh_params);
    free(files->psk);
    *files = (struct img_tls_files){ 0 };
}
