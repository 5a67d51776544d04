/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Allocation that aborts on exhaustion (ADR 0004). Safe because every buffer that grows
 * from outside bytes has a bound, and because a restart is cheap.
 */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stddef.h>

#include "base/cleanup.h"

void *xmalloc(size_t n) __attribute__((malloc, returns_nonnull));
void *xcalloc(size_t n, size_t size) __attribute__((malloc, returns_nonnull));
void *xrealloc(void *p, size_t n) __attribute__((returns_nonnull));
/* Aborts when n * size overflows. */
void *xreallocarray(void *p, size_t n, size_t size) __attribute__((returns_nonnull));
char *xstrdup(const char *s) __attribute__((malloc, returns_nonnull));
char *xstrndup(const char *s, size_t n) __attribute__((malloc, returns_nonnull));
void *xmemdup(const void *p, size_t n) __attribute__((malloc, returns_nonnull));
char *xasprintf(const char *fmt, ...) PRINTF_LIKE(1, 2)
    __attribute__((malloc, returns_nonnull));

#define xnew(type) ((type *)xcalloc(1, sizeof(type)))

#endif
