/* SPDX-License-Identifier: MIT */
/* qemu-nbd.c - the qemu-nbd command: img-serve with the options, defaults and texts that its callers know. */
#include "complete.h"
#include "face.h"
#include "serve.h"
#include "version.h"

#include <stdio.h>

/* Without a name for what --object takes: the texts of the parser are those of getopt. */
static const struct app_option options[] = {
    { 'h', "help", NULL, "show this help" },
    { 'V', "version", NULL, "show the version" },
    { 'b', "bind", "IFACE", "address to listen on (0.0.0.0)" },
    { 'p', "port", "PORT", "TCP port to listen on (10809)" },
    { 'k', "socket", "PATH", "listen on a Unix socket instead; an absolute path" },
    { 'o', "offset", "OFFSET", "where the shown part of the disk starts, in bytes" },
    { 'r', "read-only", NULL, "do not let clients write" },
    { 'c', "connect", "DEV", "serve FILE to the kernel, as the disk DEV" },
    { 'd', "disconnect", NULL, "FILE is such a disk: disconnect it" },
    { 'L', "list", NULL, "print the exports of another server" },
    { 's', "snapshot", NULL, "leave FILE as it is: writes go to a temporary image in $TMPDIR" },
    { 'l', "load-snapshot", "SNAPSHOT_PARAM", "show an internal snapshot, read-only: its id or name, or\n"
                                              "snapshot.id=[ID],snapshot.name=[NAME]" },
    { 'n', "nocache", NULL, "the same as --cache=none" },
    { SERVE_CACHE, "cache", "MODE", "none, writeback (the default), writethrough, directsync or unsafe" },
    { SERVE_AIO, "aio", "MODE", "native, io_uring or threads" },
    { SERVE_DISCARD, "discard", "MODE", "what a client frees: ignore (the default) or unmap" },
    { SERVE_DETECT, "detect-zeroes", "MODE", "write zeroes as zeroes: off, on or unmap" },
    { 'e', "shared", "NUM", "number of clients at a time (1); 0: any" },
    { 'f', "format", "FORMAT", "format of the image; probed if omitted" },
    { 't', "persistent", NULL, "go on after the last client has left" },
    { 'v', "verbose", NULL, "name the disk of -c; with --fork, keep standard error open" },
    { APP_OBJECT, "object", "TYPE,id=ID,...", "define an object (a secret, TLS credentials ...)" },
    { 'x', "export-name", "NAME", "name of the export (the empty name)" },
    { 'D', "description", "TEXT", "description of the export" },
    { 'A', "allocation-depth", NULL, "show which image of the chain has the data" },
    { 'B', "bitmap", "NAME", "show a persistent bitmap; may be repeated" },
    { SERVE_TLS_CREDS, "tls-creds", "ID", "require TLS with the credentials of an --object" },
    { SERVE_TLS_HOSTNAME, "tls-hostname", "HOSTNAME", "with --list: the name in the server's certificate" },
    { SERVE_TLS_AUTHZ, "tls-authz", "ID", "let in only whom this --object allows" },
    { 'T', "trace", "[[enable=]PATTERN][,events=FILE][,file=FILE]", "print events" },
    { SERVE_FORK, "fork", NULL, "go to the background as soon as clients may connect" },
    { SERVE_PID_FILE, "pid-file", "PATH", "write the process id to this file" },
    { SERVE_SELINUX, "selinux-label", "LABEL", "label of the listening socket" },
    { SERVE_HANDSHAKE, "handshake-limit", "N", "seconds that a client may take to choose an export (10)" },
    { APP_IMAGE_OPTS, "image-opts", NULL, "FILE is a list key=value,..., not a file name" },
    { 0, NULL, NULL, NULL }
};

static int run_nbd(struct app *app)
{
    return serve_run(app, true);
}

static void try_help(const char *called)
{
    app_tell("%s: Try `%s --help' for more information.\n", app_name, called);
}

static const struct applet nbd_face = {
    .name = "qemu-nbd",
    .title = "serve a disk to NBD clients",
    .synopsis = "[OPTIONS] FILE\n  or:  qemu-nbd -L [OPTIONS]",
    .options = options,
    .main = run_nbd,
    .try_help = try_help,
};

const struct applet *app_nbd_face(void)
{
    return &nbd_face;
}

void serve_nbd_help(const char *called)
{
    const struct app app = { .applet = &nbd_face, .called = called };

    app_help(&app);
}

void serve_nbd_version(void)
{
    printf("qemu-nbd version %s (imgbox %s)\nAn independent implementation under the MIT licence\n",
           compat_profile() < COMPAT_10_0 ? "7.2.22" : "10.0.2", app_version);
}

int app_qemu_nbd(int argc, char **argv, app_run_fn *run)
{
    return run(&nbd_face, argv[0], argc, argv);
}
