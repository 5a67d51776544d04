/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Times of a schedule: "minute hour day-of-month month day-of-week" in UTC. A field is a
 * list of `*`, `a`, `a-b`, each with an optional step (`a/n`: from a on). Months and days
 * of the week may be names (jan, mon). All fields have to match, and day-of-week 0 is
 * Monday: both as in dstack, both unlike cron(8). Pure; plain data.
 */
#ifndef API_CRON_H
#define API_CRON_H

#include <stdint.h>

#include "base/error.h"

struct cron {
    uint64_t minutes;             /* bit i: minute i */
    uint32_t hours, days, months; /* days: 1..31, months: 1..12 */
    uint32_t weekdays;            /* 0: Monday */
};

/* ERR_INVALID names the field; an expression that no day ever matches is refused. */
int cron_parse(const char *text, struct cron *ret, struct error *e) WARN_UNUSED;
/* The first minute after `after_s` (Unix seconds) that matches; -1: none in 400 years.
 * At most some thousand steps. */
int64_t cron_next(const struct cron *c, int64_t after_s);

#endif
