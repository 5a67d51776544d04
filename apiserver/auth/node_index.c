/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the node authorizer looks up: which Secrets and blobs ("sha256:...", which is no
 * Secret's name) the claimed, unfinished jobs of an Instance refer to, and which Instance
 * has a uid. Counts per key, moved by every change of a Job; O(references of the job) per
 * change and O(1) per question.
 */
#include <stdlib.h>

#include "api/jtok.h"
#include "apiserver/auth/auth_internal.h"
#include "apiserver/auth/follow.h"
#include "base/map.h"

enum { KEY_MAX = 1024 };

struct node_index {
    struct follow *jobs, *instances;
    struct map *reads;  /* "<instance uid> <ns>/<secret>" -> count as a pointer */
    struct map *by_uid; /* of an Instance -> "<ns>/<name>" */
};

static bool
is_final(const struct object *job)
{
    static const char *const final[] = {"Done", "Failed", "Terminated"};
    struct span phase;

    for (size_t i = 0; i < ARRAY_LEN(final); i++) {
        if (object_path(job, "status.phase", &phase) && jscan_is(phase, final[i]))
            return true;
    }
    return false;
}

/* The Instance that has claimed the job and may read what it refers to; "" when none. */
static void
reader_of(const struct object *job, char *uid, size_t size)
{
    struct span label, claim;

    *uid = '\0';
    if (!object_label(job, LABEL_INSTANCE, &label) || label.len == 0 ||
        label.len >= size || is_final(job) ||
        !object_path(job, "status.agent.claim.instanceUID", &claim) ||
        claim.len != label.len + 2 || memcmp(claim.ptr + 1, label.ptr, label.len) != 0)
        return;
    memcpy(uid, label.ptr, label.len);
    uid[label.len] = '\0';
}

static void
count(struct node_index *n, const char *uid, const char *ns, struct span name, int by)
{
    char key[KEY_MAX];

    int len = snprintf(key, sizeof(key), "%s %s/%.*s", uid, ns, SPAN_ARG(name));
    if (len >= KEY_MAX)
        return;
    const size_t *old = map_get(n->reads, key);
    size_t next = (old == NULL ? 0 : *old) + (size_t)by;
    if (next == 0) {
        map_del(n->reads, key);
        return;
    }
    size_t *value = xnew(size_t);
    *value = next;
    map_put(n->reads, key, value);
}

/* Where a Job names what its agent may read: a member of each item of a list. */
static const struct reference {
    const char *list, *member;
} references[] = {
    {"spec.envFrom", "secretRef.name"},
    {"spec.files", "blob"},
    {"spec.repos", "patch"},
    {"spec.repos", "secretRef.name"},
};
static const char *const singles[] = {"spec.registryAuth.secretRef.name",
                                      "spec.sshSecretRef.name", "spec.rootfs.blob"};

static void
count_job(struct node_index *n, const struct object *job, int by)
{
    struct span list, item, name;
    char uid[64];

    reader_of(job, uid, sizeof(uid));
    for (size_t i = 0; *uid != '\0' && i < ARRAY_LEN(singles); i++) {
        if (object_path(job, singles[i], &name) && name.len > 2)
            count(n, uid, job->ns, (struct span){name.ptr + 1, name.len - 2}, by);
    }
    for (size_t i = 0; *uid != '\0' && i < ARRAY_LEN(references); i++) {
        const char *cursor = NULL;
        if (!object_path(job, references[i].list, &list))
            continue;
        while (jscan_next_item(list, &cursor, &item)) {
            if (jscan_path(item, references[i].member, &name) && name.len > 2)
                count(n, uid, job->ns, (struct span){name.ptr + 1, name.len - 2}, by);
        }
    }
}

static void
on_job(void *arg, const char *resource, const struct object *o, const struct object *prev)
{
    UNUSED(resource);
    if (prev != NULL)
        count_job(arg, prev, -1);
    if (o != NULL)
        count_job(arg, o, 1);
}

static void
on_jobs_reset(void *arg, const char *resource)
{
    struct node_index *n = arg;

    UNUSED(resource);
    map_clear(n->reads);
}

static void
on_instance(void *arg, const char *resource, const struct object *o,
            const struct object *prev)
{
    struct node_index *n = arg;

    UNUSED(resource);
    if (o == NULL)
        map_del(n->by_uid, prev->uid);
    else if (prev == NULL)
        map_put(n->by_uid, o->uid, xasprintf("%s/%s", o->ns, o->name));
}

static void
on_instances_reset(void *arg, const char *resource)
{
    struct node_index *n = arg;

    UNUSED(resource);
    map_clear(n->by_uid);
}

int
node_index_new(struct loop *l, struct store *s, struct node_index **ret, struct error *e)
{
    struct node_index *n = xnew(struct node_index);
    struct follow_opts jobs = {l, s, "jobs.drover.dev", on_job, on_jobs_reset, n};
    struct follow_opts instances = {
        l, s, "instances.drover.dev", on_instance, on_instances_reset, n};

    n->reads = map_new(free);
    n->by_uid = map_new(free);
    if (follow_new(&jobs, &n->jobs, e) < 0 ||
        follow_new(&instances, &n->instances, e) < 0) {
        node_index_free(n);
        return -(int)e->code;
    }
    *ret = n;
    return 0;
}

void
node_index_free(struct node_index *n)
{
    if (n == NULL)
        return;
    follow_free(n->jobs);
    follow_free(n->instances);
    map_free(n->reads);
    map_free(n->by_uid);
    free(n);
}

bool
node_index_reads(struct node_index *n, const char *uid, const char *ns,
                 const char *secret)
{
    char key[KEY_MAX];

    if (n == NULL)
        return false;
    follow_sync(n->jobs);
    int len = snprintf(key, sizeof(key), "%s %s/%s", uid, ns, secret);
    return len < KEY_MAX && map_get(n->reads, key) != NULL;
}

const char *
node_index_instance(struct node_index *n, const char *uid)
{
    follow_sync(n->instances);
    return map_get(n->by_uid, uid);
}
