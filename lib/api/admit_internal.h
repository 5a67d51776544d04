/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the rules of the kinds. */
#ifndef API_ADMIT_INTERNAL_H
#define API_ADMIT_INTERNAL_H

#include <jansson.h>

#include "api/jtok.h"
#include "api/violations.h"

enum { SHOWN_VALUE_MAX = 200, FIELD_TEXT_MAX = 64 * 1024 };

struct admission {
    struct span object; /* whole canonical object */
    struct span spec;
    struct violations *v;
};

/* The value as JSON text for a message, bounded. */
void admit_shown(struct span raw, char out[SHOWN_VALUE_MAX]);
/* A small private tree of one field ("retry.duration"); NULL when absent. */
json_t *admit_field(const struct admission *a, const char *path);
/* *ret stays what it was when the field is absent or wrong. */
void admit_duration(const struct admission *a, const char *path, bool allow_off,
                    int64_t *ret);
/* check() says what is wrong with the text. */
void admit_string(const struct admission *a, const char *path,
                  int (*check)(const char *text, struct error *e));
int admit_absolute_path(const char *text, struct error *e);
bool admit_given(const struct admission *a, const char *path); /* and not empty */
/* One violation at "spec.<path>" with the value that stands there. */
void admit_refuse(const struct admission *a, const char *path, const char *why);
void admit_resources(const struct admission *a, const json_t *value, const char *path);

void admit_run(const struct admission *a);
void admit_profile(const struct admission *a);
void admit_nodes(const struct admission *a); /* nodes, groups, commands, array, order */

#endif
