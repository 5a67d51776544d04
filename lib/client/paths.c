/* SPDX-License-Identifier: Apache-2.0 */
/* The collections that our programs name in their code, and how a request path is made.
 */
#include <ctype.h>

#include "client/client.h"

#define DROVER_GROUP "drover.dev"

const struct resource resource_runs = {DROVER_GROUP, "v1", "runs", "Run", true};
const struct resource resource_jobs = {DROVER_GROUP, "v1", "jobs", "Job", true};
const struct resource resource_fleets = {DROVER_GROUP, "v1", "fleets", "Fleet", true};
const struct resource resource_profiles = {DROVER_GROUP, "v1", "profiles", "Profile",
                                           true};
const struct resource resource_instances = {DROVER_GROUP, "v1", "instances", "Instance",
                                            true};
const struct resource resource_quotas = {DROVER_GROUP, "v1", "quotas", "Quota", true};
const struct resource resource_queuestates = {DROVER_GROUP, "v1", "queuestates",
                                              "QueueState", true};
const struct resource resource_secrets = {"", "v1", "secrets", "Secret", true};
const struct resource resource_configmaps = {"", "v1", "configmaps", "ConfigMap", true};
const struct resource resource_events = {"", "v1", "events", "Event", true};
const struct resource resource_leases = {"coordination.k8s.io", "v1", "leases", "Lease",
                                         true};
const struct resource resource_namespaces = {"", "v1", "namespaces", "Namespace", false};
const struct resource resource_priorityclasses = {
    "scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", false};
const struct resource resource_crds = {"apiextensions.k8s.io", "v1",
                                       "customresourcedefinitions",
                                       "CustomResourceDefinition", false};

void
client_escape(struct str *out, const char *text)
{
    for (const char *p = text; *p != '\0'; p++) {
        unsigned char c = (unsigned char)*p;
        if (isalnum(c) || c == '-' || c == '.' || c == '_' || c == '~')
            str_addc(out, *p);
        else
            str_addf(out, "%%%02X", c);
    }
}

void
client_path(struct str *out, const struct resource *r, const char *ns, const char *name,
            const char *subresource)
{
    if (r->group[0] == '\0')
        str_addf(out, "/api/%s", r->version);
    else
        str_addf(out, "/apis/%s/%s", r->group, r->version);
    if (r->namespaced && ns != NULL && ns[0] != '\0') {
        str_adds(out, "/namespaces/");
        client_escape(out, ns);
    }
    str_addf(out, "/%s", r->plural);
    if (name != NULL) {
        str_addc(out, '/');
        client_escape(out, name);
    }
    if (subresource != NULL)
        str_addf(out, "/%s", subresource);
}
