/* SPDX-License-Identifier: MIT */
/* progress-line.c - the texts about work in progress.  Nothing here prints, or reads a clock. */
#include "progress-line.h"
#include "../libimg/img.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SECOND UINT64_C(1000000000)
/* The speed is that of the last three to six seconds. */
#define MARKS (3 * SECOND)
/* Seconds; nobody waits for what takes longer. */
enum { LONGEST = 1000 * 3600 };

void progress_start(struct progress_meter *meter, uint64_t now)
{
    *meter = (struct progress_meter){ .start = now, .now = now, .older = { now, 0 }, .newer = { now, 0 } };
}

void progress_tell(struct progress_meter *meter, uint64_t now, uint64_t done, uint64_t total)
{
    meter->done = done < total ? done : total;
    meter->total = total;
    meter->now = now > meter->now ? now : meter->now;
    /* (work in several passes begins anew) */
    if (meter->done < meter->newer.done)
        meter->older = meter->newer = (struct progress_mark){ meter->now, meter->done };
    if (meter->now - meter->newer.time >= MARKS) {
        meter->older = meter->newer;
        meter->newer = (struct progress_mark){ meter->now, meter->done };
    }
}

static double percent(const struct progress_meter *meter)
{
    return meter->total ? (double)meter->done * 100 / (double)meter->total : 0;
}

/* Bytes or steps in a second; 0: not known. */
static double speed(const struct progress_meter *meter, bool ended)
{
    struct progress_mark since = ended ? (struct progress_mark){ meter->start, 0 } : meter->older;
    uint64_t time = meter->now - since.time;

    return time ? (double)(meter->done - since.done) * (double)SECOND / (double)time : 0;
}

/* Add a part if it fits. */
static void add(char *text, size_t size, size_t columns, const char *format, ...) IMG_PRINTF(4, 5);

static void add(char *text, size_t size, size_t columns, const char *format, ...)
{
    char part[96];
    size_t length = strlen(text), more;
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(part, sizeof part, format, arguments);
    va_end(arguments);
    more = strlen(part);
    if (length + more < size && length + more < columns)
        memcpy(text + length, part, more + 1);
}

static void add_time(char *text, size_t size, size_t columns, double seconds, const char *end)
{
    uint64_t whole = (uint64_t)(seconds + 0.5), hours = whole / 3600;
    unsigned minutes = (unsigned)(whole / 60 % 60), rest = (unsigned)(whole % 60);

    if (hours)
        add(text, size, columns, "  %" PRIu64 ":%02u:%02u%s", hours, minutes, rest, end);
    else
        add(text, size, columns, "  %u:%02u%s", minutes, rest, end);
}

static double left(const struct progress_meter *meter, double rate)
{
    return (double)(meter->total - meter->done) / rate;
}

size_t progress_line(const struct progress_meter *meter, char *text, size_t size, size_t columns, bool ended)
{
    double rate = speed(meter, ended);
    char done[32], total[32], each[32];

    *text = '\0';
    add(text, size, columns, "%6.2f%%", percent(meter));
    if (meter->total && !meter->steps)
        add(text, size, columns, "  %s of %s", img_human_size(done, sizeof done, meter->done),
            img_human_size(total, sizeof total, meter->total));
    if (rate >= 1 && !meter->steps)
        add(text, size, columns, "  %s/s", img_human_size(each, sizeof each, (uint64_t)rate));
    if (ended)
        add_time(text, size, columns, (double)(meter->now - meter->start) / (double)SECOND, "");
    else if (rate > 0 && meter->now - meter->start >= SECOND && left(meter, rate) < LONGEST)
        add_time(text, size, columns, left(meter, rate), " left");
    return strlen(text);
}

size_t progress_json(const struct progress_meter *meter, char *text, size_t size)
{
    int length = snprintf(text, size, "{\"offset\": %" PRIu64 ", \"total\": %" PRIu64 ", \"unit\": \"%s\", "
                          "\"percent\": %.2f, \"elapsed\": %.3f}\n", meter->done, meter->total,
                          meter->steps ? "steps" : "bytes", percent(meter),
                          (double)(meter->now - meter->start) / (double)SECOND);

    return length > 0 && (size_t)length < size ? (size_t)length : 0;
}
