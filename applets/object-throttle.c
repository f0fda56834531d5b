/* SPDX-License-Identifier: MIT */
/*
 * --object throttle-group: the limits are given in an object "limits" (limits.bps-total=) or, in the old form, one by
 * one (x-bps-total=).
 */
#include "object.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* In the order of IMG_THROTTLE_BPS_TOTAL and so on. */
static const char *const limit_names[] = { "bps-total", "bps-read", "bps-write", "iops-total", "iops-read",
                                           "iops-write" };
enum { OLD_PREFIX = 2, NEW_PREFIX = sizeof "limits." - 1 };

/* The member for the number `name` ("bps-read-max"); NULL: there is no such limit. */
static uint64_t *place_of(struct img_throttle *limits, const char *name)
{
    if (!strcmp(name, "iops-size"))
        return &limits->iops_size;
    for (size_t i = 0; i < IMG_THROTTLE_LIMITS; i++) {
        size_t length = strlen(limit_names[i]);
        const char *rest = name + length;

        if (strncmp(name, limit_names[i], length))
            continue;
        if (!*rest)
            return &limits->limits[i].average;
        if (!strcmp(rest, "-max"))
            return &limits->limits[i].max;
        if (!strcmp(rest, "-max-length"))
            return &limits->limits[i].length;
    }
    return NULL;
}

/* The name of the limit in a key; NULL: it is not a key of a limit. */
static const char *limit_of(const char *key)
{
    if (!strncmp(key, "x-", OLD_PREFIX))
        return key + OLD_PREFIX;
    return strncmp(key, "limits.", NEW_PREFIX) ? NULL : key + NEW_PREFIX;
}

static void check_key(const char *key)
{
    struct img_throttle any;
    const char *limit = limit_of(key);

    if (!strcmp(key, "id") || !strcmp(key, "qom-type") || (limit && place_of(&any, limit)))
        return;
    if (limit && strchr(limit, '.')) {
        CLEANUP_FREE char *head = app_strndup(key, (size_t)(strrchr(key, '.') - key));
        object_refuse_text("Parameters '%s.*' are unexpected", head);
    }
    object_refuse_text("Parameter '%s' is unexpected", key);
}

static int64_t number_of(const char *key, const struct img_doc *value, bool typed)
{
    const char *text = img_doc_get_string(value);
    long long number;
    char *end;

    if (typed) {
        if (img_doc_type(value) != IMG_DOC_INT && img_doc_type(value) != IMG_DOC_UINT)
            object_refuse_text("Invalid parameter type for '%s', expected: integer", key);
        return img_doc_get_int(value);
    }
    errno = 0;
    number = strtoll(text ? text : "", &end, 0);
    if (!text || end == text || *end || errno)
        object_refuse_text("Parameter '%s' expects integer", key);
    return number;
}

static void set_limit(struct img_throttle *limits, const char *key, int64_t number)
{
    const char *name = limit_of(key), *suffix = "-max-length";
    bool old = key[0] == 'x', length = strlen(name) > strlen(suffix) &&
                                      !strcmp(name + strlen(name) - strlen(suffix), suffix);

    if (old && number < 0)
        object_refuse_text("Property values cannot be negative");
    if (length && number > UINT32_MAX) {
        if (old)
            object_refuse_text("%s value must be in therange [0, %u]", key, UINT32_MAX);
        object_refuse_text("%s value must be in the range [0, %u]", name, UINT32_MAX);
    }
    *place_of(limits, name) = (uint64_t)number;
}

void object_throttle(const struct img_doc *object, bool typed)
{
    struct img_throttle limits = { 0 };
    struct img_error err = IMG_ERROR_INIT;
    const struct img_doc *nested = img_doc_get(object, "limits");
    const char *id = img_doc_string_at(object, "id");
    struct img_doc *flat;
    bool whole = false;

    if (nested && img_doc_type(nested) != IMG_DOC_OBJECT)
        object_refuse_text("Invalid parameter type for 'limits', expected: object");
    for (size_t i = 0; i < IMG_THROTTLE_LIMITS; i++)
        limits.limits[i].length = 1;
    flat = app_whole(img_options_flatten(object));
    img_doc_remove(flat, "limits");
    for (size_t i = 0; i < img_doc_count(flat); i++)
        check_key(img_doc_key_at(flat, i));
    for (size_t i = 0; i < img_doc_count(flat); i++) {
        const char *key = img_doc_key_at(flat, i);

        if (limit_of(key))
            set_limit(&limits, key, number_of(key, img_doc_at(flat, i), typed));
        whole |= key[0] == 'l';
    }
    /* An object of limits is one value, so it is checked before the id. */
    if (!whole)
        object_refuse_known(id);
    if (img_throttle_add(id, &limits, &err) < 0)
        object_refuse(&err);
    img_doc_free(flat);
}

void object_throttle_help(void)
{
    static const char *const names[] = { "bps-read", "bps-total", "bps-write", "iops-read", "iops-size", "iops-total",
                                         "iops-write" };

    printf("throttle-group options:\n  limits=<ThrottleLimits>\n");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(names[i], "iops-size"))
            printf("  x-%s-max-length=<int>\n  x-%s-max=<int>\n", names[i], names[i]);
        printf("  x-%s=<int>\n", names[i]);
    }
}
