/* SPDX-License-Identifier: Apache-2.0 */
/* Conflicts of an apply: who owns what, and the text that names them. */
#include <string.h>

#include "api/managed_internal.h"

void
managed_conflicts_done(struct managed_conflicts *c)
{
    for (size_t i = 0; i < c->list.len; i++) {
        free(c->list.items[i].manager);
        free(c->list.items[i].field);
    }
    vec_done(&c->list);
}

static char *
describe(const struct managed_entry *m)
{
    auto_str text = STR_INIT(4096);
    autofree char *name = NULL;
    json_t *quoted = json_string(m->manager);

    name = json_dumps(quoted, JSON_ENCODE_ANY);
    json_decref(quoted);
    str_adds(&text, name);
    if (*m->subresource != '\0')
        str_addf(&text, " with subresource \"%s\"", m->subresource);
    if (!m->apply)
        str_addf(&text, " using %s", m->api_version);
    if (!m->apply && *m->time != '\0')
        str_addf(&text, " at %s", m->time);
    return str_detach(&text);
}

struct collect {
    struct managed_conflicts *to;
    const struct managed_entry *manager;
};

static void
collect(const struct fieldset_path *path, void *arg)
{
    const struct collect *c = arg;
    auto_str field = STR_INIT(64 << 10);

    fieldset_path_text(path, &field);
    struct managed_conflict new = {describe(c->manager), str_detach(&field)};
    vec_push(&c->to->list, new);
}

static int
by_manager(const void *a, const void *b)
{
    const struct managed_conflict *x = a, *y = b;
    int c = strcmp(x->manager, y->manager);

    return c != 0 ? c : strcmp(x->field, y->field);
}

void
managed_conflicts_add(struct managed_conflicts *c, const struct managed_entry *manager,
                      const struct fieldset *fields)
{
    struct collect arg = {c, manager};

    fieldset_each(fields, collect, &arg);
    if (c->list.len > 1)
        qsort(c->list.items, c->list.len, sizeof(c->list.items[0]), by_manager);
}

void
managed_conflicts_text(const struct managed_conflicts *c, struct str *out)
{
    const char *manager = NULL;

    if (c->list.len == 1) {
        str_addf(out, "Apply failed with 1 conflict: conflict with %s: %s",
                 c->list.items[0].manager, c->list.items[0].field);
        return;
    }
    str_addf(out, "Apply failed with %zu conflicts: ", c->list.len);
    for (size_t i = 0; i < c->list.len; i++) {
        const struct managed_conflict *x = &c->list.items[i];
        if (manager == NULL || !streq(manager, x->manager))
            str_addf(out, "%sconflicts with %s:", i > 0 ? "\n" : "", x->manager);
        manager = x->manager;
        str_addf(out, "\n- %s", x->field);
    }
}
