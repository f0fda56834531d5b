/* SPDX-License-Identifier: MIT */
/*
 * patience.h - something that another thread does, and that is waited for only so long.
 *
 * Both share it, and the memory that it needs.  If the one who waits has left, the other one finds that out when it is
 * done; then it cleans up.  Who cleans up calls img_patience_end.
 */
#ifndef IMG_UTIL_PATIENCE_H
#define IMG_UTIL_PATIENCE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct img_patience {
    pthread_mutex_t lock;
    pthread_cond_t change;
    bool done, left;
};

void img_patience_init(struct img_patience *patience);
void img_patience_end(struct img_patience *patience);
/* It is done.  true: nobody waits for it any more.  false: it must not be used from now on. */
bool img_patience_done(struct img_patience *patience);
/* Wait, for so long at most; 0: for ever.  false: it is not done, and must not be used from now on. */
bool img_patience_wait(struct img_patience *patience, uint64_t milliseconds);

#endif
