/* SPDX-License-Identifier: MIT */
/* snapshot-arg.c - the argument of -l: an internal snapshot by id or name, or snapshot.id=..,snapshot.name=... */
#include "applet.h"

#include <string.h>

/* Accept only the two keys; NULL after a message, which has this quote before the text. */
static struct img_doc *parse_keys(const char *text, char quote)
{
    struct img_doc *keys = app_whole(img_doc_object());
    struct img_error err = IMG_ERROR_INIT;

    if (img_options_add(keys, text, &err) < 0) {
        app_report(&err);
        goto fail;
    }
    for (size_t i = 0; i < img_doc_count(keys); i++) {
        const char *key = img_doc_key_at(keys, i);

        if (strcmp(key, "snapshot.id") && strcmp(key, "snapshot.name")) {
            app_error("Invalid parameter '%s'", key);
            goto fail;
        }
    }
    return keys;
fail:
    app_error("Failed in parsing snapshot param %c%s'", quote, text);
    img_doc_free(keys);
    return NULL;
}

bool app_snapshot_has_keys(const char *text)
{
    return strncmp(text, "snapshot.", 9) == 0;
}

bool app_check_snapshot(const char *text, char quote)
{
    struct img_doc *keys = app_snapshot_has_keys(text) ? parse_keys(text, quote) : NULL;

    img_doc_free(keys);
    return keys || !app_snapshot_has_keys(text);
}

int app_load_snapshot(struct img *image, const char *text)
{
    struct img_error err = IMG_ERROR_INIT;
    struct img_doc *keys = NULL;
    const char *id = text, *name = text;
    int ret;

    if (app_snapshot_has_keys(text)) {
        keys = parse_keys(text, '\'');
        if (!keys)
            return -1;
        id = img_doc_string_at(keys, "snapshot.id");
        name = img_doc_string_at(keys, "snapshot.name");
    }
    ret = img_snapshot_load(image, id, name, &err);
    if (ret < 0)
        app_report_with(&err, "Failed to load snapshot: ");
    img_doc_free(keys);
    return ret < 0 ? -1 : 0;
}
