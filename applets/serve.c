/* SPDX-License-Identifier: MIT */
/* serve.c - the program behind img-serve and qemu-nbd: what may be combined, and in which order things are done. */
#include "serve.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { HANDSHAKE_SECONDS = 10 };

/* ---- What may be combined --------------------------------------------------------------- */

static bool check_count(const struct serve *s)
{
    if (s->list) {
        if (s->app->operand_count)
            return app_refuse("List mode is incompatible with a file name");
        if (serve_has_disk_options(s))
            return app_refuse("List mode is incompatible with per-device settings");
        return !s->fork || app_refuse("List mode is incompatible with forking");
    }
    if (s->app->operand_count == 1 || (!s->nbd && !s->disconnect && !s->device && s->app->operand_count > 1))
        return true;
    if (!s->nbd)
        app_usage(s->app, "Expecting %s", s->disconnect || s->device ? "one file name" : "at least one file name");
    app_tell("%s: Invalid number of arguments\nTry `%s --help' for more information.\n", app_name, s->app->called);
    return false;
}

/* The service manager has decided where to listen. */
static bool check_activation(const struct serve *s)
{
    const char *what = s->path ? "Unix socket" : s->device ? "NBD device" : s->bind ? "The interface" :
                       s->port ? "TCP port number" : s->selinux ? "SELinux label" : NULL;

    if (!s->activated)
        return true;
    if (s->list)
        return app_refuse("List mode is incompatible with socket activation");
    if (s->stdio)
        return app_refuse("--stdio is incompatible with socket activation");
    if (what) {
        app_error("%s can't be set when using socket activation", what);
        return false;
    }
    if (s->nbd && s->activated > 1)
        return app_refuse("qemu-nbd does not support socket activation with LISTEN_FDS > 1");
    return s->activated <= SERVE_SOCKETS || app_refuse("Socket activation failed: too many sockets");
}

static bool check_address(const struct serve *s)
{
    /* (the child goes to another folder, and removes the socket at the end) */
    if (s->fork && s->path && *s->path != '/')
        return app_refuse("socket path must be absolute with --fork");
    if (!s->stdio)
        return true;
    if (s->path || s->bind || s->port || s->device || s->list)
        return app_refuse("--stdio needs no address: standard input and output are the only client");
    return !s->fork || app_refuse("--stdio and --fork are mutually exclusive");
}

/* ---- TLS ------------------------------------------------------------------------------------ */

static bool has_tls(const struct serve *s)
{
    return s->tls_id || s->tls_psk || s->tls_certificates;
}

static bool check_tls(const struct serve *s)
{
    if (!has_tls(s)) {
        if (s->tls_authz)
            return app_refuse("--tls-authz is not permitted without --tls-creds");
        if (s->tls_verify)
            return app_refuse("--tls-verify-peer is not permitted without --tls-certificates");
        return !s->tls_hostname || app_refuse("--tls-hostname is not permitted without --tls-creds");
    }
    if (s->device)
        return app_refuse("TLS is not supported with a host device");
    if (s->tls_authz && s->list)
        return app_refuse("TLS authorization is incompatible with export list");
    if (s->tls_hostname && !s->list)
        return app_refuse("TLS hostname is only supported with export list");
    if (!!s->tls_id + !!s->tls_psk + !!s->tls_certificates > 1)
        return app_refuse("--tls-creds, --tls-psk and --tls-certificates are mutually exclusive");
    return !s->tls_verify || s->tls_certificates || app_refuse("--tls-verify-peer needs --tls-certificates");
}

/* The credentials behind --tls-psk and --tls-certificates. */
static int make_tls(struct serve *s, struct img_error *err)
{
    struct img_tls_definition definition = {
        .kind = s->tls_psk ? IMG_TLS_PSK : IMG_TLS_X509, .dir = s->tls_certificates, .psk_file = s->tls_psk,
        .server = !s->list, .verify_peer = s->list || s->tls_verify, .sanity_check = true,
    };

    s->tls_own = true;
    return img_tls_new(&definition, &s->tls, err);
}

static bool find_tls(struct serve *s)
{
    struct img_error err = IMG_ERROR_INIT;

    if (!has_tls(s))
        return true;
    if (s->tls_id)
        s->tls = img_tls_find(s->tls_id, !s->list, &err);
    if (s->tls_id ? !s->tls : make_tls(s, &err) < 0) {
        app_report_with(&err, "Failed to get TLS creds: ");
        return false;
    }
    return true;
}

/* ---- Signals ---------------------------------------------------------------------------------- */

static struct img_server *volatile running;

static void on_signal(int number)
{
    (void)number;
    if (running)
        img_server_stop(running);
}

/* The first of these ends the server cleanly.  A second one ends the process, should a storage not answer. */
static void catch_signals(void)
{
    static const int numbers[] = { SIGTERM, SIGINT, SIGHUP };
    struct sigaction action = { .sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND };

    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        sigaction(numbers[i], &action, NULL);
}

/* ---- The server --------------------------------------------------------------------------------- */

static void print_log(void *context, const char *text)
{
    (void)context;
    app_tell("%s: %s\n", app_name, text);
}

static bool make_server(struct serve *s)
{
    struct img_server_settings settings = {
        .clients = (unsigned)s->shared, .persistent = s->persistent, .handshake_seconds = s->handshake, .tls = s->tls,
        .tls_authz = s->tls_authz, .log = print_log,
    };
    struct img_error err = IMG_ERROR_INIT;

    if (img_server_new(&s->server, &settings, &err) < 0) {
        app_report(&err);
        return false;
    }
    running = s->server;
    catch_signals();
    return true;
}

static bool open_disks(struct serve *s)
{
    for (size_t i = 0; i < s->disks.count; i++)
        if (!serve_open(s, &s->disks.at[i]) || !serve_export(s, &s->disks.at[i]))
            return false;
    return true;
}

static int run_server(struct serve *s)
{
    struct img_error err = IMG_ERROR_INIT;

    if (s->device)
        return serve_kernel(s);
    if (!serve_ready(s))
        return 1;
    if (s->stdio) {
        img_server_talk(s->server, STDIN_FILENO, STDOUT_FILENO);
        return 0;
    }
    if (img_server_run(s->server, s->sockets, s->socket_count, &err) == 0)
        return 0;
    app_report(&err);
    return 1;
}

/* Everything between listening and the last image being closed. */
static int serve_disks(struct serve *s)
{
    int status = 1;

    if (!make_server(s))
        return 1;
    if ((s->stdio || s->device || serve_listen(s)) && open_disks(s))
        status = run_server(s);
    serve_unlisten(s);
    running = NULL;
    img_server_free(s->server);
    for (size_t i = 0; i < s->disks.count; i++)
        if (s->disks.at[i].image)
            status = app_close_after(s->disks.at[i].image, status);
    return status;
}

static int run(struct serve *s)
{
    if (!serve_parse(s) || !check_count(s))
        return 1;
    s->activated = s->disconnect ? 0 : serve_activation();
    if (!check_activation(s) || !check_address(s) || !check_tls(s) || !find_tls(s))
        return 1;
    if (s->list)
        return serve_list(s);
    if (s->disconnect)
        return serve_disconnect(s->app->operands[0]);
    return serve_fork(s) ? serve_disks(s) : 1;
}

int serve_run(struct app *app, bool nbd)
{
    struct serve s = { .app = app, .nbd = nbd, .shared = 1, .handshake = HANDSHAKE_SECONDS };
    int status = run(&s);

    if (s.tls_own)
        img_tls_free(s.tls);
    for (size_t i = 0; i < s.disks.count; i++)
        free(s.disks.at[i].bitmaps.at);
    free(s.disks.at);
    free(s.words.at);
    return status;
}
