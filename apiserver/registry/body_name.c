/* SPDX-License-Identifier: Apache-2.0 */
/* The name of an object that does not exist yet is only in the body of its create. */
#include <stdlib.h>

#include "api/jtok.h"
#include "apiserver/registry/answer.h"

enum { GENERATE_BASE_MAX = 58 };

struct names {
    struct str name, base;
};

/* Inside metadata: picks the two members. False at its end or on bad JSON. */
static bool
read_member(struct jtok_reader *r, struct names *names)
{
    struct error e = ERROR_INIT;
    struct str *into = NULL;
    struct jtok t;

    if (jtok_next(r, &t, &e) < 0 || t.type != JTOK_KEY)
        return false;
    if (jtok_eq(&t, "name"))
        into = &names->name;
    else if (jtok_eq(&t, "generateName"))
        into = &names->base;
    if (jtok_next(r, &t, &e) < 0)
        return false;
    if (t.type == JTOK_STRING && into != NULL) {
        str_reset(into);
        jtok_unescape(&t, into);
        if (into->toobig) /* no name at all rather than the first part of one */
            str_reset(into);
    }
    return (t.type != JTOK_OBJECT && t.type != JTOK_ARRAY) || jtok_skip(r, &e) == 0;
}

static void
scan(struct span body, struct names *names)
{
    struct error e = ERROR_INIT;
    struct jtok_reader r;
    struct jtok t;

    jtok_init(&r, body.ptr, body.len);
    if (jtok_next(&r, &t, &e) < 0 || t.type != JTOK_OBJECT)
        return;
    while (jtok_next(&r, &t, &e) == 0 && t.type == JTOK_KEY) {
        bool metadata = jtok_eq(&t, "metadata");
        if (jtok_next(&r, &t, &e) < 0)
            return;
        if (metadata && t.type == JTOK_OBJECT) {
            while (read_member(&r, names))
                ;
        } else if ((t.type == JTOK_OBJECT || t.type == JTOK_ARRAY) &&
                   jtok_skip(&r, &e) < 0) {
            return;
        }
    }
}

char *
body_name(struct span body, char **ret_generate_base)
{
    struct names names = {STR_INIT(ROUTE_SEGMENT_MAX - 1), STR_INIT(1024)};

    scan(body, &names);
    if (ret_generate_base != NULL && names.name.len == 0 && names.base.len > 0) {
        if (names.base.len > GENERATE_BASE_MAX)
            str_truncate(&names.base, GENERATE_BASE_MAX);
        *ret_generate_base = str_detach(&names.base);
    }
    str_done(&names.base);
    char *name = str_detach(&names.name);
    return name;
}
