/* SPDX-License-Identifier: Apache-2.0 */
/* Clocks with an injectable source, and RFC 3339 text. */
#include "base/clock.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static atomic_bool fake_on;
static _Atomic int64_t fake_mono;
static _Atomic int64_t fake_wall;

static int64_t
read_clock(clockid_t id)
{
    struct timespec ts;

    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

int64_t
clock_now_ns(void)
{
    return atomic_load(&fake_on) ? atomic_load(&fake_mono) : read_clock(CLOCK_MONOTONIC);
}

int64_t
clock_now_ms(void)
{
    return clock_now_ns() / 1000000;
}

int64_t
clock_boot_ms(void)
{
    return (atomic_load(&fake_on) ? atomic_load(&fake_mono)
                                  : read_clock(CLOCK_BOOTTIME)) /
           1000000;
}

int64_t
clock_wall_ns(void)
{
    return atomic_load(&fake_on) ? atomic_load(&fake_wall) : read_clock(CLOCK_REALTIME);
}

void
clock_fake_set(int64_t mono_ns, int64_t wall_ns)
{
    atomic_store(&fake_mono, mono_ns);
    atomic_store(&fake_wall, wall_ns);
    atomic_store(&fake_on, true);
}

void
clock_fake_advance(int64_t ns)
{
    atomic_fetch_add(&fake_mono, ns);
    atomic_fetch_add(&fake_wall, ns);
}

void
clock_fake_stop(void)
{
    atomic_store(&fake_on, false);
}

/* Civil date from days since 1970-01-01 (H. Hinnant, "chrono-compatible low-level date
 * algorithms"). gmtime_r would do, but takes the locale lock. */
static void
civil_from_days(int64_t z, int *y, int *m, int *d)
{
    z += 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;

    *d = (int)(doy - (153 * mp + 2) / 5 + 1);
    *m = (int)(mp < 10 ? mp + 3 : mp - 9);
    *y = (int)(yoe + era * 400 + (*m <= 2));
}

static int64_t
days_from_civil(int64_t y, int64_t m, int64_t d)
{
    y -= m <= 2;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t yoe = y - era * 400;
    int64_t doy = (153 * (m > 2 ? m - 3 : m + 9) + 2) / 5 + d - 1;
    int64_t doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;

    return era * 146097 + doe - 719468;
}

static int64_t
floor_div(int64_t a, int64_t b)
{
    int64_t q = a / b;

    return (a % b != 0 && (a < 0) != (b < 0)) ? q - 1 : q;
}

static void
format_fields(int64_t wall_ns, char *out, size_t size, bool micros)
{
    int64_t secs = floor_div(wall_ns, 1000000000);
    int64_t days = floor_div(secs, 86400);
    int rest = (int)(secs - days * 86400);
    int us = (int)((wall_ns - secs * 1000000000) / 1000);
    int y;
    int m;
    int d;
    char buf[80];

    civil_from_days(days, &y, &m, &d);
    int n = snprintf(buf, sizeof(buf), "%04d-%02d-%02dT%02d:%02d:%02d", y, m, d,
                     rest / 3600, rest / 60 % 60, rest % 60);
    if (micros)
        n += snprintf(buf + n, sizeof(buf) - (size_t)n, ".%06d", us);
    snprintf(buf + n, sizeof(buf) - (size_t)n, "Z");
    snprintf(out, size, "%.*s", (int)size - 1, buf);
}

void
clock_format(int64_t wall_ns, char out[CLOCK_RFC3339_LEN])
{
    format_fields(wall_ns, out, CLOCK_RFC3339_LEN, false);
}

void
clock_format_us(int64_t wall_ns, char out[CLOCK_RFC3339_US_LEN])
{
    format_fields(wall_ns, out, CLOCK_RFC3339_US_LEN, true);
}

/* Reads exactly n digits; -1 when one is not a digit. */
static int
digits(const char *p, int n)
{
    int v = 0;

    for (int i = 0; i < n; i++) {
        if (p[i] < '0' || p[i] > '9')
            return -1;
        v = v * 10 + (p[i] - '0');
    }
    return v;
}

static bool
parse_zone(const char *p, const char *end, int64_t *ret_offset_s)
{
    if (end - p == 1 && (*p == 'Z' || *p == 'z')) {
        *ret_offset_s = 0;
        return true;
    }
    if (end - p != 6 || (*p != '+' && *p != '-') || p[3] != ':')
        return false;
    int h = digits(p + 1, 2);
    int m = digits(p + 4, 2);
    if (h < 0 || m < 0 || h > 23 || m > 59)
        return false;
    *ret_offset_s = (h * 3600 + m * 60) * (*p == '-' ? -1 : 1);
    return true;
}

static const char *
parse_fraction(const char *p, const char *end, int64_t *ret_ns)
{
    int64_t ns = 0;
    int64_t scale = 100000000;
    const char *start = p;

    for (; p < end && *p >= '0' && *p <= '9'; p++) {
        ns += (*p - '0') * scale;
        scale /= 10;
    }
    *ret_ns = ns;
    return p == start ? NULL : p;
}

bool
clock_parse(const char *text, size_t len, int64_t *ret_wall_ns)
{
    const char *end = text + len;
    int64_t frac = 0;
    int64_t offset = 0;

    if (len < 20 || text[4] != '-' || text[7] != '-' ||
        (text[10] != 'T' && text[10] != 't') || text[13] != ':' || text[16] != ':')
        return false;
    int y = digits(text, 4);
    int mo = digits(text + 5, 2);
    int d = digits(text + 8, 2);
    int h = digits(text + 11, 2);
    int mi = digits(text + 14, 2);
    int s = digits(text + 17, 2);
    if (y < 0 || mo < 1 || mo > 12 || d < 1 || d > 31 || h < 0 || h > 23 || mi < 0 ||
        mi > 59 || s < 0 || s > 60)
        return false;
    const char *p = text + 19;
    if (*p == '.') {
        p = parse_fraction(p + 1, end, &frac);
        if (p == NULL)
            return false;
    }
    if (!parse_zone(p, end, &offset))
        return false;
    int64_t days = days_from_civil(y, mo, d);
    int back_y;
    int back_m;
    int back_d;
    civil_from_days(days, &back_y, &back_m, &back_d);
    if (back_d != d || back_m != mo)
        return false;
    /* 9999 years of nanoseconds do not fit; clamp to what does. */
    if (y < 1678 || y > 2261)
        return false;
    *ret_wall_ns = (days * 86400 + h * 3600 + mi * 60 + s - offset) * 1000000000 + frac;
    return true;
}

void
clock_human(int64_t s, char *out, size_t size)
{
    int64_t m = s / 60;
    int64_t h = s / 3600;
    int64_t d = s / 86400;

    if (s < -1)
        snprintf(out, size, "<invalid>");
    else if (s < 0)
        snprintf(out, size, "0s");
    else if (s < 120)
        snprintf(out, size, "%llds", (long long)s);
    else if (m < 10 && s % 60 != 0)
        snprintf(out, size, "%lldm%llds", (long long)m, (long long)(s % 60));
    else if (m < 180)
        snprintf(out, size, "%lldm", (long long)m);
    else if (h < 8 && m % 60 != 0)
        snprintf(out, size, "%lldh%lldm", (long long)h, (long long)(m % 60));
    else if (h < 48)
        snprintf(out, size, "%lldh", (long long)h);
    else if (h < 192 && h % 24 != 0)
        snprintf(out, size, "%lldd%lldh", (long long)d, (long long)(h % 24));
    else if (d < 365 * 2)
        snprintf(out, size, "%lldd", (long long)d);
    else if (d < 365 * 8 && d % 365 != 0)
        snprintf(out, size, "%lldy%lldd", (long long)(d / 365), (long long)(d % 365));
    else
        snprintf(out, size, "%lldy", (long long)(d / 365));
}
