/* SPDX-License-Identifier: MIT */
/*
 * The journal: a ring of entries in the order in which they were sent, and a ring of their bytes.  The oldest entry
 * leaves when it is durable or was refused, so the bytes in use are always in one run of the ring.
 *
 * Requests that overlap are never in flight together (libimg excludes them), so the order of entries is also the order
 * in which the server saw those that matter.
 */
#include "nbd.h"
#include "../../libimg/util/cleanup.h"
#include "../../libimg/util/strbuf.h"
#include <string.h>

enum { ENTRIES = 4096, BYTES = 64 << 20 };

struct entry {
    enum { SENT, ANSWERED, OVER } state;
    struct nbd_request request;     /* what to send again; `write` points into the ring */
    uint64_t answered;              /* the time of the answer, in answers */
    size_t start, length;           /* in the ring of bytes */
};

struct nbd_journal {
    pthread_mutex_t lock;
    struct entry entries[ENTRIES];
    uint64_t first, next;           /* tickets; an entry is at its ticket modulo ENTRIES */
    size_t head, used;              /* of the ring of bytes: where the next entry begins */
    uint64_t clock;                 /* answers so far */
    bool replaying;                 /* no entry leaves, since its bytes are being sent */
    unsigned char bytes[BYTES];
};

struct nbd_journal *nbd_journal_new(void)
{
    struct nbd_journal *journal = img_malloc(sizeof *journal);

    if (!journal)
        return NULL;
    /* (the ring of bytes is touched only where it is used) */
    memset(journal, 0, offsetof(struct nbd_journal, bytes));
    pthread_mutex_init(&journal->lock, NULL);
    return journal;
}

void nbd_journal_free(struct nbd_journal *journal)
{
    if (!journal)
        return;
    pthread_mutex_destroy(&journal->lock);
    free(journal);
}

static struct entry *at(struct nbd_journal *journal, uint64_t ticket)
{
    return &journal->entries[ticket % ENTRIES];
}

/* Bytes of an entry are in one run; what is left at the end of the ring is skipped, and belongs to the entry. */
static bool find_room(struct nbd_journal *journal, size_t length, size_t *start, size_t *taken)
{
    size_t skip = length > BYTES - journal->head ? BYTES - journal->head : 0;

    *start = skip ? 0 : journal->head;
    *taken = length + skip;
    return *taken <= BYTES - journal->used && journal->next - journal->first < ENTRIES;
}

int nbd_journal_add(struct nbd_journal *journal, const struct nbd_request *request, uint64_t *ticket)
{
    size_t length = request->kind == NBD_WRITE ? (size_t)request->length : 0, start, taken;
    struct entry *entry;

    LOCK_SCOPE(&journal->lock);
    if (!find_room(journal, length, &start, &taken))
        return -ENOSPC;
    *ticket = journal->next++;
    entry = at(journal, *ticket);
    *entry = (struct entry){ .state = SENT, .request = *request, .start = start, .length = taken };
    if (length)
        memcpy(journal->bytes + start, request->write, length);
    entry->request.write = journal->bytes + start;
    /* It must be done again, even slowly. */
    entry->request.flags &= ~LIBNBD_CMD_FLAG_FAST_ZERO;
    journal->head = (start + length) % BYTES;
    journal->used += taken;
    return 0;
}

static void drop_oldest(struct nbd_journal *journal)
{
    while (!journal->replaying && journal->first != journal->next && at(journal, journal->first)->state == OVER) {
        journal->used -= at(journal, journal->first)->length;
        journal->first++;
    }
}

void nbd_journal_answered(struct nbd_journal *journal, uint64_t ticket, bool success)
{
    struct entry *entry;

    LOCK_SCOPE(&journal->lock);
    entry = at(journal, ticket);
    entry->state = success ? ANSWERED : OVER;
    entry->answered = journal->clock++;
    drop_oldest(journal);
}

uint64_t nbd_journal_mark(struct nbd_journal *journal)
{
    LOCK_SCOPE(&journal->lock);
    return journal->clock;
}

void nbd_journal_flushed(struct nbd_journal *journal, uint64_t mark)
{
    LOCK_SCOPE(&journal->lock);
    for (uint64_t ticket = journal->first; ticket != journal->next; ticket++) {
        struct entry *entry = at(journal, ticket);
        if (entry->state == ANSWERED && entry->answered < mark)
            entry->state = OVER;
    }
    drop_oldest(journal);
}

/* The tickets of those that are there now. */
static void begin_replay(struct nbd_journal *journal, uint64_t *first, uint64_t *next)
{
    LOCK_SCOPE(&journal->lock);
    journal->replaying = true;
    *first = journal->first;
    *next = journal->next;
}

static void end_replay(struct nbd_journal *journal)
{
    LOCK_SCOPE(&journal->lock);
    journal->replaying = false;
    drop_oldest(journal);
}

/* False: it need not be sent again, or not from here. */
static bool to_send_again(struct nbd_journal *journal, uint64_t ticket, struct nbd_request *request)
{
    LOCK_SCOPE(&journal->lock);
    *request = at(journal, ticket)->request;
    return at(journal, ticket)->state == ANSWERED;
}

int nbd_journal_replay(struct nbd_journal *journal, struct nbd_connection *c, int stop)
{
    struct nbd_request request;
    uint64_t ticket, next;
    int ret = 0;

    /* (no request runs, but new ones are kept meanwhile, which will be sent later) */
    begin_replay(journal, &ticket, &next);
    for (; ret == 0 && ticket != next; ticket++) {
        if (!to_send_again(journal, ticket, &request))
            continue;
        request.stop = stop;
        ret = nbd_connection_run(c, &request);
    }
    end_replay(journal);
    return ret;
}
