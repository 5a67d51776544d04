/* SPDX-License-Identifier: Apache-2.0 */
/* The time of the last renewal on disk, and the timer that watches it. */
#include "runner/supervisor/renewed.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"

enum { BOOT_ID_LEN = 36, LINE_MAX_BYTES = 128, READ_ATTEMPTS = 4, DAY_MS = 86400000 };

int
renewed_write(const char *path, const char *boot_id, const struct renewed *r,
              struct error *e)
{
    autoclose int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    char text[LINE_MAX_BYTES];
    int n =
        snprintf(text, sizeof(text), "%-*.*s %020" PRId64 " %020" PRId64 "\n",
                 BOOT_ID_LEN, BOOT_ID_LEN, boot_id, r->sent_boot_ms, r->lost_after_ms);

    if (fd < 0)
        return error_errno(e, errno, "open %s", path);
    if (pwrite(fd, text, (size_t)n, 0) != n)
        return error_errno(e, errno, "write %s", path);
    return 0;
}

/* A number of digits only, up to end; -1: it is not. */
static int64_t
digits(const char *p, const char *end)
{
    int64_t v = 0;

    if (p == end)
        return -1;
    for (; p < end; p++) {
        if (*p < '0' || *p > '9' || __builtin_mul_overflow(v, 10, &v) ||
            __builtin_add_overflow(v, *p - '0', &v))
            return -1;
    }
    return v;
}

int
renewed_parse(const char *text, size_t n, const char *boot_id, struct renewed *ret,
              struct error *e)
{
    const char *end = n > 0 ? memchr(text, '\n', n) : NULL;

    if (end == NULL || end - text <= BOOT_ID_LEN || text[BOOT_ID_LEN] != ' ')
        return error_set(e, ERR_CORRUPT, "not a time of renewal");
    const char *first = text + BOOT_ID_LEN + 1;
    const char *blank = memchr(first, ' ', (size_t)(end - first));
    if (blank == NULL)
        return error_set(e, ERR_CORRUPT, "not a time of renewal");
    struct renewed r = {.sent_boot_ms = digits(first, blank),
                        .lost_after_ms = digits(blank + 1, end)};
    if (r.sent_boot_ms < 0 || r.lost_after_ms <= 0 ||
        r.sent_boot_ms > INT64_MAX - r.lost_after_ms)
        return error_set(e, ERR_CORRUPT, "not a time of renewal");
    if (strlen(boot_id) != BOOT_ID_LEN || memcmp(text, boot_id, BOOT_ID_LEN) != 0)
        return error_set(e, ERR_NOT_FOUND, "no renewal since the machine started");
    *ret = r;
    return 0;
}

int
renewed_read(const char *path, const char *boot_id, struct renewed *ret, struct error *e)
{
    auto_str text = STR_INIT(LINE_MAX_BYTES);
    auto_str again = STR_INIT(LINE_MAX_BYTES);
    int rc = fs_read(path, &text, e);

    /* It is overwritten in place: what reads the same twice was not torn. */
    for (int i = 0; rc == 0 && i < READ_ATTEMPTS; i++) {
        str_reset(&again);
        rc = fs_read(path, &again, e);
        if (rc == 0 && again.len == text.len &&
            memcmp(again.ptr, text.ptr, text.len) == 0)
            return renewed_parse(text.ptr, text.len, boot_id, ret, e);
        str_reset(&text);
        str_add(&text, again.ptr, again.len);
    }
    return rc != 0 ? rc : error_set(e, ERR_BUSY, "%s changes all the time", path);
}

static int
set_timer(const struct deadman *d, int64_t at_ms)
{
    struct itimerspec ts = {
        .it_value = {.tv_sec = at_ms / 1000, .tv_nsec = at_ms % 1000 * 1000000 + 1}};

    return timerfd_settime(d->fd, TFD_TIMER_ABSTIME, &ts, NULL);
}

int
deadman_open(struct deadman *d, const char *path, const char *boot_id, struct error *e)
{
    *d = (struct deadman){
        .path = path,
        .boot_id = boot_id,
        .last = {.sent_boot_ms = clock_boot_ms(), .lost_after_ms = RENEWED_LOST_AFTER_MS},
        .fd = -1};
    if (path == NULL)
        return 0;
    d->fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    /* Due at once: the first look is the loop's. */
    if (d->fd < 0 || set_timer(d, 0) < 0)
        return error_errno(e, errno, "set the dead-man switch");
    return 0;
}

bool
deadman_over(struct deadman *d)
{
    struct error ignored = ERROR_INIT;
    int64_t now = clock_boot_ms();
    struct renewed r = d->last;
    uint64_t ticks;

    if (d->fd < 0)
        return false;
    if (read(d->fd, &ticks, sizeof(ticks)) < 0)
        errno = 0; /* asked between two alarms */
    if (renewed_read(d->path, d->boot_id, &r, &ignored) == 0)
        d->last = r;
    if (d->last.sent_boot_ms > now) /* no renewal comes from the future */
        d->last.sent_boot_ms = now;
    int64_t at = d->last.sent_boot_ms + d->last.lost_after_ms;
    if (at <= now)
        return true;
    /* A shortened L is noticed within a day at the latest. */
    return set_timer(d, at - now > DAY_MS ? now + DAY_MS : at) < 0;
}

void
deadman_close(struct deadman *d)
{
    if (d->fd >= 0)
        close(d->fd);
    d->fd = -1;
}
