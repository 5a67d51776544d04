/* SPDX-License-Identifier: Apache-2.0 */
/* Rules about a change: of a Run that is under way only a few fields still count. */
#include "api/admit.h"
#include "api/jtok.h"
#include "api/priority.h"
#include "api/run_update.h"
#include "base/mem.h"

enum { PHASE_MAX = 64 };

struct refusal {
    struct violations *v;
    const char *phase;
};

static void
refuse(void *arg, const char *field)
{
    const struct refusal *r = arg;
    autofree char *path = xasprintf("spec.%.250s", field);
    bool ended = streq(r->phase, "Done") || streq(r->phase, "Failed") ||
                 streq(r->phase, "Terminated");

    if (ended)
        violations_add(r->v, VIOLATION_FORBIDDEN, path, NULL,
                       "the run has ended (%s) and does not start again; delete it, or "
                       "use drover apply --replace",
                       r->phase);
    else
        violations_add(r->v, VIOLATION_FORBIDDEN, path, NULL,
                       "cannot be changed while the run is %s; stop and delete it, or "
                       "use drover apply --replace",
                       r->phase);
}

static bool
same(struct span a, struct span b)
{
    return a.len == b.len && memcmp(a.ptr, b.ptr, a.len) == 0;
}

static void
update_run(struct span before, struct span after, struct violations *v)
{
    struct span old, new, raw;
    auto_str phase = STR_INIT(PHASE_MAX);
    struct refusal r = {.v = v};

    if (!jscan_member(before, "spec", &old) || !jscan_member(after, "spec", &new) ||
        same(old, new) || !jscan_path(before, "status.phase", &raw) ||
        !jscan_string(raw, &phase) || phase.len == 0)
        return;
    r.phase = phase.ptr;
    json_t *a = json_loadb(old.ptr, old.len, 0, NULL);
    json_t *b = json_loadb(new.ptr, new.len, 0, NULL);
    run_update_fixed(a, b, refuse, &r);
    json_decref(a);
    json_decref(b);
}

int
admit_update(const struct kind *k, struct span before, struct span after,
             struct violations *v, struct error *e)
{
    size_t errors = violations_errors(v);

    if (streq(k->resource, "runs.drover.dev"))
        update_run(before, after, v);
    if (streq(k->resource, "runs.drover.dev"))
        priority_run_update(before, after, v);
    if (streq(k->resource, "priorityclasses.scheduling.k8s.io"))
        priority_class_update(before, after, v);
    if (violations_errors(v) > errors)
        return error_set(e, ERR_INVALID, "the change is not possible");
    return 0;
}
