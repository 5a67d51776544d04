/* SPDX-License-Identifier: Apache-2.0 */
/* Tells the audit log of writes that were no requests. */
#include "apiserver/registry/server_internal.h"
#include "base/mem.h"

#define OWN_USER "system:apiserver"

void
api_server_set_observer(struct api_server *s, api_observe_fn *fn, void *arg)
{
    s->observe = fn;
    s->observe_arg = arg;
}

void
api_server_observed(const struct api_server *s, const struct api_observed *o)
{
    if (s->observe != NULL)
        s->observe(s->observe_arg, o);
}

void
observe_own(const struct api_server *s, const struct kind *kind, const char *verb,
            const char *ns, const char *name, int status)
{
    if (s->observe == NULL || kind->lazy)
        return;
    bool core = *kind->group == '\0';
    autofree char *path =
        xasprintf("/%s%s/%s%s%s/%s%s%s", core ? "api" : "apis/", kind->group,
                  kind->version, *ns != '\0' ? "/namespaces/" : "", ns, kind->plural,
                  *name != '\0' ? "/" : "", name);
    struct api_observed o = {.user = OWN_USER,
                             .groups = "system:masters",
                             .verb = verb,
                             .path = path,
                             .status = status};
    s->observe(s->observe_arg, &o);
}
