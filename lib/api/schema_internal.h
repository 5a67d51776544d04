/* SPDX-License-Identifier: Apache-2.0 */
/* Between the two halves of the schema compiler. Private to lib/api. */
#ifndef API_SCHEMA_INTERNAL_H
#define API_SCHEMA_INTERNAL_H

#include "api/kind_internal.h"

/* The schema of ObjectMeta, as JSON text. */
extern const char schema_object_meta[];

struct schema *schema_new(void);
/* Finds or adds; sub (taken) replaces an older schema unless NULL. Borrowed until the
 * next. */
struct schema_field *schema_put_field(struct schema *s, const char *key,
                                      struct schema *sub);
/* Refuses keywords that cannot be honoured, and unknown ones. */
void schema_check_keywords(const json_t *doc, const char *path, struct violations *v);
/* allOf, anyOf, oneOf, not into s->logic. depth: of the schema they stand in. */
void schema_read_logic(struct schema *s, const json_t *doc, const char *path,
                       struct violations *v);
void schema_read_required(struct schema *s, const json_t *doc, const char *path,
                          struct violations *v);
/* schema_rules.c: what one node must hold beside its grammar, and the root. False when
 * something was said. */
void schema_check_node(const json_t *doc, const char *path, struct violations *v);
bool schema_check_root(const json_t *doc, const char *path, struct violations *v);
void schema_logic_free(struct schema_logic *l); /* NULL ok */
/* enum, pattern, format, bounds, list and map types, nullable. */
void schema_read_constraints(struct schema *s, const json_t *doc, const char *path,
                             struct violations *v);
/* "path.keyword: Invalid value: <value>: why"; value may be NULL. */
void schema_complain(struct violations *v, const char *path, const char *keyword,
                     const json_t *value, const char *why);

#endif
