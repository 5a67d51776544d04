/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of lib/api share about JSON bytes: fast appends, UTF-8, canonical
 * numbers and strings, and the sorting of an object's members inside an output buffer.
 * Private to lib/api and its tests.
 */
#ifndef API_JTOK_INTERNAL_H
#define API_JTOK_INTERNAL_H

#include <stdint.h>

#include "api/jtok.h"
#include "base/vec.h"

static inline void
put(struct str *out, const char *p, size_t n)
{
    if (out->cap > n && out->len < out->cap - n && out->len + n <= out->max &&
        !out->toobig) {
        if (p != NULL)
            memcpy(out->ptr + out->len, p, n);
        out->len += n;
        out->ptr[out->len] = '\0';
    } else {
        str_add(out, p, n);
    }
}

static inline void
put_char(struct str *out, char c)
{
    put(out, &c, 1);
}

static inline int
span_cmp(struct span a, struct span b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int c = 0;

    if (n > 0 && a.ptr != NULL && b.ptr != NULL)
        c = memcmp(a.ptr, b.ptr, n);
    if (c != 0)
        return c;
    return (a.len > b.len) - (a.len < b.len);
}

static inline bool
span_same(struct span a, struct span b)
{
    if (a.len != b.len)
        return false;
    return a.len == 0 || a.ptr == NULL || b.ptr == NULL ||
           memcmp(a.ptr, b.ptr, a.len) == 0;
}

/* Length of the well-formed UTF-8 sequence at p, 0 when there is none. */
size_t jtok_utf8(const char *p, const char *end);
/* Appends a code point. */
void jput_rune(struct str *out, uint32_t v);
/* Appends the escape of a control character, quote or backslash. */
void jput_escape(struct str *out, unsigned char c);
/* Appends the raw text of a string token with minimal escapes, without quotes. False when
 * it holds a NUL character (it is appended all the same). */
bool canon_text(struct str *out, const struct jtok *t);
/* Appends a number: int64 plain, everything else as the shortest double that reads back.
 */
int canon_number(struct str *out, const struct jtok *t, struct error *e) WARN_UNUSED;
/* Appends v; false when it is not finite. */
bool canon_double(struct str *out, double v);
void jput_int(struct str *out, int64_t v);
/* Characters of a raw (still escaped) string. */
size_t jscan_runes(const char *p, size_t n);

enum { SCAN_SHORT = 32 };

/* Scanning of canonical bytes, unchecked. p behind the opening quote; returns behind the
 * closing one. */
static inline const char *
scan_string(const char *p)
{
    for (;;) {
        /* Short ones by hand; for the rest the C library has wide registers. */
        for (int n = 0; *p != '"' && *p != '\\'; n++)
            p += n < SCAN_SHORT ? 1 : strcspn(p, "\"\\");
        if (*p == '"')
            return p + 1;
        p += 2;
    }
}

/* p at the first byte of a value; returns behind it. */
static inline const char *
scan_value(const char *p)
{
    unsigned depth = 0;

    if (*p == '"')
        return scan_string(p + 1);
    if (*p != '{' && *p != '[') {
        while (*p != ',' && *p != '}' && *p != ']' && *p != '\0')
            p++;
        return p;
    }
    for (;;) {
        char c = *p++;
        if (c == '"') {
            p = scan_string(p);
        } else if ((c | 0x20) == '{') { /* '[' or '{' */
            depth++;
        } else if ((c | 0x20) == '}') {
            if (--depth == 0)
                return p;
        }
    }
}

/* A member `"key":value` in the output. Offsets, because the output moves as it grows. */
struct canon_member {
    size_t off, len;
    size_t key_len; /* raw key; it starts at off + 1 */
    size_t seq;     /* order of arrival */
};

/* Scratch of one thread: the members of all open objects, and bytes on their way. */
struct canon {
    vec(struct canon_member) members;
    struct str tmp;  /* an object being put in order */
    struct str text; /* an unescaped string */
    void *match;     /* pcre2_match_data */
    void (*free_match)(void *);
    bool busy;
};

/* The calling thread's scratch; freed with the thread. Give it back when done. */
struct canon *canon_take(void);
void canon_give(struct canon *c);
static inline void
canon_give_ptr(struct canon **c)
{
    if (*c != NULL)
        canon_give(*c);
}
#define auto_canon CLEANUP(canon_give_ptr) struct canon

static inline struct span
canon_key(const struct str *out, const struct canon_member *m)
{
    return (struct span){out->ptr + m->off + 1, m->key_len};
}
/* Sorts members[first..] by key, equal ones by arrival. */
void canon_sort(struct canon *c, const struct str *out, size_t first);
/* Members[first..] sorted: keeps the last of equal keys; each dropped one is reported. */
typedef void canon_dup_fn(void *arg, struct span key);
void canon_dedupe(struct canon *c, const struct str *out, size_t first, canon_dup_fn *fn,
                  void *arg);
/* Rewrites out from `start` (the offset of '{') as the members[first..] in their order.
 */
void canon_assemble(struct canon *c, struct str *out, size_t start, size_t first);

#endif
