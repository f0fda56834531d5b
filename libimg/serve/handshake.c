/* SPDX-License-Identifier: MIT */
/* handshake.c - the options of a client, in fixed newstyle, until it has chosen an export. */
#include "internal.h"
#include "util/checked.h"
#include "util/endian.h"
#include "util/strbuf.h"

#include <fcntl.h>
#include <stdio.h>

enum { PREFERRED_BLOCK = 4096 };
enum { SHOWN_NAME = 80 };           /* bytes of an unknown name that an answer repeats */

/* What a handler tells the loop. */
enum { NEXT = 0, CHOSEN = 1 };

/* ---- Failures ------------------------------------------------------------------- */

int serve_give_up(struct serve_client *client, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(client->why, sizeof client->why, format, arguments);
    va_end(arguments);
    return -EPROTO;
}

/* Reading has failed.  What was being read is told as qemu-nbd does. */
static int not_read(struct serve_client *client, int code, const char *what)
{
    char text[SERVE_WHY];

    serve_read_failure(&client->channel, code, "data", text);
    serve_give_up(client, "%s%s", what, text);
    return code == -ENODATA ? -EPIPE : code;
}

static int send_parts(struct serve_client *client, struct iovec *parts, size_t count, const char *what)
{
    char text[SERVE_WHY];
    int ret = serve_send(&client->channel, parts, count);

    if (ret < 0) {
        serve_send_failure(&client->channel, ret, text);
        serve_give_up(client, "%s%s", what, text);
    }
    return ret;
}

/* ---- Answers -------------------------------------------------------------------- */

int serve_option_reply(struct serve_client *client, const struct serve_option *option, uint32_t type,
                       const struct iovec *parts, size_t count)
{
    unsigned char head[NBD_OPTION_REPLY_SIZE];
    struct iovec all[4] = { { head, sizeof head } };
    uint32_t length = 0;

    for (size_t i = 0; i < count; i++) {
        all[i + 1] = parts[i];
        length += (uint32_t)parts[i].iov_len;
    }
    img_put_be64(head, NBD_OPTION_REPLY_MAGIC);
    img_put_be32(head + 8, option->id);
    img_put_be32(head + 12, type);
    img_put_be32(head + 16, length);
    return send_parts(client, all, count + 1, "");
}

static int acknowledge(struct serve_client *client, const struct serve_option *option)
{
    return serve_option_reply(client, option, NBD_REP_ACK, NULL, 0);
}

int serve_option_refuse(struct serve_client *client, struct serve_option *option, uint32_t type, const char *format,
                        ...)
{
    char text[SHOWN_NAME + 128];
    va_list arguments;
    int ret = serve_skip(&client->channel, option->left);

    option->left = 0;
    if (ret < 0)
        return not_read(client, ret, "");
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return serve_option_reply(client, option, type, &(struct iovec){ text, strlen(text) }, 1);
}

static int refuse_length(struct serve_client *client, struct serve_option *option)
{
    return serve_option_refuse(client, option, NBD_REP_ERR_INVALID, "option '%s' has unexpected length",
                               img_nbd_option_name(option->id));
}

/* ---- Reading -------------------------------------------------------------------- */

static int take(struct serve_client *client, struct serve_option *option, void *bytes, uint32_t length)
{
    int ret;

    if (length > option->left) {
        ret = serve_option_refuse(client, option, NBD_REP_ERR_INVALID, "Inconsistent lengths in option %s",
                                  img_nbd_option_name(option->id));
        return ret;
    }
    option->left -= length;
    ret = bytes ? serve_read(&client->channel, bytes, length) : serve_skip(&client->channel, length);
    return ret < 0 ? not_read(client, ret, option->id == NBD_OPT_EXPORT_NAME ? "Failed to read export name: " : "") : 1;
}

int serve_option_skip(struct serve_client *client, struct serve_option *option, uint32_t length)
{
    return take(client, option, NULL, length);
}

int serve_option_read32(struct serve_client *client, struct serve_option *option, uint32_t *value)
{
    unsigned char bytes[4];
    int ret = take(client, option, bytes, sizeof bytes);

    if (ret > 0)
        *value = img_get_be32(bytes);
    return ret;
}

int serve_option_read_text(struct serve_client *client, struct serve_option *option, char *text, uint32_t length)
{
    int ret = take(client, option, text, length);

    if (ret <= 0)
        return ret;
    text[length] = 0;
    if (strlen(text) != length)
        return serve_option_refuse(client, option, NBD_REP_ERR_INVALID, "Unexpected embedded NUL in option %s",
                                   img_nbd_option_name(option->id));
    return 1;
}

int serve_option_read_name(struct serve_client *client, struct serve_option *option, char *name)
{
    uint32_t length;
    int ret = serve_option_read32(client, option, &length);

    if (ret <= 0)
        return ret;
    if (length > NBD_MAX_STRING)
        return serve_option_refuse(client, option, NBD_REP_ERR_INVALID, "Invalid name length: %u", length);
    return serve_option_read_text(client, option, name, length);
}

int serve_option_no_export(struct serve_client *client, struct serve_option *option, const char *name)
{
    bool cut = strlen(name) > SHOWN_NAME;

    return serve_option_refuse(client, option, NBD_REP_ERR_UNKNOWN, "export '%.*s%s' not present", SHOWN_NAME, name,
                               cut ? "..." : "");
}

/* ---- Options -------------------------------------------------------------------- */

/* Without contexts no status can be asked for; but before the choice there is no telling. */
static uint16_t flags_for(const struct serve_client *client, const struct serve_option *option,
                          const struct serve_export *export)
{
    const struct serve_contexts *contexts = &client->contexts;
    bool payload = option->id == NBD_OPT_INFO || (contexts->export == export && contexts->count);

    return serve_flags(export, client->mode != SERVE_SIMPLE, payload && client->mode == SERVE_EXTENDED);
}

static int choose(struct serve_client *client, const struct serve_export *export)
{
    client->export = export;
    /* Contexts were chosen for one export, and mean nothing for another. */
    if (client->contexts.export != export)
        serve_contexts_clear(&client->contexts);
    return CHOSEN;
}

static int option_export_name(struct serve_client *client, struct serve_option *option, bool zeroes)
{
    unsigned char answer[NBD_EXPORT_NAME_SIZE + NBD_EXPORT_NAME_ZEROES] = {0};
    char name[NBD_MAX_STRING + 1];
    uint32_t length = option->left;
    const struct serve_export *export;
    int ret;

    if (client->mode == SERVE_EXTENDED)
        return serve_give_up(client, "Extended headers already negotiated");
    if (length > NBD_MAX_STRING)
        return serve_give_up(client, "Bad length received");
    ret = take(client, option, name, length);
    if (ret <= 0)
        return ret;
    name[length] = 0;
    export = strlen(name) == length ? serve_find(client->server, name) : NULL;
    if (!export)
        return serve_give_up(client, "export not found");
    choose(client, export);
    img_put_be64(answer, export->told.length);
    img_put_be16(answer + 8, flags_for(client, option, export));
    ret = send_parts(client, &(struct iovec){ answer, zeroes ? sizeof answer : NBD_EXPORT_NAME_SIZE }, 1,
                     "write failed: ");
    return ret < 0 ? ret : CHOSEN;
}

static int option_list(struct serve_client *client, struct serve_option *option)
{
    const struct img_server *server = client->server;
    int ret = 0;

    if (option->left)
        return refuse_length(client, option);
    for (size_t i = 0; ret == 0 && i < server->export_count; i++) {
        const struct img_export *told = &server->exports[i]->told;
        const char *text = told->description ? told->description : "";
        unsigned char length[4];
        img_put_be32(length, (uint32_t)strlen(told->name));
        struct iovec parts[] = { { length, 4 }, { (char *)told->name, strlen(told->name) },
                                 { (char *)text, strlen(text) } };
        ret = serve_option_reply(client, option, NBD_REP_SERVER, parts, 3);
    }
    return ret < 0 ? ret : acknowledge(client, option);
}

static int tell(struct serve_client *client, const struct serve_option *option, uint16_t what, const void *bytes,
                size_t length)
{
    unsigned char type[2];
    struct iovec parts[] = { { type, 2 }, { (void *)bytes, length } };

    img_put_be16(type, what);
    return serve_option_reply(client, option, NBD_REP_INFO, parts, 2);
}

static int tell_all(struct serve_client *client, const struct serve_option *option, const struct serve_export *export,
                    bool with_name)
{
    const struct img_export *told = &export->told;
    unsigned char sizes[12], what[10];
    int ret = with_name ? tell(client, option, NBD_INFO_NAME, told->name, strlen(told->name)) : 0;

    if (ret == 0 && told->description)
        ret = tell(client, option, NBD_INFO_DESCRIPTION, told->description, strlen(told->description));
    img_put_be32(sizes, 1);
    img_put_be32(sizes + 4, (uint32_t)img_max(PREFERRED_BLOCK, img_limits(told->image)->request_alignment));
    img_put_be32(sizes + 8, NBD_MAX_PAYLOAD);
    img_put_be64(what, told->length);
    img_put_be16(what + 8, flags_for(client, option, export));
    if (ret == 0)
        ret = tell(client, option, NBD_INFO_BLOCK_SIZE, sizes, sizeof sizes);
    if (ret == 0)
        ret = tell(client, option, NBD_INFO_EXPORT, what, sizeof what);
    return ret < 0 ? ret : acknowledge(client, option);
}

/* INFO and GO. */
static int option_info(struct serve_client *client, struct serve_option *option)
{
    char name[NBD_MAX_STRING + 1];
    unsigned char bytes[2];
    bool with_name = false;
    const struct serve_export *export;
    int ret = serve_option_read_name(client, option, name);

    if (ret <= 0 || (ret = take(client, option, bytes, 2)) <= 0)
        return ret;
    for (unsigned left = img_get_be16(bytes); left; left--) {
        ret = take(client, option, bytes, 2);
        if (ret <= 0)
            return ret;
        with_name |= img_get_be16(bytes) == NBD_INFO_NAME;
    }
    if (option->left)
        return refuse_length(client, option);
    export = serve_find(client->server, name);
    if (!export)
        return serve_option_no_export(client, option, name);
    ret = tell_all(client, option, export, with_name);
    return ret < 0 || option->id == NBD_OPT_INFO ? ret : choose(client, export);
}

/* STRUCTURED_REPLY and EXTENDED_HEADERS. */
static int option_mode(struct serve_client *client, struct serve_option *option, enum serve_mode mode)
{
    if (option->left)
        return refuse_length(client, option);
    if (client->mode == SERVE_EXTENDED)
        return serve_option_refuse(client, option, mode == SERVE_EXTENDED ? NBD_REP_ERR_INVALID
                                                                          : NBD_REP_ERR_EXT_HEADER_REQD,
                                   "extended headers already negotiated");
    if (client->mode == mode)
        return serve_option_refuse(client, option, NBD_REP_ERR_INVALID, "structured reply already negotiated");
    client->mode = mode;
    return acknowledge(client, option);
}

static int handle(struct serve_client *client, struct serve_option *option, bool zeroes)
{
    switch (option->id) {
    case NBD_OPT_EXPORT_NAME:
        return option_export_name(client, option, zeroes);
    case NBD_OPT_ABORT:
        acknowledge(client, option);
        *client->why = 0;               /* the client may have left already */
        return -ENODATA;
    case NBD_OPT_LIST:
        return option_list(client, option);
    case NBD_OPT_STARTTLS:
        if (option->left)
            return refuse_length(client, option);
        if (client->server->settings.tls)
            return serve_option_refuse(client, option, NBD_REP_ERR_INVALID, "TLS already enabled");
        return serve_option_refuse(client, option, NBD_REP_ERR_POLICY, "TLS not configured");
    case NBD_OPT_INFO:
    case NBD_OPT_GO:
        return option_info(client, option);
    case NBD_OPT_STRUCTURED_REPLY:
        return option_mode(client, option, SERVE_STRUCTURED);
    case NBD_OPT_EXTENDED_HEADERS:
        return option_mode(client, option, SERVE_EXTENDED);
    case NBD_OPT_LIST_META_CONTEXT:
    case NBD_OPT_SET_META_CONTEXT:
        return serve_option_contexts(client, option);
    default:
        return serve_option_refuse(client, option, NBD_REP_ERR_UNSUP, "Unsupported option %u (%s)", option->id,
                                   img_nbd_option_name(option->id));
    }
}

/* ---- TLS ------------------------------------------------------------------------ */

static int check_peer(struct serve_client *client, const char *peer)
{
    const char *authz = client->server->settings.tls_authz;
    struct img_error err = IMG_ERROR_INIT;
    int ret = 0;

    if (authz)
        ret = img_authz_allows(authz, peer, &err);
    if (ret < 0)
        serve_give_up(client, "%s", err.text);
    img_error_clear(&err);
    return ret;
}

static int start_tls(struct serve_client *client, struct serve_option *option)
{
    struct serve_channel *channel = &client->channel;
    uint64_t now = img_now_nanoseconds(), left = channel->deadline > now ? (channel->deadline - now) / 1000000 + 1 : 1;
    struct img_error err = IMG_ERROR_INIT;
    char *peer = NULL;
    int fd, plain, ret;

    if (option->left) {
        ret = refuse_length(client, option);
        return ret < 0 ? ret : serve_give_up(client, "option 'starttls' has unexpected length");
    }
    ret = acknowledge(client, option);
    if (ret < 0)
        return ret;
    /* Bytes that were sent in the clear must not count as sent through TLS. */
    if (channel->from != channel->to)
        return serve_give_up(client, "Unencrypted data after starttls");
    fd = fcntl(channel->in, F_DUPFD_CLOEXEC, 3);
    if (fd < 0)
        return -errno;
    plain = img_tls_start(client->server->settings.tls, fd, NULL, channel->deadline ? left : 0,
                          img_stop_fd(channel->stop), &peer, &err);
    if (plain < 0)
        serve_give_up(client, "%s", err.text);
    img_error_clear(&err);
    if (plain < 0)
        return plain;
    client->plain = channel->in = channel->out = plain;
    ret = check_peer(client, peer);
    free(peer);
    return ret;
}

/* ---- The loop ------------------------------------------------------------------- */

static int read_option(struct serve_client *client, struct serve_option *option)
{
    unsigned char magic[8], id[4], length[4];
    int ret = serve_read(&client->channel, magic, sizeof magic);

    if (ret < 0) {
        not_read(client, ret, "Failed to read opts magic: ");
        return ret;
    }
    if (img_get_be64(magic) != NBD_OPTION_MAGIC)
        return serve_give_up(client, "Bad magic received");
    ret = serve_read(&client->channel, id, sizeof id);
    if (ret < 0)
        return not_read(client, ret, "Failed to read option: ");
    ret = serve_read(&client->channel, length, sizeof length);
    if (ret < 0)
        return not_read(client, ret, "Failed to read option length: ");
    option->id = img_get_be32(id);
    option->left = img_get_be32(length);
    if (option->left > NBD_MAX_PAYLOAD)
        return serve_give_up(client, "len (%u) is larger than max len (%u)", option->left, NBD_MAX_PAYLOAD);
    return 0;
}

/* The only options that a client without TLS may use. */
static int before_tls(struct serve_client *client, struct serve_option *option, bool fixed)
{
    int ret;

    if (option->id == NBD_OPT_EXPORT_NAME)
        return serve_give_up(client, "Option 0x%x not permitted before TLS", option->id);
    if (!fixed)
        return serve_give_up(client, "Unsupported option 0x%x", option->id);
    if (option->id == NBD_OPT_STARTTLS)
        return start_tls(client, option);
    ret = serve_option_refuse(client, option, NBD_REP_ERR_TLS_REQD, "Option 0x%x not permitted before TLS", option->id);
    return ret == 0 && option->id == NBD_OPT_ABORT ? -ENODATA : ret;
}

static int options(struct serve_client *client, uint32_t flags)
{
    struct serve_option option = { .id = 0 };
    bool fixed = flags & NBD_FLAG_FIXED_NEWSTYLE, tls = client->server->settings.tls;

    for (;;) {
        int ret = read_option(client, &option);
        if (ret < 0)
            return ret;
        if (tls && client->plain < 0)
            ret = before_tls(client, &option, fixed);
        else if (!fixed && option.id != NBD_OPT_EXPORT_NAME)
            ret = serve_give_up(client, "Unsupported option %u (%s)", option.id, img_nbd_option_name(option.id));
        else
            ret = handle(client, &option, !(flags & NBD_FLAG_NO_ZEROES));
        if (ret != NEXT)
            return ret < 0 ? ret : 0;
    }
}

static int greet(struct serve_client *client, uint32_t *flags)
{
    unsigned char greeting[NBD_GREETING_SIZE], answer[4];
    int ret;

    img_put_be64(greeting, NBD_MAGIC);
    img_put_be64(greeting + 8, NBD_OPTION_MAGIC);
    img_put_be16(greeting + 16, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
    ret = serve_send(&client->channel, &(struct iovec){ greeting, sizeof greeting }, 1);
    if (ret == 0)
        ret = serve_read(&client->channel, answer, sizeof answer);
    /* A probe of the port may be gone already. */
    if (ret == -EPIPE || ret == -ECONNRESET)
        return -ENODATA;
    if (ret < 0)
        return ret;
    *flags = img_get_be32(answer);
    if (*flags & ~(uint32_t)(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES))
        return serve_give_up(client, "Unknown client flags 0x%x received",
                             *flags & ~(uint32_t)(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES));
    return 0;
}

int serve_handshake(struct serve_client *client)
{
    struct img_server *server = client->server;
    unsigned seconds = server->settings.handshake_seconds;
    bool greeted;
    uint32_t flags;
    int ret;

    client->channel.deadline = seconds ? img_now_nanoseconds() + seconds * 1000000000ull : 0;
    ret = greet(client, &flags);
    greeted = ret == 0;
    if (greeted)
        ret = options(client, flags);
    client->channel.deadline = 0;
    if (greeted && ret < 0 && ret != -ENODATA && !*client->why)
        serve_give_up(client, "%s", img_strerror(ret));
    /* Whoever sends nothing, or only a part of the flags, is a probe; the end of the server is no failure. */
    if (ret < 0 && ret != -ECANCELED && *client->why)
        serve_log(server, "option negotiation failed: %s", client->why);
    return ret;
}
