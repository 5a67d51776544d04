/* SPDX-License-Identifier: Apache-2.0 */
/* One line of a watch stream applied to an informer. */
#include <stdlib.h>
#include <string.h>

#include "api/jtok.h"
#include "base/mem.h"
#include "control/informer.h"

struct watch_line {
    struct span type; /* raw string contents */
    struct span object;
};

static int
split_line(struct span line, struct watch_line *ret, struct error *e)
{
    struct jtok_reader r;
    struct jtok key, value;

    jtok_init(&r, line.ptr, line.len);
    int rc = jtok_next(&r, &key, e);
    if (rc == 0 && key.type != JTOK_OBJECT)
        return error_set(e, ERR_BAD_REQUEST, "a watch event is not an object");
    while (rc == 0) {
        rc = jtok_next(&r, &key, e);
        if (rc < 0 || key.type == JTOK_OBJECT_END)
            break;
        rc = jtok_next(&r, &value, e);
        if (rc == 0 && (value.type == JTOK_OBJECT || value.type == JTOK_ARRAY))
            rc = jtok_skip(&r, e);
        if (rc < 0)
            break;
        if (value.type == JTOK_STRING && jtok_eq(&key, "type")) {
            ret->type = value.text;
        } else if (value.type == JTOK_OBJECT && jtok_eq(&key, "object")) {
            const char *start = r.start + value.offset;
            ret->object = (struct span){start, (size_t)(r.pos - start)};
        }
    }
    if (rc == 0 && (ret->type.len == 0 || ret->object.len == 0))
        rc = error_set(e, ERR_BAD_REQUEST, "a watch event lacks its type or object");
    return rc;
}

/* metadata.resourceVersion of a bookmark, which is no whole object. */
static int
bookmark_revision(struct span object, uint64_t *ret, struct error *e)
{
    auto_str canonical = STR_INIT(64 * 1024);
    auto_str text = STR_INIT(32);
    struct span raw;
    int rc = jcanon(object.ptr, object.len, &canonical, e);

    if (rc < 0)
        return rc;
    if (!jscan_path((struct span){canonical.ptr, canonical.len},
                    "metadata.resourceVersion", &raw) ||
        !jscan_string(raw, &text))
        return error_set(e, ERR_BAD_REQUEST, "a bookmark without resourceVersion");
    *ret = strtoull(text.ptr, NULL, 10);
    return 0;
}

static int
error_event(struct span object, struct error *e)
{
    auto_str canonical = STR_INIT(64 * 1024);
    struct span raw;
    int64_t code = 500;
    struct error ignored = ERROR_INIT;

    if (jcanon(object.ptr, object.len, &canonical, &ignored) == 0 &&
        jscan_member((struct span){canonical.ptr, canonical.len}, "code", &raw))
        jscan_int64(raw, &code);
    return client_reply_error((int)code, object, e);
}

int
informer_apply_line(struct informer *inf, struct span line, struct error *e)
{
    static const struct {
        const char *name;
        enum informer_event_type type;
    } types[] = {{"ADDED", INFORMER_ADDED},
                 {"MODIFIED", INFORMER_MODIFIED},
                 {"DELETED", INFORMER_DELETED}};
    struct watch_line w = {0};
    uint64_t revision = 0;
    int rc = split_line(line, &w, e);

    if (rc < 0)
        return rc;
    if (span_eq(w.type, "ERROR"))
        return error_event(w.object, e);
    if (span_eq(w.type, "BOOKMARK")) {
        rc = bookmark_revision(w.object, &revision, e);
        if (rc == 0)
            informer_event(inf, INFORMER_BOOKMARK, NULL, revision);
        return rc;
    }
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        if (!span_eq(w.type, types[i].name))
            continue;
        auto_object *o = NULL;
        rc = object_from_json(NULL, w.object.ptr, w.object.len, &o, e);
        if (rc == 0)
            informer_event(inf, types[i].type, o, o->revision);
        return rc;
    }
    return error_set(e, ERR_BAD_REQUEST, "a watch event of unknown type");
}
