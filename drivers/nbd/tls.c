/* SPDX-License-Identifier: MIT */
/*
 * The start of TLS.  libnbd could do it, but knows neither anonymous credentials nor another name in the certificate.
 * So the first steps of the handshake are done here; what follows goes through a socket that img_tls_start makes, and
 * libnbd, which begins there, is shown the server's greeting again.
 * Specification: doc/proto.md, "Fixed newstyle negotiation" and "TLS support".
 */
#include "nbd.h"
#include "../../libimg/net/nbd-ask.h"
#include <unistd.h>

enum { CLIENT_FLAGS = 4 };

int nbd_start_tls(const struct nbd_target *target, int fd, uint64_t deadline, int stop, struct img_error *err)
{
    struct img_nbd_peer peer = { .fd = fd, .deadline = deadline, .stop = stop };
    /* libnbd answers the greeting, which the server must not get a second time. */
    const struct img_tls_replay replay = { .shown = peer.greeting, .shown_length = sizeof peer.greeting,
                                           .dropped = CLIENT_FLAGS };
    const char *host = target->tls_host ? target->tls_host : target->address.host;
    int ret = img_nbd_greet(&peer, err);

    if (ret == 0)
        ret = img_nbd_start_tls(&peer, target->tls, host, &replay, err);
    if (ret == 0)
        return peer.fd;
    if (peer.fd >= 0)
        close(peer.fd);
    return ret;
}
