/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Label and field selectors (Kubernetes grammar) evaluated on an object's facts.
 * Immutable after parsing; shared by threads.
 */
#ifndef API_SELECTOR_H
#define API_SELECTOR_H

#include "api/object.h"

struct selector;
/* text NULL or "" selects everything (and yields NULL). */
int selector_parse_labels(const char *text, struct selector **ret,
                          struct error *e) WARN_UNUSED;
/* Fields: metadata.name, metadata.namespace and kind->selectable; others are BAD_REQUEST
 * "field label not supported: spec.x". */
int selector_parse_fields(const struct kind *k, const char *text, struct selector **ret,
                          struct error *e) WARN_UNUSED;
void selector_free(struct selector *s);                                /* NULL ok */
bool selector_match(const struct selector *s, const struct object *o); /* NULL: true */
/* When the selector demands key=value (or metadata.name=value) exactly, that value: the
 * watch hub indexes on it. NULL otherwise. */
const char *selector_requires(const struct selector *s, const char *key);
/* The first key=value that is demanded exactly: the value, and its key. NULL: none. */
const char *selector_exact(const struct selector *s, const char **ret_key);

#endif
