/* SPDX-License-Identifier: Apache-2.0 */
/* Durations ("90", "1h", "off") and unix users ("alice:staff", "1000:1000"). */
#include "api/values.h"

#include <math.h>
#include <string.h>

#include "base/str.h"

/* Nanoseconds of every accepted duration fit into 63 bits. */
#define DURATION_MAX_S (INT64_MAX / 1000000000)

static int
bad_duration(struct error *e, bool allow_off)
{
    return error_set(e, ERR_INVALID,
                     "must be a whole number of seconds or a whole number with one unit "
                     "s, m, h, d or w, e.g. 90 or \"2h\"%s",
                     allow_off ? ", or \"off\"" : "");
}

static int
duration_range(struct error *e)
{
    return error_set(e, ERR_INVALID, "must not be longer than %lld seconds (292 years)",
                     (long long)DURATION_MAX_S);
}

static int64_t
unit_seconds(char unit)
{
    switch (unit) {
    case 's':
        return 1;
    case 'm':
        return 60;
    case 'h':
        return 3600;
    case 'd':
        return INT64_C(24) * 3600;
    case 'w':
        return INT64_C(7) * 24 * 3600;
    default:
        return 0;
    }
}

int
value_duration_text(const char *s, bool allow_off, int64_t *ret_seconds, struct error *e)
{
    int64_t n = 0, unit = 1;
    const char *p = s;

    if (allow_off && streq(s, "off")) {
        *ret_seconds = DURATION_OFF;
        return 0;
    }
    if (*p < '0' || *p > '9')
        return bad_duration(e, allow_off);
    for (; *p >= '0' && *p <= '9'; p++) {
        n = n * 10 + (*p - '0');
        if (n > DURATION_MAX_S)
            return duration_range(e);
    }
    if (*p != '\0') {
        while (*p == ' ')
            p++;
        unit = unit_seconds(*p);
        if (unit == 0 || p[1] != '\0')
            return bad_duration(e, allow_off);
    }
    if (n > DURATION_MAX_S / unit)
        return duration_range(e);
    *ret_seconds = n * unit;
    return 0;
}

int
value_duration(const json_t *v, bool allow_off, int64_t *ret_seconds, struct error *e)
{
    if (json_is_string(v)) {
        const char *s = json_string_value(v);
        if (strlen(s) != json_string_length(v))
            return bad_duration(e, allow_off);
        return value_duration_text(s, allow_off, ret_seconds, e);
    }
    if (json_is_false(v) && allow_off) {
        *ret_seconds = DURATION_OFF;
        return 0;
    }
    if (!json_is_number(v))
        return bad_duration(e, allow_off);
    double d = json_number_value(v);
    if (d < 0)
        return error_set(e, ERR_INVALID, "must not be negative%s",
                         allow_off ? "; write \"off\" to switch it off" : "");
    if (d > (double)DURATION_MAX_S)
        return duration_range(e);
    *ret_seconds = json_is_integer(v) ? json_integer_value(v) : (int64_t)floor(d);
    return 0;
}

/* One half of user[:group]. */
static int
user_part(const char *s, size_t n, int64_t *id, char name[64], struct error *e)
{
    bool digits = true;

    if (n == 0)
        return error_set(e, ERR_INVALID,
                         "must be user or user:group, each a name or an id, e.g. "
                         "\"1000:1000\"");
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c <= ' ' || c == 0x7f)
            return error_set(e, ERR_INVALID,
                             "user and group must not contain spaces or control "
                             "characters");
        if ((c < '0' || c > '9') && !(i == 0 && c == '-' && n > 1))
            digits = false;
    }
    if (!digits) {
        if (n >= 64)
            return error_set(e, ERR_INVALID, "user and group must be at most 63 bytes");
        memcpy(name, s, n);
        name[n] = '\0';
        return 0;
    }
    if (s[0] == '-')
        return error_set(e, ERR_INVALID, "a user or group id must be 0 or greater");
    *id = 0;
    for (size_t i = 0; i < n; i++) {
        *id = *id * 10 + (s[i] - '0');
        if (*id >= UINT32_MAX) /* the greatest id means "unchanged" to the kernel */
            return error_set(e, ERR_INVALID, "a user or group id must be at most %u",
                             UINT32_MAX - 1);
    }
    return 0;
}

int
value_unix_user(const char *s, struct unix_user *ret, struct error *e)
{
    struct unix_user u = {.uid = -1, .gid = -1};
    const char *colon = strchr(s, ':');
    size_t n = colon == NULL ? strlen(s) : (size_t)(colon - s);
    int r = user_part(s, n, &u.uid, u.user, e);

    if (r < 0)
        return r;
    if (colon != NULL) {
        if (strchr(colon + 1, ':') != NULL)
            return error_set(
                e, ERR_INVALID,
                "must have at most two parts, user:group, e.g. \"1000:100\"");
        r = user_part(colon + 1, strlen(colon + 1), &u.gid, u.group, e);
        if (r < 0)
            return r;
    }
    *ret = u;
    return 0;
}
