/* SPDX-License-Identifier: Apache-2.0 */
/* Aborting allocators. */
#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

static void *
check(void *p)
{
    if (p == NULL) {
        fputs("out of memory\n", stderr);
        abort();
    }
    return p;
}

void *
xmalloc(size_t n)
{
    return check(malloc(n ? n : 1));
}

void *
xcalloc(size_t n, size_t size)
{
    return check(calloc(n ? n : 1, size ? size : 1));
}

void *
xrealloc(void *p, size_t n)
{
    return check(realloc(p, n ? n : 1));
}

void *
xreallocarray(void *p, size_t n, size_t size)
{
    return check(reallocarray(p, n ? n : 1, size ? size : 1));
}

char *
xstrdup(const char *s)
{
    return check(strdup(s));
}

char *
xstrndup(const char *s, size_t n)
{
    return check(strndup(s, n));
}

void *
xmemdup(const void *p, size_t n)
{
    void *copy = xmalloc(n);

    if (n > 0)
        memcpy(copy, p, n);
    return copy;
}

char *
xasprintf(const char *fmt, ...)
{
    char *out = NULL;
    va_list ap;

    va_start(ap, fmt);
    int rc = vasprintf(&out, fmt, ap);
    va_end(ap);
    return check(rc < 0 ? NULL : out);
}
