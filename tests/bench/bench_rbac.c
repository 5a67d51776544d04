/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Not a test: what one RBAC question costs with many bindings, and the memory behind it.
 * ninja bench_rbac && bin/bench_rbac
 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/jtok.h"
#include "apiserver/auth/rbac.h"
#include "apiserver/registry/kinds.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/id.h"
#include "base/log.h"

enum { BINDINGS = 10000, NAMESPACES = 1000, USERS = 2000, QUESTIONS = 1000000 };
#define RBAC "rbac.authorization.k8s.io"

static void
check(int rc, const struct error *e)
{
    if (rc == 0)
        return;
    fprintf(stderr, "%s\n", e->msg);
    exit(1);
}

static void
put(struct store *s, const struct kinds *kinds, const char *resource, const char *ns,
    const char *name, const char *json)
{
    struct object *o = NULL;
    struct error e = ERROR_INIT;
    auto_str canonical = STR_INIT(1 << 20);
    uint64_t revision;

    check(jcanon(json, strlen(json), &canonical, &e), &e);
    check(object_new(kinds_by_resource(kinds, resource), canonical.ptr, canonical.len, 0,
                     &o, &e),
          &e);
    struct store_op op = {.type = STORE_PUT, .key = {resource, ns, name}, .obj = o};
    check(store_commit(s, &op, 1, STORE_LAZY, NULL, NULL, &revision, &e), &e);
    object_unref(o);
}

static void
fill(struct store *s, const struct kinds *kinds)
{
    char name[64], ns[64], json[1024], uid[ID_UUID_LEN];

    id_uuid4(uid);
    snprintf(
        json, sizeof(json),
        "{\"apiVersion\":\"" RBAC "/v1\",\"kind\":\"ClusterRole\",\"metadata\":{"
        "\"name\":\"view\",\"uid\":\"%s\"},\"rules\":[{\"verbs\":[\"get\",\"list\","
        "\"watch\"],\"apiGroups\":[\"drover.dev\"],\"resources\":[\"*\"]},{\"verbs\":"
        "[\"get\",\"list\"],\"apiGroups\":[\"\"],\"resources\":[\"configmaps\","
        "\"events\",\"services\"]}]}",
        uid);
    put(s, kinds, "clusterroles." RBAC, "", "view", json);
    for (int i = 0; i < BINDINGS; i++) {
        id_uuid4(uid);
        snprintf(name, sizeof(name), "b%d", i);
        snprintf(ns, sizeof(ns), "n%d", i % NAMESPACES);
        snprintf(json, sizeof(json),
                 "{\"apiVersion\":\"" RBAC "/v1\",\"kind\":\"RoleBinding\",\"metadata\":{"
                 "\"name\":\"%s\",\"namespace\":\"%s\",\"uid\":\"%s\"},\"roleRef\":{"
                 "\"kind\":\"ClusterRole\",\"name\":\"view\"},\"subjects\":[{\"kind\":"
                 "\"User\",\"name\":\"u%d\"},{\"kind\":\"Group\",\"name\":\"g%d\"}]}",
                 name, ns, uid, i % USERS, i % 50);
        put(s, kinds, "rolebindings." RBAC, ns, name, json);
    }
    store_flush(s);
}

static void
ask(struct rbac *r, const char *what, const char *verb, const char *ns)
{
    struct api_user *u = user_new("u7", "g1,g2,g3,system:authenticated");
    struct authz_attributes t = {.user = u,
                                 .verb = verb,
                                 .group = "drover.dev",
                                 .resource = "runs",
                                 .sub = "",
                                 .ns = ns,
                                 .name = "x"};
    auto_str reason = STR_INIT(256);
    size_t allowed = 0;
    int64_t start = clock_now_ns();

    for (int i = 0; i < QUESTIONS; i++)
        allowed += rbac_authorize(r, &t, &reason);
    double ns_each = (double)(clock_now_ns() - start) / QUESTIONS;
    printf("%-28s %6.0f ns  (%s)\n", what, ns_each, allowed > 0 ? "yes" : "no");
    user_unref(u);
}

int
main(void)
{
    char dir[] = "/tmp/drover-bench-XXXXXX";
    struct loop *l = NULL;
    struct kinds *kinds = NULL;
    struct store *s = NULL;
    struct rbac *r = NULL;
    struct error e = ERROR_INIT;

    log_set_level(LOG_LV_ERR);
    if (mkdtemp(dir) == NULL)
        return 1;
    check(loop_new(&l, &e), &e);
    check(kinds_load(&kinds, &e), &e);
    struct store_opts o = {
        .dir = dir, .inline_sync = true, .kind_of = kinds_kind_of, .arg = kinds};
    check(store_open(l, &o, &s, &e), &e);
    fill(s, kinds);
    size_t before = mallinfo2().uordblks;
    int64_t start = clock_now_ns();
    check(rbac_new(l, s, NULL, NULL, &r, &e), &e);
    printf("index of %d bindings: %.1f ms, %.0f bytes each\n", BINDINGS,
           (double)(clock_now_ns() - start) / 1e6,
           (double)(mallinfo2().uordblks - before) / BINDINGS);
    ask(r, "by the user's own binding", "list", "n7");
    ask(r, "refused, bindings do not fit", "delete", "n7");
    ask(r, "refused, none in namespace", "list", "n500x");
    rbac_free(r);
    store_close(s);
    kinds_free(kinds);
    loop_free(l);
    check(fs_remove_tree(dir, &e), &e);
    return 0;
}
