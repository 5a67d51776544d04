/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One writer per field: an agent says what it sees, in status.agent of its Instance and
 * of its jobs, and nothing else of them; the rest is the controllers'. The authorizer has
 * let the verb pass (node.c); here it is seen what the write would change.
 */
#include "api/jtok.h"
#include "apiserver/auth/auth_internal.h"

enum { NAME_MAX_BYTES = 256 };

struct difference {
    const char *prefix;      /* "metadata." */
    const char *const *free; /* members that may differ; ends with NULL */
    char *path;              /* of the first one that differs; at least NAME_MAX_BYTES */
};

static bool
is_free(const struct difference *d, struct span key)
{
    for (const char *const *f = d->free; *f != NULL; f++)
        if (span_eq(key, *f))
            return true;
    return false;
}

/* Members of `of` that are not the same in `in`. */
static bool
differs(const struct difference *d, struct span of, struct span in)
{
    const char *cursor = NULL;
    struct span key, value, other;
    char name[NAME_MAX_BYTES];

    if (of.len == 0 || of.ptr[0] != '{')
        return false;
    while (jscan_next_member(of, &cursor, &key, &value)) {
        if (is_free(d, key))
            continue;
        snprintf(name, sizeof(name), "%.*s", (int)key.len, key.ptr);
        if (in.len > 0 && in.ptr[0] == '{' && jscan_member(in, name, &other) &&
            other.len == value.len && memcmp(other.ptr, value.ptr, value.len) == 0)
            continue;
        snprintf(d->path, NAME_MAX_BYTES, "%s%s", d->prefix, name);
        return true;
    }
    return false;
}

/* The first path that changes and is not the agent's. */
static bool
foreign_change(const struct object *live, const struct object *next,
               char path[NAME_MAX_BYTES])
{
    static const char *const top[] = {"metadata", "status", NULL};
    static const char *const meta[] = {"managedFields", "generation", "resourceVersion",
                                       NULL};
    static const char *const status[] = {"agent", NULL};
    const struct {
        const char *member, *prefix;
        const char *const *free;
    } parts[] = {
        {NULL, "", top}, {"metadata", "metadata.", meta}, {"status", "status.", status}};

    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        struct difference d = {parts[i].prefix, parts[i].free, path};
        struct span was = {live->bytes, live->len}, is = {next->bytes, next->len};
        if (parts[i].member != NULL) {
            struct span none = {"", 0}, whole_was = was, whole_is = is;
            was = is = none;
            jscan_member(whole_was, parts[i].member, &was);
            jscan_member(whole_is, parts[i].member, &is);
        }
        if (differs(&d, is, was) || differs(&d, was, is))
            return true;
    }
    return false;
}

static bool
same_path(const struct object *a, const struct object *b, const char *path)
{
    struct span x = {"", 0}, y = {"", 0};

    object_path(a, path, &x);
    object_path(b, path, &y);
    return x.len == y.len && memcmp(x.ptr, y.ptr, x.len) == 0;
}

static int
forbid(const struct admit_request *r, struct problem *p, const char *why,
       const char *path)
{
    autofree char *text = xasprintf("%s \"%s\" is forbidden: %s%s", r->kind->resource,
                                    r->next->name, why, path);

    return problem_text(p, ERR_FORBIDDEN, text);
}

int
agent_admit(const struct admit_request *r, struct problem *p)
{
    static const char claim[] = "status.agent.claim.instanceUID";
    bool job = streq(r->kind->resource, "jobs.drover.dev");
    char path[NAME_MAX_BYTES], uid[64] = "";

    if (*r->user->instance_uid == '\0' ||
        (!job && !streq(r->kind->resource, "instances.drover.dev")))
        return 0;
    if (r->live == NULL)
        return forbid(r, p, "an agent may not create it", "");
    if (foreign_change(r->live, r->next, path))
        return forbid(r, p, "an agent may only change status.agent, not ", path);
    if (!job || same_path(r->live, r->next, claim))
        return 0;
    object_get_string(r->next, claim, uid, sizeof(uid));
    if (*uid != '\0' && !streq(uid, r->user->instance_uid))
        return forbid(r, p, "an agent may only claim it for its own Instance: ", claim);
    return 0;
}
