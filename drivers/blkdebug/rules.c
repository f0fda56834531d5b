/* SPDX-License-Identifier: MIT */
/* rules.c - the rules of blkdebug, from open options ("inject-error.0.event=...") and from a file with sections. */
#include "blkdebug.h"
#include "../../libimg/util/cleanup.h"
#include <stdlib.h>
#include <string.h>

struct rule_options {
    char *event, *iotype;
    int64_t state, new_state, code, sector;
    int8_t once, immediately;
};

#define OPTION(text, kind, field) \
    { .name = text, .type = kind, .when = IMG_AT_OPEN, .offset = offsetof(struct rule_options, field) }

static const struct img_option inject_options[] = {
    OPTION("event", IMG_OPT_STRING, event), OPTION("state", IMG_OPT_NUMBER, state),
    OPTION("iotype", IMG_OPT_STRING, iotype), OPTION("errno", IMG_OPT_NUMBER, code),
    OPTION("sector", IMG_OPT_NUMBER, sector), OPTION("once", IMG_OPT_BOOL, once),
    OPTION("immediately", IMG_OPT_BOOL, immediately), { .name = NULL }
};

static const struct img_option state_options[] = {
    OPTION("event", IMG_OPT_STRING, event), OPTION("state", IMG_OPT_NUMBER, state),
    OPTION("new_state", IMG_OPT_NUMBER, new_state), { .name = NULL }
};

static const struct section {
    const char *name;
    const struct img_option *options;
} sections[] = { { "inject-error", inject_options }, { "set-state", state_options } };
enum { INJECT, SET_STATE, SECTIONS };

#define EVENT_NAME(name) #name,
static const char *const event_names[] = { IMG_EVENTS(EVENT_NAME) NULL };
static const char *const type_names[] = { "read", "write", "write-zeroes", "discard", "flush", "block-status", NULL };

/* ---- One rule ------------------------------------------------------------------ */

static int find_word(const char *word, const char *const *words, struct img_error *err)
{
    for (int i = 0; words[i]; i++) {
        if (strcmp(word, words[i]) == 0)
            return i;
    }
    return img_error_set(err, EINVAL, "invalid parameter value: %s", word);
}

static int fill_rule(struct blkdebug_rule *rule, const struct rule_options *given, struct img_error *err)
{
    int event, type;

    if (!given->event)
        return img_error_set(err, EINVAL, "Missing event name for rule");
    event = find_word(given->event, event_names, err);
    if (event < 0)
        return event;
    rule->event = (enum img_event)event;
    rule->state = given->state == -1 ? 0 : (uint64_t)given->state;
    rule->new_state = given->new_state == -1 ? 0 : (uint64_t)given->new_state;
    rule->code = given->code == -1 ? EIO : given->code > 4095 ? EINVAL : (int)given->code;
    rule->any_sector = given->sector == -1 || given->sector == INT64_MAX;
    rule->sector = (uint64_t)given->sector;
    rule->once = given->once == 1;
    rule->types = BLKDEBUG_MAP - 1;
    if (given->iotype) {
        type = find_word(given->iotype, type_names, err);
        if (type < 0)
            return type;
        rule->types = 1u << type;
    }
    return 0;
}

/* Takes the rule's options out of `options`. */
static int add_rule(struct blkdebug *debug, const struct section *section, struct img_doc *options,
                    struct img_error *err)
{
    struct blkdebug_rule rule = { .sets_state = section == &sections[SET_STATE] };
    struct rule_options given = { .state = -1, .new_state = -1, .code = -1, .sector = -1 };
    int ret = img_options_read(section->options, IMG_AT_OPEN, options, &given, err);

    if (ret < 0)
        return ret;
    if (img_doc_count(options))
        ret = img_error_set(err, EINVAL, "[%s] section doesn't support the option '%s'", section->name,
                            img_doc_key_at(options, 0));
    else
        ret = fill_rule(&rule, &given, err);
    img_options_release(section->options, IMG_AT_OPEN, &given);
    if (ret == 0 && !IMG_VECTOR_PUSH(&debug->rules, rule))
        ret = img_error_memory(err);
    return ret;
}

/* ---- From options ----------------------------------------------------------------- */

static bool is_number(const char *key)
{
    return *key && key[strspn(key, "0123456789")] == '\0';
}

static int unused_option(const struct section *section, const struct img_doc *rules, struct img_error *err)
{
    struct img_doc *flat = img_options_flatten(rules);
    int ret = img_doc_broken(flat) ? img_error_memory(err)
                                   : img_error_set(err, EINVAL, "Unused option '%s' for [%s]", img_doc_key_at(flat, 0),
                                                   section->name);

    img_doc_free(flat);
    return ret;
}

/* Take the members "0", "1" ... in turn. */
static int take_numbered(struct blkdebug *debug, const struct section *section, struct img_doc *rules,
                         struct img_error *err)
{
    int ret = 0;

    for (size_t i = 0; ret == 0; i++) {
        CLEANUP_FREE char *key = img_asprintf("%zu", i);
        struct img_doc *rule = key ? img_doc_take(rules, key) : NULL;
        if (!key)
            return img_error_memory(err);
        if (!rule)
            break;
        ret = add_rule(debug, section, rule, err);
        img_doc_free(rule);
    }
    return ret == 0 && img_doc_count(rules) ? unused_option(section, rules, err) : ret;
}

static int take_section(struct blkdebug *debug, const struct section *section, struct img_doc *rules,
                        struct img_error *err)
{
    int ret = 0;

    if (img_doc_count(rules) == 0)
        return img_error_set(err, EINVAL, "Block protocol 'blkdebug' doesn't support the option '%s'", section->name);
    if (img_doc_type(rules) == IMG_DOC_OBJECT)
        return is_number(img_doc_key_at(rules, 0)) ? take_numbered(debug, section, rules, err)
                                                   : add_rule(debug, section, rules, err);
    for (size_t i = 0; i < img_doc_count(rules) && ret == 0; i++)
        ret = add_rule(debug, section, img_doc_at(rules, i), err);
    return ret;
}

int blkdebug_take_rules(struct blkdebug *debug, struct img_doc *options, struct img_error *err)
{
    int ret = 0;

    for (unsigned i = 0; i < SECTIONS && ret == 0; i++) {
        struct img_doc *rules = img_doc_take(options, sections[i].name);
        if (rules)
            ret = take_section(debug, &sections[i], rules, err);
        img_doc_free(rules);
    }
    return ret;
}

/* ---- From a file ------------------------------------------------------------------- */

struct config {
    struct blkdebug *debug;
    const struct section *section;  /* the current section; NULL: before the first */
    struct img_doc *rule;
};

static int end_section(struct config *config, struct img_error *err)
{
    int ret = config->rule ? add_rule(config->debug, config->section, config->rule, err) : 0;

    img_doc_free(config->rule);
    config->rule = NULL;
    return ret;
}

/* [NAME] or [NAME "ID"] */
static int begin_section(struct config *config, const char *line, struct img_error *err)
{
    size_t length = strcspn(line + 1, " ]");
    CLEANUP_FREE char *name = img_strndup(line + 1, length);

    if (end_section(config, err) < 0)
        return -err->code;
    if (!name)
        return img_error_memory(err);
    for (unsigned i = 0; i < SECTIONS; i++) {
        if (strcmp(sections[i].name, name) == 0) {
            config->section = &sections[i];
            config->rule = img_doc_object();
            return config->rule ? 0 : img_error_memory(err);
        }
    }
    return img_error_set(err, EINVAL, "There is no option group '%s'", name);
}

/* KEY = "VALUE"; the blanks around the sign are required. */
static int take_line(struct config *config, char *line, struct img_error *err)
{
    static const char blanks[] = " \t\r\n";
    char *key = line + strspn(line, blanks), *value;
    size_t length = strcspn(key, blanks);
    const struct img_option *option;

    if (!config->section)
        return img_error_set(err, EINVAL, "no group defined");
    value = key + length + strspn(key + length, blanks);
    key[length] = '\0';
    for (option = config->section->options; option->name && strcmp(option->name, key) != 0; )
        option++;
    if (!option->name)
        return img_error_set(err, EINVAL, "Invalid parameter '%s'", key);
    if (*value == '=')
        value += 1 + strspn(value + 1, blanks);
    if (*value == '"')
        value[1 + strcspn(value + 1, "\"")] = '\0';
    img_doc_put_string(config->rule, key, *value == '"' ? value + 1 : "");
    return 0;
}

int blkdebug_read_config(struct blkdebug *debug, const char *name, struct img_error *err)
{
    struct config config = { .debug = debug };
    FILE *file = fopen(name, "re");
    CLEANUP_FREE char *line = NULL;
    size_t capacity = 0;
    int ret = 0;

    if (!file)
        return img_error_errno(err, errno, "Could not read blkdebug config file");
    while (ret == 0 && getline(&line, &capacity, file) >= 0) {
        if (line[0] == '#' || line[0] == '\n')
            continue;
        ret = line[0] == '[' ? begin_section(&config, line, err) : take_line(&config, line, err);
    }
    if (ret == 0 && !feof(file))
        ret = img_error_errno(err, errno, "Cannot read config file");
    if (ret == 0)
        ret = end_section(&config, err);
    img_doc_free(config.rule);
    fclose(file);
    return ret;
}
