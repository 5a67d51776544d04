/* SPDX-License-Identifier: Apache-2.0 */
/* Fleets of machines by SSH. Those of clouds are not served. */
#include "api/dstack_internal.h"
#include "api/values.h"

#define CLOUD                                                                            \
    "is for machines of clouds, which are not served; name yours in ssh_config.hosts"

static const struct dstack_field jump_fields[] = {
    {.key = "hostname", .put = dstack_put_text, .to = "hostname"},
    {.key = "port", .put = dstack_put_integer, .to = "port", .min = 1, .max = 65535},
    {.key = "user", .put = dstack_put_text, .to = "user"},
    {.key = "identity_file", .put = dstack_put_text, .to = "identityFile"},
};
static const struct dstack_table jump_table = {"proxy_jump", jump_fields,
                                               ARRAY_LEN(jump_fields), NULL};

static void
put_jump(struct dstack_result *r, const struct dstack_field *f, const char *path,
         const json_t *v, json_t *to)
{
    json_t *jump = json_object();

    dstack_walk(r, &jump_table, path, v, jump);
    json_object_set_new(to, f->to, jump);
}

static void
put_blocks(struct dstack_result *r, const struct dstack_field *f, const char *path,
           const json_t *v, json_t *to)
{
    bool is_auto = json_is_string(v) && streq(json_string_value(v), "auto");

    if (!is_auto && (!json_is_integer(v) || json_integer_value(v) < 1))
        dstack_problem(r, path, "must be auto, or a number from 1");
    else
        json_object_set_new(to, f->to, json_deep_copy(v));
}

static const struct dstack_field host_fields[] = {
    {.key = "hostname", .put = dstack_put_text, .to = "hostname"},
    {.key = "port", .put = dstack_put_integer, .to = "port", .min = 1, .max = 65535},
    {.key = "user", .put = dstack_put_text, .to = "user"},
    {.key = "identity_file", .put = dstack_put_text, .to = "identityFile"},
    {.key = "proxy_jump", .put = put_jump, .to = "proxyJump"},
    {.key = "internal_ip", .put = dstack_put_text, .to = "internalIP"},
    {.key = "blocks", .put = put_blocks, .to = "blocks"},
};
static const struct dstack_table host_table = {"a host", host_fields,
                                               ARRAY_LEN(host_fields), NULL};

static void
put_hosts(struct dstack_result *r, const struct dstack_field *f, const char *path,
          const json_t *v, json_t *to)
{
    json_t *list = json_array();
    char at[DSTACK_PATH_MAX];
    size_t i;
    const json_t *item;

    if (!json_is_array(v))
        dstack_problem(r, path, "must be a list of host names");
    json_array_foreach (v, i, item) {
        json_t *host;
        dstack_at(at, path, i);
        if (json_is_string(item)) {
            host = json_deep_copy(item);
        } else {
            host = json_object();
            dstack_walk(r, &host_table, at, item, host);
        }
        json_array_append_new(list, host);
    }
    json_object_set_new(to, f->to, list);
}

static const struct dstack_field ssh_fields[] = {
    {.key = "user", .put = dstack_put_text, .to = "user"},
    {.key = "port", .put = dstack_put_integer, .to = "port", .min = 1, .max = 65535},
    {.key = "identity_file", .put = dstack_put_text, .to = "identityFile"},
    {.key = "proxy_jump", .put = put_jump, .to = "proxyJump"},
    {.key = "hosts", .put = put_hosts, .to = "hosts"},
    {.key = "network", .put = dstack_put_text, .to = "network"},
};
static const struct dstack_table ssh_table = {"ssh_config", ssh_fields,
                                              ARRAY_LEN(ssh_fields), NULL};

static void
put_ssh(struct dstack_result *r, const struct dstack_field *f, const char *path,
        const json_t *v, json_t *to)
{
    json_t *ssh = json_object();

    dstack_walk(r, &ssh_table, path, v, ssh);
    json_object_set_new(to, f->to, ssh);
}

static const struct dstack_field fields[] = {
    {.key = "type", .put = dstack_put_nothing},
    {.key = "name", .put = dstack_put_nothing},
    {.key = "ssh_config", .put = put_ssh, .to = "ssh"},
    {.key = "placement",
     .put = dstack_put_word,
     .to = "placement",
     .text = "any|cluster"},
    {.key = "blocks", .put = put_blocks, .to = "blocks"},
    {.key = "env", .put = dstack_put_env, .to = "env"},
    {.key = "nodes", .put = dstack_put_refused, .text = CLOUD},
    {.key = "resources", .put = dstack_put_refused, .text = CLOUD},
    {.key = "reservation", .put = dstack_put_refused, .text = CLOUD},
    {.key = "backends", .put = dstack_put_refused, .text = CLOUD},
    {.key = "backend_options", .put = dstack_put_refused, .text = CLOUD},
    {.key = "regions", .put = dstack_put_refused, .text = CLOUD},
    {.key = "availability_zones", .put = dstack_put_refused, .text = CLOUD},
    {.key = "instance_types", .put = dstack_put_refused, .text = CLOUD},
    {.key = "spot_policy", .put = dstack_put_refused, .text = CLOUD},
    {.key = "max_price", .put = dstack_put_refused, .text = CLOUD},
    {.key = "tags", .put = dstack_put_refused, .text = CLOUD},
    {.key = "idle_duration", .put = dstack_put_refused, .text = CLOUD},
    {.key = "retry", .put = dstack_put_ignored, .text = "has no effect in a fleet"},
};
static const struct dstack_table table = {"a fleet", fields, ARRAY_LEN(fields), NULL};

void
dstack_fleet(struct dstack_result *r, const json_t *doc)
{
    const char *name = json_string_value(json_object_get(doc, "name"));
    json_t *spec = json_object(), *meta = json_object();

    dstack_walk(r, &table, "", doc, spec);
    if (r->problems == 0 && json_object_get(spec, "ssh") == NULL)
        dstack_problem(r, "",
                       "a fleet needs ssh_config; machines of clouds are not served");
    if (name != NULL && value_is_run_name(name, strlen(name)))
        json_object_set_new(meta, "name", json_string(name));
    else if (json_object_get(doc, "name") != NULL)
        dstack_problem(r, "name",
                       "a name is 2 to 41 lower-case letters, digits and dashes, starts "
                       "with a letter and does not end with a dash");
    r->object = json_pack("{s:s, s:s, s:o, s:o}", "apiVersion", "drover.dev/v1", "kind",
                          "Fleet", "metadata", meta, "spec", spec);
}
