/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scalar grammars users write in specs: names, durations, sizes, ranges, quantities, unix
 * users, and Kubernetes name and label rules. Pure functions.
 * Messages say what would be right.
 */
#ifndef API_VALUES_H
#define API_VALUES_H

#include <jansson.h>
#include <stdint.h>

#include "base/error.h"

bool value_is_dns_subdomain(const char *s, size_t n);
bool value_is_dns_label(const char *s, size_t n);
bool value_is_label_key(const char *s, size_t n);
bool value_is_label_value(const char *s, size_t n);
bool value_is_qualified_name(const char *s, size_t n);
bool value_is_run_name(const char *s,
                       size_t n); /* ^[a-z][a-z0-9-]{1,40}$, no trailing dash */

#define DURATION_OFF (-1)
/* "90", 90, "1h", "off"; seconds. allow_off admits "off" and false -> DURATION_OFF. */
int value_duration(const json_t *v, bool allow_off, int64_t *ret_seconds,
                   struct error *e) WARN_UNUSED;
int value_duration_text(const char *s, bool allow_off, int64_t *ret_seconds,
                        struct error *e) WARN_UNUSED;

/* Memory sizes in MiB ("512MB", "16GB", 16 = GB, "1TB"). */
int value_memory(const json_t *v, int64_t *ret_mib, struct error *e) WARN_UNUSED;

struct range { /* inclusive; min 0 and max INT64_MAX are open ends */
    int64_t min, max;
};
#define RANGE_ANY ((struct range){0, INT64_MAX})
int value_int_range(const json_t *v, struct range *ret, struct error *e) WARN_UNUSED;
int value_memory_range(const json_t *v, struct range *ret_mib,
                       struct error *e) WARN_UNUSED;

struct unix_user { /* id -1 and name "" : not given */
    int64_t uid, gid;
    char user[64], group[64];
};
int value_unix_user(const char *s, struct unix_user *ret, struct error *e) WARN_UNUSED;

/* Kubernetes quantity ("500m", "1Gi") in milli-units. */
int value_quantity(const char *s, int64_t *ret_milli, struct error *e) WARN_UNUSED;

/* "first-last", "first-last%atOnce": elements of a job array. */
enum { ARRAY_ELEMENTS_MAX = 1000, ARRAY_INDEX_MAX = 999999 };
struct run_array {
    int64_t first, last, at_once; /* at_once: 1..elements */
};
int value_array(const char *s, struct run_array *ret, struct error *e) WARN_UNUSED;

#endif
