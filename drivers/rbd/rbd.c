/* SPDX-License-Identifier: MIT */
/* The vtable. */
#include "rbd.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/strbuf.h"
#include <string.h>

IMG_MODULE("");
IMG_LINKS("rbd/librbd.h", "rbd_encryption_load", "-lrbd -lrados");

/* A node has whole sectors; what the image lacks of the last reads as zeroes. */
enum { SECTOR = 512, MOST_TRANSFER = 2 << 20, USEFUL_REQUESTS = 8 };
/* Of zeroes and discards, which librbd cuts into objects: so many of them are in flight. */
enum { MOST_RANGE = 1 << 30 };
/* Of these the first that is another one is told. */
enum { MOST_WATCHERS = 64 };

/* ---- Opening ---------------------------------------------------------------------------------- */

static void set_limits(struct img *image)
{
    const struct rbd *s = image->state;
    struct img_limits *limits = &image->limits;

    limits->round_trip = true;
    limits->requests = USEFUL_REQUESTS;
    limits->piece = MOST_TRANSFER;
    limits->max_transfer = MOST_TRANSFER;
    limits->max_write_zeroes = MOST_RANGE;
    limits->max_discard = MOST_RANGE;
    limits->cluster = (uint32_t)s->object_size;
    limits->write_unit = SECTOR;
    limits->lock_unit = 1;
}

/* Somebody has it open, too.  That is no error here or for qemu-img: librbd passes the right to write from one to the
 * other. */
static void tell_watchers(const struct rbd *s)
{
    rbd_image_watcher_t watchers[MOST_WATCHERS];
    size_t count = MOST_WATCHERS;
    int64_t own = (int64_t)rados_get_instance_id(s->cluster.rados);

    if (rbd_watchers_list(s->image, watchers, &count) < 0)
        return;
    for (size_t i = 0; i < count; i++) {
        if (watchers[i].id != own) {
            img_notice(IMG_ADVICE, "'%s' is in use by others (%s): what they and this command write may be mixed up",
                       s->target.image, watchers[i].addr);
            break;
        }
    }
    rbd_watchers_list_cleanup(watchers, count);
}

static int rbd_driver_open(struct img *image, const void *parsed, struct img_doc *options, struct img_error *err)
{
    struct rbd *s = image->state;
    bool writable = image->flags & IMG_RDWR;
    int ret = image->filename && *image->filename ? rbd_target_take_name(image->filename, parsed, &s->target, err)
                                                  : rbd_target_take(options, parsed, &s->target, err);

    if (ret < 0)
        return ret;
    ret = rbd_image_open(s, writable, err);
    if (ret == 0 && s->length > INT64_MAX - (SECTOR - 1)) {
        rbd_image_close(s);
        ret = img_error_set(err, EFBIG, "The image is too large");
    }
    if (ret < 0) {
        rbd_target_free(&s->target);
        return ret;
    }
    image->size = img_align_up(s->length, SECTOR);
    set_limits(image);
    if (writable && img_advice_wanted())
        tell_watchers(s);
    return 0;
}

static int rbd_driver_close(struct img *image)
{
    struct rbd *s = image->state;
    int ret = rbd_image_close(s);

    rbd_target_free(&s->target);
    return ret;
}

/* ---- What it is like ------------------------------------------------------------------------------- */

static uint64_t length_of(struct img *image, bool now)
{
    struct rbd *s = image->state;

    if (now)
        rbd_image_look(s);
    return __atomic_load_n(&s->length, __ATOMIC_ACQUIRE);
}

static int rbd_driver_resize(struct img *image, uint64_t size, const char *preallocation, struct img_error *err)
{
    int ret;

    if (preallocation && strcmp(preallocation, "off") != 0)
        return img_error_set(err, ENOTSUP, "Unsupported preallocation mode '%s'", preallocation);
    ret = rbd_image_set_length(image->state, size);
    if (ret < 0)
        return img_error_errno(err, -ret, "Failed to resize file");
    image->size = size;
    return 0;
}

static int rbd_driver_info(struct img *image, struct img_doc *data, struct img_error *err)
{
    unsigned char header[RBD_HEADER];
    int ret = rbd_driver_pread(image, header, 0, sizeof header);
    const char *format;

    if (ret < 0)
        return img_error_errno(err, -ret, "Could not read the header");
    format = rbd_encryption_of(header);
    if (format)
        img_doc_put_string(data, "encryption-format", format);
    return 0;
}

/* (What was never written of an object is not always zeroes when it is decrypted.) */
static bool zero_initialised(struct img *image)
{
    return ((const struct rbd *)image->state)->target.encryption.count == 0;
}

/* The old way to tell all of it in a name loses nothing; else there is only a json: name, without passwords. */
static int plain_name(const struct img *image, char **name)
{
    return image->filename && *image->filename ? img_replace_text(name, image->filename) : 0;
}

/* ---- The table -------------------------------------------------------------------------------------- */

#define AT_CREATE(option, kind, member, text) \
    { .name = option, .help = text, .type = kind, .when = IMG_AT_CREATE, \
      .offset = offsetof(struct rbd_create_options, member) }
#define AT_OPEN(option, kind, member, usual, text) \
    { .name = option, .help = text, .type = kind, .when = IMG_AT_OPEN, .standard = usual, \
      .offset = offsetof(struct rbd_open_options, member) }

static const struct img_option rbd_options[] = {
    AT_CREATE("size", IMG_OPT_SIZE, size, "Virtual disk size"),
    AT_CREATE("cluster_size", IMG_OPT_SIZE, cluster_size, "RBD object size"),
    AT_CREATE("password-secret", IMG_OPT_STRING, password_secret, "ID of secret providing the password"),
    AT_CREATE("encrypt.format", IMG_OPT_STRING, encrypt_format,
              "Encrypt the image, format choices: 'luks', 'luks2'"),
    AT_CREATE("encrypt.cipher-alg", IMG_OPT_STRING, cipher_alg,
              "Name of encryption cipher algorithm (allowed values: aes-128, aes-256)"),
    AT_CREATE("encrypt.key-secret", IMG_OPT_STRING, key_secret, "ID of secret providing LUKS passphrase"),
    AT_OPEN("pool", IMG_OPT_STRING, pool, NULL, "The pool of the image"),
    AT_OPEN("namespace", IMG_OPT_STRING, space, NULL, "A namespace of the pool"),
    AT_OPEN("image", IMG_OPT_STRING, image, NULL, "Name of the image"),
    AT_OPEN("snapshot", IMG_OPT_STRING, snapshot, NULL, "A snapshot of it"),
    AT_OPEN("conf", IMG_OPT_STRING, conf, NULL, "The configuration file of the cluster"),
    AT_OPEN("user", IMG_OPT_STRING, user, NULL, "User to ask as, without client."),
    AT_OPEN("key-secret", IMG_OPT_STRING, key_secret, NULL, "ID of a secret with the key of the user"),
    AT_OPEN("password-secret", IMG_OPT_STRING, password_secret, NULL, "The same, as it was called before"),
    AT_OPEN("timeout", IMG_OPT_NUMBER, timeout, "60", "Seconds that the cluster may be silent; 0: for ever"),
    { .name = NULL }
};

static const char *const strong_options[] = {
    "pool", "namespace", "image", "conf", "snapshot", "user", "server.", "password-secret", NULL
};

const struct img_driver img_driver_rbd = {
    IMG_ROW(
        .name = "rbd", .kind = IMG_PROTOCOL, .prefix = "rbd", .secret_in_name = "key"
    ),
    .state_size = sizeof(struct rbd),
    .options = rbd_options,
    .create_size = sizeof(struct rbd_create_options),
    .open_size = sizeof(struct rbd_open_options),
    .open = rbd_driver_open,
    .close = rbd_driver_close,
    .create = rbd_driver_create,
    .parse_name = rbd_parse_name,
    .plain_name = plain_name,
    .pread = rbd_driver_pread,
    .pwrite = rbd_driver_pwrite,
    .zero = rbd_driver_zero,
    .discard = rbd_driver_discard,
    .flush = rbd_driver_flush,
    .map_list = rbd_driver_map,
    .resize = rbd_driver_resize,
    .info = rbd_driver_info,
    .length = length_of,
    .zero_initialised = zero_initialised,
    .snapshots = rbd_driver_snapshots,
    .snapshot_create = rbd_driver_snapshot_create,
    .snapshot_apply = rbd_driver_snapshot_apply,
    .snapshot_delete = rbd_driver_snapshot_delete,
    .strong_options = strong_options,
};
