/* SPDX-License-Identifier: MIT */
/* join.c - the handshake of a client that knows the name of the export: the kernel's NBD client has no handshake. */
#include "../serve.h"
#include "net/nbd-ask.h"
#include "util/clock.h"
#include "util/endian.h"
#include <string.h>

enum { MILLISECONDS = 10000 };

int img_server_join(int fd, const char *name, uint64_t *size, uint32_t *flags, struct img_error *err)
{
    struct img_nbd_peer peer = { .fd = fd, .deadline = img_now_milliseconds() + MILLISECONDS, .stop = -1 };
    unsigned char bytes[NBD_EXPORT_NAME_SIZE + NBD_EXPORT_NAME_ZEROES];
    size_t length = sizeof bytes;
    int ret = img_nbd_greet(&peer, err);

    if (ret < 0)
        return ret;
    if (peer.old) {
        *size = peer.old_size;
        *flags = peer.old_flags;
        return img_nbd_read(&peer, bytes, NBD_EXPORT_NAME_ZEROES, "reserved block", err);
    }
    if (peer.flags & NBD_FLAG_NO_ZEROES)
        length -= NBD_EXPORT_NAME_ZEROES;
    ret = img_nbd_ask(&peer, NBD_OPT_EXPORT_NAME, name, strlen(name), err);
    if (ret == 0)
        ret = img_nbd_read(&peer, bytes, length, "export length", err);
    if (ret < 0)
        return ret;
    *size = img_get_be64(bytes);
    *flags = img_get_be16(bytes + 8);
    return 0;
}
