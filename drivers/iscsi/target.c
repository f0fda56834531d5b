/* SPDX-License-Identifier: MIT */
/* What the options say: the target, the disk, the user. */
#include "iscsi.h"
#include "../../libimg/util/random.h"
#include "../../libimg/util/strbuf.h"
#include "../../libimg/util/wipe.h"
#include <stdlib.h>
#include <string.h>

/* The name of an initiator that was given none. */
static const char usual_initiator[] = "iqn.2008-11.org.linux-kvm";

static int keep(char **to, const char *text, struct img_error *err)
{
    *to = img_strdup(text);
    return *to ? 0 : img_error_memory(err);
}

static int take_transport(const char *text, struct iscsi_target *target, struct img_error *err)
{
    if (strcmp(text, "tcp") == 0)
        target->transport = TCP_TRANSPORT;
    else if (strcmp(text, "iser") == 0)
        target->transport = ISER_TRANSPORT;
    else
        return img_error_set(err, EINVAL, "Unknown transport: %s", text);
    return 0;
}

static int take_secret(const char *id, char **password, struct img_error *err)
{
    size_t length;
    const unsigned char *bytes = img_secret_find(id, &length, err);

    if (!bytes)
        return -err->code;
    *password = img_strndup((const char *)bytes, length);
    return *password ? 0 : img_error_memory(err);
}

static int take_user(const struct iscsi_open_options *given, struct iscsi_target *target, struct img_error *err)
{
    int ret;

    if (!given->user)
        return 0;
    if (given->password && given->password_secret)
        return img_error_set(err, EINVAL, "'password' and 'password-secret' properties are mutually exclusive");
    if (!given->password && !given->password_secret)
        return img_error_set(err, EINVAL, "CHAP username specified but no password was given");
    ret = keep(&target->user, given->user, err);
    if (ret == 0 && given->password_secret)
        return take_secret(given->password_secret, &target->password, err);
    if (ret == 0)
        ret = keep(&target->password, given->password, err);
    if (ret == 0)
        img_notice(IMG_WARNING, "iSCSI block driver 'password' option is deprecated, use 'password-secret' instead");
    return ret;
}

static int take_digest(const char *text, struct iscsi_target *target, struct img_error *err)
{
    static const struct {
        const char *name;
        enum iscsi_header_digest value;
    } digests[] = {
        { "crc32c", ISCSI_HEADER_DIGEST_CRC32C }, { "none", ISCSI_HEADER_DIGEST_NONE },
        { "crc32c-none", ISCSI_HEADER_DIGEST_CRC32C_NONE }, { "none-crc32c", ISCSI_HEADER_DIGEST_NONE_CRC32C },
    };

    target->digest = ISCSI_HEADER_DIGEST_NONE_CRC32C;
    for (size_t i = 0; text && i < sizeof digests / sizeof *digests; i++) {
        if (strcmp(text, digests[i].name) == 0) {
            target->digest = digests[i].value;
            return 0;
        }
    }
    return text ? img_error_set(err, EINVAL, "Invalid header-digest setting : %s", text) : 0;
}

/* libiscsi keeps names and the password in fields of this length. */
static int judge_lengths(const struct iscsi_target *target, struct img_error *err)
{
    const char *const texts[] = { target->portal, target->name, target->initiator, target->user, target->password };

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (texts[i] && strlen(texts[i]) > MAX_STRING_SIZE)
            return img_error_set(err, EINVAL, "An iSCSI name is longer than %d bytes", MAX_STRING_SIZE);
    return 0;
}

static int take_all(const struct iscsi_open_options *given, struct iscsi_target *target, struct img_error *err)
{
    int ret;

    if (!given->transport || !given->portal || !given->target)
        return img_error_set(err, EINVAL, "Need all of transport, portal and target options");
    ret = take_transport(given->transport, target, err);
    if (ret == 0 && (given->lun < 0 || given->lun > ISCSI_MOST_LUN))
        ret = img_error_set(err, EINVAL, "lun must be between 0 and %d", ISCSI_MOST_LUN);
    if (ret == 0)
        ret = take_user(given, target, err);
    if (ret == 0)
        ret = take_digest(given->header_digest, target, err);
    if (ret == 0)
        ret = keep(&target->portal, given->portal, err);
    if (ret == 0)
        ret = keep(&target->name, given->target, err);
    if (ret == 0)
        ret = keep(&target->initiator, given->initiator_name ? given->initiator_name : usual_initiator, err);
    return ret < 0 ? ret : judge_lengths(target, err);
}

int iscsi_target_take(const struct iscsi_open_options *given, struct iscsi_target *target, struct img_error *err)
{
    int ret;

    *target = (struct iscsi_target){ .lun = (int)given->lun };
    target->timeout = given->timeout > 0 ? (uint64_t)given->timeout * 1000 : 0;
    ret = img_random(&target->isid, sizeof target->isid);
    ret = ret < 0 ? img_error_errno(err, -ret, "Could not get random bytes") : take_all(given, target, err);
    if (ret < 0)
        iscsi_target_free(target);
    return ret;
}

void iscsi_target_free(struct iscsi_target *target)
{
    if (target->password)
        img_wipe(target->password, strlen(target->password));
    free(target->portal);
    free(target->name);
    free(target->initiator);
    free(target->user);
    free(target->password);
    *target = (struct iscsi_target){ .portal = NULL };
}
