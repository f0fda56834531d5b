/* SPDX-License-Identifier: MIT */
/* support.h - what libimg lends to the applets: of the room util only what is listed here. */
#ifndef IMG_SUPPORT_H
#define IMG_SUPPORT_H

#include "util/checked.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/decimal.h"
#include "util/fd.h"
#include "util/printable.h"
#include "util/strbuf.h"
#include "util/team.h"
#include "util/vector.h"

#endif
