/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The compiled form of a kind, shared by the compiler (schema_*.c, kind_compile.c), the
 * decoder (decode*.c) and the fact scanner (object.c). Private to lib/api and its tests.
 */
#ifndef API_KIND_INTERNAL_H
#define API_KIND_INTERNAL_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "api/jtok_internal.h"
#include "api/kind.h"

enum schema_type {
    SCHEMA_ANY, /* only beside preserve-unknown-fields */
    SCHEMA_OBJECT,
    SCHEMA_ARRAY,
    SCHEMA_STRING,
    SCHEMA_INTEGER,
    SCHEMA_NUMBER,
    SCHEMA_BOOLEAN,
    SCHEMA_INT_OR_STRING,
};

enum schema_format {
    FORMAT_NONE,
    FORMAT_INT32,
    FORMAT_DATE_TIME,
    FORMAT_DATE,
    FORMAT_BYTE,
    FORMAT_IPV4,
    FORMAT_IPV6,
    FORMAT_CIDR,
    FORMAT_UUID,
    FORMAT_DURATION,
};

struct schema_field {
    char *key; /* as in canonical bytes, escapes included */
    size_t key_len;
    struct schema *schema; /* NULL: named in `required` only */
    bool required;
};

struct schema_bound { /* of a number */
    bool set, exclusive;
    bool whole; /* i holds it exactly */
    int64_t i;
    double d;
};

#define SCHEMA_NO_LIMIT SIZE_MAX

struct schema {
    enum schema_type type;
    enum schema_format format;
    enum schema_list_type list_type;
    bool nullable, preserve_unknown, map_atomic, additional_any;
    bool shared; /* a constant of this library: never freed with its parent */
    struct schema_field *fields; /* sorted by key */
    size_t n_fields;
    struct schema_field **needed; /* required or with a default; sorted by key */
    size_t n_needed;
    struct schema *additional, *items;
    char **map_keys;    /* NULL-terminated; NULL without */
    char *default_json; /* canonical, defaulted itself; NULL without */
    size_t default_len;
    struct span *enums; /* canonical values, owned */
    size_t n_enums;
    pcre2_code *pattern;
    char *pattern_text;
    struct schema_bound minimum, maximum, multiple;
    size_t min_len, max_len; /* characters; SCHEMA_NO_LIMIT */
    size_t min_items, max_items;
    size_t min_members, max_members;
};

/* Any value at all. */
extern const struct schema schema_any;

/* Checks and rewrites one value; for defaults. Whole text must be one value. */
int decode_value_text(const struct schema *s, const char *path, struct span in,
                      struct str *out, struct violations *v, struct error *e) WARN_UNUSED;

bool format_check(enum schema_format f, const char *p, size_t n);
enum schema_format format_named(const char *name);
const char *format_name(enum schema_format f);

/* Compiles a structural schema; problems are added to v. NULL when there was one. */
struct schema *schema_compile(const json_t *doc, const char *path, struct violations *v);
/* The root: apiVersion, kind and metadata are built in. */
struct schema *schema_compile_root(const json_t *doc, const char *path,
                                   struct violations *v);
void schema_free(struct schema *s);
struct schema *schema_field_find(const struct schema *s, struct span key);
/* Keeps fields sorted; replaces a present one when `replace`. Takes sub. */
void schema_put_field(struct schema *s, const char *key, struct schema *sub,
                      bool replace);
void schema_set_needed(struct schema *s);

/* --- printer columns and selectable fields, found in one walk over an object
 * ------------ */

enum jsonpath_op { PATH_FIELD, PATH_INDEX, PATH_WILDCARD, PATH_FILTER };
enum jsonpath_test { TEST_EXISTS, TEST_EQ, TEST_NE };
struct jsonpath_step {
    enum jsonpath_op op;
    char *key; /* PATH_FIELD: canonical key */
    long index;
    struct jsonpath *sub; /* PATH_FILTER: behind @ */
    enum jsonpath_test test;
    char *value; /* PATH_FILTER: canonical JSON */
};
struct jsonpath {
    struct jsonpath_step *steps;
    size_t n_steps;
};
/* Matches from step `from` on. */
bool jsonpath_from(const struct jsonpath *p, size_t from, struct span v,
                   struct span *ret);

struct want_target {
    uint16_t index;
    bool cell;                   /* else a selectable field */
    const struct jsonpath *path; /* the rest of it starts at step `from`; NULL: none */
    uint16_t from;
};
/* A tree of member names that lead to wanted values. */
struct want {
    char *key;
    size_t key_len;
    struct want *children; /* sorted by key */
    size_t n_children;
    struct want_target *targets;
    size_t n_targets;
};
void want_add(struct want *root, const struct jsonpath *p, uint16_t index, bool cell);
void want_done(struct want *w);

#endif
