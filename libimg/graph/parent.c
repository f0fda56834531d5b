/* SPDX-License-Identifier: MIT */
/*
 * parent.c - finds the parent of a differencing disk.
 *
 * Such a disk names its parent as another machine saw it, by several names, and has an identifier of it.  Each name is
 * tried as it stands, if that can mean a file here, then its last part beside the image.  A candidate is a regular
 * file that opens as an image of the same format and has the right identifier; it is opened alone for that, without a
 * lock, so the work is bounded however images name each other.  The found file becomes the backing file.
 */
#include "chain.h"
#include "util/cleanup.h"
#include "util/strbuf.h"
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Names of one image; files that are looked at in a folder. */
enum { MAX_NAMES = 32, MAX_LOOKED_AT = 1000, MAX_NAME = 4096 };

struct search {
    struct img *image;
    char *found;                    /* relative to the image, or absolute */
    struct img_error *err;          /* why the best candidate so far is none */
};

/* ---- Names ------------------------------------------------------------------------ */

static bool has_drive(const char *name)
{
    return ((name[0] | 32) >= 'a' && (name[0] | 32) <= 'z') && name[1] == ':';
}

/* With slashes, and without leading "./". */
static char *with_slashes(const char *name)
{
    char *plain = img_strdup(name), *start;

    if (!plain)
        return NULL;
    for (char *at = plain; *at; at++)
        if (*at == '\\')
            *at = '/';
    for (start = plain; start[0] == '.' && start[1] == '/';)
        start += 2 + strspn(start + 2, "/");
    memmove(plain, start, strlen(start) + 1);
    return plain;
}

/* Not a folder, and not a path of Windows that names a machine, a volume or a drive. */
static bool is_path_here(const char *stored)
{
    return *stored && !has_drive(stored) && stored[0] != '\\' && stored[strlen(stored) - 1] != '/';
}

int img_add_parent_name(struct img *image, const char *name)
{
    char **names;

    image->has_parent = true;
    if (!*name || strlen(name) > MAX_NAME || image->parent_count >= MAX_NAMES)
        return 0;
    names = img_realloc(image->parent_names, (image->parent_count + 1) * sizeof *names);
    if (!names)
        return -ENOMEM;
    image->parent_names = names;
    names[image->parent_count] = img_strdup(name);
    return names[image->parent_count] ? (image->parent_count++, 0) : -ENOMEM;
}

static char *never_protocol(const char *name)
{
    return img_name_prefix(name) == SIZE_MAX ? img_strdup(name) : img_asprintf("./%s", name);
}

int chain_local_name(const char *stored, bool last, char **name)
{
    CLEANUP_FREE char *plain = with_slashes(stored);
    const char *from = plain, *slash;

    *name = NULL;
    if (!plain)
        return -ENOMEM;
    if (!last && !is_path_here(stored))
        return 0;
    if (last) {
        from += has_drive(from) ? 2 : 0;
        slash = strrchr(from, '/');
        from = slash ? slash + 1 : from;
    }
    if (!*from || strcmp(from, ".") == 0 || strcmp(from, "..") == 0)
        return 0;
    *name = never_protocol(from);
    return *name ? 0 : -ENOMEM;
}

/* ---- Candidates ------------------------------------------------------------------------ */

/* The node of the file that the image is in, beside which other files can be; NULL: it is somewhere else. */
static const struct img *file_of(const struct img *image)
{
    while (image->file)
        image = image->file;
    return image->driver->in_folder ? image : NULL;
}

static bool is_regular(const char *path, struct stat *status)
{
    return stat(path, status) == 0 && S_ISREG(status->st_mode);
}

static bool is_itself(const struct img *image, const struct stat *candidate)
{
    const char *path = file_of(image)->filename;
    struct stat status;

    return path && stat(path, &status) == 0 && status.st_dev == candidate->st_dev && status.st_ino == candidate->st_ino;
}

int chain_open_candidate(struct img *image, const char *name, struct img **candidate, struct img_error *err)
{
    struct request child = chain_child_request(image, IMG_ROLE_BACKING, NULL);
    int ret;

    child.flags = IMG_NO_BACKING | IMG_NO_IO | IMG_SHARE;
    child.perm = 0;
    child.shared = IMG_PERM_ALL;
    child.candidate = true;
    child.name = name;
    child.format = image->driver->name;
    child.options = image->backing_options ? img_doc_copy(image->backing_options) : img_doc_object();
    ret = chain_open_node(candidate, &child, err);
    img_doc_free(child.options);
    return ret;
}

/* Open the file alone and ask the driver. */
static int look_at(const struct search *search, const char *path, struct img_error *err)
{
    struct img *image = search->image, *candidate = NULL;
    struct img_error closing = IMG_ERROR_INIT;
    int ret = chain_open_candidate(image, path, &candidate, err);

    if (ret < 0)
        return ret;
    ret = image->driver->check_parent(image, candidate, err);
    img_close(candidate, &closing);
    img_error_clear(&closing);
    return ret;
}

/* 1: `name` is the parent.  `named`: the image has that name for it, so its fault is worth telling. */
static int try_name(struct search *search, const char *name, bool named)
{
    struct img_error why = IMG_ERROR_INIT;
    CLEANUP_FREE char *path = img_name_neighbour(search->image, name, &why);
    struct stat status;
    int ret = -ENOENT;

    if (path && is_regular(path, &status)) {
        ret = is_itself(search->image, &status) ? img_error_set(&why, ELOOP, "it is the disk itself")
                                                : look_at(search, path, &why);
        if (ret == 0 && img_replace_text(&search->found, name) < 0)
            ret = img_error_memory(&why);
        if (ret < 0 && named && !search->err->text)
            img_error_set(search->err, why.code, "'%s' is not its parent: %s", path, why.text);
    }
    if (!path || why.code == ENOMEM)
        ret = -why.code;
    img_error_clear(&why);
    return ret == 0 ? 1 : ret == -ENOMEM ? ret : 0;
}

static int try_names(struct search *search, bool last)
{
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < search->image->parent_count; i++) {
        CLEANUP_FREE char *name = NULL;
        ret = chain_local_name(search->image->parent_names[i], last, &name);
        if (name)
            ret = try_name(search, name, true);
    }
    return ret;
}

/* ---- Folders ----------------------------------------------------------------------------- */

static bool ends_with(const char *name, const char *suffix)
{
    size_t length = strlen(name), least = strlen(suffix);

    return length > least && strcmp(name + length - least, suffix) == 0;
}

/* Every file with the suffix in the folder `below` ("" or ends with "/") of the image's folder. */
static int try_folder(struct search *search, const char *below)
{
    struct img_error ignored = IMG_ERROR_INIT;
    CLEANUP_FREE char *path = img_name_neighbour(search->image, *below ? below : "./", &ignored);
    DIR *folder = path ? opendir(path) : NULL;
    const struct dirent *entry;
    int ret = ignored.code == ENOMEM ? -ENOMEM : 0;

    img_error_clear(&ignored);
    for (unsigned looked_at = 0; folder && ret == 0 && looked_at < MAX_LOOKED_AT && (entry = readdir(folder));) {
        CLEANUP_FREE char *name = NULL;
        if (!ends_with(entry->d_name, search->image->driver->parent_suffix))
            continue;
        name = *below ? img_asprintf("%s%s", below, entry->d_name) : never_protocol(entry->d_name);
        ret = name ? try_name(search, name, false) : -ENOMEM;
        looked_at++;
    }
    if (folder)
        closedir(folder);
    return ret;
}

/* VirtualBox keeps what was written after a snapshot in this folder, beside the disk that the snapshot is of. */
static bool is_in_snapshots(const struct img *image)
{
    struct img_error ignored = IMG_ERROR_INIT;
    CLEANUP_FREE char *path = img_name_neighbour(image, "./", &ignored);
    CLEANUP_FREE char *whole = path ? realpath(path, NULL) : NULL;

    img_error_clear(&ignored);
    return whole && ends_with(whole, "/Snapshots");
}

static int try_folders(struct search *search)
{
    int ret = 0;

    if (!search->image->driver->parent_suffix)
        return 0;
    ret = try_folder(search, "");
    return ret == 0 && is_in_snapshots(search->image) ? try_folder(search, "../") : ret;
}

/* ---- The parent ----------------------------------------------------------------------------- */

static int find(struct search *search)
{
    int ret = try_names(search, false);

    if (ret == 0)
        ret = try_names(search, true);
    return ret == 0 ? try_folders(search) : ret;
}

/* A name to show where there is nothing else to name; "": the image has none.  NULL: out of memory. */
static char *first_name(const struct img *image)
{
    char *name = NULL;
    int ret = 0;

    for (int last = 0; last < 2 && !name && ret == 0; last++)
        for (size_t i = 0; i < image->parent_count && !name && ret == 0; i++)
            ret = chain_local_name(image->parent_names[i], last, &name);
    return name || ret < 0 ? name : img_strdup("");
}

static int not_found(const struct search *search, const char *name, struct img_error *err)
{
    const struct img *image = search->image;

    if (search->err->text)
        img_error_set(err, search->err->code, "%s", search->err->text);
    else if (*name)
        img_error_set(err, ENOENT, "Could not find the parent '%s' of this differencing disk", name);
    else
        img_error_set(err, ENOENT, "This differencing disk does not say where its parent is");
    img_error_advise(err, "put the parent beside the image; or name it, and it is taken without a check: "
                     "--image-opts driver=%s,file.filename=IMAGE,backing.driver=%s,backing.file.filename=PARENT",
                     image->driver->name, image->driver->name);
    return img_error_prefix(err, "Could not open backing file: ");
}

int chain_find_parent(struct img *image, const struct request *request, struct img_error *err)
{
    struct img_error why = IMG_ERROR_INIT;
    struct search search = { .image = image, .err = &why };
    bool given = img_doc_get(img_doc_get(img_doc_get(request->options, "backing"), "file"), "filename") != NULL;
    CLEANUP_FREE char *name = first_name(image);
    int ret = 0;

    /* Closed to what images name: no file is looked at, either. */
    if (!given && image->gate == IMG_GATE_OPEN && file_of(image))
        ret = find(&search);
    if (ret < 0 || !name || img_replace_text(&image->backing_name, search.found ? search.found : name) < 0 ||
        img_replace_text(&image->backing_format, image->driver->name) < 0)
        ret = img_error_memory(err);
    else
        ret = 0;
    if (ret == 0 && !search.found && !given && image->gate == IMG_GATE_OPEN) {
        /* Who follows the names one by one, as info does, would follow this one forever. */
        if (!(image->flags & IMG_NO_BACKING) || why.code == ELOOP)
            ret = not_found(&search, name, err);
        else if (why.text)
            img_notice(IMG_WARNING, "%s", why.text);
    }
    free(search.found);
    img_error_clear(&why);
    return ret;
}
