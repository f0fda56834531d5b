/* SPDX-License-Identifier: MIT */
/* Scratch memory: released buffers are reused, and a buffer in use is never shared. */
#include "test.h"
#include "util/scratch.h"
#include <pthread.h>
#include <stdint.h>
#include <string.h>

/* Sanitizer builds keep no buffers. */
static bool keeps(void)
{
    void *first = img_scratch_get(100000), *again;
    img_scratch_put(first);
    again = img_scratch_get(100000);
    img_scratch_put(again);
    return first == again;
}

static void reuses(void)
{
    void *large = img_scratch_get(100000), *small;
    uintptr_t at = (uintptr_t)large;

    OK(at % IMG_SCRATCH_ALIGNMENT == 0, "aligned for O_DIRECT");
    img_scratch_put(large);
    small = img_scratch_get(90000);
    OK((uintptr_t)small == at, "a buffer that is large enough is taken again");
    large = img_scratch_get(90000);
    OK((uintptr_t)large != at, "one that is taken is nobody else's");
    img_scratch_put(small);     /* not in stack order */
    img_scratch_put(large);
}

/* More buffers than a thread has slots, of any size: does each keep its content? */
static bool many(void)
{
    enum { COUNT = 40 };
    unsigned char *bytes[COUNT];
    bool good = true;

    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < COUNT; i++) {
            bytes[i] = img_scratch_get(i * 7919 % 70000);
            if (!bytes[i])
                return false;
            memset(bytes[i], (int)i, i * 7919 % 70000);
        }
        for (size_t i = 0; i < COUNT; i++)
            for (size_t at = 0; at < i * 7919 % 70000; at++)
                good &= bytes[i][at] == i;
        for (size_t i = 0; i < COUNT; i++)
            img_scratch_put(bytes[(i * 13 + (size_t)round) % COUNT]);
    }
    return good;
}

static void zeroed(void)
{
    unsigned char *bytes = img_scratch_get(5000);
    bool good = true;

    memset(bytes, 255, 5000);
    img_scratch_put(bytes);
    bytes = img_scratch_get_zeroed(5000);
    for (size_t i = 0; i < 5000; i++)
        good &= bytes[i] == 0;
    OK(good, "zeroes where they are asked for");
    img_scratch_put(bytes);
}

/* Far more than is kept, and more than any machine has. */
static void huge(void)
{
    void *bytes = img_scratch_get((size_t)64 << 20);

    OK(bytes != NULL, "more than is kept");
    img_scratch_put(bytes);
    OK(img_scratch_get((size_t)1 << 62) == NULL, "more than there is");
    img_scratch_put(NULL);
}

static void *in_thread(void *result)
{
    *(bool *)result = many();
    return NULL;
}

int main(void)
{
    pthread_t thread;
    bool other = false;

    if (keeps())
        reuses();
    OK(many(), "forty at a time");
    zeroed();
    huge();
    if (pthread_create(&thread, NULL, in_thread, &other) == 0) {
        OK(many(), "beside another thread");
        pthread_join(thread, NULL);
        OK(other, "in another thread");
    }
    return test_end();
}
