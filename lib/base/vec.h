/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Typed growable array. Plain data: { items, len, cap }. Grows by half; aborts on memory
 * exhaustion, so whoever fills one from outside bytes bounds `len` first.
 *
 *     vec(struct pod *) pods = {0};
 *     vec_push(&pods, p);
 *     vec_done(&pods);
 */
#ifndef BASE_VEC_H
#define BASE_VEC_H

#include <string.h>

#include "base/mem.h"

#define vec(type)                                                                        \
    struct {                                                                             \
        type *items;                                                                     \
        size_t len, cap;                                                                 \
    }

#define vec_reserve(v, n)                                                                \
    do {                                                                                 \
        if ((v)->cap < (n)) {                                                            \
            size_t vec_cap_ = (v)->cap < 8 ? 8 : (v)->cap;                               \
            while (vec_cap_ < (n))                                                       \
                vec_cap_ += vec_cap_ / 2;                                                \
            (v)->items = xreallocarray((v)->items, vec_cap_, sizeof((v)->items[0]));     \
            (v)->cap = vec_cap_;                                                         \
        }                                                                                \
    } while (0)

#define vec_push(v, item)                                                                \
    do {                                                                                 \
        vec_reserve((v), (v)->len + 1);                                                  \
        (v)->items[(v)->len++] = (item);                                                 \
    } while (0)

/* Opens a gap at index i and stores item there. */
#define vec_insert(v, i, item)                                                           \
    do {                                                                                 \
        size_t vec_i_ = (i);                                                             \
        vec_reserve((v), (v)->len + 1);                                                  \
        memmove(&(v)->items[vec_i_ + 1], &(v)->items[vec_i_],                            \
                ((v)->len - vec_i_) * sizeof((v)->items[0]));                            \
        (v)->items[vec_i_] = (item);                                                     \
        (v)->len++;                                                                      \
    } while (0)

/* Removes index i, keeping order. */
#define vec_remove(v, i)                                                                 \
    do {                                                                                 \
        size_t vec_i_ = (i);                                                             \
        (v)->len--;                                                                      \
        memmove(&(v)->items[vec_i_], &(v)->items[vec_i_ + 1],                            \
                ((v)->len - vec_i_) * sizeof((v)->items[0]));                            \
    } while (0)

#define vec_done(v)                                                                      \
    do {                                                                                 \
        free((v)->items);                                                                \
        (v)->items = NULL;                                                               \
        (v)->len = (v)->cap = 0;                                                         \
    } while (0)

/* for (each p pointing into v): vec_foreach (p, &v) { ... } */
/* NOLINTBEGIN(bugprone-macro-parentheses): p is a new name, not an expression. */
#define vec_foreach(p, v)                                                                \
    for (__typeof__((v)->items + 0) p = (v)->items;                                      \
         (v)->len > 0 && p != (v)->items + (v)->len; p++)
/* NOLINTEND(bugprone-macro-parentheses) */

#endif
