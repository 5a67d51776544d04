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

/* Those of strings are FORMAT_STRING and above (schema_format.c). */
enum schema_format {
    FORMAT_NONE,
    FORMAT_INT32,
    FORMAT_INT64,
    FORMAT_FLOAT,
    FORMAT_DOUBLE,
    FORMAT_STRING,
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
    unsigned format;   /* enum schema_format */
    char *format_text; /* as it was written; NULL without */
    enum schema_list_type list_type;
    bool nullable, preserve_unknown, map_atomic, additional_any;
    bool checked;                /* has a constraint beyond its type */
    bool empty_ok;               /* an empty string passes the format */
    struct schema_field *fields; /* sorted by key */
    size_t n_fields;
    struct schema_field **needed; /* required or with a default; sorted by key */
    size_t n_needed;
    struct schema *additional, *items;
    char **map_keys;    /* NULL-terminated; NULL without */
    char *default_json; /* canonical, defaulted itself; NULL without */
    size_t default_len;
    char **enums; /* canonical values */
    size_t n_enums;
    pcre2_code *pattern;
    char *pattern_text;
    struct schema_bound minimum, maximum, multiple;
    size_t min_len, max_len; /* characters; SCHEMA_NO_LIMIT */
    size_t min_items, max_items;
    size_t min_members, max_members;
    struct schema_logic *logic; /* NULL without */
};

/* allOf, anyOf, oneOf, not: schemas of values only, which accept every type and keep
 * everything. */
struct schema_group {
    struct schema **items;
    size_t n;
};
struct schema_logic {
    struct schema_group all, any, one;
    struct schema * not ;
};

/* Any value at all; a constant. */
extern const struct schema schema_any;

/* p: an unescaped string; true for formats of numbers. */
bool format_check(unsigned f, const char *p, size_t n);
/* FORMAT_NONE: nothing is checked for the type under this name. */
unsigned format_named(enum schema_type type, const char *name);

/* Compiles a structural schema; problems are added to v. NULL when there was one. */
struct schema *schema_compile(const json_t *doc, const char *path, struct violations *v);
/* The root: apiVersion, kind and metadata are built in. */
struct schema *schema_compile_root(const json_t *doc, const char *path,
                                   struct violations *v);
void schema_free(struct schema *s);
/* After a change of fields or defaults. */
void schema_set_needed(struct schema *s);
/* For built-in kinds: `format: byte` stands for a Go slice there, which may be empty.
 * NULL ok. */
void schema_allow_no_bytes(struct schema *s);
const struct schema_field *schema_find(const struct schema *s, struct span key);
/* --- decoding
 * ---------------------------------------------------------------------------- */

/* Where in the document: a member's raw key, or an item's index (key.ptr NULL). */
struct decode_frame {
    const struct decode_frame *up; /* NULL at the root, which has no name */
    struct span key;
    size_t index;
};

struct decode {
    struct jtok_reader r;
    struct canon *c;
    struct str *out;
    struct violations *v;
    struct error *e;
    const char *base;   /* path of the root frame, "" for an object */
    size_t errors;      /* violations that are not of the strict kind */
    int64_t pattern_ns; /* spent on patterns so far */
    size_t logic_bytes; /* looked at again for allOf and the like */
    /* Ratcheting: the input is canonical; old is what stood at this place before, and
     * below an unchanged value the checks are quiet. */
    bool ratchet, quiet;
    bool doubles_ok; /* the old object has some, so the new one may, wherever */
    struct span old;
    size_t compared;
};

/* Checks and rewrites one value at p->r. */
int decode_value(struct decode *d, const struct schema *s, const struct decode_frame *f,
                 const struct jtok *t) WARN_UNUSED;
/* Whole text must be one value; for defaults. *ret_errors: violations added. */
int decode_text(const struct schema *s, const char *path, struct span in, struct str *out,
                struct violations *v, size_t *ret_errors, struct error *e) WARN_UNUSED;
void decode_violation(struct decode *d, const struct decode_frame *f,
                      enum violation_reason reason, const char *value, const char *fmt,
                      ...) PRINTF_LIKE(5, 6);
void decode_path(const struct decode *d, const struct decode_frame *f, struct str *out);
/* The constraints of a value that has the right type and stands at the end of out. */
void decode_check_scalar(struct decode *d, const struct schema *s,
                         const struct decode_frame *f, size_t start, enum jtok_type type);
void decode_check_enum(struct decode *d, const struct schema *s,
                       const struct decode_frame *f, size_t start);
void decode_check_count(struct decode *d, const struct schema *s,
                        const struct decode_frame *f, bool array, size_t n);
/* allOf, anyOf, oneOf, not for the value at the end of out. */
int decode_check_logic(struct decode *d, const struct schema *s,
                       const struct decode_frame *f, size_t start) WARN_UNUSED;
/* The old value of a member, or of the item with the same keys as the one at `item`. */
struct ratchet_walk {
    bool have;
    const char *cursor;
    struct span key, value;
};
struct span ratchet_member(struct span old, struct ratchet_walk *w, struct span key);
struct span ratchet_item(struct decode *d, const struct schema *s, struct span old,
                         struct span item);
/* members[first..] are the items of the array: off, len. Changes their order. */
void decode_check_unique(struct decode *d, const struct schema *s,
                         const struct decode_frame *f, size_t first);

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
