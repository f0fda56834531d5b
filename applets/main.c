/* SPDX-License-Identifier: MIT */
/*
 * The multi-call program: the name it is called by, or its first argument,
 * selects the applet.  `qemu-img` selects the qemu-img command (qemu-img.c), `qemu-nbd` that of qemu-nbd.c.
 * With -DIMGBOX_SINGLE=applet_NAME the program contains only this applet.
 */
#include "complete.h"
#include "face.h"
#include "version.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void print_notice(enum img_notice kind, const char *text)
{
    if (kind == IMG_WARNING)
        app_warning("%s", text);
    else if (kind == IMG_FAULT)
        app_error("%s", text);
    else if (kind == IMG_ADVICE)
        app_advise("%s", text);
    else if (kind == IMG_HINT)
        app_tell_text(text);
    else
        app_tell("%s\n", text);
}

/*
 * If a standard stream is closed, the first image to be opened would get its number,
 * and messages would be written into the image.  Open a file that refuses writes in its place.
 */
static void hold_standard_streams(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) < 0)
            exit(1);
}

static int run_applet(const struct applet *applet, const char *called, int argc, char **argv)
{
    struct app app;
    int status;

    app_output_is_work(applet->owes_output);
    app_start(&app, applet, called, argc, argv);
    status = applet->main(&app);
    free(app.operands);
    return status;
}

/* A tool under its own name has --version; as a command of qemu-img it has not.  (serve has an option of its own.) */
static int run_tool(const struct applet *applet, const char *called, int argc, char **argv)
{
    if (argc != 2 || strcmp(argv[1], "--version") != 0)
        return run_applet(applet, called, argc, argv);
    CLEANUP_FREE char *name = app_asprintf("img-%s", applet->name);

    app_print_version(name);
    return 0;
}

static void set_up(const char *name)
{
    app_name = name;
    hold_standard_streams();
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);     /* exceeding the file size limit is an ordinary error */
    img_set_notice(print_notice);
    img_seek_advice(app_gives_advice());
    /* Scripts that select what qemu-img prints get the disk that it sees, too. */
    img_set_unwrapping(!compat_pinned());
    if (compat_unknown()) {
        app_error("IMGBOX_COMPAT=%s: there are 7.2, 10.0 and 11.0", compat_unknown());
        exit(app_finish(1));
    }
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

#ifdef IMGBOX_SINGLE

extern const struct applet IMGBOX_SINGLE;

int main(int argc, char **argv)
{
    if (argc < 1)
        return 1;
    set_up(base_name(argv[0]));
    if (argc > 1 && !strcmp(argv[1], "--complete"))
        return app_finish(app_complete_tool(argc, argv, &IMGBOX_SINGLE));
    return app_finish(run_tool(&IMGBOX_SINGLE, argv[0], argc, argv));
}

#else

/* Commands that are known under names of their own. */
static const struct command {
    const char *name;
    int (*main)(int argc, char **argv, app_run_fn *run);
} commands[] = {
    { "qemu-img", app_qemu_img }, { "qemu-nbd", app_qemu_nbd },
};
enum { COMMANDS = sizeof commands / sizeof *commands };

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < COMMANDS; i++)
        if (!strcmp(commands[i].name, name))
            return &commands[i];
    return NULL;
}

static const struct applet *find_applet(const char *name)
{
    for (size_t i = 0; applets[i]; i++)
        if (!strcmp(applets[i]->name, name))
            return applets[i];
    return NULL;
}

static int list(void)
{
    for (size_t i = 0; applets[i]; i++)
        printf("img-%s\n", applets[i]->name);
    for (size_t i = 0; i < COMMANDS; i++)
        printf("%s\n", commands[i].name);
    return 0;
}

/* An existing file may be replaced only if it is a link of an earlier installation. */
static bool may_replace(const char *self, const char *path, bool *same)
{
    struct stat ours, theirs;

    *same = false;
    if (lstat(path, &theirs) < 0)
        return true;
    if (S_ISLNK(theirs.st_mode))
        return true;
    *same = stat(self, &ours) == 0 && ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino;
    if (!*same)
        errno = EEXIST;
    return *same;
}

/* The name of `self` from the folder `directory`, both absolute and without links. */
static char *name_from(const char *directory, const char *self)
{
    struct img_strbuf name = { 0 };
    size_t common = 0;

    for (size_t i = 0; directory[i] == self[i] || (!directory[i] && self[i] == '/'); i++) {
        if (self[i] == '/')
            common = i + 1;
        if (!directory[i])
            break;
    }
    /* (behind the last common folder each one of `directory` is a step up; "/" has none) */
    for (const char *at = directory + (common > strlen(directory) ? strlen(directory) : common); *at; ) {
        at += strspn(at, "/");
        if (*at)
            img_strbuf_add(&name, "../");
        at += strcspn(at, "/");
    }
    img_strbuf_add(&name, self + common);
    return app_need(name.failed ? NULL : name.text);
}

/* `target`: what a symbolic link holds; NULL: a hard one. */
static bool install_one(const char *self, const char *target, const char *directory, const char *name)
{
    CLEANUP_FREE char *path = app_asprintf("%s/%s", directory, name);
    CLEANUP_FREE char *fresh = app_asprintf("%s.%ld", path, (long)getpid());
    bool same;

    if (may_replace(self, path, &same)) {
        if (same && !target)
            return true;
        if ((target ? symlink(target, fresh) : link(self, fresh)) == 0 && rename(fresh, path) == 0)
            return true;
    }
    app_error("%s: %s", path, strerror(errno));
    unlink(fresh);
    return false;
}

/*
 * What symbolic links in the folder hold: a relative name, so that it stays right when the system is moved as a whole, or
 * becomes the root of another.  Another file system may be mounted elsewhere; links in it hold the whole name.
 */
static char *link_target(const char *self, const char *directory)
{
    CLEANUP_FREE char *full = realpath(directory, NULL);
    struct stat ours, theirs;

    if (!full || stat(full, &theirs) < 0 || stat(self, &ours) < 0) {
        app_error("%s: %s", directory, strerror(errno));
        return NULL;
    }
    return ours.st_dev == theirs.st_dev ? name_from(full, self) : app_strdup(self);
}

/* imgbox --install [-s] DIR: one link per tool. */
static int install(int argc, char **argv)
{
    bool symbolic = argc > 2 && !strcmp(argv[2], "-s"), good;
    CLEANUP_FREE char *self = NULL, *target = NULL;
    const char *directory;

    if (argc != 3 + symbolic) {
        app_error("usage: imgbox --install [-s] DIR");
        return 1;
    }
    directory = argv[2 + symbolic];
    self = compat_self_path(argv[0]);
    if (!self) {
        app_error("Could not find the running program: %s", img_strerror(errno));
        return 1;
    }
    if (symbolic && !(target = link_target(self, directory)))
        return 1;
    good = true;
    for (size_t i = 0; i < COMMANDS; i++)
        good &= install_one(self, target, directory, commands[i].name);
    for (size_t i = 0; applets[i]; i++) {
        CLEANUP_FREE char *name = app_asprintf("img-%s", applets[i]->name);

        good &= install_one(self, target, directory, name);
    }
    return good ? 0 : 1;
}

static void help(FILE *stream)
{
    fprintf(stream, "imgbox %s: tools for disk images in one program\n\n"
            "Usage: imgbox TOOL [options] ...      run a tool; see TOOL --help\n"
            "       imgbox qemu-img ...            run as qemu-img\n"
            "       imgbox qemu-nbd ...            run as qemu-nbd\n"
            "       imgbox help [TOOL]             print the help of a tool\n"
            "       imgbox --list                  print the names of all links\n"
            "       imgbox --install [-s] DIR      create the links in DIR (-s: symbolic)\n"
            "       imgbox --help | --version\n\n"
            "If called as img-TOOL, qemu-img or qemu-nbd, it runs as that program.\n\nTools:\n", app_version);
    for (size_t i = 0; applets[i]; i++)
        fprintf(stream, "  %-10s %s\n", applets[i]->name, applets[i]->title);
}

static void tool_not_found(const char *called, const char *word)
{
    static const char *const own[] = { "help", "--help", "--version", "--list", "--install" };
    struct img_guess guess = { .word = strncmp(word, "img-", 4) ? word : word + 4 };

    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        img_guess_try(&guess, own[i], own[i]);
    for (size_t i = 0; applets[i]; i++)
        img_guess_try(&guess, applets[i]->name, applets[i]->name);
    for (size_t i = 0; i < COMMANDS; i++)
        img_guess_try(&guess, commands[i].name, commands[i].name);
    app_error("Tool not found: %s", word);
    app_tell("Try '%s --help' for more info\n", called);
    if (img_guess_best(&guess))
        app_advise("did you mean '%s'?", img_guess_best(&guess));
}

static int imgbox(int argc, char **argv);

/* imgbox help [TOOL] */
static int help_about(int argc, char **argv)
{
    static char option[] = "--help";
    char *words[] = { argv[0], argc > 2 ? argv[2] : option, option, NULL };

    if (argc > 3 || (argc > 2 && *argv[2] == '-')) {
        app_error("usage: imgbox help [TOOL]");
        return 1;
    }
    return imgbox(argc > 2 ? 3 : 2, words);
}

static int imgbox(int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : NULL;
    const struct command *command;
    const struct applet *applet;

    if (!word) {
        help(stderr);
        return 1;
    }
    if (!strcmp(word, "--help") || !strcmp(word, "-h")) {
        help(stdout);
        return 0;
    }
    if (!strcmp(word, "--version") || !strcmp(word, "-V")) {
        app_print_version("imgbox");
        return 0;
    }
    if (!strcmp(word, "help"))
        return help_about(argc, argv);
    if (!strcmp(word, "--list"))
        return list();
    if (!strcmp(word, "--install"))
        return install(argc, argv);
    command = find_command(word);
    if (command) {
        app_name = command->name;
        return command->main(argc - 1, argv + 1, run_applet);
    }
    applet = find_applet(strncmp(word, "img-", 4) ? word : word + 4);
    if (applet) {
        CLEANUP_FREE char *called = app_asprintf("%s %s", argv[0], word);

        return run_tool(applet, called, argc - 1, argv + 1);
    }
    tool_not_found(argv[0], word);
    return 1;
}

static int dispatch(const char *name, int argc, char **argv)
{
    const struct command *command = find_command(name);
    const struct applet *applet;

    if (command)
        return command->main(argc, argv, run_applet);
    applet = strncmp(name, "img-", 4) ? NULL : find_applet(name + 4);
    if (applet)
        return run_tool(applet, argv[0], argc, argv);
    return imgbox(argc, argv);
}

int main(int argc, char **argv)
{
    if (argc < 1)
        return 1;
    set_up(base_name(argv[0]));
    if (argc > 1 && !strcmp(argv[1], "--complete"))
        return app_finish(app_complete(argc, argv));
    return app_finish(dispatch(app_name, argc, argv));
}

#endif
