/* SPDX-License-Identifier: Apache-2.0 */
/* Last changes of leases, by instance uid. */
#include "controllers/instance/lease_tracker.h"

#include <pthread.h>

#include "base/map.h"
#include "base/mem.h"
#include "controllers/common/job_view.h"

enum { DEFAULT_DURATION_S = 40, SILENT_MIN = 3 };

struct lease_tracker {
    struct manager *m;
    const struct informer *leases;
    pthread_mutex_t lock;
    struct map *seen; /* instance uid -> struct lease_seen */
    bool connected;   /* under the lock */
};

static bool
instance_of(const struct object *lease, char uid[UID_MAX])
{
    struct span value;

    if (!object_label(lease, LABEL_INSTANCE, &value) || value.len >= UID_MAX)
        return false;
    memcpy(uid, value.ptr, value.len);
    uid[value.len] = '\0';
    return true;
}

static void
lease_set(void *arg, const struct object *before, const struct object *now, bool initial)
{
    struct lease_tracker *t = arg;
    char uid[UID_MAX];

    UNUSED(before);
    if (!instance_of(now, uid))
        return;
    struct lease_seen *s = xnew(struct lease_seen);
    *s = (struct lease_seen){
        .known = true,
        .live = !initial,
        .changed_ms = manager_now_ms(t->m),
        .duration_ms =
            object_get_int(now, "spec.leaseDurationSeconds", DEFAULT_DURATION_S) * 1000,
        .renewed_wall_ns = object_get_time(now, "spec.renewTime"),
    };
    pthread_mutex_lock(&t->lock);
    map_put(t->seen, uid, s);
    pthread_mutex_unlock(&t->lock);
}

static void
lease_deleted(void *arg, const struct object *last)
{
    struct lease_tracker *t = arg;
    char uid[UID_MAX];

    if (!instance_of(last, uid))
        return;
    pthread_mutex_lock(&t->lock);
    map_del(t->seen, uid);
    pthread_mutex_unlock(&t->lock);
}

/* After an outage nobody is late: everybody's time starts again. */
static void
lease_progress(void *arg)
{
    struct lease_tracker *t = arg;
    bool connected = informer_connected(t->leases);
    void *value;

    pthread_mutex_lock(&t->lock);
    struct map_cursor c = map_begin(t->seen);
    while (connected && !t->connected && map_next(&c, NULL, &value)) {
        struct lease_seen *s = value;
        s->changed_ms = manager_now_ms(t->m);
    }
    t->connected = connected; /* with the new times, never before them */
    pthread_mutex_unlock(&t->lock);
}

struct lease_tracker *
lease_tracker_new(struct manager *m)
{
    struct lease_tracker *t = xnew(struct lease_tracker);
    struct informer *leases = manager_informer(m, &resource_leases);
    struct informer_handler h = {lease_set, lease_deleted, lease_progress, t};

    t->m = m;
    t->leases = leases;
    t->seen = map_new(free);
    t->connected = true;
    pthread_mutex_init(&t->lock, NULL);
    informer_add_handler(leases, &h);
    return t;
}

void
lease_tracker_free(struct lease_tracker *t)
{
    if (t == NULL)
        return;
    map_free(t->seen);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

void
lease_tracker_ask(struct lease_tracker *t, const char *instance_uid,
                  struct lease_seen *ret)
{
    pthread_mutex_lock(&t->lock);
    const struct lease_seen *s = map_get(t->seen, instance_uid);
    *ret = s == NULL ? (struct lease_seen){0} : *s;
    pthread_mutex_unlock(&t->lock);
}

bool
lease_seen_expired(const struct lease_seen *s, int64_t now_ms)
{
    return s->known && now_ms - s->changed_ms > s->duration_ms;
}

static bool
connected_now(struct lease_tracker *t)
{
    pthread_mutex_lock(&t->lock);
    bool connected = t->connected;
    pthread_mutex_unlock(&t->lock);
    return connected;
}

bool
lease_tracker_mass_silence(struct lease_tracker *t, const struct lister *l,
                           const struct fleet_ref *fleet, const struct lease_seen *of,
                           int64_t now_ms)
{
    autofree char *key = xasprintf("%s/%s", fleet->ns, fleet->name);
    auto_object_list members = {0};
    size_t total = 0, silent = 0;

    if (!connected_now(t))
        return true; /* a renewal may wait for us to see it */
    lister_index(l, &resource_instances, INDEX_INSTANCES_BY_FLEET, key, &members);
    vec_foreach (o, &members.list) {
        struct lease_seen s;
        lease_tracker_ask(t, (*o)->uid, &s);
        if (!s.known)
            continue;
        int64_t apart = s.changed_ms - of->changed_ms;
        total++;
        if (lease_seen_expired(&s, now_ms) && apart <= of->duration_ms &&
            apart >= -of->duration_ms)
            silent++;
    }
    return silent >= SILENT_MIN && silent * 2 > total;
}

bool
instance_fleet_key(const struct object *o, struct str *key)
{
    char fleet[NAME_MAX_LEN];

    if (!object_get_string(o, "spec.fleetName", fleet, sizeof(fleet)))
        return false;
    str_addf(key, "%s/%s", o->ns, fleet);
    return true;
}
