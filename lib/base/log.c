/* SPDX-License-Identifier: Apache-2.0 */
/* Logging: one line, one write. */
#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

enum { LINE_MAX_BYTES = 2048, SPEC_MAX = 32 };

static const char *const level_names[] = {"error", "warn", "info", "debug"};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct log_module *modules;
static atomic_int default_level = LOG_LV_INFO;
static atomic_bool json_lines;
static atomic_int out_fd = 2;
static const char *program = "drover";
static __thread const char *context;
static _Atomic(log_tap_fn *) tap;
static _Atomic(void *) tap_arg;

/* Levels asked for before the module logged its first line. */
static struct {
    char name[32];
    int level;
} wanted[SPEC_MAX];
static size_t n_wanted;

static void
register_module(struct log_module *m)
{
    pthread_mutex_lock(&lock);
    if (!m->registered) {
        m->next = modules;
        modules = m;
        for (size_t i = 0; i < n_wanted; i++) {
            if (strcmp(wanted[i].name, m->name) == 0)
                m->level = wanted[i].level;
        }
        __atomic_store_n(&m->registered, true, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&lock);
}

/* Copies text escaped for a quoted value: control bytes, quotes, backslashes. */
static size_t
put_quoted(char *out, size_t size, const char *text)
{
    size_t n = 0;

    for (; *text != '\0' && n + 3 < size; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\') {
            out[n++] = '\\';
            out[n++] = (char)c;
        } else if (c == '\n') {
            out[n++] = '\\';
            out[n++] = 'n';
        } else {
            out[n++] = c < 0x20 ? '?' : (char)c;
        }
    }
    out[n] = '\0';
    return n;
}

/* `k=v k="v w"` as members, each with a comma before it. A quoted value ends at a quote
 * that a space or the end follows. What is no k=v is left out. */
static void
put_members(char *out, size_t size, const char *fields)
{
    size_t n = 0;

    out[0] = '\0';
    while (*fields != '\0') {
        char key[64], value[1024], quoted[1024];
        size_t klen = strcspn(fields, "= ");
        const char *v = fields + klen + 1;
        if (fields[klen] != '=' || klen == 0 || klen >= sizeof(key)) {
            fields += klen + (fields[klen] != '\0');
            continue;
        }
        memcpy(key, fields, klen);
        key[klen] = '\0';
        const char *end = v + strcspn(v, " ");
        if (*v == '"') {
            for (end = ++v; *end != '\0' && !(*end == '"' && (end[1] == ' ' || !end[1]));)
                end++;
        }
        snprintf(value, sizeof(value), "%.*s", (int)(end - v), v);
        put_quoted(quoted, sizeof(quoted), value);
        if (n + strlen(key) + strlen(quoted) + 8 > size)
            return;
        n += (size_t)snprintf(out + n, size - n, ",\"%s\":\"%s\"", key, quoted);
        fields = end + (*end == '"');
        fields += *fields == ' ';
    }
}

static void
emit(const struct log_module *m, enum log_level lv, const char *msg, const char *fields)
{
    char line[LINE_MAX_BYTES];
    char quoted[1024];
    char ts[CLOCK_RFC3339_US_LEN];
    int n;

    clock_format_us(clock_wall_ns(), ts);
    put_quoted(quoted, sizeof(quoted), msg);
    const char *ctx = context == NULL ? "" : context;
    if (atomic_load(&json_lines)) {
        char extra[2048];
        char both[1400];
        snprintf(both, sizeof(both), "%s%s%s", fields, *ctx ? " " : "", ctx);
        put_members(extra, sizeof(extra), both);
        n = snprintf(
            line, sizeof(line),
            "{\"ts\":\"%s\",\"level\":\"%s\",\"program\":\"%s\",\"module\":\"%s\","
            "\"msg\":\"%s\"%s}\n",
            ts, level_names[lv], program, m->name, quoted, extra);
    } else {
        n = snprintf(line, sizeof(line), "%s %-5s %s/%s \"%s\"%s%s%s%s\n", ts,
                     level_names[lv], program, m->name, quoted, *fields ? " " : "",
                     fields, *ctx ? " " : "", ctx);
    }
    if (n < 0)
        return;
    if ((size_t)n >= sizeof(line)) {
        n = (int)sizeof(line);
        line[n - 1] = '\n';
    }
    ssize_t rc = write(atomic_load(&out_fd), line, (size_t)n);
    UNUSED(rc);
}

void
log_set_tap(log_tap_fn *fn, void *arg)
{
    if (fn != NULL)
        atomic_store(&tap_arg, arg);
    atomic_store(&tap, fn);
}

void
log_write(struct log_module *m, enum log_level lv, const char *msg, const char *fmt, ...)
{
    int saved = errno;
    char fields[1024];
    va_list ap;

    if (!__atomic_load_n(&m->registered, __ATOMIC_ACQUIRE))
        register_module(m);
    int limit = __atomic_load_n(&m->level, __ATOMIC_RELAXED);
    if (limit < 0)
        limit = atomic_load(&default_level);
    log_tap_fn *fn = atomic_load(&tap);
    if ((int)lv > limit && fn == NULL)
        return;
    va_start(ap, fmt);
    vsnprintf(fields, sizeof(fields), fmt, ap);
    va_end(ap);
    for (char *p = fields; *p != '\0'; p++) {
        /* Nothing from outside may break the line or steer a terminal. */
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = ' ';
    }
    if ((int)lv <= limit)
        emit(m, lv, msg, fields);
    if (fn != NULL)
        fn(atomic_load(&tap_arg), lv, m->name, msg, fields);
    errno = saved;
}

bool
log_allowed(struct log_limit *limit)
{
    int64_t now = clock_now_ms();

    if (now < __atomic_load_n(&limit->next_ms, __ATOMIC_RELAXED)) {
        __atomic_fetch_add(&limit->dropped, 1, __ATOMIC_RELAXED);
        return false;
    }
    __atomic_store_n(&limit->next_ms, now + 1000, __ATOMIC_RELAXED);
    return true;
}

uint32_t
log_dropped(struct log_limit *limit)
{
    return __atomic_exchange_n(&limit->dropped, 0, __ATOMIC_RELAXED);
}

void
log_set_program(const char *name)
{
    const char *format = getenv(LOG_FORMAT_ENV);

    program = name;
    if (format != NULL)
        log_set_json(strcmp(format, "json") == 0);
}

void
log_set_level(enum log_level lv)
{
    atomic_store(&default_level, (int)lv);
}

void
log_set_json(bool on)
{
    atomic_store(&json_lines, on);
}

void
log_set_fd(int fd)
{
    atomic_store(&out_fd, fd);
}

void
log_context(const char *fields)
{
    context = fields;
}

static int
level_from(const char *name, size_t len)
{
    for (int i = 0; i <= LOG_LV_DEBUG; i++) {
        if (strlen(level_names[i]) == len && memcmp(level_names[i], name, len) == 0)
            return i;
    }
    return -1;
}

static bool
set_one(const char *word, size_t len)
{
    const char *eq = memchr(word, '=', len);

    if (eq == NULL) {
        int lv = level_from(word, len);
        if (lv < 0)
            return false;
        log_set_level((enum log_level)lv);
        return true;
    }
    size_t name_len = (size_t)(eq - word);
    int lv = level_from(eq + 1, len - name_len - 1);
    if (lv < 0 || name_len == 0 || name_len >= sizeof(wanted[0].name) ||
        n_wanted == SPEC_MAX)
        return false;
    pthread_mutex_lock(&lock);
    memcpy(wanted[n_wanted].name, word, name_len);
    wanted[n_wanted].name[name_len] = '\0';
    wanted[n_wanted].level = lv;
    for (struct log_module *m = modules; m != NULL; m = m->next) {
        if (strcmp(m->name, wanted[n_wanted].name) == 0)
            __atomic_store_n(&m->level, lv, __ATOMIC_RELAXED);
    }
    n_wanted++;
    pthread_mutex_unlock(&lock);
    return true;
}

bool
log_set_spec(const char *spec)
{
    while (*spec != '\0') {
        size_t len = strcspn(spec, ",");
        if (!set_one(spec, len))
            return false;
        spec += len;
        if (*spec == ',')
            spec++;
    }
    return true;
}
