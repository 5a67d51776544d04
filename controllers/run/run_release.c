/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The release of nodes: each is told all of them, in order of rank, with the address by
 * which it is reached. The addresses of an attempt are chosen from the same Instances
 * each time, so nodes that are released one after the other are told the same.
 */
#include <string.h>

#include "api/jtok.h"
#include "base/mem.h"
#include "controllers/run/run_act.h"
#include "controllers/run/run_derive.h"

enum { ADDRESSES_MAX = 64, ADDRESS_LEN = 64 };

struct attempt {
    const struct job_view *jobs; /* by node */
    size_t n;
    char **chosen;
    struct peer *peers;
};

/* The address by which the machines of its fleet know each other. */
static void
put_first(const struct object *inst, char **list, size_t n)
{
    char ip[ADDRESS_LEN];

    if (!object_get_string(inst, "status.internalIP", ip, sizeof(ip)) || ip[0] == '\0')
        return;
    for (size_t i = 1; i < n; i++) {
        size_t len = strcspn(list[i], "/");
        if (len != strlen(ip) || strncmp(list[i], ip, len) != 0)
            continue;
        char *it = list[i];
        memmove(list + 1, list, i * sizeof(*list));
        list[0] = it;
        return;
    }
}

static char **
addresses_of(const struct reconcile_env *env, const struct job_view *j)
{
    auto_object *inst =
        lister_find_uid(env->lister, &resource_instances, j->instance_uid);
    char **list = xcalloc(ADDRESSES_MAX + 1, sizeof(*list));
    struct span array, item;
    const char *cursor = NULL;
    size_t n = 0;

    if (inst == NULL || !object_path(inst, "status.agent.addresses", &array) ||
        array.len == 0 || array.ptr[0] != '[')
        return list;
    while (n < ADDRESSES_MAX && jscan_next_item(array, &cursor, &item)) {
        auto_str text = STR_INIT(ADDRESS_LEN);
        if (jscan_string(item, &text) && !text.toobig)
            list[n++] = str_detach(&text);
    }
    put_first(inst, list, n);
    return list;
}

static void
list_free(char **list)
{
    for (char **p = list; *p != NULL; p++)
        free(*p);
    free(list);
}

static int64_t
gpus_of(const struct job_view *j)
{
    struct span array, item;
    const char *cursor = NULL;
    int64_t n = 0;

    if (!object_path(j->o, "spec.reservation.gpus", &array) || array.len == 0 ||
        array.ptr[0] != '[')
        return 0;
    while (jscan_next_item(array, &cursor, &item))
        n++;
    return n;
}

static void
attempt_init(struct attempt *a, const struct reconcile_env *env,
             const struct run_observed *o, const struct job_view *j)
{
    size_t first = (size_t)(j - o->jobs), end;

    while (first > 0 && o->jobs[first - 1].replica == j->replica &&
           o->jobs[first - 1].attempt == j->attempt)
        first--;
    for (end = first; end < o->n_jobs && o->jobs[end].replica == j->replica &&
                      o->jobs[end].attempt == j->attempt;
         end++)
        ;
    a->jobs = o->jobs + first;
    a->n = end - first;
    a->chosen = xcalloc(a->n, sizeof(*a->chosen));
    a->peers = xcalloc(a->n, sizeof(*a->peers));
    char ***lists = xcalloc(a->n, sizeof(*lists));
    for (size_t i = 0; i < a->n; i++)
        lists[i] = addresses_of(env, &a->jobs[i]);
    run_choose_addresses((char *const *const *)lists, a->n, a->chosen);
    for (size_t i = 0; i < a->n; i++) {
        a->peers[i] =
            (struct peer){a->jobs[i].o->name, a->chosen[i], gpus_of(&a->jobs[i])};
        list_free(lists[i]);
    }
    free(lists);
}

static void
attempt_done(struct attempt *a)
{
    for (size_t i = 0; i < a->n; i++)
        free(a->chosen[i]);
    free(a->chosen);
    free(a->peers);
}

struct releases {
    const struct run_observed *o;
    const struct attempt *a;
    const struct job_view *const *jobs;
};

static int
release_one(void *arg, const struct reconcile_env *env, size_t i, struct error *e)
{
    const struct releases *x = arg;
    const struct job_view *j = x->jobs[i];
    struct object_key key = {j->o->ns, j->o->name};
    json_t *patch;
    int rc = run_derive_release(&x->o->run, j, x->a->peers, x->a->n, &patch, e);

    if (rc < 0)
        return rc;
    rc = reconcile_patch(env, &resource_jobs, &key, NULL, patch, e);
    json_decref(patch);
    return rc == -ERR_NOT_FOUND ? 0 : rc;
}

int
run_release(const struct reconcile_env *env, const struct run_observed *o,
            const struct run_plan *p, struct error *e)
{
    const struct job_view *const *jobs = p->release.list.items;
    size_t n = p->release.list.len, end;
    int rc = 0;

    for (size_t i = 0; i < n && rc == 0; i = end) { /* an element of the array each */
        struct attempt a = {0};
        for (end = i; end < n && jobs[end]->replica == jobs[i]->replica; end++)
            ;
        attempt_init(&a, env, o, jobs[i]);
        rc = reconcile_each(env, end - i, release_one,
                            &(struct releases){o, &a, jobs + i}, e);
        attempt_done(&a);
    }
    return rc;
}
