/* SPDX-License-Identifier: MIT */
/*
 * The cache of decoded chunks: each chunk is decoded once for many small reads, several in parallel, and errors
 * reach all readers.
 */
#include "libimg/io/chunk-cache.h"
#include "libimg/util/team.h"
#include "test.h"

#include <stdlib.h>
#include <unistd.h>

/* No more chunks than the cache keeps: a reader that is seconds late still finds all of them. */
enum { CHUNKS = 30, LENGTH = 4096, PIECE = 512, READERS = 4, BAD_CHUNK = 17, PATIENCE_MS = 60000 };

static unsigned decodes[CHUNKS], running, most_running;
static bool with_bad, in_company;

static size_t length_of(struct img *image, uint64_t chunk)
{
    (void)image;
    return chunk < CHUNKS ? LENGTH : 0;
}

static int decode(struct img *image, uint64_t chunk, void *plain, struct img_scratch *coded)
{
    (void)image, (void)coded;
    __atomic_add_fetch(&decodes[chunk], 1, __ATOMIC_SEQ_CST);
    unsigned now = __atomic_add_fetch(&running, 1, __ATOMIC_SEQ_CST);
    unsigned most = __atomic_load_n(&most_running, __ATOMIC_SEQ_CST);
    while (now > most && !__atomic_compare_exchange_n(&most_running, &most, now, false, __ATOMIC_SEQ_CST,
                                                      __ATOMIC_SEQ_CST)) { }
    /* The first decoders wait for each other, however busy the machine is. */
    for (unsigned i = 0; in_company && i < PATIENCE_MS && __atomic_load_n(&most_running, __ATOMIC_SEQ_CST) < 2; i++)
        usleep(1000);
    memset(plain, (int)(chunk + 1), LENGTH);
    __atomic_sub_fetch(&running, 1, __ATOMIC_SEQ_CST);
    return with_bad && chunk == BAD_CHUNK ? -EIO : 0;
}

struct reader {
    struct img_chunk_cache *cache;
    unsigned *next;                 /* next piece to read, by any reader */
    unsigned wrong, errors;
};

static void *read_pieces(void *pointer)
{
    struct reader *reader = pointer;
    unsigned piece;

    while ((piece = __atomic_fetch_add(reader->next, 1, __ATOMIC_SEQ_CST)) < CHUNKS * LENGTH / PIECE) {
        unsigned char bytes[PIECE], want[PIECE];
        unsigned chunk = piece * PIECE / LENGTH;
        int ret = img_chunk_cache_read(reader->cache, chunk, piece * PIECE % LENGTH, bytes, PIECE);
        memset(want, (int)(chunk + 1), PIECE);
        if (ret < 0)
            reader->errors++;
        else
            reader->wrong += memcmp(bytes, want, PIECE) != 0;
    }
    return NULL;
}

/* Read all pieces in order with some readers; returns how many reads failed. */
static unsigned read_all(struct img_chunk_cache *cache, unsigned readers)
{
    struct reader each[READERS];
    unsigned next = 0, errors = 0, wrong = 0;

    memset(decodes, 0, sizeof decodes);
    most_running = 0;
    for (unsigned i = 0; i < readers; i++)
        each[i] = (struct reader){ cache, &next, 0, 0 };
    img_team_run(&(struct img_team){ .workers = each, .count = readers, .size = sizeof *each, .stack = 256 << 10,
                                     .work = read_pieces });
    for (unsigned i = 0; i < readers; i++) {
        errors += each[i].errors;
        wrong += each[i].wrong;
    }
    OK(wrong == 0, "%u readers get what is in the chunks", readers);
    return errors;
}

static unsigned most_decodes(void)
{
    unsigned most = 0;
    for (unsigned i = 0; i < CHUNKS; i++)
        most = decodes[i] > most ? decodes[i] : most;
    return most;
}

static struct img_chunk_cache *cache_of(size_t largest)
{
    return img_chunk_cache_new(NULL, &(struct img_chunks){ largest, length_of, decode });
}

int main(void)
{
    struct img_chunk_cache *cache = cache_of(LENGTH);
    OK(read_all(cache, 1) == 0 && most_decodes() == 1, "one reader: each chunk is decoded once");
    img_chunk_cache_free(cache);

    in_company = true;
    cache = cache_of(LENGTH);
    OK(read_all(cache, READERS) == 0 && most_decodes() == 1, "several readers: each chunk is decoded once");
    OK(most_running > 1, "and several of them at a time (%u)", most_running);
    img_chunk_cache_free(cache);

    /* Chunks so large that only two are kept. */
    cache = cache_of(64 << 20);
    OK(read_all(cache, READERS) == 0, "little room: all is read");
    OK(most_running <= 2, "and no more than two are decoded at a time (%u)", most_running);
    img_chunk_cache_free(cache);

    in_company = false;
    with_bad = true;
    cache = cache_of(LENGTH);
    OK(read_all(cache, READERS) == LENGTH / PIECE, "a chunk that is damaged fails for all who want it, and no other");
    img_chunk_cache_free(cache);

    with_bad = false;
    cache = cache_of(LENGTH);
    unsigned char bytes[LENGTH];
    memset(decodes, 0, sizeof decodes);
    OK(img_chunk_cache_read(cache, 3, 0, bytes, LENGTH) == 0 && bytes[0] == 4 && bytes[LENGTH - 1] == 4,
       "a whole chunk");
    img_chunk_cache_free(cache);
    return test_end();
}
