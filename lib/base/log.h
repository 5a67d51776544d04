/* SPDX-License-Identifier: Apache-2.0 */
/*
 * logfmt (or JSON lines) to stderr: ts level module msg k=v. One LOG_MODULE(name) per
 * file. Levels are settable per module at run time. errno is preserved. Thread-safe; a
 * line is one write(2). Library code logs at debug only; the program logs once, at the
 * top. Never pass a secret to a log function.
 *
 *     LOG_MODULE(store);
 *     log_info("opened", "dir=%s revision=%llu", dir, rev);
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"

enum log_level { LOG_LV_ERR, LOG_LV_WARN, LOG_LV_INFO, LOG_LV_DEBUG };

struct log_module {
    const char *name;
    int level; /* -1: follow the default */
    bool registered;
    struct log_module *next;
};

/* At most `burst` lines, refilled one per interval; the count of dropped ones is logged.
 */
struct log_limit {
    int64_t next_ms;
    uint32_t dropped;
};

#define LOG_MODULE(id)                                                                   \
    static struct log_module log_this_module = {.name = #id, .level = -1}

#define log_err(msg, ...) log_write(&log_this_module, LOG_LV_ERR, msg, "" __VA_ARGS__)
#define log_warn(msg, ...) log_write(&log_this_module, LOG_LV_WARN, msg, "" __VA_ARGS__)
#define log_info(msg, ...) log_write(&log_this_module, LOG_LV_INFO, msg, "" __VA_ARGS__)
#define log_debug(msg, ...) log_write(&log_this_module, LOG_LV_DEBUG, msg, "" __VA_ARGS__)
/* At most one line per second and call site. */
#define log_warn_rl(msg, ...)                                                            \
    do {                                                                                 \
        static struct log_limit log_limit_;                                              \
        if (log_allowed(&log_limit_)) {                                                  \
            uint32_t log_n_ = log_dropped(&log_limit_);                                  \
            log_warn(msg, __VA_ARGS__);                                                  \
            if (log_n_ > 0)                                                              \
                log_warn("more of the same were not logged", "msg=\"%s\" count=%u", msg, \
                         log_n_);                                                        \
        }                                                                                \
    } while (0)

void log_write(struct log_module *m, enum log_level lv, const char *msg, const char *fmt,
               ...) PRINTF_LIKE(4, 5);
bool log_allowed(struct log_limit *limit);
/* How many were not allowed since the last call. */
uint32_t log_dropped(struct log_limit *limit);
/* First field of every line; borrowed. Takes the format from the environment too. */
#define LOG_FORMAT_ENV "DROVER_LOG_FORMAT" /* "json" or "text" */
void log_set_program(const char *name);
void log_set_level(enum log_level lv); /* default level */
void log_set_json(bool on);
void log_set_fd(int fd);
/* "debug", or "store=debug,http=warn"; false when a word is unknown. */
bool log_set_spec(const char *spec);
/* Sees every line that is formatted, of any thread, and all of them down to debug
 * whatever the levels; what it logs itself comes to it too. NULL removes it. */
typedef void log_tap_fn(void *arg, enum log_level lv, const char *module, const char *msg,
                        const char *fields);
void log_set_tap(log_tap_fn *fn, void *arg);
/* Per-thread context put on each line as " k=v"; NULL removes it. Borrowed. */
void log_context(const char *fields);

#endif
