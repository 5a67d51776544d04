/* SPDX-License-Identifier: Apache-2.0 */
/* Every namespace has a ServiceAccount "default": made with it, and again when deleted.
 */
#include <stdlib.h>

#include "apiserver/registry/loops.h"
#include "base/log.h"

LOG_MODULE(accounts);

static void
on_created(void *arg, const struct write_result *r)
{
    UNUSED(arg);
    if (r->obj == NULL && r->problem->e.code != ERR_EXISTS)
        log_warn_rl("cannot create a default service account", "error=\"%s\"",
                    r->problem->e.msg);
}

static void
ensure(struct api_server *s, const char *ns)
{
    static const char json[] = "{\"apiVersion\":\"v1\",\"kind\":\"ServiceAccount\","
                               "\"metadata\":{\"name\":\"default\"}}";
    struct store_key key = {"serviceaccounts", ns, "default"},
                     parent = {"namespaces", "", ns};
    const struct object *space = store_peek(s->store, &parent);

    if (space == NULL || space->facts.deleting_s != 0 ||
        store_peek(s->store, &key) != NULL)
        return;
    struct write_req w = {.kind = kinds_by_resource(s->kinds, "serviceaccounts"),
                          .type = WRITE_CREATE,
                          .ns = ns,
                          .name = "",
                          .sub = "",
                          .body = span_of(json),
                          .internal = true};
    snprintf(w.opt.manager, sizeof(w.opt.manager), "drover-apiserver");
    w.opt.manager_given = true;
    registry_write(s, &w, on_created, NULL);
}

void
accounts_object(struct api_server *s, const char *resource, const struct object *o,
                bool deleted)
{
    if (streq(resource, "namespaces") && !deleted)
        ensure(s, o->name);
    else if (deleted && streq(resource, "serviceaccounts") && streq(o->name, "default"))
        ensure(s, o->ns);
}
