/* SPDX-License-Identifier: MIT */
/* img_parse_size and img_human_size: what qemu-img accepts and prints. */
#include "libimg/img.h"
#include "test.h"

#include <errno.h>
#include <inttypes.h>

static void good(const char *text, uint64_t wanted)
{
    uint64_t size = 12345;
    int status = img_parse_size(text, 'b', &size);
    if (!test_report(status == 0 && size == wanted, "'%s' is %" PRIu64, text, wanted))
        printf("# status %d, size %" PRIu64 "\n", status, size);
}

static void bad(const char *text, int wanted)
{
    uint64_t size;
    int status = img_parse_size(text, 'b', &size);
    if (!test_report(status == wanted, "'%s' is refused: %d", text, wanted))
        printf("# status %d\n", status);
}

static void human(uint64_t size, const char *wanted)
{
    char text[32];
    test_same(img_human_size(text, sizeof text, size), wanted, wanted);
}

static void suffixes(void)
{
    good("0", 0);
    good("1b", 1);
    good("1B", 1);
    good("1k", 1024);
    good("1K", 1024);
    good("1m", 1 << 20);
    good("1G", 1 << 30);
    good("1t", UINT64_C(1) << 40);
    good("1P", UINT64_C(1) << 50);
    good("15E", UINT64_C(15) << 60);
    good("123b", 123);
    bad("1kk", -EINVAL);
    bad("1KB", -EINVAL);
    bad("1KiB", -EINVAL);
    bad("1 k", -EINVAL);
    bad("k", -EINVAL);
    bad("", -EINVAL);
    bad("abc", -EINVAL);
    bad("1e3", -EINVAL);
    uint64_t size = 0;
    OK(img_parse_size("3", 'M', &size) == 0 && size == 3 << 20, "default suffix M");
    OK(img_parse_size("1.5", 'M', &size) == 0 && size == 3 << 19, "fraction with a default suffix");
    OK(img_parse_size("3k", 'M', &size) == 0 && size == 3072, "own suffix wins");
}

static void fractions(void)
{
    good("1.5G", 1610612736);
    good(".5G", 536870912);
    good("+.5k", 512);
    good("1.0", 1);
    good("1.", 1);
    good("1.k", 1024);
    good("1.0b", 1);
    good(".0", 0);
    good("1.0006k", 1025);
    good("0.1k", 102);
    good("0.00001k", 0);
    good("0.00048828125k", 1);
    good("0.00146484375k", 2);
    good("1.23456789G", 1325607178);
    good("1.9999999999999999999G", UINT64_C(2) << 30);
    good("0.999999999999999999999", 1);
    good("1.5e", UINT64_C(3) << 59);
    good("17179869183.9G", (uint64_t)-107374182);
    bad("1.5", -EINVAL);
    bad("1.5b", -EINVAL);
    bad("1.00000000000000000000001", -EINVAL);
    bad(".", -EINVAL);
    bad(".k", -EINVAL);
    bad("1.5.5k", -EINVAL);
    bad("1.5e2", -EINVAL);
    bad("1.5e+2", -EINVAL);
    bad("1,5G", -EINVAL);
    bad("1.-5k", -EINVAL);
    bad("1. 5k", -EINVAL);
}

static void signs_and_hex(void)
{
    good("+1", 1);
    good(" 1", 1);
    good("\t1", 1);
    good(" +1k", 1024);
    bad("1 ", -EINVAL);
    bad("+ 1", -EINVAL);
    bad("+-1", -EINVAL);
    bad("-1", -ERANGE);
    bad("-0", -ERANGE);
    bad("-.5", -ERANGE);
    bad("-99999999999999999999", -ERANGE);
    bad("-1k", -EINVAL);
    bad("-1x", -EINVAL);
    bad("-1.5", -EINVAL);
    bad("-.", -EINVAL);
    bad("-", -EINVAL);
    good("010", 10);
    good("0x10", 16);
    good("0X10", 16);
    good(" +0x10", 16);
    good("0x1e3", 483);
    good("0x10b", 267);
    bad("0x", -EINVAL);
    bad("0x10k", -EINVAL);
    bad("0x1.8k", -EINVAL);
    bad("0x1p4", -EINVAL);
    bad("0x-1", -EINVAL);
    bad("0x 1", -EINVAL);
    bad("-0x1", -EINVAL);
    bad("inf", -EINVAL);
    bad("nan", -EINVAL);
}

static void limits(void)
{
    good("18446744073709551615", UINT64_MAX);
    good("18446744073709551615.0", UINT64_MAX);
    bad("18446744073709551616", -ERANGE);
    bad("99999999999999999999", -ERANGE);
    bad("99999999999999999999x", -EINVAL);
    bad("99999999999999999999k", -EINVAL);
    bad("18446744073709551616.0k", -EINVAL);
    bad("0xfffffffffffffffff", -ERANGE);
    bad("0xfffffffffffffffffz", -EINVAL);
    bad("16E", -ERANGE);
    bad("17179869184G", -ERANGE);
    bad("15.99999999999999999999E", -ERANGE);
    bad("18014398509481983.9999k", -ERANGE);
}

int main(void)
{
    suffixes();
    fractions();
    signs_and_hex();
    limits();
    human(0, "0 B");
    human(512, "512 B");
    human(999, "999 B");
    human(1000, "0.977 KiB");
    human(1024, "1 KiB");
    human(200704, "196 KiB");
    human(1024 * 1000, "0.977 MiB");
    human(1023488, "1e+03 KiB");
    human(1610612736, "1.5 GiB");
    human(10490458112, "9.77 GiB");
    human(1649267441664000, "1.46 PiB");
    human(UINT64_MAX, "16 EiB");
    return test_end();
}
