/* SPDX-License-Identifier: Apache-2.0 */
/* Telling people: <name>.yaml.error, Events, `drover mirror status`. */
#include <stdlib.h>

#include "api/jtok.h"
#include "apiserver/mirror/internal.h"
#include "base/clock.h"
#include "base/id.h"
#include "base/log.h"

LOG_MODULE(mirror);

enum { TEXT_MAX = 20 * 1024, STATUS_MAX = 256 * 1024, LISTED_MAX = 100, EVENT_MAX = 900 };

static const char footer[] =
    "\nThe file has been left as it is and is looked at again when it or the stored "
    "object "
    "changes. `drover mirror discard FILE` puts the stored object in its place.\n";

/* --- Events
 * ------------------------------------------------------------------------------ */

static char *
event_json(const struct mirror_key *key, const struct kind *k, const char *uid,
           const char *text)
{
    auto_str out = STR_INIT(TEXT_MAX), message = STR_INIT(EVENT_MAX);
    char now[CLOCK_RFC3339_LEN], suffix[17];
    const char *ns = key->ns[0] == '\0' ? "default" : key->ns;
    size_t n = strlen(text);

    str_add(&message, text, n > EVENT_MAX - 1 ? EVENT_MAX - 1 : n);
    while (message.len > 0 && message.ptr[message.len - 1] == '\n')
        str_truncate(&message, message.len - 1);
    id_suffix(suffix, 16);
    clock_format(clock_wall_ns(), now);
    str_addf(
        &out,
        "{\"apiVersion\":\"v1\",\"kind\":\"Event\",\"metadata\":{\"name\":\"%.200s.%s\","
        "\"namespace\":\"%s\"},\"type\":\"Warning\",\"reason\":\"FileNotApplied\","
        "\"source\":{\"component\":\"mirror\"},\"count\":1,\"firstTimestamp\":\"%s\","
        "\"lastTimestamp\":\"%s\",\"involvedObject\":{\"apiVersion\":\"%s\",\"kind\":"
        "\"%s\",\"name\":\"%s\",\"namespace\":\"%s\",\"uid\":\"%s\"},\"message\":",
        key->name, suffix, ns, now, now, k->api_version, k->kind, key->name, key->ns,
        uid);
    jput_string(&out, message.ptr, message.len);
    str_addc(&out, '}');
    return str_detach(&out);
}

static void
post_event(struct mirror *m, const char *path, const struct mirror_entry *en,
           const char *text)
{
    struct mirror_key key;

    if (m->events_left == 0 || !mirror_path_split(path, &key))
        return;
    m->events_left--;
    const struct kind *k = mirror_kinds_find(m->kinds, key.resource);
    if (k == NULL)
        return;
    struct mirror_op op = {
        .method = "POST",
        .kind = k,
        .path = xasprintf("/api/v1/namespaces/%s/events",
                          key.ns[0] == '\0' ? "default" : key.ns),
        .head = event_json(&key, k, en->obj == NULL ? "" : en->obj->uid, text)};
    if (mirror_calls_run(m->calls, &op, 1) && op.status >= 300)
        log_debug("no Event", "status=%d reply=%.300s", op.status, op.reply.ptr);
    mirror_op_done(&op);
}

/* --- .error
 * ------------------------------------------------------------------------------ */

void
mirror_fail(struct mirror *m, const char *path, struct mirror_entry *en, const char *text)
{
    autofree char *file = xasprintf("%s" MIRROR_ERROR_SUFFIX, path);
    auto_str whole = STR_INIT(TEXT_MAX);
    struct error e = ERROR_INIT;
    size_t line = strcspn(text, "\n");

    str_addf(&whole, "%s was not applied:\n\n", path);
    str_adds(&whole, text);
    if (whole.len > 0 && whole.ptr[whole.len - 1] != '\n')
        str_addc(&whole, '\n');
    str_adds(&whole, footer);
    struct mirror_hash hash = mirror_hash_of(whole.ptr, whole.len);
    if (en->failed && mirror_hash_eq(hash, en->failure))
        return;
    en->failed = true;
    en->restored = false;
    en->failure = hash;
    map_put(m->failures, path, xstrndup(text, line > 300 ? 300 : line));
    log_warn_rl("a file was not applied", "file=%s reason=\"%.300s\"", path, text);
    if (mirror_tree_put(m->tree, file, (struct span){whole.ptr, whole.len}, &e) < 0)
        log_warn_rl("cannot say why", "file=%s error=\"%s\"", file, e.msg);
    post_event(m, path, en, text);
}

void
mirror_clear(struct mirror *m, const char *path, struct mirror_entry *en)
{
    autofree char *file = xasprintf("%s" MIRROR_ERROR_SUFFIX, path);
    struct map_cursor c = map_begin(m->entries);
    struct error e = ERROR_INIT;
    const char *other;
    void *value;

    if (!en->failed)
        return;
    en->failed = en->restored = false;
    map_del(m->failures, path);
    if (mirror_tree_remove(m->tree, file, NULL, &e) < 0)
        log_warn_rl("cannot remove a stale explanation", "file=%s error=\"%s\"", file,
                    e.msg);
    /* What was moved here may be deleted now. */
    while (map_next(&c, &other, &value)) {
        struct mirror_entry *o = value;
        if (o->withheld) {
            o->withheld = false;
            mirror_hint_path(m, other);
        }
    }
}

/* --- status
 * ------------------------------------------------------------------------------ */

struct listing {
    struct str *out;
    size_t n;
};

static void
list_held(void *arg, const char *path, const struct mirror_base *b)
{
    struct listing *l = arg;

    if (!b->held || l->n++ >= LISTED_MAX)
        return;
    str_addf(l->out, "  %s\n", path);
}

static const char *
state_word(const struct mirror *m)
{
    if (m->suspended[0] != '\0')
        return "suspended";
    return m->looked_once ? "following" : "starting";
}

static void
write_lists(struct mirror *m, struct str *out)
{
    struct map_cursor c = map_begin(m->failures);
    struct listing held = {out, 0};
    const char *path;
    void *value;

    if (map_len(m->failures) > 0)
        str_adds(out, "not applied (see <file>.error):\n");
    for (size_t i = 0; i < LISTED_MAX && map_next(&c, &path, &value); i++)
        str_addf(out, "  %s: %s\n", path, (const char *)value);
    c = map_begin(m->blind);
    while (map_next(&c, &path, &value))
        str_addf(out, "unreadable: %s: %s\n", *path == '\0' ? "the root" : path,
                 (const char *)value);
    if (m->n_held == 0)
        return;
    str_addf(out,
             "held: %zu deletions wait. `drover mirror confirm` deletes these objects, "
             "`drover mirror discard` writes the files again:\n",
             m->n_held);
    mirror_state_each(m->state, list_held, &held);
}

void
mirror_update_status(struct mirror *m)
{
    auto_str out = STR_INIT(STATUS_MAX);
    size_t waiting = map_len(m->in) + map_len(m->in_dirs) + map_len(m->out) +
                     map_len(m->retry) + m->in_all;

    str_addf(&out, "root: %s\nstate: %s\n", mirror_tree_root(m->tree), state_word(m));
    if (m->suspended[0] != '\0')
        str_addf(&out, "reason: %s\n", m->suspended);
    if (map_len(m->in) + map_len(m->in_dirs) > 0 && mirror_hints_git_locked(m->hints))
        str_adds(&out, "waiting: for git to finish (.git/index.lock)\n");
    str_addf(&out,
             "files: %zu mirrored, %zu not applied, %zu deletions held, %zu waiting\n",
             mirror_state_len(m->state), map_len(m->failures), m->n_held, waiting);
    write_lists(m, &out);
    pthread_mutex_lock(&m->lock);
    str_reset(&m->status);
    str_add(&m->status, out.ptr, out.len);
    m->counts = (struct mirror_counts){.files = mirror_state_len(m->state),
                                       .errors = map_len(m->failures),
                                       .held = m->n_held,
                                       .idle = m->looked_once && waiting == 0};
    pthread_mutex_unlock(&m->lock);
}
