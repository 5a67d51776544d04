/* SPDX-License-Identifier: Apache-2.0 */
/* From a path to a kind, namespace, name and subresource. */
#include "apiserver/registry/server_internal.h"

enum { SEGMENTS_MAX = 9 };

struct segments {
    struct span list[SEGMENTS_MAX];
    size_t n;
};

/* Empty segments (doubled and trailing slashes) are skipped. */
static bool
split(const char *path, struct segments *ret)
{
    ret->n = 0;
    for (;;) {
        path += strspn(path, "/");
        if (*path == '\0')
            return true;
        size_t n = strcspn(path, "/");
        if (ret->n == SEGMENTS_MAX)
            return false;
        ret->list[ret->n++] = (struct span){path, n};
        path += n;
    }
}

static bool
copy(struct span s, char *out, size_t size)
{
    if (s.len >= size)
        return false;
    memcpy(out, s.ptr, s.len);
    out[s.len] = '\0';
    return true;
}

#define COPY(span, field) copy(span, field, sizeof(field))

/* list[0..n): [namespaces ns] resource [name [sub]] */
static bool
parse_rest(const struct span *list, size_t n, struct route *r)
{
    /* namespaces/<n>, namespaces/<n>/status, /finalize are the Namespace itself. */
    if (n >= 3 && span_eq(list[0], "namespaces") &&
        !(n == 3 && *r->group == '\0' &&
          (span_eq(list[2], "status") || span_eq(list[2], "finalize")))) {
        if (!COPY(list[1], r->ns))
            return false;
        list += 2;
        n -= 2;
    }
    if (n == 0 || n > 3 || !COPY(list[0], r->plural))
        return false;
    if (n > 1 && !COPY(list[1], r->name))
        return false;
    return n < 3 || COPY(list[2], r->sub);
}

bool
route_parse(const struct kinds *kinds, const char *path, struct route *ret)
{
    struct segments s;
    struct route r = {.resource = true};
    size_t at;

    if (!split(path, &s) || s.n < 3)
        return false;
    if (span_eq(s.list[0], "api")) {
        at = 1;
    } else if (span_eq(s.list[0], "apis") && s.n >= 4 && COPY(s.list[1], r.group)) {
        at = 2;
    } else {
        return false;
    }
    if (!COPY(s.list[at], r.version) || !parse_rest(s.list + at + 1, s.n - at - 1, &r))
        return false;
    r.kind = kinds_find(kinds, r.group, r.version, r.plural);
    *ret = r;
    return true;
}
