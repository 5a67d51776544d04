/* SPDX-License-Identifier: Apache-2.0 */
/* What apply and update share: which paths nobody owns, and where the owners are kept. */
#include <string.h>

#include "api/managed_internal.h"

json_t *
managed_strip_object(const json_t *obj)
{
    json_t *out = json_copy((json_t *)(uintptr_t)obj);
    const json_t *meta = json_object_get(obj, "metadata");

    if (json_object_get(meta, "managedFields") == NULL)
        return out;
    json_t *copy = json_copy((json_t *)(uintptr_t)meta);
    json_object_del(copy, "managedFields");
    json_object_set_new(out, "metadata", copy);
    return out;
}

void
managed_put_fields(json_t *obj, json_t *fields)
{
    const json_t *meta = json_object_get(obj, "metadata");
    json_t *copy =
        json_is_object(meta) ? json_copy((json_t *)(uintptr_t)meta) : json_object();

    if (json_array_size(fields) > 0) {
        json_object_set_new(copy, "managedFields", fields);
    } else {
        json_object_del(copy, "managedFields");
        json_decref(fields);
    }
    json_object_set_new(obj, "metadata", copy);
}

void
managed_strip_set(struct fieldset *s)
{
    static const char *const meta[] = {
        "f:clusterName",    "f:creationTimestamp", "f:generation", "f:managedFields",
        "f:name",           "f:namespace",         "f:selfLink",   "f:uid",
        "f:resourceVersion"};

    fieldset_clear(s, &(struct fieldset_path){{"f:apiVersion"}, 1}, 0);
    fieldset_clear(s, &(struct fieldset_path){{"f:kind"}, 1}, 0);
    fieldset_clear(s, &(struct fieldset_path){{"f:metadata"}, 1}, 0);
    for (size_t i = 0; i < ARRAY_LEN(meta); i++)
        fieldset_clear(s, &(struct fieldset_path){{"f:metadata", meta[i]}, 2}, 0);
}

void
managed_ignore(const struct managed_opts *o, struct fieldset *s)
{
    if (streq(o->subresource, "status")) {
        for (size_t i = s->list.len; i > 0; i--) {
            if (!streq(s->list.items[i - 1].elem, "f:status"))
                fieldset_drop(s, s->list.items[i - 1].elem);
        }
    } else if (o->kind->has_status && streq(o->subresource, "")) {
        fieldset_drop(s, "f:status");
    }
}

void
managed_diff_ignore(const struct managed_opts *o, struct managed_diff *d)
{
    managed_ignore(o, d->added);
    managed_ignore(o, d->modified);
    managed_ignore(o, d->removed);
}
