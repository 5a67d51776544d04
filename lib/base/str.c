/* SPDX-License-Identifier: Apache-2.0 */
/* Bounded growable strings. */
#include "base/str.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"

char str_empty[1] = "";

void
str_init(struct str *s, size_t max)
{
    *s = STR_INIT(max);
}

void
str_done(struct str *s)
{
    if (s->cap > 0)
        free(s->ptr);
    *s = STR_INIT(s->max);
}

void
str_reset(struct str *s)
{
    s->len = 0;
    s->toobig = false;
    if (s->cap > 0)
        s->ptr[0] = '\0';
}

bool
str_reserve(struct str *s, size_t n)
{
    if (s->toobig)
        return false;
    if (n > s->max || s->len > s->max - n) {
        s->toobig = true;
        return false;
    }
    size_t need = s->len + n + 1;
    if (need <= s->cap)
        return true;
    size_t cap = s->cap < 64 ? 64 : s->cap;
    while (cap < need)
        cap += cap / 2;
    char *p = xrealloc(s->cap > 0 ? s->ptr : NULL, cap);
    if (s->cap == 0)
        p[0] = '\0';
    s->ptr = p;
    s->cap = cap;
    return true;
}

void
str_add(struct str *s, const void *bytes, size_t n)
{
    if (n == 0 || !str_reserve(s, n))
        return;
    memcpy(s->ptr + s->len, bytes, n);
    s->len += n;
    s->ptr[s->len] = '\0';
}

void
str_adds(struct str *s, const char *z)
{
    str_add(s, z, strlen(z));
}

void
str_addc(struct str *s, char c)
{
    str_add(s, &c, 1);
}

void
str_addf(struct str *s, const char *fmt, ...)
{
    char small[256];
    va_list ap;

    va_start(ap, fmt);
    int n = vsnprintf(small, sizeof(small), fmt, ap);
    va_end(ap);
    if (n < 0)
        return;
    if ((size_t)n < sizeof(small)) {
        str_add(s, small, (size_t)n);
        return;
    }
    if (!str_reserve(s, (size_t)n))
        return;
    va_start(ap, fmt);
    vsnprintf(s->ptr + s->len, (size_t)n + 1, fmt, ap);
    va_end(ap);
    s->len += (size_t)n;
}

void
str_truncate(struct str *s, size_t len)
{
    if (len >= s->len)
        return;
    s->len = len;
    s->ptr[len] = '\0';
}

char *
str_detach(struct str *s)
{
    char *p = s->cap > 0 ? s->ptr : xstrdup("");

    *s = STR_INIT(s->max);
    return p;
}

bool
str_ends(const char *s, const char *suffix)
{
    size_t n = strlen(s);
    size_t m = strlen(suffix);

    return n >= m && memcmp(s + n - m, suffix, m) == 0;
}
