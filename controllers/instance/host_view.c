/* SPDX-License-Identifier: Apache-2.0 */
/* Reading spec.ssh and status.host. */
#include "controllers/instance/host_view.h"

#include "api/jtok.h"
#include "base/mem.h"

enum { KEYS_TEXT_MAX = 64 * 1024, SSH_PORT = 22 };

static void
read_text(const struct object *o, const char *base, const char *member, char *out,
          size_t size)
{
    autofree char *path = xasprintf("%s.%s", base, member);

    object_get_string(o, path, out, size);
}

static void
read_endpoint(const struct object *o, const char *base, struct host_endpoint *to)
{
    autofree char *port = xasprintf("%s.port", base);

    read_text(o, base, "hostname", to->hostname, sizeof(to->hostname));
    read_text(o, base, "user", to->user, sizeof(to->user));
    read_text(o, base, "identity.secretName", to->secret, sizeof(to->secret));
    read_text(o, base, "identity.key", to->key, sizeof(to->key));
    to->port = object_get_int(o, port, SSH_PORT);
}

static char *
read_keys(const struct object *o, const char *path)
{
    auto_str out = STR_INIT(KEYS_TEXT_MAX);
    struct span array, item;
    const char *cursor = NULL;

    if (object_path(o, path, &array) && array.len > 0 && array.ptr[0] == '[') {
        while (jscan_next_item(array, &cursor, &item)) {
            auto_str one = STR_INIT(KEYS_TEXT_MAX);
            if (jscan_string(item, &one))
                str_addf(&out, "%s\n", one.ptr);
        }
    }
    return xstrdup(out.ptr);
}

bool
host_view_read(const struct object *o, struct host_view *ret)
{
    struct span raw;

    if (!object_path(o, "spec.ssh", &raw) || raw.len == 0 || raw.ptr[0] != '{')
        return false;
    *ret = (struct host_view){0};
    read_endpoint(o, "spec.ssh", &ret->to);
    ret->has_jump = object_path(o, "spec.ssh.proxyJump", &raw);
    if (ret->has_jump)
        read_endpoint(o, "spec.ssh.proxyJump", &ret->jump);
    read_text(o, "spec.ssh", "agentURL", ret->agent_url, sizeof(ret->agent_url));
    ret->keys = read_keys(o, "status.host.hostKeys");
    ret->jump_keys = read_keys(o, "status.host.proxyKeys");
    read_text(o, "status.host", "arch", ret->arch, sizeof(ret->arch));
    read_text(o, "status.host", "bootID", ret->boot_id, sizeof(ret->boot_id));
    read_text(o, "status.host", "installed", ret->installed, sizeof(ret->installed));
    return true;
}

void
host_view_done(struct host_view *v)
{
    free(v->keys);
    free(v->jump_keys);
}

bool
host_is_forgotten(const struct object *o)
{
    struct span annotations, raw;

    return jscan_member(object_fact(o, o->facts.metadata), "annotations", &annotations) &&
           jscan_member(annotations, ANNOTATION_FORGET, &raw) && jscan_is(raw, "true");
}
