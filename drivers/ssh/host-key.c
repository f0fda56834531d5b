/* SPDX-License-Identifier: MIT */
/* Is the server the one that the user means?  RFC 4251, section 4.1. */
#include "ssh.h"
#include "../../libimg/util/cleanup.h"
#include "../../libimg/util/hex.h"
#include "../../libimg/util/strbuf.h"
#include <stdlib.h>
#include <string.h>

/* ---- By a hash of its key ------------------------------------------------------------------- */

/* Are the bytes those of the text in hex digits, with or without colons between them? */
static bool same_hash(const unsigned char *bytes, size_t length, const char *text)
{
    for (; length; bytes++, length--) {
        int high, low;
        while (*text == ':')
            text++;
        high = img_hex_digit(*text);
        low = high < 0 ? -1 : img_hex_digit(text[1]);
        if (low < 0 || high * 16 + low != *bytes)
            return false;
        text += 2;
    }
    return *text == 0;
}

static const char *hash_name(int type)
{
    return type == SSH_PUBLICKEY_HASH_MD5 ? "md5" : type == SSH_PUBLICKEY_HASH_SHA1 ? "sha1" : "sha256";
}

static int wrong_hash(const unsigned char *bytes, size_t length, ssh_key key, const struct ssh_target *target,
                      struct img_error *err)
{
    struct img_strbuf hex = { 0 };
    const char *name = hash_name(target->hash_type);
    int ret;

    for (size_t i = 0; i < length; i++)
        img_strbuf_printf(&hex, "%02x", bytes[i]);
    ret = hex.failed ? img_error_memory(err)
                     : img_error_set(err, EPERM, "remote host %s key fingerprint '%s:%s' does not match host_key_check "
                                     "'%s:%s'", ssh_key_type_to_char(ssh_key_type(key)), name, hex.text, name,
                                     target->hash);
    img_strbuf_free(&hex);
    return ret;
}

static int check_hash(ssh_key key, const struct ssh_target *target, struct img_error *err)
{
    unsigned char *bytes = NULL;
    size_t length = 0;
    int ret = 0;

    if (ssh_get_publickey_hash(key, (enum ssh_publickey_hash_type)target->hash_type, &bytes, &length) < 0)
        return img_error_set(err, EINVAL, "failed reading the hash of the server SSH key");
    if (!same_hash(bytes, length, target->hash))
        ret = wrong_hash(bytes, length, key, target, err);
    ssh_clean_pubkey_hash(&bytes);
    return ret;
}

/* ---- By the user's list ------------------------------------------------------------------------ */

static int another_key(ssh_key key, struct img_error *err)
{
    unsigned char *bytes = NULL;
    size_t length = 0;
    char *print = NULL;
    const char *type = ssh_key_type_to_char(ssh_key_type(key));
    int ret;

    if (ssh_get_publickey_hash(key, SSH_PUBLICKEY_HASH_SHA256, &bytes, &length) == 0)
        print = ssh_get_fingerprint_hash(SSH_PUBLICKEY_HASH_SHA256, bytes, length);
    if (print)
        ret = img_error_set(err, EPERM, "host key (%s key with fingerprint %s) does not match the one in known_hosts; "
                            "this may be a possible attack", type, print);
    else
        ret = img_error_set(err, EPERM, "host key (%s key) does not match the one in known_hosts; this may be a possible "
                            "attack", type);
    ssh_string_free_char(print);
    ssh_clean_pubkey_hash(&bytes);
    return ret;
}

static int check_known(ssh_session session, ssh_key key, struct img_error *err)
{
    switch (ssh_session_is_known_server(session)) {
    case SSH_KNOWN_HOSTS_OK:
        return 0;
    case SSH_KNOWN_HOSTS_CHANGED:
        return another_key(key, err);
    case SSH_KNOWN_HOSTS_OTHER:
        return img_error_set(err, EINVAL, "host key for this server not found, another type exists");
    case SSH_KNOWN_HOSTS_UNKNOWN:
        return img_error_set(err, EINVAL, "no host key was found in known_hosts");
    case SSH_KNOWN_HOSTS_NOT_FOUND:
        return img_error_set(err, ENOENT, "known_hosts file not found");
    default:
        return img_error_set(err, EINVAL, "error while checking the host");
    }
}

int ssh_check_host_key(ssh_session session, const struct ssh_target *target, struct img_error *err)
{
    ssh_key key;
    int ret;

    if (target->check == SSH_CHECK_NONE)
        return 0;
    if (ssh_get_server_publickey(session, &key) != SSH_OK)
        return img_error_set(err, EINVAL, "failed to read remote host key");
    ret = target->check == SSH_CHECK_HASH ? check_hash(key, target, err) : check_known(session, key, err);
    ssh_key_free(key);
    return ret;
}
