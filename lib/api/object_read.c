/* SPDX-License-Identifier: Apache-2.0 */
/* What readers ask of an object: its bytes with a resourceVersion, members, a tree. */
#include <inttypes.h>

#include "api/object_internal.h"

static int
revision_text(uint64_t revision, char buf[48])
{
    return snprintf(buf, 48, "\"resourceVersion\":\"%" PRIu64 "\",", revision);
}

size_t
object_written_len(const struct object *o)
{
    char buf[48];

    return o->revision == 0 ? o->len : o->len + (size_t)revision_text(o->revision, buf);
}

void
object_write(const struct object *o, struct str *out)
{
    char buf[48];

    if (o->revision == 0) {
        str_add(out, o->bytes, o->len);
        return;
    }
    str_reserve(out, object_written_len(o));
    str_add(out, o->bytes, o->facts.rv_offset);
    str_add(out, buf, (size_t)revision_text(o->revision, buf));
    str_add(out, o->bytes + o->facts.rv_offset, o->len - o->facts.rv_offset);
}

bool
object_label(const struct object *o, const char *key, struct span *ret)
{
    for (size_t i = 0; i < o->facts.n_labels; i++) {
        const struct fact_label *l = &o->facts.labels[i];
        if (span_eq(object_fact(o, l->key), key)) {
            *ret = object_fact(o, l->value);
            return true;
        }
    }
    return false;
}

bool
object_has_finalizer(const struct object *o, const char *name)
{
    for (size_t i = 0; i < o->facts.n_finalizers; i++)
        if (span_eq(object_fact(o, o->facts.finalizers[i]), name))
            return true;
    return false;
}

const struct fact_owner *
object_controller(const struct object *o)
{
    for (size_t i = 0; i < o->facts.n_owners; i++)
        if (o->facts.owners[i].controller)
            return &o->facts.owners[i];
    return NULL;
}

bool
object_declared(const struct kind *k, const struct object *o)
{
    return k != NULL && k->declared && object_controller(o) == NULL;
}

bool
object_path(const struct object *o, const char *path, struct span *ret)
{
    static const struct {
        const char *name;
        size_t fact;
    } sections[] = {{"metadata", offsetof(struct facts, metadata)},
                    {"spec", offsetof(struct facts, spec)},
                    {"status", offsetof(struct facts, status)}};

    for (size_t i = 0; i < ARRAY_LEN(sections); i++) {
        size_t n = strlen(sections[i].name);
        struct fact f;
        if (strncmp(path, sections[i].name, n) != 0 || path[n] != '.')
            continue;
        memcpy(&f, (const char *)&o->facts + sections[i].fact, sizeof(f));
        return f.len > 0 && jscan_path(object_fact(o, f), path + n + 1, ret);
    }
    return jscan_path((struct span){o->bytes, o->len}, path, ret);
}

bool
object_get_string(const struct object *o, const char *path, char *buf, size_t size)
{
    auto_str text = STR_INIT(size - 1);
    struct span raw;

    buf[0] = '\0';
    if (!object_path(o, path, &raw) || !jscan_string(raw, &text) || text.toobig)
        return false;
    memcpy(buf, text.ptr, text.len);
    buf[text.len] = '\0';
    return true;
}

int64_t
object_get_int(const struct object *o, const char *path, int64_t fallback)
{
    struct span raw;
    int64_t v;

    if (!object_path(o, path, &raw) || !jscan_int64(raw, &v))
        return fallback;
    return v;
}

json_t *
object_json(const struct object *o)
{
    auto_str bytes = STR_INIT(OBJECT_MAX_BYTES + 64);

    object_write(o, &bytes);
    json_t *tree = jtree((struct span){bytes.ptr, bytes.len});
    bug_if(tree == NULL); /* canonical bytes are JSON */
    return tree;
}
