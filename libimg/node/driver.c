/* SPDX-License-Identifier: MIT */
/* driver.c - finds drivers by name, by prefix and by what they can do. */
#include "module.h"
#include "node.h"
#include "util/checked.h"
#include "util/cleanup.h"
#include "util/strbuf.h"
#include <string.h>
#include <sys/stat.h>

const struct img_driver *img_driver_load(const struct img_driver *row)
{
    struct img_error err = IMG_ERROR_INIT;
    const struct img_driver *driver = row->traits & IMG_IN_MODULE ? img_module_driver(row, &err) : row;

    img_error_clear(&err);
    return driver ? driver : row;
}

const struct img_driver *img_driver_find(const char *name)
{
    for (size_t i = 0; img_drivers[i]; i++) {
        if (strcmp(img_drivers[i]->name, name) == 0 && img_drivers[i]->kind != IMG_SERVICE)
            return img_driver_load(img_drivers[i]);
    }
    return NULL;
}

const struct img_driver *img_driver_next(const struct img_driver *previous)
{
    size_t i = 0;

    while (previous && img_drivers[i] && img_drivers[i++] != previous)
        ;
    while (img_drivers[i] && img_drivers[i]->kind == IMG_SERVICE)
        i++;
    return img_drivers[i];
}

const struct img_driver *img_service_find(const char *name, struct img_error *err)
{
    for (size_t i = 0; img_drivers[i]; i++) {
        if (img_drivers[i]->kind != IMG_SERVICE || strcmp(img_drivers[i]->name, name) != 0)
            continue;
        return img_driver_need(img_drivers[i], err) == 0 ? img_driver_load(img_drivers[i]) : NULL;
    }
    img_error_set(err, ENOTSUP, "%s support is not built in", name);
    return NULL;
}

void img_event_at(struct img *node, enum img_event event)
{
    for (; node; node = node->file) {
        if (node->driver->event) {
            node->driver->event(node, event);
            return;
        }
        if (!img_shows_below(node))
            return;
    }
}

const char *img_child_key(const struct img_driver *driver)
{
    return driver->child ? driver->child : "file";
}

const char *img_second_key(const struct img_driver *driver)
{
    return driver->second_child ? driver->second_child : "data-file";
}

const char *img_driver_name(const struct img_driver *driver)
{
    return driver->name;
}

enum img_kind img_driver_kind(const struct img_driver *driver)
{
    return driver->kind;
}

bool img_driver_usable(const struct img_driver *driver)
{
    return !(img_driver_load(driver)->traits & (IMG_RECOGNISED_ONLY | IMG_IN_MODULE));
}

bool img_driver_is_plain(const struct img_driver *driver)
{
    return driver->kind == IMG_FORMAT && driver->traits & IMG_PASS_THROUGH;
}

bool img_driver_grows(const struct img_driver *driver)
{
    return driver->traits & IMG_GROWS;
}

bool img_driver_can_create(const struct img_driver *driver)
{
    return driver->create != NULL;
}

/* (differencing disks of vdi are only read) */
bool img_driver_can_back(const struct img_driver *driver)
{
    for (const struct img_option *option = driver->options; option && option->name; option++)
        if (driver->traits & IMG_CAN_BACK && strcmp(option->name, "backing_file") == 0)
            return true;
    return false;
}

bool img_driver_can_compress(const struct img_driver *driver)
{
    return (driver->traits & IMG_CAN_COMPRESS) != 0;
}

bool img_driver_can_bitmap(const struct img_driver *driver)
{
    return driver->has_bitmaps != NULL;
}

const struct img_option *img_driver_options(const struct img_driver *driver)
{
    return driver->options;
}

int img_driver_need(const struct img_driver *driver, struct img_error *err)
{
    if (driver->traits & IMG_IN_MODULE)
        return img_module_driver(driver, err) ? 0 : -err->code;
    if (!(driver->traits & IMG_RECOGNISED_ONLY))
        return 0;
    img_error_set(err, ENOTSUP, "%s support is not built in", driver->name);
    if (driver->lacks)
        img_error_advise(err, "it needs %s; 'make config' in the sources shows what a build has found", driver->lacks);
    return -ENOTSUP;
}

const struct img_driver *img_protocol_for_plain(const char *name)
{
    const struct img_driver *best = NULL;
    int best_score = 0;

    for (size_t i = 0; img_drivers[i]; i++) {
        const struct img_driver *driver = img_drivers[i];
        int score;
        if (driver->kind != IMG_PROTOCOL || !driver->probe)
            continue;
        score = driver->probe(name);
        if (score > best_score) {
            best = driver;
            best_score = score;
        }
    }
    return best;
}

/* Try each word of a list (NULL: none) that stands for `meant`. */
static void try_words(struct img_guess *guess, const char *list, const char *meant)
{
    char word[32];

    while (list && *list) {
        size_t length = strcspn(list, " ");

        if (length < sizeof word) {
            memcpy(word, list, length);
            word[length] = '\0';
            img_guess_try(guess, word, meant);
        }
        list += length + strspn(list + length, " ");
    }
}

void img_driver_advise(const char *name, bool to_create, struct img_error *err)
{
    struct img_guess guess = { .word = name };
    const char *best;

    for (size_t i = 0; img_drivers[i]; i++) {
        const struct img_driver *driver = img_drivers[i];

        if (driver->kind == IMG_SERVICE || (to_create && !driver->create))
            continue;
        img_guess_try(&guess, driver->name, driver->name);
        try_words(&guess, driver->alias, driver->name);
    }
    best = img_guess_best(&guess);
    if (best)
        img_error_advise(err, "did you mean '%s'?", best);
    else
        img_error_advise(err, "'qemu-img --help' lists the formats");
}

/* Is it a word of `list`? */
static bool has_word(const char *list, const char *word, size_t length)
{
    while (list && *list) {
        size_t first = strcspn(list, " ");

        if (first == length && memcmp(list, word, length) == 0)
            return true;
        list += first + strspn(list + first, " ");
    }
    return false;
}

const struct img_driver *img_protocol_by_prefix(const char *prefix, size_t length)
{
    for (size_t i = 0; img_drivers[i]; i++) {
        const struct img_driver *driver = img_drivers[i];
        if (driver->kind != IMG_FORMAT && has_word(driver->prefix, prefix, length))
            return img_driver_load(driver);
    }
    return NULL;
}

/* `name` begins with a protocol that does not exist: perhaps it is the name of a file, perhaps misspelt. */
static void unknown_protocol(const char *name, size_t prefix, struct img_error *err)
{
    CLEANUP_FREE char *word = img_asprintf("%.*s", (int)img_min(prefix, 64), name);
    struct img_guess guess = { .word = word ? word : "" };
    struct stat status;

    img_error_set(err, EINVAL, "Unknown protocol '%.*s'", (int)prefix, name);
    if (stat(name, &status) == 0) {
        img_error_advise(err, "to use the file of this name, write './%s'", name);
        return;
    }
    for (size_t i = 0; img_drivers[i]; i++)
        if (img_drivers[i]->kind != IMG_FORMAT)
            try_words(&guess, img_drivers[i]->prefix, img_drivers[i]->name);
    if (img_guess_best(&guess))
        img_error_advise(err, "did you mean '%s:'?", img_guess_best(&guess));
    if (strncmp(name + prefix, "://", 3) != 0)
        img_error_advise(err, "a file name that contains ':' is written with './' in front");
}

const struct img_driver *img_protocol_for_name(const char *name, const char **plain, struct img_error *err)
{
    size_t prefix = img_name_prefix(name);
    const struct img_driver *driver;

    *plain = name;
    if (prefix == SIZE_MAX) {
        driver = img_protocol_for_plain(name);
        if (!driver)
            img_error_set(err, ENOTSUP, "support for files is not built in");
        return driver;
    }
    driver = img_protocol_by_prefix(name, prefix);
    if (!driver) {
        unknown_protocol(name, prefix, err);
        return NULL;
    }
    /* A driver of paths gets the path; one with addresses gets the whole name. */
    if (driver->probe)
        *plain = name + prefix + 1;
    return driver;
}

const struct img_driver *img_driver_for_name(const char *name)
{
    struct img_error ignored = IMG_ERROR_INIT;
    const char *plain;
    const struct img_driver *driver = img_protocol_for_name(name, &plain, &ignored);

    img_error_clear(&ignored);
    return driver;
}
