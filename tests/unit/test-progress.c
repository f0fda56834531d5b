/* SPDX-License-Identifier: MIT */
/* What is told about work in progress, with a clock of the test. */
#include "../../applets/progress-line.c"
#include "test.h"

static struct progress_meter meter;

static uint64_t ms(uint64_t number)
{
    return number * 1000000 + 77;       /* (the clock does not begin at 0) */
}

static void begin(void)
{
    progress_start(&meter, ms(0));
}

static void line(size_t columns, bool ended, const char *wanted)
{
    char text[200];
    size_t length = progress_line(&meter, text, sizeof text, columns, ended);

    test_same(text, wanted, wanted);
    OK(length == strlen(text) && length < columns, "its length, at most %zu columns", columns);
}

static void json(const char *wanted)
{
    char text[160];
    size_t length = progress_json(&meter, text, sizeof text);

    test_same(text, wanted, "a line of JSON");
    OK(length == strlen(text), "its length");
}

static void at_first(void)
{
    begin();
    line(80, false, "  0.00%");
    json("{\"offset\": 0, \"total\": 0, \"unit\": \"bytes\", \"percent\": 0.00, \"elapsed\": 0.000}\n");
    /* No time left from less than a second. */
    progress_tell(&meter, ms(500), 1 << 20, 10 << 20);
    line(80, false, " 10.00%  1 MiB of 10 MiB  2 MiB/s");
    progress_tell(&meter, ms(1000), 2 << 20, 10 << 20);
    line(80, false, " 20.00%  2 MiB of 10 MiB  2 MiB/s  0:04 left");
    json("{\"offset\": 2097152, \"total\": 10485760, \"unit\": \"bytes\", \"percent\": 20.00, \"elapsed\": 1.000}\n");
}

/* The speed is that of the last seconds, at the end that of the whole. */
static void slower_and_slower(void)
{
    uint64_t total = UINT64_C(100) << 20, done = 0;

    begin();
    for (unsigned second = 1; second <= 10; second++)
        progress_tell(&meter, ms(second * 1000), done += 8 << 20, total);
    line(80, false, " 80.00%  80 MiB of 100 MiB  8 MiB/s  0:03 left");
    for (unsigned second = 11; second <= 20; second++)
        progress_tell(&meter, ms(second * 1000), done += 1 << 20, total);
    line(80, false, " 90.00%  90 MiB of 100 MiB  1 MiB/s  0:10 left");
    progress_tell(&meter, ms(25000), total, total);
    line(80, true, "100.00%  100 MiB of 100 MiB  4 MiB/s  0:25");
}

static void long_times(void)
{
    begin();
    progress_tell(&meter, ms(2000), 1 << 20, UINT64_C(100) << 30);
    line(80, false, "  0.00%  1 MiB of 100 GiB  512 KiB/s  56:53:18 left");
    begin();
    progress_tell(&meter, ms(1000), 1 << 20, UINT64_C(3727) << 20);
    line(80, false, "  0.03%  1 MiB of 3.64 GiB  1 MiB/s  1:02:06 left");
    begin();
    progress_tell(&meter, ms(4000000), 1, UINT64_MAX);
    line(80, false, "  0.00%  1 B of 16 EiB");
}

/* On a narrow terminal the last parts are left out. */
static void narrow(void)
{
    begin();
    progress_tell(&meter, ms(1000), 2 << 20, 10 << 20);
    line(45, false, " 20.00%  2 MiB of 10 MiB  2 MiB/s  0:04 left");
    line(44, false, " 20.00%  2 MiB of 10 MiB  2 MiB/s");
    line(30, false, " 20.00%  2 MiB of 10 MiB");
    line(8, false, " 20.00%");
    line(7, false, "");
}

static void odd(void)
{
    /* A clock that goes back, work that does, more than all. */
    begin();
    progress_tell(&meter, ms(5000), 5 << 20, 10 << 20);
    progress_tell(&meter, ms(4000), 6 << 20, 10 << 20);
    OK(meter.now == ms(5000), "time does not go back");
    progress_tell(&meter, ms(6000), 1 << 20, 10 << 20);
    line(80, false, " 10.00%  1 MiB of 10 MiB");
    progress_tell(&meter, ms(7000), 2 << 20, 10 << 20);
    line(80, false, " 20.00%  2 MiB of 10 MiB  1 MiB/s  0:08 left");
    progress_tell(&meter, ms(8000), 11 << 20, 10 << 20);
    OK(meter.done == 10 << 20, "no more than all");
    begin();
    progress_tell(&meter, ms(1000), 0, 10 << 20);
    line(80, false, "  0.00%  0 B of 10 MiB");
    begin();
    progress_tell(&meter, ms(1000), 0, 0);
    line(80, true, "  0.00%  0:01");
    begin();
    meter.steps = true;
    progress_tell(&meter, ms(2000), 5, 10);
    line(80, false, " 50.00%  0:02 left");
    json("{\"offset\": 5, \"total\": 10, \"unit\": \"steps\", \"percent\": 50.00, \"elapsed\": 2.000}\n");
}

static void widest(void)
{
    char text[160];

    progress_start(&meter, 0);
    progress_tell(&meter, UINT64_MAX, UINT64_MAX, UINT64_MAX);
    OK(progress_json(&meter, text, sizeof text) > 0, "160 bytes are enough");
    OK(progress_json(&meter, text, 20) == 0, "20 are not");
}

int main(void)
{
    at_first();
    slower_and_slower();
    long_times();
    narrow();
    odd();
    widest();
    return test_end();
}
