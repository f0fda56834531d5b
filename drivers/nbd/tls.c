/* SPDX-License-Identifier: MIT */
/*
 * The start of TLS.  libnbd could do it, but knows neither anonymous credentials nor another name in the certificate.
 * So the first steps of the handshake are done here; what follows goes through a socket that img_tls_start makes, and
 * libnbd, which begins there, is shown the server's greeting again.
 * Specification: doc/proto.md, "Fixed newstyle negotiation" and "TLS support".
 */
#include "nbd.h"
#include "../../libimg/util/clock.h"
#include "../../libimg/util/endian.h"
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { GREETING = 18, CLIENT_FLAGS = 4, STARTTLS = 5, REPLY_HEADER = 20, ACK = 1 };
enum { FIXED_NEWSTYLE = 1, NO_ZEROES = 2 };
enum { MOST_TEXT = 4096 };

struct patience {
    uint64_t end;                   /* milliseconds */
    int stop;
};

static int wait_for(int fd, short events, const struct patience *patience)
{
    struct pollfd wait[] = { { .fd = fd, .events = events }, { .fd = patience->stop, .events = POLLIN } };
    uint64_t at = img_now_milliseconds();
    int ready = at >= patience->end ? 0 : poll(wait, 2, (int)(patience->end - at));

    if (ready < 0)
        return errno == EINTR ? 0 : -errno;
    if (ready == 0)
        return -ETIMEDOUT;
    return wait[1].revents ? -ECANCELED : 0;
}

static int receive(int fd, void *bytes, size_t length, const struct patience *patience)
{
    for (size_t done = 0; done < length;) {
        ssize_t got = recv(fd, (char *)bytes + done, length - done, 0);
        int ret = got < 0 && errno == EAGAIN ? wait_for(fd, POLLIN, patience) : 0;
        if (got == 0)
            return -EPIPE;
        if (got < 0 && errno != EAGAIN && errno != EINTR)
            return -errno;
        if (ret < 0)
            return ret;
        done += got > 0 ? (size_t)got : 0;
    }
    return 0;
}

static int transmit(int fd, const void *bytes, size_t length, const struct patience *patience)
{
    for (size_t done = 0; done < length;) {
        ssize_t sent = send(fd, (const char *)bytes + done, length - done, MSG_NOSIGNAL);
        int ret = sent < 0 && errno == EAGAIN ? wait_for(fd, POLLOUT, patience) : 0;
        if (sent < 0 && errno != EAGAIN && errno != EINTR)
            return -errno;
        if (ret < 0)
            return ret;
        done += sent > 0 ? (size_t)sent : 0;
    }
    return 0;
}

static int failed(int code, struct img_error *err)
{
    return img_error_errno(err, -code, "The NBD server does not start TLS");
}

/* The text of a refusal becomes the hint. */
static int refused(int fd, uint32_t length, const struct patience *patience, struct img_error *err)
{
    char text[MOST_TEXT + 1];

    if (length && length <= MOST_TEXT && receive(fd, text, length, patience) == 0) {
        text[length] = 0;
        nbd_make_printable(text);
        img_error_hint(err, "server reported: %s", text);
    }
    return img_error_set(err, EINVAL, "Denied by server for option 5 (starttls)");
}

static int greet(int fd, unsigned char greeting[GREETING], const struct patience *patience, struct img_error *err)
{
    int ret = receive(fd, greeting, GREETING, patience);

    if (ret < 0)
        return failed(ret, err);
    if (memcmp(greeting, "NBDMAGIC", 8) != 0 || memcmp(greeting + 8, "IHAVEOPT", 8) != 0 ||
        !(img_get_be16(greeting + 16) & FIXED_NEWSTYLE))
        return img_error_set(err, EINVAL, "Server does not support STARTTLS");
    return 0;
}

static int ask_for_tls(int fd, const unsigned char greeting[GREETING], const struct patience *patience,
                       struct img_error *err)
{
    unsigned char question[CLIENT_FLAGS + 16] = { 0 }, answer[REPLY_HEADER];
    int ret;

    img_put_be32(question, img_get_be16(greeting + 16) & (FIXED_NEWSTYLE | NO_ZEROES));
    memcpy(question + 4, "IHAVEOPT", 8);
    img_put_be32(question + 12, STARTTLS);
    ret = transmit(fd, question, sizeof question, patience);
    if (ret == 0)
        ret = receive(fd, answer, sizeof answer, patience);
    if (ret < 0)
        return failed(ret, err);
    if (img_get_be64(answer) != UINT64_C(0x3e889045565a9) || img_get_be32(answer + 8) != STARTTLS)
        return failed(-EPROTO, err);
    if (img_get_be32(answer + 12) == ACK && img_get_be32(answer + 16) == 0)
        return 0;
    return refused(fd, img_get_be32(answer + 16), patience, err);
}

int nbd_start_tls(const struct nbd_target *target, int fd, uint64_t milliseconds, int stop, struct img_error *err)
{
    const struct patience patience = { .end = img_now_milliseconds() + milliseconds, .stop = stop };
    const char *host = target->tls_host ? target->tls_host : target->address.host;
    unsigned char greeting[GREETING];
    int ret = greet(fd, greeting, &patience, err);

    if (ret == 0)
        ret = ask_for_tls(fd, greeting, &patience, err);
    if (ret < 0) {
        close(fd);
        return ret;
    }
    /* libnbd answers the greeting, which the server must not get a second time. */
    const struct img_tls_replay replay = { .shown = greeting, .shown_length = GREETING, .dropped = CLIENT_FLAGS };
    return img_tls_start_replayed(target->tls, fd, host, milliseconds, stop, &replay, err);
}
