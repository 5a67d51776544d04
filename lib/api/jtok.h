/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON tokens from a contiguous buffer, without allocation and without a tree (ADR 0011).
 * Strict RFC 8259: UTF-8 checked (no surrogates, no overlong forms, no NUL escapes
 * refused only where a consumer cannot hold them), numbers by grammar, depth bounded,
 * trailing bytes refused. Spans point into the input. Every byte from outside passes
 * here, so this is a fuzz target.
 */
#ifndef API_JTOK_H
#define API_JTOK_H

#include <jansson.h>

#include "base/error.h"
#include "base/str.h"

#define JTOK_MAX_DEPTH 100

enum jtok_type {
    JTOK_END, /* after the one top-level value */
    JTOK_OBJECT,
    JTOK_OBJECT_END,
    JTOK_ARRAY,
    JTOK_ARRAY_END,
    JTOK_KEY, /* text: raw between the quotes */
    JTOK_STRING,
    JTOK_NUMBER, /* text: as written */
    JTOK_TRUE,
    JTOK_FALSE,
    JTOK_NULL,
};

struct jtok {
    enum jtok_type type;
    struct span text; /* strings and keys: raw, still escaped, without quotes */
    bool escaped;     /* text contains a backslash */
    bool integer;     /* numbers: no fraction and no exponent */
    size_t offset;    /* of the token's first byte (the quote, the brace) */
};

struct jtok_reader {
    const char *start, *pos, *end;
    unsigned depth;
    unsigned char state;                 /* what may come next; private */
    unsigned char stack[JTOK_MAX_DEPTH]; /* '{' or '['; private */
};

void jtok_init(struct jtok_reader *r, const char *bytes, size_t n);
/* 0 and *ret, or ERR_BAD_REQUEST with line, column and what was expected. */
int jtok_next(struct jtok_reader *r, struct jtok *ret, struct error *e) WARN_UNUSED;
/* After JTOK_OBJECT/JTOK_ARRAY was returned: skips to behind its end. Checked. */
int jtok_skip(struct jtok_reader *r, struct error *e) WARN_UNUSED;

/* Appends the unescaped bytes of a string or key token. */
void jtok_unescape(const struct jtok *t, struct str *out);
bool jtok_eq(const struct jtok *t, const char *z); /* compares unescaped */
int jtok_int64(const struct jtok *t, int64_t *ret, struct error *e) WARN_UNUSED;
int jtok_double(const struct jtok *t, double *ret, struct error *e) WARN_UNUSED;

/* --- fast access to canonical bytes (already checked; undefined on anything else) -----
 */
/* p at the first byte of a value; returns behind it. */
const char *jscan_skip(const char *p);
/* Raw value of a member of the object in `object`; false when absent. Keys without
 * escapes. */
bool jscan_member(struct span object, const char *key, struct span *ret);
/* "spec.desiredState"; dots separate, no arrays. */
bool jscan_path(struct span object, const char *path, struct span *ret);
/* Next member: *cursor starts NULL. False at the end. Key raw, value raw. */
bool jscan_next_member(struct span object, const char **cursor, struct span *ret_key,
                       struct span *ret_value);
bool jscan_next_item(struct span array, const char **cursor, struct span *ret_value);
/* Raw JSON string (with quotes) -> unescaped bytes appended; false when not a string. */
bool jscan_string(struct span raw, struct str *out);
/* True when raw is the JSON string z (z needs no escapes). */
bool jscan_is(struct span raw, const char *z);
bool jscan_int64(struct span raw, int64_t *ret);
bool jscan_bool(struct span raw); /* true only for literal true */

/* The jansson tree, as json_loadb with JSON_DECODE_ANY and JSON_ALLOW_NUL makes it; NULL
 * when a number is beyond what that holds, or a key has a NUL. The bytes end with a NUL
 * or another delimiter.
 */
json_t *jtree(struct span canonical);
/* Appends it, members in the tree's order. */
void jtree_write(const json_t *v, struct str *out);

/* --- writing ---------------------------------------------------------------------------
 */
/* Appends a quoted, escaped JSON string (minimal escapes, UTF-8 kept; bytes that are not
 * UTF-8 become U+FFFD). */
void jput_string(struct str *out, const char *bytes, size_t n);
void jput_stringz(struct str *out, const char *z);
/* Appends `"key":`; adds a comma first unless the last byte is '{' or '['. */
void jput_key(struct str *out, const char *key);
/* Adds a comma unless the last byte is '{' or '['; before an array item. */
void jput_item(struct str *out);
/* `"key":"value"` with comma handling. */
void jput_member(struct str *out, const char *key, const char *value);
void jput_member_int(struct str *out, const char *key, int64_t value);

/* Rewrites any JSON as canonical bytes: no white space, members sorted bytewise, minimal
 * escapes, integers plain, other numbers by shortest round-trip. Duplicate keys: the last
 * wins. Two values are equal iff their canonical bytes are. "Bytewise" is by the bytes of
 * the key as written (escapes included). A number beyond int64 or with a fraction is a
 * double; one that is whole is written plain (1e3 -> 1000); one beyond double is an
 * error. */
int jcanon(const char *bytes, size_t n, struct str *out, struct error *e) WARN_UNUSED;
/* RFC 7386 merge of a canonical patch into canonical target bytes, in one pass over both.
 */
int jmerge(struct span target, struct span patch, struct str *out,
           struct error *e) WARN_UNUSED;

#endif
