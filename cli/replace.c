/* SPDX-License-Identifier: Apache-2.0 */
/* A Run is not started twice: what shall run again, or differently, is a new Run. */
#include <stdio.h>

#include "base/mem.h"
#include "cli/apply.h"
#include "cli/follow.h"

static bool
has_ended(void *arg, const json_t *o)
{
    UNUSED(arg);
    return o == NULL || cli_final_phase(js(o, "status.phase"));
}

static bool
is_gone(void *arg, const json_t *o)
{
    return o == NULL || !streq(js(o, "metadata.uid"), arg);
}

static int
stop(struct apply *a, const char *name, struct error *e)
{
    struct client_patch_opts o = {.type = CLIENT_PATCH_MERGE, .manager = "drover-stop"};
    json_t *patch = json_pack("{s:{s:s}}", "spec", "desiredState", "Stopped");
    int rc = client_patch(a->s.client, &resource_runs, a->s.ns, name, &o, patch, NULL, e);

    json_decref(patch);
    if (rc == -ERR_NOT_FOUND) {
        *e = ERROR_INIT;
        return 0;
    }
    return rc < 0 ? rc
                  : follow_object(&a->s, &resource_runs, name, -1, has_ended, NULL, e);
}

/* The Secrets of the old Run would be collected a little later, under the new one. */
static int
delete_secrets(struct apply *a, const char *name, struct error *e)
{
    static const char *const suffixes[] = {"env", "registry"};

    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
        autofree char *secret = xasprintf("%s-%s", name, suffixes[i]);
        int rc =
            client_delete(a->s.client, &resource_secrets, a->s.ns, secret, NULL, NULL, e);
        if (rc < 0 && e->code != ERR_NOT_FOUND)
            return rc;
        *e = ERROR_INIT;
    }
    return 0;
}

static int
end_and_delete(struct apply *a, const struct apply_item *i, struct error *e)
{
    const char *name = i->m->name;
    const char *uid = js(i->live, "metadata.uid");
    int rc = 0;

    if (!cli_final_phase(js(i->live, "status.phase"))) {
        fprintf(stderr, "run/%s is being stopped\n", name);
        rc = stop(a, name, e);
    }
    if (rc == 0)
        rc = client_delete(a->s.client, &resource_runs, i->ns, name, uid, NULL, e);
    if (rc == -ERR_NOT_FOUND) {
        *e = ERROR_INIT;
        rc = 0;
    }
    if (rc == 0)
        rc = follow_object(&a->s, &resource_runs, name, -1, is_gone,
                           (char *)(uintptr_t)uid, e);
    return rc < 0 ? rc : delete_secrets(a, name, e);
}

int
replace_old(struct apply *a, struct apply_item *i, struct error *e)
{
    const char *ns = a->s.ns;

    a->s.ns = i->ns; /* the object's, for what follows it */
    int rc = end_and_delete(a, i, e);
    a->s.ns = ns;
    return rc < 0 ? error_prepend(e, "replacing run/%s", i->m->name) : 0;
}
