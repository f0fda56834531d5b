/* SPDX-License-Identifier: MIT */
/*
 * module.c - loads the module of a driver when the driver is first asked for.  Before that no file is looked for or
 * opened.  A module stays loaded; a module that was refused stays refused.
 */
#include "module.h"
#include "util/cleanup.h"
#include "util/strbuf.h"
#include <string.h>

#ifdef IMG_MODULES

#include <dlfcn.h>
#include <limits.h>
#include <sys/stat.h>

static pthread_mutex_t loading = PTHREAD_MUTEX_INITIALIZER;

/* ---- Finding modules ------------------------------------------------------------- */

/*
 * The folder "modules" beside the executable.  The executable may be copied into a folder where others can write, and
 * must not load what they put there: the folder must have the same owner, and not be writable by all.  It is named by
 * the path behind all links, so that nobody can change a link after it was looked at.
 */
static char *folder_beside(struct img_error *err)
{
    CLEANUP_FREE char *self = realpath("/proc/self/exe", NULL);
    const char *slash = self ? strrchr(self, '/') : NULL;
    struct stat file, folder;
    CLEANUP_FREE char *name = NULL;
    char *place;

    if (!slash || stat(self, &file) < 0) {
        img_error_set(err, ENOENT, "Could not find out where the program lies, and so its modules");
        return NULL;
    }
    name = img_asprintf("%.*s/modules", (int)(slash - self), self);
    place = name ? realpath(name, NULL) : NULL;
    if (!place) {
        place = name;               /* there is none, which is told with the file's name */
        name = NULL;
    } else if (stat(place, &folder) == 0 && (folder.st_uid != file.st_uid || folder.st_mode & S_IWOTH)) {
        img_error_set(err, EPERM, "'%s' is not of the owner of the program alone, and nothing in it is run", name);
        free(place);
        return NULL;
    }
    return place;
}

/* Caller frees; NULL: with *err set, or out of memory. */
static char *find_folder(struct img_error *err)
{
    const char *given = secure_getenv("IMGBOX_MODULES");

    if (given && *given)
        return img_strdup(given);
    return *img_module_folder ? img_strdup(img_module_folder) : folder_beside(err);
}

/* ---- Loading ------------------------------------------------------------------------ */

static int refuse(const struct img_module *module, const char *path, struct img_error *err)
{
    const char *text = dlerror();
    size_t length = strlen(path);

    if (access(path, F_OK) < 0 && errno == ENOENT)
        return img_error_set(err, ENOTSUP, "%s support is not installed: there is no '%s'", module->row->name, path);
    /* The loader's message begins with the file name, as ours does. */
    if (text && strncmp(text, path, length) == 0 && strncmp(text + length, ": ", 2) == 0)
        text += length + 2;
    return img_error_set(err, ENOEXEC, "Could not load '%s': %s", path, text ? text : "unknown error");
}

/* Does the file hold this driver, for this program?  `abi` and `size` have the same place in every version. */
static int judge(const struct img_module *module, const struct img_driver *driver, const char *path,
                 struct img_error *err)
{
    if (driver && (driver->abi != IMG_DRIVER_ABI || driver->size != sizeof *driver))
        return img_error_set(err, ENOEXEC, "Could not load '%s': it was built for another version", path);
    if (!driver || strcmp(driver->name, module->row->name) != 0)
        return img_error_set(err, ENOEXEC, "Could not load '%s': it does not hold the driver '%s'", path,
                             module->row->name);
    return 0;
}

static int load(struct img_module *module, struct img_error *err)
{
    CLEANUP_FREE char *folder = find_folder(err), *path = NULL;
    const struct img_driver *driver;
    void *handle;
    int ret;

    if (!folder)
        return img_error_memory(err);
    path = img_asprintf("%s/img-%s.so", folder, module->module);
    if (!path)
        return img_error_memory(err);
    handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!handle)
        return refuse(module, path, err);
    driver = dlsym(handle, module->symbol);
    ret = judge(module, driver, path, err);
    if (ret == 0)
        module->driver = driver;
    else
        dlclose(handle);
    return ret;
}

static char no_memory[] = "Cannot allocate memory";

const struct img_driver *img_module_driver(const struct img_driver *row, struct img_error *err)
{
    struct img_module *module = img_modules;

    while (module->row != row)
        module++;
    LOCK_SCOPE(&loading);
    if (!module->driver && !module->error) {
        struct img_error why = IMG_ERROR_INIT;

        /* Whoever got the row for want of memory must not find the driver there later. */
        if (load(module, &why) < 0 && !(module->error = img_strdup(why.text)))
            module->error = no_memory;
        img_error_clear(&why);
    }
    if (!module->driver)
        img_error_set(err, ENOTSUP, "%s", module->error);
    return module->driver;
}

#else

/* No driver of the table is in a module. */
const struct img_driver *img_module_driver(const struct img_driver *row, struct img_error *err)
{
    img_error_set(err, ENOTSUP, "%s support is not built in", row->name);
    return NULL;
}

#endif
