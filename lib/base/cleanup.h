/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scope-bound ownership. A variable declared with one of the auto* macros is released
 * when it goes out of scope; it is always initialised at its declaration. Ownership is
 * handed on with move_ptr()/move_fd(), which disarm the variable. Each module adds its
 * own auto_<type> next to its type:
 *
 *     static inline void str_done_ptr(struct str *s) { str_done(s); }
 *     #define auto_str CLEANUP(str_done_ptr) struct str
 */
#ifndef BASE_CLEANUP_H
#define BASE_CLEANUP_H

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CLEANUP(fn) __attribute__((cleanup(fn)))
#define WARN_UNUSED __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define UNUSED(x) ((void)(x))
#define CONTAINER_OF(ptr, type, member)                                                  \
    ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

static inline void
cleanup_free_ptr(void *p)
{
    free(*(void **)p);
}

static inline void
cleanup_close_ptr(const int *fd)
{
    if (*fd >= 0) {
        int saved = errno;
        close(*fd);
        errno = saved;
    }
}

static inline void
cleanup_file_ptr(FILE **f)
{
    if (*f != NULL)
        fclose(*f);
}

/* autofree char *p = NULL;  autoclose int fd = -1;  autofile FILE *f = NULL; */
#define autofree CLEANUP(cleanup_free_ptr)
#define autoclose CLEANUP(cleanup_close_ptr)
#define autofile CLEANUP(cleanup_file_ptr)

/* Evaluates to the pointer and leaves NULL behind. */
#define move_ptr(p)                                                                      \
    __extension__({                                                                      \
        __typeof__(p) *move_ptr_src_ = &(p);                                             \
        __typeof__(p) move_ptr_val_ = *move_ptr_src_;                                    \
        *move_ptr_src_ = NULL;                                                           \
        move_ptr_val_;                                                                   \
    })

/* Evaluates to the descriptor and leaves -1 behind. */
#define move_fd(fd)                                                                      \
    __extension__({                                                                      \
        int *move_fd_src_ = &(fd);                                                       \
        int move_fd_val_ = *move_fd_src_;                                                \
        *move_fd_src_ = -1;                                                              \
        move_fd_val_;                                                                    \
    })

#endif
