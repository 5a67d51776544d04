/* SPDX-License-Identifier: Apache-2.0 */
/* The options that bound the history. */
#include <stdlib.h>

#include "api/values.h"
#include "apiserver/registry/history.h"

enum { COUNT_MAX = 100000 };

static int
parse_count(const char *text, struct history_limits *l, struct error *e)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);

    if (*text < '0' || *text > '9' || *end != '\0' || n > COUNT_MAX)
        return error_set(e, ERR_BAD_REQUEST,
                         "--history-count: \"%.40s\" is not a number from 0 (keep no "
                         "history) to %d",
                         text, COUNT_MAX);
    l->off = n == 0;
    l->per_object = (uint32_t)n;
    return 0;
}

static int
parse_size(const char *text, struct history_limits *l, struct error *e)
{
    json_t *v = json_string(text);
    int64_t mib = 0;

    if (v == NULL)
        return error_set(e, ERR_BAD_REQUEST, "--history-size: not UTF-8");
    int rc = value_memory(v, &mib, e);
    json_decref(v);
    if (rc < 0)
        return error_prepend(e, "--history-size");
    if (mib < 1)
        return error_set(e, ERR_BAD_REQUEST, "--history-size: at least 1MB");
    l->bytes = (uint64_t)mib << 20;
    return 0;
}

int
history_limits_parse(const char *count, const char *age, const char *size,
                     struct history_limits *ret, struct error *e)
{
    struct history_limits l = {0};

    if (count != NULL && parse_count(count, &l, e) < 0)
        return -(int)e->code;
    if (age != NULL && value_duration_text(age, false, &l.age_s, e) < 0)
        return error_prepend(e, "--history-age");
    if (age != NULL && l.age_s < 1)
        return error_set(e, ERR_BAD_REQUEST, "--history-age: at least one second");
    if (size != NULL && parse_size(size, &l, e) < 0)
        return -(int)e->code;
    *ret = l;
    return 0;
}
