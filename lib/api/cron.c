/* SPDX-License-Identifier: Apache-2.0 */
/* Fields into bit sets; the next match by skipping months, days, hours, minutes. The
 * calendar is the proleptic Gregorian one (days from civil: Hinnant, public domain). */
#include "api/cron.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"

enum { FIELDS = 5, WORD_LEN = 3, SECONDS_A_DAY = 86400, YEARS_MAX = 400 };

struct field {
    const char *name;
    int min, max;
    const char *words; /* of three letters each, from min on */
};

static const struct field fields[FIELDS] = {
    {"minute", 0, 59, NULL},
    {"hour", 0, 23, NULL},
    {"day of month", 1, 31, NULL},
    {"month", 1, 12, "janfebmaraprmayjunjulaugsepoctnovdec"},
    {"day of week", 0, 6, "montuewedthufrisatsun"},
};

static bool
read_value(const struct field *f, const char **p, int *ret)
{
    const char *s = *p;
    int value = 0;

    if (isdigit((unsigned char)*s)) {
        for (; isdigit((unsigned char)*s); s++) {
            value = value * 10 + (*s - '0');
            if (value > 1000)
                return false;
        }
        *p = s;
        *ret = value;
        return true;
    }
    for (int i = 0; f->words != NULL && i <= f->max - f->min; i++) {
        if (strncasecmp(s, f->words + (size_t)i * WORD_LEN, WORD_LEN) != 0)
            continue;
        *p = s + WORD_LEN;
        *ret = f->min + i;
        return true;
    }
    return false;
}

/* One member of the list; *p behind it. */
static int
read_range(const struct field *f, const char **p, uint64_t *set, struct error *e)
{
    int from = f->min, to = f->max, step = 1;

    if (**p == '*') {
        (*p)++;
    } else if (!read_value(f, p, &from)) {
        return error_set(e, ERR_INVALID, "%s: a number%s or * is missing at \"%.20s\"",
                         f->name, f->words != NULL ? ", a name" : "", *p);
    } else if (**p == '-') {
        (*p)++;
        if (!read_value(f, p, &to))
            return error_set(e, ERR_INVALID, "%s: the end of the range is missing",
                             f->name);
    } else if (**p != '/') {
        to = from;
    }
    if (**p == '/') {
        (*p)++;
        if (!isdigit((unsigned char)**p) || !read_value(f, p, &step) || step == 0)
            return error_set(e, ERR_INVALID, "%s: a step is a number from 1", f->name);
    }
    if (from < f->min || from > f->max || to < f->min || to > f->max)
        return error_set(e, ERR_INVALID, "%s: must be between %d and %d", f->name, f->min,
                         f->max);
    if (from > to)
        return error_set(e, ERR_INVALID, "%s: the range ends before it begins", f->name);
    for (int i = from; i <= to; i += step)
        *set |= UINT64_C(1) << i;
    return 0;
}

static int
read_field(const struct field *f, const char **p, uint64_t *ret, struct error *e)
{
    *ret = 0;
    for (;;) {
        int rc = read_range(f, p, ret, e);
        if (rc < 0)
            return rc;
        if (**p != ',')
            break;
        (*p)++;
    }
    if (**p != '\0' && !isspace((unsigned char)**p))
        return error_set(e, ERR_INVALID, "%s: \"%.20s\" is not understood", f->name, *p);
    return 0;
}

int
cron_parse(const char *text, struct cron *ret, struct error *e)
{
    uint64_t sets[FIELDS];
    const char *p = text;

    for (size_t i = 0; i < FIELDS; i++) {
        while (isspace((unsigned char)*p))
            p++;
        if (*p == '\0')
            return error_set(e, ERR_INVALID,
                             "five fields are needed: minute hour day-of-month month "
                             "day-of-week");
        int rc = read_field(&fields[i], &p, &sets[i], e);
        if (rc < 0)
            return rc;
    }
    while (isspace((unsigned char)*p))
        p++;
    if (*p != '\0')
        return error_set(e, ERR_INVALID, "more than five fields");
    struct cron c = {.minutes = sets[0],
                     .hours = (uint32_t)sets[1],
                     .days = (uint32_t)sets[2],
                     .months = (uint32_t)sets[3],
                     .weekdays = (uint32_t)sets[4]};
    if (cron_next(&c, 0) < 0)
        return error_set(e, ERR_INVALID, "there is no such day");
    *ret = c;
    return 0;
}

/* --- the calendar --------------------------------------------------------------------
 */

struct date {
    int64_t year;
    int month, day; /* from 1 */
};

static int64_t
days_of(const struct date *d)
{
    int64_t y = d->month <= 2 ? d->year - 1 : d->year;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t yoe = y - era * 400;
    int64_t doy =
        (153 * (d->month > 2 ? d->month - 3 : d->month + 9) + 2) / 5 + d->day - 1;
    int64_t doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;

    return era * 146097 + doe - 719468;
}

static struct date
date_of(int64_t days)
{
    int64_t z = days + 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;
    int month = (int)(mp < 10 ? mp + 3 : mp - 9);

    return (struct date){.year = yoe + era * 400 + (month <= 2),
                         .month = month,
                         .day = (int)(doy - (153 * mp + 2) / 5 + 1)};
}

static bool
day_matches(const struct cron *c, int64_t days, const struct date *d)
{
    int64_t weekday = (days + 3) % 7; /* 1970-01-01 was a Thursday */

    if (weekday < 0)
        weekday += 7;
    return (c->days >> d->day & 1) != 0 && (c->weekdays >> weekday & 1) != 0;
}

/* First minute of a day from `minute` on; -1: none. */
static int
minute_of_day(const struct cron *c, int minute)
{
    for (; minute < 24 * 60; minute++) {
        if ((c->hours >> (minute / 60) & 1) == 0)
            minute += 59 - minute % 60;
        else if ((c->minutes >> (minute % 60) & 1) != 0)
            return minute;
    }
    return -1;
}

int64_t
cron_next(const struct cron *c, int64_t after_s)
{
    int64_t minutes = (after_s >= 0 ? after_s : after_s - 59) / 60 + 1;
    int64_t days = (minutes >= 0 ? minutes : minutes - 24 * 60 + 1) / (24 * 60);
    int from = (int)(minutes - days * 24 * 60);
    int64_t last_year = date_of(days).year + YEARS_MAX;

    for (;;) {
        struct date d = date_of(days);
        if (d.year > last_year)
            return -1;
        if ((c->months >> d.month & 1) == 0) {
            struct date next = {d.month == 12 ? d.year + 1 : d.year,
                                d.month == 12 ? 1 : d.month + 1, 1};
            days = days_of(&next);
            from = 0;
            continue;
        }
        int minute = day_matches(c, days, &d) ? minute_of_day(c, from) : -1;
        if (minute >= 0)
            return days * SECONDS_A_DAY + (int64_t)minute * 60;
        days++;
        from = 0;
    }
}
