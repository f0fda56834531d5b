/* SPDX-License-Identifier: MIT */
/* Requests about VDIs. */
#include "sheepdog.h"
#include "../../libimg/util/clock.h"
#include "../../libimg/util/fd.h"
#include <string.h>

/* Until a server is asked again that is not ready, in milliseconds. */
enum { PAUSE = 200 };

/* A name and a tag, as requests have them; longer ones were refused before. */
struct words {
    char name[SHEEPDOG_TEXT], tag[SHEEPDOG_TEXT];
};

static void put_words(struct words *words, const char *name, const char *tag)
{
    memset(words, 0, sizeof *words);
    memcpy(words->name, name, strnlen(name, SHEEPDOG_NAME));
    if (tag)
        memcpy(words->tag, tag, strnlen(tag, SHEEPDOG_NAME));
}

static struct sheepdog_request request_with(const struct words *words, enum sheepdog_op op, uint32_t snap_id)
{
    const struct sheepdog_vdi_words numbers = { .snap_id = snap_id };
    struct sheepdog_request r = { .send = words, .send_length = sizeof *words };

    sheepdog_put_vdi(&r, op, SHEEPDOG_WRITE, &numbers);
    return r;
}

/* ---- Looking up ----------------------------------------------------------------------------- */

/* Ids come from the server: one that cannot be is refused. */
static int take_id(const struct sheepdog_request *r, uint32_t *id, struct img_error *err)
{
    uint32_t answer = sheepdog_answer_vdi(r->answer);

    if (answer == 0 || answer > SHEEPDOG_MOST_ID)
        return img_error_set(err, EPROTO, "The server names a VDI %u, which there cannot be", answer);
    *id = answer;
    return 0;
}

int sheepdog_find(struct sheepdog *s, const char *name, const char *tag, uint32_t snap_id, uint32_t *id,
                  struct img_error *err)
{
    struct words words;
    struct sheepdog_request r;
    int ret;

    put_words(&words, name, tag);
    r = request_with(&words, SHEEPDOG_FIND_VDI, snap_id);
    ret = sheepdog_run(s, &r);
    if (tag)
        ret = sheepdog_judge(s, &r, ret, err, "Could not find snapshot '%s' of VDI '%s'", tag, name);
    else if (snap_id)
        ret = sheepdog_judge(s, &r, ret, err, "Could not find snapshot %u of VDI '%s'", snap_id, name);
    else
        ret = sheepdog_judge(s, &r, ret, err, "Could not find VDI '%s'", name);
    if (r.result == SHEEPDOG_NO_TAG)
        img_error_advise(err, "'snapshot -l' shows those of the VDI; a number after '#' is an id, and no tag");
    return ret < 0 ? ret : take_id(&r, id, err);
}

int sheepdog_find_target(struct sheepdog *s, uint32_t *id, struct img_error *err)
{
    return sheepdog_find(s, s->target.vdi, s->target.tag, s->target.snap_id, id, err);
}

/* ---- The lock -------------------------------------------------------------------------------- */

int sheepdog_lock(struct sheepdog *s, struct img_error *err)
{
    struct words words;
    struct sheepdog_request r;
    int ret;

    put_words(&words, s->target.vdi, NULL);
    r = request_with(&words, SHEEPDOG_LOCK_VDI, 0);
    r.once = true;
    ret = sheepdog_run(s, &r);
    if (ret == 0 && r.result == SHEEPDOG_LOCKED) {
        img_error_set(err, EAGAIN, "VDI '%s' is locked by another client", s->target.vdi);
        img_error_advise(err, "a client that was killed leaves its lock: 'dog vdi lock' shows and releases it");
        return -EAGAIN;
    }
    ret = sheepdog_judge(s, &r, ret, err, "Could not lock VDI '%s'", s->target.vdi);
    return ret < 0 ? ret : take_id(&r, &s->locked, err);
}

void sheepdog_unlock(struct sheepdog *s)
{
    const struct sheepdog_vdi_words numbers = { .base = s->locked };
    struct sheepdog_request r = { .stop = -1 };

    if (!s->locked)
        return;
    s->locked = 0;
    sheepdog_put_vdi(&r, SHEEPDOG_RELEASE_VDI, 0, &numbers);
    sheepdog_run(s, &r);
}

/* ---- Making and deleting ------------------------------------------------------------------------- */

int sheepdog_new_vdi(struct sheepdog *s, const struct sheepdog_new *what, uint32_t *id, struct img_error *err)
{
    const struct sheepdog_vdi_words numbers = {
        .size = what->size, .base = what->base, .snap_id = what->snapshot, .copies = what->copies,
        .copy_policy = what->copy_policy, .shift = what->shift,
    };
    struct words words;
    struct sheepdog_request r = { .send = words.name, .send_length = sizeof words.name, .changes = true, .once = true };
    int ret;

    put_words(&words, what->name, NULL);
    sheepdog_put_vdi(&r, SHEEPDOG_NEW_VDI, SHEEPDOG_WRITE, &numbers);
    ret = sheepdog_run(s, &r);
    ret = sheepdog_judge(s, &r, ret, err, what->snapshot ? "Could not make a snapshot of VDI '%s'"
                                                         : "Could not create VDI '%s'", what->name);
    return ret < 0 ? ret : take_id(&r, id, err);
}

int sheepdog_delete(struct sheepdog *s, const char *name, uint32_t snap_id, struct img_error *err)
{
    struct words words;
    struct sheepdog_request r;
    int ret;

    put_words(&words, name, NULL);
    r = request_with(&words, SHEEPDOG_DELETE_VDI, snap_id);
    r.changes = r.once = true;
    ret = sheepdog_run(s, &r);
    if (snap_id)
        return sheepdog_judge(s, &r, ret, err, "Could not delete snapshot %u of VDI '%s'", snap_id, name);
    return sheepdog_judge(s, &r, ret, err, "Could not delete VDI '%s'", name);
}

/* ---- What there is ---------------------------------------------------------------------------------- */

int sheepdog_used(struct sheepdog *s, uint8_t *bitmap, struct img_error *err)
{
    static const struct sheepdog_vdi_words none;
    struct sheepdog_request r = { .receive = bitmap, .room = SHEEPDOG_BITMAP, .whole = true };

    sheepdog_put_vdi(&r, SHEEPDOG_READ_VDIS, 0, &none);
    return sheepdog_judge(s, &r, sheepdog_run(s, &r), err, "Could not list the VDIs");
}

int sheepdog_usual_shift(struct sheepdog *s, uint8_t *shift, struct img_error *err)
{
    static const struct sheepdog_vdi_words none;
    struct sheepdog_request r = { .stop = -1 };
    int ret;

    sheepdog_put_vdi(&r, SHEEPDOG_GET_DEFAULT, 0, &none);
    ret = sheepdog_run(s, &r);
    *shift = SHEEPDOG_USUAL_SHIFT;
    if (ret == 0 && r.result == SHEEPDOG_INVALID)
        return 0;                   /* an older server, which has only that */
    ret = sheepdog_judge(s, &r, ret, err, "Could not ask what is usual in the cluster");
    if (ret == 0 && sheepdog_answer_default_shift(r.answer))
        *shift = sheepdog_answer_default_shift(r.answer);
    if (*shift < SHEEPDOG_LEAST_SHIFT || *shift > SHEEPDOG_MOST_SHIFT)
        return img_error_set(err, EPROTO, "The server says that objects have 2^%u bytes, which they cannot", *shift);
    return ret;
}

/* ---- After a lost connection -------------------------------------------------------------------------- */

/* A server that is starting, or ending, will soon be there, or not. */
static int once_more(int stop)
{
    int ret = img_fd_wait(-1, 0, img_now_milliseconds() + PAUSE, stop);

    return ret == -ECANCELED ? ret : IMG_POOL_LOST;
}

/*
 * A cluster that was started again has forgotten locks, so it is asked for ours once more: either we get it, or we
 * still have it.  The name must mean the VDI that it meant.
 */
int sheepdog_recognise(struct sheepdog *s, struct sheepdog_connection *c, int stop)
{
    struct words words;
    struct sheepdog_request r;
    bool snapshot = s->vdi.snapshot_time != 0;
    int ret;

    if (!s->vdi.id)
        return 0;                   /* nothing is known yet */
    put_words(&words, s->target.vdi, NULL);
    r = request_with(&words, s->locked ? SHEEPDOG_LOCK_VDI : SHEEPDOG_FIND_VDI, snapshot ? s->vdi.snap_id : 0);
    r.stop = stop;
    ret = sheepdog_connection_run(c, &r);
    if (ret == IMG_POOL_LOST || (ret == 0 && sheepdog_result_is_busy(r.result)))
        return once_more(stop);
    if (ret < 0)
        return ret;
    if (s->locked && r.result == SHEEPDOG_LOCKED)
        return 0;
    return r.result == SHEEPDOG_SUCCESS && sheepdog_answer_vdi(r.answer) == s->vdi.id ? 0 : -EIO;
}
