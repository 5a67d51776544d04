/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Growable byte string with a mandatory bound and a sticky error: append freely, check
 * once at the end. `ptr` is never NULL and always NUL-terminated; `len` excludes the NUL
 * and the bytes may contain NULs. Past `max` nothing more is appended and `toobig` stays
 * set. Not thread-safe.
 *
 *     auto_str s = STR_INIT(64 * 1024);
 *     str_addf(&s, "run %s", name);
 *     if (s.toobig) return error_set(e, ERR_TOO_LARGE, ...);
 *     char *owned = str_detach(&s);
 */
#ifndef BASE_STR_H
#define BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "base/cleanup.h"

struct str {
    char *ptr;
    size_t len;
    size_t cap; /* allocated bytes, 0 while ptr is the shared empty string */
    size_t max; /* greatest permitted len */
    bool toobig;
};

extern char str_empty[1];
#define STR_INIT(maxlen) ((struct str){.ptr = str_empty, .max = (maxlen)})

void str_init(struct str *s, size_t max);
void str_done(struct str *s);  /* releases; leaves an empty string with the same max */
void str_reset(struct str *s); /* empties, keeps the memory, clears toobig */
/* Makes room for n more bytes; false (and toobig) when over the bound. */
bool str_reserve(struct str *s, size_t n);
void str_add(struct str *s, const void *bytes, size_t n);
void str_adds(struct str *s, const char *z);
void str_addc(struct str *s, char c);
void str_addf(struct str *s, const char *fmt, ...) PRINTF_LIKE(2, 3);
void str_truncate(struct str *s, size_t len);
/* Hands the buffer (malloc'd, NUL-terminated) to the caller; s is empty afterwards. */
char *str_detach(struct str *s);

static inline void
str_done_ptr(struct str *s)
{
    str_done(s);
}
#define auto_str CLEANUP(str_done_ptr) struct str

/* A borrowed span of bytes, not NUL-terminated. */
struct span {
    const char *ptr;
    size_t len;
};
#define SPAN_FMT "%.*s"
#define SPAN_ARG(s) (int)(s).len, (s).ptr
static inline struct span
span_of(const char *z)
{
    return (struct span){z, z == NULL ? 0 : strlen(z)};
}
static inline bool
span_eq(struct span a, const char *z)
{
    return a.len == strlen(z) && (a.len == 0 || memcmp(a.ptr, z, a.len) == 0);
}

static inline bool
streq(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}
static inline bool
str_starts(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}
bool str_ends(const char *s, const char *suffix);

#endif
