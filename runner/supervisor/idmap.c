/* SPDX-License-Identifier: Apache-2.0 */
/* Allocation of id ranges by exclusive symbolic links. */
#include "runner/supervisor/idmap.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"

#define IDMAP_DIR "/run/drover/ids"

enum {
    /* Above everything that distributions, systemd, containers and subuid hand out. */
    IDMAP_BASE = 0x70000000,
    IDMAP_SLOTS = 4000,
    LINK_MAX_BYTES = 4096,
};

/* Where the search starts, so that a range is not reused at once by the next job. */
static unsigned
slot_hint(const char *job_dir)
{
    uint32_t h = 2166136261u;

    for (const char *p = job_dir; *p != '\0'; p++)
        h = (h ^ (unsigned char)*p) * 16777619u;
    return h % IDMAP_SLOTS;
}

struct slots {
    bool used[IDMAP_SLOTS];
    int own;  /* -1: none */
    int dead; /* some slot whose job directory is gone; -1: none */
};

/* Opens and locks the registry: every change of it happens under this lock. */
static int
registry_lock(int *ret_fd, struct error *e)
{
    int rc = fs_mkdirs(IDMAP_DIR, 0755, e);

    if (rc != 0)
        return error_prepend(e, "reserve user ids");
    autoclose int fd = open(IDMAP_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || flock(fd, LOCK_EX) < 0)
        return error_errno(e, errno, "reserve user ids: %s", IDMAP_DIR);
    *ret_fd = move_fd(fd);
    return 0;
}

static void
scan(int dir_fd, const char *job_dir, struct slots *ret)
{
    const struct dirent *de;
    char target[LINK_MAX_BYTES];
    struct stat st;

    memset(ret, 0, sizeof(*ret));
    ret->own = ret->dead = -1;
    DIR *d = opendir(IDMAP_DIR);
    while (d != NULL && (de = readdir(d)) != NULL) { /* NOLINT(concurrency-mt-unsafe) */
        char *end;
        long slot = strtol(de->d_name, &end, 10);
        if (end == de->d_name || *end != '\0' || slot < 0 || slot >= IDMAP_SLOTS)
            continue;
        ret->used[slot] = true;
        ssize_t n = readlinkat(dir_fd, de->d_name, target, sizeof(target) - 1);
        if (n < 0)
            continue;
        target[n] = '\0';
        if (streq(target, job_dir))
            ret->own = (int)slot;
        else if (stat(target, &st) < 0 && errno == ENOENT)
            ret->dead = (int)slot;
    }
    if (d != NULL)
        closedir(d);
}

static void
mark_range(unsigned long long from, unsigned long long count, struct slots *s)
{
    for (unsigned long long i = 0; i < IDMAP_SLOTS; i++) {
        unsigned long long base = IDMAP_BASE + i * IDMAP_SIZE;
        if (from < base + IDMAP_SIZE && base < from + count)
            s->used[i] = true;
    }
}

/* Marks the slots of which an administrator gave a part to somebody: "name:from:count"
 * (subuid(5)). */
static void
mark_delegated(const char *file, struct slots *s)
{
    struct error ignored = ERROR_INIT;
    auto_str text = STR_INIT(1024 * 1024);
    char *save = NULL;

    if (fs_read(file, &text, &ignored) != 0)
        return;
    for (char *p = strtok_r(text.ptr, "\n", &save); p != NULL;
         p = strtok_r(NULL, "\n", &save)) {
        const char *from = strchr(p, ':');
        const char *count = from == NULL ? NULL : strchr(from + 1, ':');
        if (count != NULL)
            mark_range(strtoull(from + 1, NULL, 10), strtoull(count + 1, NULL, 10), s);
    }
}

int
idmap_take(const char *job_dir, uid_t *ret_base, struct error *e)
{
    autoclose int fd = -1;
    struct slots s;
    char name[16];

    int rc = registry_lock(&fd, e);
    if (rc != 0)
        return rc;
    scan(fd, job_dir, &s);
    int slot = s.own;
    if (slot < 0) {
        mark_delegated("/etc/subuid", &s);
        mark_delegated("/etc/subgid", &s);
        unsigned hint = slot_hint(job_dir);
        for (unsigned i = 0; slot < 0 && i < IDMAP_SLOTS; i++) {
            unsigned k = (hint + i) % IDMAP_SLOTS;
            slot = s.used[k] ? -1 : (int)k;
        }
        /* Only now: processes of a job may outlive a directory that somebody removed. */
        if (slot < 0)
            slot = s.dead;
        if (slot < 0)
            return error_set(e, ERR_FULL, "all %d ranges of user ids are taken",
                             IDMAP_SLOTS);
        snprintf(name, sizeof(name), "%d", slot);
        if (unlinkat(fd, name, 0) < 0 && errno != ENOENT)
            return error_errno(e, errno, "reserve user ids: remove slot %s", name);
        if (symlinkat(job_dir, fd, name) < 0)
            return error_errno(e, errno, "reserve user ids: slot %s", name);
    }
    *ret_base = IDMAP_BASE + (uid_t)slot * IDMAP_SIZE;
    return 0;
}

void
idmap_release(const char *job_dir)
{
    struct error ignored = ERROR_INIT;
    autoclose int fd = -1;
    struct slots s;
    char name[16];

    if (registry_lock(&fd, &ignored) != 0)
        return;
    scan(fd, job_dir, &s);
    snprintf(name, sizeof(name), "%d", s.own);
    if (s.own >= 0 && unlinkat(fd, name, 0) < 0)
        errno = 0; /* a leaked slot is found again by its dead directory */
}

int
idmap_put(pid_t pid, const char *file, const char *text, struct error *e)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
    autoclose int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
        return error_errno(e, errno, "map user ids: %s", file);
    return 0;
}

int
idmap_write(pid_t pid, uid_t base, unsigned size, struct error *e)
{
    char text[64];

    snprintf(text, sizeof(text), "0 %u %u\n", (unsigned)base, size);
    int rc = idmap_put(pid, "uid_map", text, e);
    return rc != 0 ? rc : idmap_put(pid, "gid_map", text, e);
}
