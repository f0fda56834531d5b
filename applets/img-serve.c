/* SPDX-License-Identifier: MIT */
/* img-serve.c - serve images to NBD clients. */
#include "serve.h"

static const struct app_option options[] = {
    { 'p', "port", "PORT", "TCP port to listen on (10809)" },
    { 'b', "bind", "HOST", "address to listen on (0.0.0.0)" },
    { 'k', "socket", "PATH", "listen on a Unix socket instead" },
    { SERVE_STDIO, "stdio", NULL, "serve one client, on standard input and output" },
    { 'e', "shared", "NUM", "number of clients at a time (1); 0: any" },
    { 't', "persistent", NULL, "go on after the last client has left" },
    { SERVE_HANDSHAKE, "handshake-limit", "SECONDS", "time that a client may take to choose an export (10); 0: any" },
    { 'L', "list", NULL, "print the exports of another server" },
    { 'x', "export-name", "NAME", "name of the export (the empty name)" },
    { 'D', "description", "TEXT", "description of the export" },
    { 'o', "offset", "OFFSET", "where the shown part of the disk starts (0)" },
    { SERVE_LENGTH, "length", "LENGTH", "length of that part (to the end)" },
    { 'r', "read-only", NULL, "do not let clients write" },
    { 'A', "allocation-depth", NULL, "show which image of the chain has the data" },
    { 'B', "bitmap", "NAME", "show a persistent bitmap; may be repeated" },
    { 'l', "load-snapshot", "SNAPSHOT", "show an internal snapshot, read-only: its id or name, or\n"
                                        "snapshot.id=ID,snapshot.name=NAME" },
    APP_IMAGE_ROWS,
    { 's', "snapshot", NULL, "leave the images as they are: writes go to temporary ones in $TMPDIR" },
    { SERVE_CACHE, "cache", "CACHE", "cache mode (writeback)" },
    { 'n', "nocache", NULL, "the same as --cache=none" },
    { SERVE_AIO, "aio", "AIO", "threads, native or io_uring; always uses threads,\n"
                               "but native needs a cache mode without the page cache" },
    { SERVE_DISCARD, "discard", "MODE", "what a client frees: unmap (free it in the storage, the default) or ignore" },
    { SERVE_DETECT, "detect-zeroes", "MODE", "write zeroes as zeroes: off (the default), on, or unmap (free them)" },
    { SERVE_TLS_PSK, "tls-psk", "FILE", "require TLS with the keys of this file (name:key in hex)" },
    { SERVE_TLS_CERTIFICATES, "tls-certificates", "DIR", "require TLS with the certificates of this folder" },
    { SERVE_TLS_VERIFY, "tls-verify-peer", NULL, "clients must have a certificate, too" },
    { SERVE_TLS_CREDS, "tls-creds", "ID", "require TLS with the credentials of an --object" },
    { SERVE_TLS_AUTHZ, "tls-authz", "ID", "let in only whom this --object allows" },
    { SERVE_TLS_HOSTNAME, "tls-hostname", "NAME", "with --list: the name in the server's certificate" },
    APP_OBJECT_ROW,
    { SERVE_FORK, "fork", NULL, "go to the background as soon as clients may connect" },
    { SERVE_PID_FILE, "pid-file", "PATH", "write the process id to this file" },
    { SERVE_SELINUX, "selinux-label", "LABEL", "label of the listening socket" },
    { 'c', "connect", "DEV", "serve FILE to the kernel, as the disk DEV (/dev/nbd0)" },
    { 'd', "disconnect", NULL, "FILE is such a disk: disconnect it" },
    { 'v', "verbose", NULL, "name the disk of -c; with --fork, keep standard error open" },
    { 'T', "trace", "[[enable=]PATTERN][,events=FILE][,file=FILE]", "print events (`-T help` lists their names)" },
    { 'V', "version", NULL, "show the version" },
    { 0, NULL, NULL, NULL }
};

static int run(struct app *app)
{
    return serve_run(app, false);
}

const struct applet applet_serve = {
    .name = "serve",
    .title = "serve disks to NBD clients",
    .synopsis = "[OPTIONS] [-x NAME -f FMT -r ...] FILE [[-x NAME ...] FILE]... | -L [OPTIONS]",
    .options = options,
    .operands = "-x, -D, -o, --length, -r, -A, -B, -l, -f and --image-opts belong to the next\n"
                "FILE, or to the last one.\n"
                "Without -t the server ends when the last client has left.\n"
                "Sockets that a service manager passes ($LISTEN_FDS) take the place of -p, -b\n"
                "and -k.",
    .main = run,
};
