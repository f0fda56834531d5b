/* SPDX-License-Identifier: MIT */
/* rbd:pool[/namespace]/image[@snapshot][:key=value...] as options.  A backslash takes the meaning of what follows. */
#include "rbd.h"
#include "../../libimg/util/cleanup.h"
#include "../../libimg/util/strbuf.h"
#include <stdlib.h>
#include <string.h>

static const char prefix[] = "rbd:";

/* The first such character without a backslash before it, or NULL. */
static char *find(char *text, char wanted)
{
    for (; *text; text++) {
        if (*text == wanted)
            return text;
        if (*text == '\\' && text[1])
            text++;
    }
    return NULL;
}

/* Cut off what comes before `end`; *rest is what follows it, NULL: it is not there. */
static char *cut(char *text, char end, char **rest)
{
    char *at = find(text, end);

    *rest = at ? at + 1 : NULL;
    if (at)
        *at = 0;
    return text;
}

static const char *without_backslashes(char *text)
{
    char *to = text;

    for (const char *from = text; *from; from++) {
        if (*from == '\\' && from[1])
            from++;
        *to++ = *from;
    }
    *to = 0;
    return text;
}

static int take_settings(char *text, struct img_doc *options, struct img_error *err)
{
    struct img_doc *pairs = img_doc_array();

    for (char *next = text; next; text = next) {
        char *value, *key = cut(text, '=', &value);
        without_backslashes(key);
        if (!value) {
            img_doc_free(pairs);
            return img_error_set(err, EINVAL, "conf option %s has no value", key);
        }
        without_backslashes(cut(value, ':', &next));
        if (strcmp(key, "conf") == 0 || strcmp(key, "id") == 0) {
            img_doc_put_string(options, *key == 'c' ? "conf" : "user", value);
        } else {
            img_doc_append(pairs, img_doc_string(key));
            img_doc_append(pairs, img_doc_string(value));
        }
    }
    if (img_doc_count(pairs))
        img_doc_put(options, RBD_PAIRS, pairs);
    else
        img_doc_free(pairs);
    return 0;
}

/* "[namespace/]image". */
static void take_image(char *text, struct img_doc *options)
{
    char *image, *space = cut(text, '/', &image);

    img_doc_put_string(options, "namespace", image ? without_backslashes(space) : "");
    img_doc_put_string(options, "image", without_backslashes(image ? image : space));
}

int rbd_parse_name(const char *name, struct img_doc *options, struct img_error *err)
{
    CLEANUP_FREE char *text = NULL;
    char *rest, *image;

    if (strncmp(name, prefix, strlen(prefix)) != 0)
        return img_error_set(err, EINVAL, "File name must start with '%s'", prefix);
    text = img_strdup(name + strlen(prefix));
    if (!text)
        return img_error_memory(err);
    without_backslashes(cut(text, '/', &rest));
    if (!rest)
        return img_error_set(err, EINVAL, "Pool name is required");
    img_doc_put_string(options, "pool", text);
    /* (qemu-img takes any "@" for that of a snapshot, also one further on) */
    if (find(rest, '@')) {
        image = cut(rest, '@', &rest);
        img_doc_put_string(options, "snapshot", without_backslashes(cut(rest, ':', &rest)));
    } else {
        image = cut(rest, ':', &rest);
    }
    take_image(image, options);
    return rest ? take_settings(rest, options, err) : 0;
}
