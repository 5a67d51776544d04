/* SPDX-License-Identifier: Apache-2.0 */
/* The mirror's thread: waits for news from the store, hints from the tree, commands, and
 * time. */
#include "apiserver/mirror/mirror.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "apiserver/mirror/internal.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"

LOG_MODULE(mirror);

enum {
    QUIET_MS = 200,
    QUIET_MAX_MS = 10 * 1000, /* a tree that is never quiet is looked at anyway */
    COALESCE_MS = 20,
    NICE = 10, /* a tenth of a core beside a busy loop; all of an idle one */
    STATUS_MAX = 256 * 1024,
};

static void
wake(void *arg)
{
    struct mirror *m = arg;
    uint64_t one = 1;

    if (write(m->wake_fd, &one, sizeof(one)) < 0)
        bug_if(errno != EAGAIN && errno != EINTR);
}

/* --- news from the store
 * ----------------------------------------------------------------- */

static void
take_item(struct mirror *m, const char *path, struct mirror_item *item)
{
    struct mirror_entry *en = mirror_entry_get(m, path, true);

    en->listed = true;
    if (item->revision < en->revision)
        return;
    object_unref(en->obj);
    kind_unref(en->kind);
    en->revision = item->revision;
    en->kind = kind_ref(item->kind);
    en->unwanted = item->obj == NULL ? NULL : mirror_unwanted(item->kind, item->obj);
    en->obj = item->obj == NULL || en->unwanted != NULL ? NULL : object_ref(item->obj);
    map_put(m->out, path, m);
}

static void
entry_free(void *p)
{
    struct mirror_entry *en = p;

    object_unref(en->obj);
    kind_unref(en->kind);
    free(en);
}

/* A whole listing is in: what was not in it is gone. */
static void
end_listing(struct mirror *m)
{
    struct map_cursor c = map_begin(m->entries);
    const char *path;
    void *value;

    while (map_next(&c, &path, &value)) {
        struct mirror_entry *en = value;
        if (en->listed || (en->obj == NULL && en->unwanted == NULL))
            continue;
        object_unref(en->obj);
        en->obj = NULL;
        en->unwanted = NULL;
        map_put(m->out, path, m);
    }
    if (!m->complete)
        m->in_all = true;
    m->complete = true;
}

static void
begin_listing(struct mirror *m)
{
    struct map_cursor c = map_begin(m->entries);
    void *value;

    while (map_next(&c, NULL, &value))
        ((struct mirror_entry *)value)->listed = false;
}

/* A kind or a namespace came: what was refused for want of it may work now. */
static void
look_at_failures(struct mirror *m)
{
    struct map_cursor c = map_begin(m->failures);
    const char *path;

    while (map_next(&c, &path, NULL))
        mirror_hint_path(m, path);
}

static void
take_changes(struct mirror *m)
{
    struct mirror_changes ch;
    struct map_cursor c;
    const char *path;
    void *value;
    bool namespaces = false;

    mirror_feed_take(m->feed, &ch);
    if (ch.begins)
        begin_listing(m);
    if (ch.kinds != NULL) {
        mirror_kinds_unref(m->kinds);
        m->kinds = mirror_kinds_ref(ch.kinds);
    }
    if (ch.items != NULL) {
        c = map_begin(ch.items);
        while (map_next(&c, &path, &value)) {
            take_item(m, path, value);
            namespaces =
                namespaces || str_starts(path, MIRROR_CLUSTER_DIR "/namespaces/");
        }
        if (m->out_since == 0)
            m->out_since = clock_now_ms();
    }
    if (ch.complete)
        end_listing(m);
    if (ch.kinds_changed || namespaces)
        look_at_failures(m);
    mirror_changes_done(&ch);
}

/* --- hints and commands
 * ------------------------------------------------------------------ */

static void
on_hint(void *arg, enum mirror_hint what, const char *path)
{
    struct mirror *m = arg;
    const struct mirror_entry *en;
    struct mirror_stat st;

    switch (what) {
    case MIRROR_HINT_FILE:
        en = mirror_entry_get(m, path, false);
        bool there = mirror_tree_stat(m->tree, path, &st);
        if (there && en != NULL && en->stat_known && st.ino == en->stat.ino &&
            st.size == en->stat.size && st.mtime_ns == en->stat.mtime_ns &&
            st.ctime_ns == en->stat.ctime_ns)
            return; /* written by us */
        mirror_hint_path(m, path);
        break;
    case MIRROR_HINT_DIR:
        map_put(m->in_dirs, path, m);
        m->last_hint = clock_now_ms();
        if (m->first_hint == 0)
            m->first_hint = m->last_hint;
        break;
    case MIRROR_HINT_ALL:
        m->in_all = true;
        m->last_hint = clock_now_ms();
        break;
    case MIRROR_HINT_GIT:
        m->last_hint = clock_now_ms();
        break;
    }
}

static void
mark_confirmed(void *arg, const char *path, const struct mirror_base *b)
{
    struct mirror *m = arg;

    if (!b->held)
        return;
    mirror_entry_get(m, path, true)->confirmed = true;
    map_put(m->in, path, m);
}

static void
mark_discarded(void *arg, const char *path, const struct mirror_base *b)
{
    struct mirror *m = arg;

    if (!b->held && m->suspended[0] == '\0')
        return;
    mirror_entry_get(m, path, true)->discard = true;
    map_put(m->in, path, m);
}

static void
discard_all(struct mirror *m)
{
    struct mirror_root root;
    struct error e = ERROR_INIT;

    mirror_state_each(m->state, mark_discarded, m);
    if (m->suspended[0] == '\0')
        return;
    if (mirror_tree_make_root(m->tree, &e) < 0 ||
        mirror_tree_open_root(m->tree, &root, &e) < 0 ||
        mirror_state_set_root(m->state, root.dev, root.ino, &e) < 0)
        log_err("cannot make the mirror's root", "error=\"%s\"", e.msg);
    m->in_all = true;
    m->last_hint = m->first_hint = 0;
}

/* The root is taken as it is from here on. */
static void
adopt_root(struct mirror *m)
{
    struct mirror_root root;
    struct error e = ERROR_INIT;

    if (m->foreign && mirror_tree_open_root(m->tree, &root, &e) == 0 &&
        mirror_state_set_root(m->state, root.dev, root.ino, &e) == 0)
        m->foreign = false;
}

static void
run_command(struct mirror *m, const struct mirror_cmd *cmd)
{
    switch (cmd->kind) {
    case MIRROR_CMD_CONFIRM:
        mirror_state_each(m->state, mark_confirmed, m);
        adopt_root(m);
        break;
    case MIRROR_CMD_DISCARD:
        if (cmd->path != NULL) {
            mirror_entry_get(m, cmd->path, true)->discard = true;
            map_put(m->in, cmd->path, m);
            break;
        }
        discard_all(m);
        adopt_root(m);
        break;
    case MIRROR_CMD_RESCAN:
        m->in_all = true;
        break;
    }
}

static bool
take_commands(struct mirror *m)
{
    struct mirror_cmd *items;
    size_t n;

    pthread_mutex_lock(&m->lock);
    bool stop = m->stop;
    items = m->commands.items;
    n = m->commands.len;
    memset(&m->commands, 0, sizeof(m->commands));
    pthread_mutex_unlock(&m->lock);
    for (size_t i = 0; i < n; i++) {
        if (!stop)
            run_command(m, &items[i]);
        free(items[i].path);
    }
    free(items);
    return !stop;
}

/* --- when
 * -------------------------------------------------------------------------------- */

static bool
in_work(const struct mirror *m)
{
    return m->in_all || map_len(m->in) + map_len(m->in_dirs) > 0;
}

/* Milliseconds until files may be looked at; -1: not before an event. */
static int64_t
in_wait(struct mirror *m, int64_t now)
{
    if (!in_work(m) || !m->complete)
        return -1;
    int64_t quiet = m->last_hint == 0 ? 0 : m->last_hint + QUIET_MS - now;
    int64_t limit = m->first_hint == 0 ? quiet : m->first_hint + QUIET_MAX_MS - now;
    int64_t wait = quiet < limit ? quiet : limit;
    if (wait > 0)
        return wait;
    return mirror_hints_git_locked(m->hints) ? -1 : 0;
}

static int64_t
earlier(int64_t wait, int64_t at, int64_t now)
{
    int64_t d = at == 0 ? -1 : at > now ? at - now : 0;

    return d < 0 ? wait : wait < 0 || d < wait ? d : wait;
}

static int
next_wait(struct mirror *m, int64_t now)
{
    int64_t wait = in_wait(m, now);

    if (m->suspended[0] != '\0' && wait == 0)
        wait = -1; /* looked, and it is as it was: until the next event */

    if (map_len(m->out) > 0 && m->looked_once && m->suspended[0] == '\0')
        wait = earlier(wait, m->out_since + COALESCE_MS, now);
    wait = earlier(wait, m->retry_at, now);
    wait = earlier(wait, m->checkpoint_at, now);
    return (int)wait;
}

static void
checkpoint(struct mirror *m)
{
    struct error e = ERROR_INIT;

    m->checkpoint_at = 0;
    if (!mirror_state_dirty(m->state))
        return;
    if (mirror_tree_sync(m->tree, &e) < 0 || mirror_state_checkpoint(m->state, &e) < 0)
        log_warn_rl("the mirror is not safe on the disk", "error=\"%s\"", e.msg);
}

static void
take_retries(struct mirror *m)
{
    struct map_cursor c = map_begin(m->retry);
    const char *path;

    m->retry_at = 0;
    while (map_next(&c, &path, NULL))
        map_put(m->in, path, m);
    map_clear(m->retry);
}

static void
after_look(struct mirror *m)
{
    struct error e = ERROR_INIT;

    if (m->suspended[0] != '\0')
        return;
    if (m->retry_at == 0)
        m->retry_step = 0;
    if (!m->synced_told && !in_work(m) && m->retry_at == 0 && m->synced != NULL) {
        m->synced_told = true;
        mirror_update_status(m);
        loop_post(api_server_loop(m->server), m->synced, m->synced_arg);
    }
    if (m->looked_once)
        return;
    m->looked_once = true;
    if (mirror_state_opened(m->state, &e) < 0)
        log_warn("cannot write the mirror's state", "error=\"%s\"", e.msg);
    log_info("the mirror follows", "root=%s files=%zu not_applied=%zu held=%zu",
             mirror_tree_root(m->tree), mirror_state_len(m->state), map_len(m->failures),
             m->n_held);
}

static void
work(struct mirror *m)
{
    int64_t now = clock_now_ms();

    if (m->retry_at != 0 && m->retry_at <= now)
        take_retries(m);
    if (in_work(m) && in_wait(m, now) == 0) {
        mirror_run_in(m);
        after_look(m);
    }
    if (m->looked_once && map_len(m->out) > 0 && m->out_since + COALESCE_MS <= now) {
        mirror_run_out(m);
        if (map_len(m->out) == 0)
            m->out_since = 0;
    }
    if (m->checkpoint_at != 0 && m->checkpoint_at <= now)
        checkpoint(m);
}

/* Reading it may take a while. Without it nothing can be done safely. */
static bool
open_state(struct mirror *m)
{
    struct error e = ERROR_INIT;

    if (mirror_state_open(m->state_dir, &m->state, &e) == 0)
        return true;
    log_err("the mirror does nothing", "error=\"%s\"", e.msg);
    pthread_mutex_lock(&m->lock);
    str_addf(&m->status, "state: off\nreason: %s\n", e.msg);
    pthread_mutex_unlock(&m->lock);
    return false;
}

static void *
run(void *arg)
{
    struct mirror *m = arg;
    sigset_t all;

    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), NICE);
    if (!open_state(m))
        return NULL;
    for (;;) {
        struct pollfd fds[] = {{.fd = m->wake_fd, .events = POLLIN},
                               {.fd = mirror_hints_fd(m->hints), .events = POLLIN},
                               {.fd = m->mounts_fd, .events = POLLPRI}};
        uint64_t count;
        mirror_update_status(m);
        int rc = poll(fds, ARRAY_LEN(fds), next_wait(m, clock_now_ms()));
        if (rc > 0 && (fds[0].revents & POLLIN) &&
            read(m->wake_fd, &count, sizeof(count)) < 0)
            bug_if(errno != EAGAIN && errno != EINTR);
        if (rc > 0 && (fds[2].revents & (POLLPRI | POLLERR)))
            m->in_all = m->in_all || m->suspended[0] != '\0';
        if (!take_commands(m))
            break;
        take_changes(m);
        mirror_hints_read(m->hints, on_hint, m);
        work(m);
    }
    checkpoint(m);
    return NULL;
}

/* --- life
 * -------------------------------------------------------------------------------- */

static void
mirror_free(struct mirror *m)
{
    mirror_feed_free(m->feed);
    mirror_calls_free(m->calls);
    keyring_free(m->seal);
    mirror_state_close(m->state);
    free(m->state_dir);
    mirror_tree_free(m->tree);
    mirror_hints_free(m->hints);
    mirror_kinds_unref(m->kinds);
    map_free(m->entries);
    map_free(m->out);
    map_free(m->in);
    map_free(m->in_dirs);
    map_free(m->retry);
    map_free(m->failures);
    map_free(m->blind);
    vec_foreach (c, &m->commands)
        free(c->path);
    vec_done(&m->commands);
    str_done(&m->status);
    if (m->wake_fd >= 0)
        close(m->wake_fd);
    if (m->mounts_fd >= 0)
        close(m->mounts_fd);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

static int
open_parts(struct mirror *m, const struct mirror_opts *o, struct error *e)
{
    autofree char *root = fs_join(o->data_dir, "desired");
    autofree char *own = fs_join(o->data_dir, "mirror");
    autofree char *keys_dir = fs_join(o->data_dir, "keys");
    autofree char *keys = fs_join(keys_dir, KEYRING_FILE);

    m->tree = mirror_tree_new(root);
    m->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    m->mounts_fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
    if (m->wake_fd < 0)
        return error_errno(e, errno, "eventfd");
    m->state_dir = move_ptr(own);
    if (fs_mkdirs(keys_dir, 0700, e) < 0 || keyring_load(keys, true, &m->seal, e) < 0 ||
        mirror_hints_new(root, &m->hints, e) < 0 ||
        mirror_calls_new(o->server, o->import ? "system:masters" : "system:authenticated",
                         &m->calls, e) < 0)
        return -(int)e->code;
    mirror_hints_add(m->hints, "");
    return mirror_feed_new(o->server, wake, m, &m->feed, e);
}

int
mirror_start(const struct mirror_opts *o, struct mirror **ret, struct error *e)
{
    struct mirror *m = xnew(struct mirror);

    m->server = o->server;
    m->synced = o->synced;
    m->synced_arg = o->arg;
    m->import = o->import;
    m->wake_fd = m->mounts_fd = -1;
    pthread_mutex_init(&m->lock, NULL);
    str_init(&m->status, STATUS_MAX);
    m->entries = map_new(entry_free);
    m->out = map_new(NULL);
    m->in = map_new(NULL);
    m->in_dirs = map_new(NULL);
    m->retry = map_new(NULL);
    m->failures = map_new(free);
    m->blind = map_new(free);
    if (open_parts(m, o, e) < 0) {
        mirror_free(m);
        return error_prepend(e, "start the mirror");
    }
    int rc = pthread_create(&m->thread, NULL, run, m);
    if (rc != 0) {
        mirror_free(m);
        return error_errno(e, rc, "start the mirror's thread");
    }
    m->thread_runs = true;
    *ret = m;
    return 0;
}

void
mirror_stop(struct mirror *m)
{
    if (m == NULL)
        return;
    pthread_mutex_lock(&m->lock);
    m->stop = true;
    pthread_mutex_unlock(&m->lock);
    mirror_calls_cancel(m->calls);
    wake(m);
    pthread_join(m->thread, NULL);
    mirror_free(m);
}

/* --- for people
 * -------------------------------------------------------------------------- */

void
mirror_status(struct mirror *m, struct str *out)
{
    pthread_mutex_lock(&m->lock);
    str_add(out, m->status.ptr, m->status.len);
    pthread_mutex_unlock(&m->lock);
}

void
mirror_counts(struct mirror *m, struct mirror_counts *ret)
{
    pthread_mutex_lock(&m->lock);
    *ret = m->counts;
    pthread_mutex_unlock(&m->lock);
}

static void
enqueue(struct mirror *m, enum mirror_command_kind kind, const char *path)
{
    struct mirror_cmd cmd = {kind, path == NULL ? NULL : xstrdup(path)};

    pthread_mutex_lock(&m->lock);
    vec_push(&m->commands, cmd);
    pthread_mutex_unlock(&m->lock);
    wake(m);
}

void
mirror_command(struct mirror *m, const char *command, struct str *out)
{
    struct mirror_counts n;
    const char *root = mirror_tree_root(m->tree);
    size_t prefix = strlen(root);

    mirror_counts(m, &n);
    if (streq(command, "status")) {
        mirror_status(m, out);
    } else if (streq(command, "confirm")) {
        enqueue(m, MIRROR_CMD_CONFIRM, NULL);
        str_addf(out, "%zu deletions confirmed\n", n.held);
    } else if (streq(command, "discard")) {
        enqueue(m, MIRROR_CMD_DISCARD, NULL);
        str_addf(out, "%zu deletions discarded: the files are written again\n", n.held);
    } else if (str_starts(command, "discard ")) {
        const char *path = command + strlen("discard ");
        if (strncmp(path, root, prefix) == 0 && path[prefix] == '/')
            path += prefix + 1;
        enqueue(m, MIRROR_CMD_DISCARD, path);
        str_addf(out, "%s: the stored object takes its place, if there is one\n", path);
    } else if (streq(command, "rescan")) {
        enqueue(m, MIRROR_CMD_RESCAN, NULL);
        str_adds(out, "looking at all files\n");
    } else {
        str_adds(out, "commands: status, confirm, discard [FILE], rescan\n");
    }
}
