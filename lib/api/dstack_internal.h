/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shared by dstack*.c: one table of fields per kind of mapping, one walk over a mapping
 * by its table, one function per way to convert a value.
 */
#ifndef API_DSTACK_INTERNAL_H
#define API_DSTACK_INTERNAL_H

#include "api/dstack.h"

#define DSTACK_PATH_MAX 512

struct dstack_field;
/* v is not null. Puts what becomes of it into to, or adds a note at path. */
typedef void dstack_put(struct dstack_result *r, const struct dstack_field *f,
                        const char *path, const json_t *v, json_t *to);

struct dstack_field {
    const char *key; /* dstack's */
    dstack_put *put;
    const char *to;   /* ours */
    const char *text; /* for put: permitted words, or why it is refused or ignored */
    int min, max;     /* for integers */
};
struct dstack_table {
    const char *what; /* "a task", for messages */
    const struct dstack_field *fields;
    size_t n;
    const struct dstack_table *also; /* more fields; NULL: none */
};
/* Every key of v by the table; unknown ones are problems with the nearest name. */
void dstack_walk(struct dstack_result *r, const struct dstack_table *t, const char *path,
                 const json_t *v, json_t *to);

void dstack_problem(struct dstack_result *r, const char *path, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
void dstack_warning(struct dstack_result *r, const char *path, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
/* "path.key" or "key". */
void dstack_join(char out[DSTACK_PATH_MAX], const char *path, const char *key);
void dstack_at(char out[DSTACK_PATH_MAX], const char *path, size_t index);
/* Distance of edits, neighbours swapped included; capped at about max. */
size_t dstack_distance(const char *a, const char *b, size_t max);

/* A string, or the decimal text of a number; NULL for anything else. malloc'd. */
char *dstack_text(const json_t *v);

/* --- ways to convert */
dstack_put dstack_put_text, dstack_put_flag, dstack_put_integer, dstack_put_word,
    dstack_put_price, dstack_put_texts, dstack_put_duration, dstack_put_plain_duration,
    dstack_put_idle_duration, dstack_put_user,
    dstack_put_nothing, /* known, handled elsewhere */
    dstack_put_refused, /* a problem, with why in field.text */
    dstack_put_refused_if_true, dstack_put_ignored, /* a warning, with why */
    dstack_put_retry, dstack_put_utilization, dstack_put_schedule, dstack_put_fleets,
    dstack_put_instances, dstack_put_tags, dstack_put_env, dstack_put_ports,
    dstack_put_volumes, dstack_put_repos, dstack_put_files, dstack_put_registry_auth,
    dstack_put_resources, dstack_put_groups, dstack_put_absolute_path;

/* Parameters that a profile, a run and (in part) a fleet share. */
extern const struct dstack_table dstack_profile_params;

/* Resources of a run or group: dstack's defaults filled in. v may be NULL. */
json_t *dstack_resources(struct dstack_result *r, const char *path, const json_t *v);

void dstack_run(struct dstack_result *r, const json_t *doc);
void dstack_fleet(struct dstack_result *r, const json_t *doc);

#endif
