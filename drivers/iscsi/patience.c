/* SPDX-License-Identifier: MIT */
/* How often, and for how long, a target is asked again that is busy or has news. */
#include "iscsi.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/clock.h"
#include "../../libimg/util/fd.h"

/* In milliseconds: pauses that are doubled, and together no more than this. */
enum { FIRST_PAUSE = 8, LONGEST_PAUSE = 2000, MOST_PAUSES = 60000 };
enum { UNIT_ATTENTIONS = 64 };

int iscsi_put_off(struct iscsi_delays *delays, int judged, int stop)
{
    if (judged == -EAGAIN)
        return ++delays->attentions < UNIT_ATTENTIONS ? 0 : -EIO;
    if (delays->paused >= MOST_PAUSES)
        return -EBUSY;
    delays->pause = delays->pause ? img_min(delays->pause * 2, LONGEST_PAUSE) : FIRST_PAUSE;
    delays->paused += delays->pause;
    return img_fd_wait(-1, 0, img_now_milliseconds() + delays->pause, stop) == -ECANCELED ? -ECANCELED : 0;
}
