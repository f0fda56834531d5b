/* SPDX-License-Identifier: MIT */
/*
 * iscsi://[user[%password]@]host[:port]/target/lun as options.  libiscsi takes it apart, so that it means what it means
 * to all others who use the library; that also takes a user from the environment.
 */
#include "iscsi.h"
#include "../../libimg/util/cleanup.h"
#include "../../libimg/util/strbuf.h"
#include "../../libimg/util/wipe.h"
#include <string.h>

static int unparsable(const char *name, struct img_error *err)
{
    return img_error_set(err, EINVAL, "Failed to parse URL : %s", name);
}

/* libiscsi cuts off what is longer, and the rest may still be a name; of a LUN it takes any number. */
static bool is_plausible(const char *name)
{
    const char *lun = strrchr(name, '/');
    char *end;
    unsigned long number;

    if (strlen(name) > MAX_STRING_SIZE || !lun || lun[1] < '0' || lun[1] > '9')
        return false;
    errno = 0;
    number = strtoul(lun + 1, &end, 10);
    return errno == 0 && number <= ISCSI_MOST_LUN;
}

static int put_parts(const struct iscsi_url *url, struct img_doc *options, struct img_error *err)
{
    CLEANUP_FREE char *lun = img_asprintf("%d", url->lun);

    if (!lun)
        return img_error_memory(err);
    img_doc_put_string(options, "transport", url->transport == ISER_TRANSPORT ? "iser" : "tcp");
    img_doc_put_string(options, "portal", url->portal);
    img_doc_put_string(options, "target", url->target);
    img_doc_put_string(options, "lun", lun);
    if (*url->user && *url->passwd) {
        img_doc_put_string(options, "user", url->user);
        img_doc_put_string(options, "password", url->passwd);
    }
    return iscsi_config_apply(url->target, options, err);
}

int iscsi_parse_name(const char *name, struct img_doc *options, struct img_error *err)
{
    struct iscsi_context *context = iscsi_create_context("iqn.2008-11.org.linux-kvm");
    struct iscsi_url *url;
    int ret;

    if (!context)
        return img_error_memory(err);
    url = is_plausible(name) ? iscsi_parse_full_url(context, name) : NULL;
    ret = url ? put_parts(url, options, err) : unparsable(name, err);
    if (url) {
        img_wipe(url->passwd, sizeof url->passwd);
        iscsi_destroy_url(url);
    }
    iscsi_destroy_context(context);
    return ret;
}
