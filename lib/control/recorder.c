/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two stages: a locked list of what was said, moved on the owner's thread into records
 * (one per Event object, least recently used last), each with at most one request in
 * flight. A record that changes meanwhile is written again when the answer is there.
 */
#include "control/recorder.h"

#include <pthread.h>
#include <stdarg.h>
#include <string.h>
#include <sys/queue.h>

#include "base/clock.h"
#include "base/id.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"

LOG_MODULE(recorder);

enum {
    SAID_MAX = 2048,
    RECORDS_MAX = 4096,
    IN_FLIGHT_MAX = 4,
    MESSAGE_MAX = 1024,
    PATH_MAX_LEN = 4096
};

struct said {
    STAILQ_ENTRY(said) link;
    const struct resource *kind;
    char *ns, *name, *uid;
    uint64_t revision;
    enum recorder_type type;
    char *reason, *message;
    int64_t wall_ns;
};
STAILQ_HEAD(said_list, said);

struct record {
    TAILQ_ENTRY(record) lru;
    TAILQ_ENTRY(record) link; /* in waiting while dirty and not in flight */
    struct recorder *r;
    struct said *first; /* owns the texts */
    char *key;
    char event_name[300];
    uint64_t count;
    int64_t last_ns;
    bool created, dirty, in_flight, dead;
};
TAILQ_HEAD(record_list, record);

struct recorder {
    struct recorder_opts opts;
    pthread_mutex_t lock; /* of said, n_said, posted */
    struct said_list said;
    size_t n_said;
    bool posted;
    _Atomic uint64_t dropped;
    struct map *records; /* key -> struct record */
    struct record_list lru, waiting;
    size_t n_records, in_flight;
    uint64_t seq;
};

static void
said_free(struct said *s)
{
    free(s->ns);
    free(s->name);
    free(s->uid);
    free(s->reason);
    free(s->message);
    free(s);
}

struct recorder *
recorder_new(const struct recorder_opts *o)
{
    struct recorder *r = xnew(struct recorder);

    r->opts = *o;
    pthread_mutex_init(&r->lock, NULL);
    STAILQ_INIT(&r->said);
    TAILQ_INIT(&r->lru);
    TAILQ_INIT(&r->waiting);
    r->records = map_new(NULL);
    return r;
}

static void
record_free(struct record *rec)
{
    said_free(rec->first);
    free(rec->key);
    free(rec);
}

void
recorder_free(struct recorder *r)
{
    struct said *s;
    struct record *rec;

    if (r == NULL)
        return;
    while ((s = STAILQ_FIRST(&r->said)) != NULL) {
        STAILQ_REMOVE_HEAD(&r->said, link);
        said_free(s);
    }
    while ((rec = TAILQ_FIRST(&r->lru)) != NULL) {
        TAILQ_REMOVE(&r->lru, rec, lru);
        record_free(rec);
    }
    map_free(r->records);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

/* Texts cut in the middle of a character, or foreign bytes, must not spoil the JSON. */
static void
make_utf8(char *text)
{
    json_t *probe = json_string(text);

    if (probe == NULL)
        for (char *p = text; *p != '\0'; p++)
            if ((unsigned char)*p >= 0x80)
                *p = '?';
    json_decref(probe);
}

static void
drain_posted(void *arg)
{
    recorder_step(arg);
}

void
recorder_event(struct recorder *r, const struct resource *kind,
               const struct object *about, enum recorder_type type, const char *reason,
               const char *fmt, ...)
{
    char message[MESSAGE_MAX];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(message, sizeof(message), fmt, ap);
    va_end(ap);
    make_utf8(message);
    struct said *s = xnew(struct said);
    *s = (struct said){
        .kind = kind,
        .ns = xstrdup(about->ns[0] == '\0' ? "default" : about->ns),
        .name = xstrdup(about->name),
        .uid = xstrdup(about->uid),
        .revision = about->revision,
        .type = type,
        .reason = xstrdup(reason),
        .message = xstrdup(message),
        .wall_ns = r->opts.wall_ns(),
    };
    pthread_mutex_lock(&r->lock);
    bool keep = r->n_said < SAID_MAX;
    bool post = keep && !r->posted && r->opts.loop != NULL;
    if (keep) {
        STAILQ_INSERT_TAIL(&r->said, s, link);
        r->n_said++;
        r->posted |= post;
    } else {
        r->dropped++;
    }
    pthread_mutex_unlock(&r->lock);
    if (!keep)
        said_free(s);
    if (post)
        loop_post(r->opts.loop, drain_posted, r);
}

uint64_t
recorder_dropped(const struct recorder *r)
{
    return r->dropped;
}

/* --- records, on the owner's thread ------------------------------------------------ */

static void
forget(struct recorder *r, struct record *rec)
{
    if (rec->dead)
        return;
    rec->dead = true;
    map_del(r->records, rec->key);
    if (rec->dirty && !rec->in_flight)
        TAILQ_REMOVE(&r->waiting, rec, link);
    if (rec->in_flight)
        return; /* freed by its answer; stays in lru for recorder_free */
    TAILQ_REMOVE(&r->lru, rec, lru);
    r->n_records--;
    record_free(rec);
}

static void
mark_dirty(struct recorder *r, struct record *rec)
{
    if (rec->dirty)
        return;
    rec->dirty = true;
    if (!rec->in_flight)
        TAILQ_INSERT_TAIL(&r->waiting, rec, link);
}

/* Takes s. */
static void
take_said(struct recorder *r, struct said *s)
{
    autofree char *key =
        xasprintf("%s\n%d\n%s\n%s", s->uid, (int)s->type, s->reason, s->message);
    struct record *rec = map_get(r->records, key);

    if (rec != NULL) {
        rec->count++;
        rec->last_ns = s->wall_ns;
        said_free(s);
        TAILQ_REMOVE(&r->lru, rec, lru);
    } else {
        while (r->n_records >= RECORDS_MAX && !TAILQ_FIRST(&r->lru)->dead)
            forget(r, TAILQ_FIRST(&r->lru));
        rec = xnew(struct record);
        rec->r = r;
        rec->first = s;
        rec->count = 1;
        rec->last_ns = s->wall_ns;
        snprintf(rec->event_name, sizeof(rec->event_name), "%.230s.%016llx", s->name,
                 (unsigned long long)s->wall_ns + r->seq++);
        rec->key = move_ptr(key);
        map_put(r->records, rec->key, rec);
        r->n_records++;
    }
    TAILQ_INSERT_TAIL(&r->lru, rec, lru);
    mark_dirty(r, rec);
}

static json_t *
event_create_body(const struct record *rec)
{
    const struct said *s = rec->first;
    const struct resource *k = s->kind;
    char first[CLOCK_RFC3339_LEN], last[CLOCK_RFC3339_LEN], revision[24];
    autofree char *api_version = k->group[0] == '\0'
                                     ? xstrdup(k->version)
                                     : xasprintf("%s/%s", k->group, k->version);

    clock_format(s->wall_ns, first);
    clock_format(rec->last_ns, last);
    snprintf(revision, sizeof(revision), "%llu", (unsigned long long)s->revision);
    return json_pack(
        "{s:s, s:s, s:{s:s, s:s}, s:{s:s, s:s, s:s, s:s, s:s, s:s}, s:s, s:s, s:s, s:I, "
        "s:s, s:s, s:{s:s}, s:s, s:s}",
        "apiVersion", "v1", "kind", "Event", "metadata", "name", rec->event_name,
        "namespace", s->ns, "involvedObject", "apiVersion", api_version, "kind", k->kind,
        "name", s->name, "namespace", s->ns, "uid", s->uid, "resourceVersion", revision,
        "reason", s->reason, "message", s->message, "type",
        s->type == RECORDER_WARNING ? "Warning" : "Normal", "count",
        (json_int_t)rec->count, "firstTimestamp", first, "lastTimestamp", last, "source",
        "component", rec->r->opts.component, "reportingComponent", rec->r->opts.component,
        "reportingInstance", rec->r->opts.instance);
}

static json_t *
event_count_patch(const struct record *rec)
{
    char last[CLOCK_RFC3339_LEN];

    clock_format(rec->last_ns, last);
    return json_pack("{s:I, s:s}", "count", (json_int_t)rec->count, "lastTimestamp",
                     last);
}

static void
sent(void *arg, struct span body, const struct error *e)
{
    struct record *rec = arg;
    struct recorder *r = rec->r;

    UNUSED(body);
    rec->in_flight = false;
    r->in_flight--;
    if (rec->dead) {
        TAILQ_REMOVE(&r->lru, rec, lru);
        r->n_records--;
        record_free(rec);
    } else if (e->code == ERR_OK || e->code == ERR_EXISTS) {
        rec->created = true;
        if (rec->dirty)
            TAILQ_INSERT_TAIL(&r->waiting, rec, link);
    } else if (e->code == ERR_NOT_FOUND && rec->created) { /* expired there: anew */
        rec->created = false;
        rec->dirty = false;
        mark_dirty(r, rec);
    } else {
        log_debug("event not written", "error=\"%s\"", e->msg);
        rec->dirty = false;
        forget(r, rec);
    }
    recorder_step(r);
}

static void
send_record(struct recorder *r, struct record *rec)
{
    auto_str path = STR_INIT(PATH_MAX_LEN);
    struct client_request q = {.path = NULL};
    json_t *body;

    client_path(&path, &resource_events, rec->first->ns,
                rec->created ? rec->event_name : NULL, NULL);
    q.path = path.ptr;
    if (rec->created) {
        q.method = "PATCH";
        q.content_type = "application/merge-patch+json";
        body = event_count_patch(rec);
    } else {
        q.method = "POST";
        q.content_type = "application/json";
        body = event_create_body(rec);
    }
    rec->dirty = false;
    rec->in_flight = true;
    r->in_flight++;
    async_json(r->opts.async, &q, body, sent, rec);
    json_decref(body);
}

bool
recorder_step(struct recorder *r)
{
    struct said_list said = STAILQ_HEAD_INITIALIZER(said);
    struct said *s;
    struct record *rec;
    bool busy = false;

    pthread_mutex_lock(&r->lock);
    STAILQ_CONCAT(&said, &r->said);
    r->n_said = 0;
    r->posted = false;
    pthread_mutex_unlock(&r->lock);
    while ((s = STAILQ_FIRST(&said)) != NULL) {
        STAILQ_REMOVE_HEAD(&said, link);
        take_said(r, s);
        busy = true;
    }
    while (r->in_flight < IN_FLIGHT_MAX && (rec = TAILQ_FIRST(&r->waiting)) != NULL) {
        TAILQ_REMOVE(&r->waiting, rec, link);
        send_record(r, rec);
        busy = true;
    }
    return busy;
}
