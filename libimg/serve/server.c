/* SPDX-License-Identifier: MIT */
/* server.c - exports, listening, and the life of clients. */
#include "internal.h"
#include "util/checked.h"
#include "util/cleanup.h"
#include "util/strbuf.h"
#include "util/thread.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>

enum { STACK = 256 << 10, MAX_SOCKETS = 64, RETRY_MILLISECONDS = 100, SEND_BUFFER = 2 << 20 };

void serve_log(struct img_server *server, const char *format, ...)
{
    char text[256];
    va_list arguments;

    if (!server->settings.log)
        return;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    server->settings.log(server->settings.context, text);
}

const struct serve_export *serve_find(const struct img_server *server, const char *name)
{
    for (size_t i = 0; i < server->export_count; i++)
        if (strcmp(server->exports[i]->told.name, name) == 0)
            return server->exports[i];
    return NULL;
}

uint16_t serve_flags(const struct serve_export *export, bool structured, bool payload)
{
    uint16_t flags = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA | NBD_FLAG_SEND_CACHE;

    if (export->told.writable)
        flags |= NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_WRITE_ZEROES | NBD_FLAG_SEND_FAST_ZERO;
    else
        flags |= NBD_FLAG_READ_ONLY;
    if (export->told.multi_conn)
        flags |= NBD_FLAG_CAN_MULTI_CONN;
    if (structured)
        flags |= NBD_FLAG_SEND_DF;
    if (payload)
        flags |= NBD_FLAG_BLOCK_STAT_PAYLOAD;
    return flags;
}

/* ---- Exports ---------------------------------------------------------------------- */

static bool find_in_image(struct img *image, const char *name, struct serve_bitmap *found)
{
    const struct img_bitmap_ops *ops = image->driver->bitmaps;
    struct img_bitmap bitmap;

    for (size_t i = 0, count = ops ? ops->count(image) : 0; i < count; i++) {
        ops->describe(image, i, &bitmap);
        if (strcmp(bitmap.name, name) == 0) {
            *found = (struct serve_bitmap){ .name = name, .image = image, .index = i };
            return true;
        }
    }
    return false;
}

static int find_bitmap(struct img *image, const char *name, struct serve_bitmap *found, struct img_error *err)
{
    struct img_bitmap bitmap;

    for (struct img *layer = img_behind_filters(image); layer; layer = img_behind_filters(layer->backing)) {
        if (!find_in_image(layer, name, found))
            continue;
        layer->driver->bitmaps->describe(layer, found->index, &bitmap);
        return bitmap.inconsistent ? img_bitmap_unusable(name, err) : 0;
    }
    return img_error_set(err, ENOENT, "Bitmap '%s' is not found", name);
}

static void free_export(struct serve_export *export)
{
    if (export)
        free(export->bitmaps);
    free(export);
}

int img_server_export(struct img_server *server, const struct img_export *told, struct img_error *err)
{
    struct serve_export *export, **grown;
    int ret = 0;

    if (serve_find(server, told->name))
        return img_error_set(err, EEXIST, "NBD server already has export named '%s'", told->name);
    if (strlen(told->name) > NBD_MAX_STRING)
        return img_error_set(err, EINVAL, "export name '%s' too long", told->name);
    if (told->description && strlen(told->description) > NBD_MAX_STRING)
        return img_error_set(err, EINVAL, "description '%s' too long", told->description);
    if (!img_within(told->offset, told->length, img_size(told->image)))
        return img_error_set(err, EINVAL, "The export is not within the image");
    grown = img_realloc(server->exports, (server->export_count + 1) * sizeof *grown);
    if (!grown)
        return img_error_memory(err);
    server->exports = grown;
    export = img_calloc(1, sizeof *export);
    if (!export || !(export->bitmaps = img_calloc(told->bitmap_count, sizeof *export->bitmaps))) {
        free_export(export);
        return img_error_memory(err);
    }
    export->told = *told;
    for (size_t i = 0; ret == 0 && i < told->bitmap_count; i++)
        ret = find_bitmap(told->image, told->bitmaps[i], &export->bitmaps[i], err);
    if (ret < 0)
        free_export(export);
    else
        server->exports[server->export_count++] = export;
    return ret;
}

/* ---- Start and end ------------------------------------------------------------------ */

int img_server_new(struct img_server **server, const struct img_server_settings *settings, struct img_error *err)
{
    struct img_server *made = img_calloc(1, sizeof *made);
    int ret;

    *server = NULL;
    if (!made)
        return img_error_memory(err);
    made->settings = *settings;
    ret = img_stop_init(&made->stop);
    if (ret == 0 && pipe2(made->changed, O_CLOEXEC | O_NONBLOCK) < 0) {
        ret = -errno;
        img_stop_end(&made->stop);
    }
    if (ret < 0) {
        free(made);
        return img_error_errno(err, -ret, "Could not start the server");
    }
    pthread_mutex_init(&made->lock, NULL);
    pthread_cond_init(&made->left, NULL);
    *server = made;
    return 0;
}

void img_server_stop(struct img_server *server)
{
    img_stop_ask(&server->stop);
}

void img_server_free(struct img_server *server)
{
    if (!server)
        return;
    for (size_t i = 0; i < server->export_count; i++)
        free_export(server->exports[i]);
    free(server->exports);
    img_stop_end(&server->stop);
    close(server->changed[0]);
    close(server->changed[1]);
    pthread_cond_destroy(&server->left);
    pthread_mutex_destroy(&server->lock);
    free(server);
}

/* ---- One client ----------------------------------------------------------------------- */

/* *chosen: the handshake was successful. */
static int talk(struct img_server *server, int in, int out, bool *chosen)
{
    struct serve_client client = { .server = server, .plain = -1 };
    int ret = serve_channel_open(&client.channel, in, out, &server->stop);

    *chosen = false;
    if (ret < 0)
        return ret;
    if (server->settings.tls && !(client.channel.in_socket && client.channel.out_socket)) {
        serve_channel_close(&client.channel);
        return -ENOTSOCK;
    }
    pthread_mutex_init(&client.read_lock, NULL);
    pthread_mutex_init(&client.send_lock, NULL);
    ret = serve_handshake(&client);
    *chosen = ret == 0;
    ret = ret == 0 ? serve_requests(&client) : ret == -ENODATA ? 0 : ret;
    if (client.plain >= 0)
        close(client.plain);
    serve_contexts_clear(&client.contexts);
    pthread_mutex_destroy(&client.send_lock);
    pthread_mutex_destroy(&client.read_lock);
    serve_channel_close(&client.channel);
    return ret;
}

int img_server_talk(struct img_server *server, int in, int out)
{
    bool chosen;

    return talk(server, in, out, &chosen);
}

/* ---- Listening -------------------------------------------------------------------------- */

struct guest {
    struct img_server *server;
    int fd;
};

/* A server that is not persistent ends with the last client, if that one got as far as to choose an export: neither a
 * look at the list nor a probe of the port ends it. */
static void leave(struct img_server *server, bool chosen)
{
    LOCK_SCOPE(&server->lock);

    server->clients--;
    if (chosen && server->clients == 0 && !server->settings.persistent)
        server->over = true;
    if (write(server->changed[1], "", 1) < 0) {
        /* A full pipe wakes the listener, too. */
    }
    pthread_cond_broadcast(&server->left);
}

static void *serve_guest(void *context)
{
    struct guest guest = *(struct guest *)context;
    bool chosen;

    free(context);
    talk(guest.server, guest.fd, guest.fd, &chosen);
    close(guest.fd);
    leave(guest.server, chosen);
    return NULL;
}

/* They only make it faster, or notice a client that is gone: no failure matters. */
static void tune(int fd)
{
    int one = 1, size = SEND_BUFFER, domain = AF_UNSPEC;
    socklen_t length = sizeof domain;

    getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length);
    if (domain == AF_INET || domain == AF_INET6) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
    } else if (domain == AF_UNIX) {
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    }
}

static int start_client(struct img_server *server, int fd)
{
    struct guest *guest = img_malloc(sizeof *guest);
    int ret;

    if (!guest)
        return -ENOMEM;
    *guest = (struct guest){ .server = server, .fd = fd };
    tune(fd);
    ret = img_thread_start(NULL, STACK, serve_guest, guest);
    if (ret < 0)
        free(guest);
    return ret;
}

/* Returns 0, also if the one who knocked is gone; -EAGAIN: try again after a while. */
static int accept_one(struct img_server *server, int listening)
{
    int fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC), ret;

    if (fd < 0)
        return errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS ? -EAGAIN : 0;
    pthread_mutex_lock(&server->lock);
    server->clients++;
    pthread_mutex_unlock(&server->lock);
    ret = start_client(server, fd);
    if (ret == 0)
        return 0;
    serve_log(server, "a client is turned away: %s", img_strerror(ret));
    close(fd);
    leave(server, false);
    return -EAGAIN;
}

static bool is_over(struct img_server *server, bool *full)
{
    LOCK_SCOPE(&server->lock);

    *full = server->settings.clients && server->clients >= server->settings.clients;
    return server->over || img_stop_asked(&server->stop);
}

/* Wait for something to happen, and accept those who knock. */
static int wait_and_accept(struct img_server *server, const int *sockets, size_t count, bool full, bool pause)
{
    struct pollfd fds[MAX_SOCKETS + 2] = {
        { .fd = img_stop_fd(&server->stop), .events = POLLIN }, { .fd = server->changed[0], .events = POLLIN }
    };
    char nothing[64];
    int ret = 0;

    for (size_t i = 0; i < count; i++)
        fds[i + 2] = (struct pollfd){ .fd = full || pause ? -1 : sockets[i], .events = POLLIN };
    if (poll(fds, count + 2, pause ? RETRY_MILLISECONDS : -1) < 0)
        return errno == EINTR ? 0 : -errno;
    while (read(server->changed[0], nothing, sizeof nothing) > 0)
        ;
    for (size_t i = 0; ret == 0 && i < count; i++) {
        if (is_over(server, &full) || full)
            break;
        if (fds[i + 2].revents)
            ret = accept_one(server, sockets[i]);
    }
    return ret;
}

static void wait_for_clients(struct img_server *server)
{
    LOCK_SCOPE(&server->lock);

    while (server->clients)
        pthread_cond_wait(&server->left, &server->lock);
}

int img_server_run(struct img_server *server, const int *sockets, size_t count, struct img_error *err)
{
    bool full;
    int ret = 0;

    if (count > MAX_SOCKETS)
        return img_error_set(err, EINVAL, "Too many listening sockets");
    while ((ret == 0 || ret == -EAGAIN) && !is_over(server, &full))
        ret = wait_and_accept(server, sockets, count, full, ret == -EAGAIN);
    if (ret == -EAGAIN)
        ret = 0;
    if (ret < 0)
        img_server_stop(server);
    wait_for_clients(server);
    return ret < 0 ? img_error_errno(err, -ret, "Could not wait for clients") : 0;
}
