/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Server-side apply: the configuration is put over the live object, what this manager
 * applied before and no longer does is pruned unless another owns it, and fields that
 * another owns with a different value are conflicts.
 */
#include <string.h>

#include "api/managed_internal.h"

#define LAST_APPLIED "kubectl.kubernetes.io/last-applied-configuration"
#define ANNOTATIONS_MAX (256u << 10)

/* One apply while it is being worked out. */
struct apply {
    const struct managed_opts *o;
    struct managed_type type;
    json_t *live, *config; /* without managedFields and without what is ignored here */
    struct managed_entries owners;
    struct fieldset *set; /* what config sets */
    bool differs;         /* the result is not what live was */
};

static int
check_config(const struct managed_opts *o, const json_t *config, struct error *e)
{
    const char *api_version = json_string_value(json_object_get(config, "apiVersion"));
    const char *kind = json_string_value(json_object_get(config, "kind"));
    const json_t *meta = json_object_get(config, "metadata");

    if (!json_is_object(config))
        return error_set(e, ERR_BAD_REQUEST,
                         "an apply configuration must be an object with apiVersion, kind "
                         "and metadata");
    if (api_version == NULL || kind == NULL ||
        !streq(api_version, o->kind->api_version) || !streq(kind, o->kind->kind))
        return error_set(e, ERR_BAD_REQUEST,
                         "Incorrect version specified in apply patch. Specified patch "
                         "version: %.80s, Kind=%.80s, expected: %s, Kind=%s",
                         api_version == NULL ? "" : api_version, kind == NULL ? "" : kind,
                         o->kind->api_version, o->kind->kind);
    if (meta != NULL && !json_is_object(meta))
        return error_set(e, ERR_BAD_REQUEST, "metadata must be an object");
    const json_t *fields = json_object_get(meta, "managedFields");
    if (fields != NULL && !json_is_null(fields))
        return error_set(e, ERR_BAD_REQUEST, "metadata.managedFields must be nil");
    return managed_check_items(managed_type_root(o->kind), config, e);
}

/* Of the configuration, what this endpoint writes. */
static json_t *
relevant(const struct managed_opts *o, const json_t *config)
{
    static const char *const preconditions[] = {"name", "namespace", "uid",
                                                "resourceVersion"};
    json_t *out = managed_strip_object(config);

    if (streq(o->subresource, "")) {
        if (o->kind->has_status)
            json_object_del(out, "status");
        return out;
    }
    const json_t *meta = json_object_get(config, "metadata");
    json_t *kept = json_object();
    for (size_t i = 0; i < ARRAY_LEN(preconditions); i++) {
        json_t *v = json_object_get(meta, preconditions[i]);
        if (v != NULL)
            json_object_set(kept, preconditions[i], v);
    }
    json_t *status = json_incref(json_object_get(out, "status"));
    json_object_del(out, "status");
    json_t *only = json_object();
    json_object_set(only, "apiVersion", json_object_get(out, "apiVersion"));
    json_object_set(only, "kind", json_object_get(out, "kind"));
    json_object_set_new(only, "metadata", kept);
    if (status != NULL)
        json_object_set_new(only, "status", status);
    json_decref(out);
    return only;
}

/* The paths that v has, fields of the schema with members below them included. */
static struct fieldset *
all_paths(struct managed_type t, const json_t *v)
{
    auto_fieldset *plain = managed_fieldset(t, v);

    return managed_with_named(t, plain);
}

/* Everything that entries of this version own, typed by it. */
static struct fieldset *
owned_in(const struct apply *a, const char *api_version, struct managed_type t)
{
    struct fieldset *all = fieldset_new();

    for (size_t i = 0; i < a->owners.list.len; i++) {
        if (streq(a->owners.list.items[i].api_version, api_version))
            fieldset_add_all(&all, a->owners.list.items[i].set);
    }
    struct fieldset *named = managed_with_named(t, all);
    fieldset_free(all);
    return named;
}

/* *rest, which is merged with something taken out, with what entries of this version own
 * put back. */
static void
add_back(const struct apply *a, const json_t *merged, const char *api_version,
         json_t **rest)
{
    struct managed_type t;

    managed_type_version(a->o, api_version, &t);
    auto_fieldset *all = all_paths(t, merged);
    auto_fieldset *left = all_paths(t, *rest);
    auto_fieldset *owned = owned_in(a, api_version, t);
    auto_fieldset *kept = fieldset_union(left, owned);
    auto_fieldset *gone = fieldset_subtract(all, kept);

    json_decref(*rest);
    *rest = managed_remove(t, merged, gone, EMPTIED_NULL);
}

static bool
seen_before(const struct managed_entries *m, size_t i)
{
    for (size_t j = 0; j < i; j++) {
        if (streq(m->list.items[j].api_version, m->list.items[i].api_version))
            return true;
    }
    return false;
}

/* Whether all that was applied last time is applied now too: then nothing is pruned. Only
 * decided where all owners' paths are of one version, as nearly always. */
static bool
keeps_all(const struct apply *a, const struct fieldset *last, const char *last_version)
{
    vec_foreach (m, &a->owners.list) {
        if (!streq(m->api_version, last_version))
            return false;
    }
    auto_fieldset *gone = fieldset_subtract(last, a->set);
    return fieldset_is_empty(gone);
}

/*
 * merged without what was applied last time (in a version typed t) and is not applied
 * now, but with everything that somebody owns, and with what only lived inside of
 * something removed.
 */
static json_t *
prune(const struct apply *a, const json_t *merged, const struct fieldset *last_plain,
      struct managed_type t)
{
    auto_fieldset *last = managed_with_named(t, last_plain);
    json_t *rest = managed_remove(t, merged, last, EMPTIED_NULL);

    for (size_t i = 0; i < a->owners.list.len; i++) {
        if (!seen_before(&a->owners, i))
            add_back(a, merged, a->owners.list.items[i].api_version, &rest);
    }
    auto_fieldset *all = all_paths(t, merged);
    auto_fieldset *left = all_paths(t, rest);
    auto_fieldset *lost = fieldset_subtract(all, left);
    json_decref(rest);
    /* Of what is lost, only what this manager had applied. */
    struct fieldset *out = fieldset_intersect(lost, last);
    managed_strip_set(out);
    json_t *pruned = managed_remove(t, merged, out, EMPTIED_LIST);
    fieldset_free(out);
    return pruned;
}

/* The conflicts of `d` with one owner. New set. */
static struct fieldset *
conflicts_with(const struct managed_entry *m, const struct managed_diff *d)
{
    auto_fieldset *changed = fieldset_union(d->modified, d->added);

    return fieldset_intersect(m->set, changed);
}

/* kubectl may take over what its client-side apply left, as long as it is unchanged. */
static struct fieldset *
allowed_by_last_applied(const struct apply *a)
{
    const json_t *annotations =
        json_object_get(json_object_get(a->live, "metadata"), "annotations");
    const char *text = json_string_value(json_object_get(annotations, LAST_APPLIED));
    json_t *last = text == NULL ? NULL : json_loads(text, 0, NULL);
    struct managed_diff d;

    if (!json_is_object(last)) {
        json_decref(last);
        return fieldset_new();
    }
    struct fieldset *set = managed_fieldset(a->type, last);
    managed_compare(a->type, last, a->live, &d);
    fieldset_remove_all(&set, d.modified);
    fieldset_remove_all(&set, d.added);
    fieldset_remove_all(&set, d.removed);
    managed_diff_done(&d);
    json_decref(last);
    return set;
}

static int
check_conflicts(const struct apply *a, size_t own, struct managed_diffs *ds,
                struct managed_conflicts *conflicts, struct error *e)
{
    bool kubectl = streq(a->o->manager, "kubectl");
    auto_fieldset *allowed = kubectl ? allowed_by_last_applied(a) : fieldset_new();

    for (size_t i = 0; i < a->owners.list.len; i++) {
        const struct managed_entry *m = &a->owners.list.items[i];
        if (i == own)
            continue;
        struct fieldset *set = conflicts_with(m, managed_diffs_of(ds, m->api_version));
        fieldset_remove_all(&set, allowed);
        managed_conflicts_add(conflicts, m, set);
        fieldset_free(set);
    }
    if (conflicts->list.len == 0)
        return 0;
    auto_str text = STR_INIT(16 << 10);
    managed_conflicts_text(conflicts, &text);
    return error_set(e, ERR_CONFLICT, "%s", text.ptr);
}

/* kubectl's annotation, where it exists, follows the configuration. */
static void
sync_last_applied(const struct apply *a, json_t *out)
{
    json_t *meta = json_object_get(out, "metadata");
    json_t *annotations = json_object_get(meta, "annotations");

    if (!streq(a->o->manager, "kubectl") ||
        json_object_get(annotations, LAST_APPLIED) == NULL)
        return;
    autofree char *text = json_dumps(a->config, JSON_COMPACT | JSON_SORT_KEYS);
    if (strlen(text) > ANNOTATIONS_MAX)
        json_object_del(annotations, LAST_APPLIED);
    else
        json_object_set_new(annotations, LAST_APPLIED, json_string(text));
}

/* Works the apply out on a->owners; *ret is the new object without managedFields. */
static int
work_out(struct apply *a, json_t **ret, struct managed_conflicts *conflicts,
         struct error *e)
{
    size_t own = managed_entries_own(&a->owners, a->o, true);
    struct managed_entry *mine = &a->owners.list.items[own];
    struct fieldset *last = mine->set;
    struct managed_type last_type;

    /* While pruning, the new set counts whole, system fields too. */
    managed_type_version(a->o, mine->api_version, &last_type);
    bool keeps = keeps_all(a, last, a->o->kind->api_version);
    mine->set = a->set;
    free(mine->api_version);
    mine->api_version = xstrdup(a->o->kind->api_version);
    json_t *merged = managed_merge(a->type, a->live, a->config), *out = merged;
    if (!keeps && !fieldset_is_empty(last)) {
        out = prune(a, merged, last, last_type);
        json_decref(merged);
    }
    mine->set = last;

    auto_managed_diffs ds = {.o = a->o, .old = a->live, .new = out};
    int r = a->o->force ? 0 : check_conflicts(a, own, &ds, conflicts, e);
    if (r == 0) {
        struct fieldset *set = fieldset_copy(a->set);
        managed_strip_set(set);
        managed_set_own(&a->owners, own, set, a->o->now);
        managed_take_from_others(&a->owners, own, &ds);
        const struct managed_diff *d = managed_diffs_of(&ds, a->o->kind->api_version);
        a->differs = !managed_diff_is_empty(d);
        *ret = a->differs ? json_incref(out) : json_deep_copy(a->live);
    }
    json_decref(out);
    return r;
}

/* Objects nobody tracked yet: all they hold is owned as one update from before. */
static void
own_from_before(struct apply *a)
{
    struct managed_opts before = *a->o;
    json_t *nothing = json_object();

    before.manager = MANAGED_BEFORE_APPLY;
    managed_own_changes(&before, &a->owners, nothing, a->live);
    json_decref(nothing);
}

/* The object has the same content, whatever the order of its owners was. */
static bool
is_same(const struct apply *a, const json_t *live, json_t *out)
{
    struct managed_entries owners = {0};
    struct error unread = ERROR_INIT;
    const json_t *fields =
        json_object_get(json_object_get(live, "metadata"), "managedFields");

    if (managed_entries_read(fields, &owners, &unread) < 0)
        return false;
    json_t *was = json_copy(a->live);
    managed_put_fields(was, managed_entries_write(&owners));
    managed_entries_done(&owners);
    bool same = json_equal(was, out);
    json_decref(was);
    return same;
}

static int
run(struct apply *a, const json_t *live, json_t **ret, bool *ret_changed,
    struct managed_conflicts *conflicts, struct error *e)
{
    const json_t *fields =
        json_object_get(json_object_get(live, "metadata"), "managedFields");
    struct error unread = ERROR_INIT;
    json_t *out = NULL;

    if (managed_entries_read(fields, &a->owners, &unread) < 0)
        a->owners = (struct managed_entries){0};
    /* Owners in a version that is no longer served still say that it was tracked. */
    bool tracked = a->owners.list.len > 0;
    managed_entries_reconcile(a->o, &a->owners);
    if (live != NULL && !tracked)
        own_from_before(a);
    int r = work_out(a, &out, conflicts, e);
    if (r < 0)
        return r;
    sync_last_applied(a, out);
    managed_put_fields(out, managed_entries_write(&a->owners));
    *ret = out;
    *ret_changed = live == NULL || a->differs || !is_same(a, live, out);
    return 0;
}

int
managed_apply(const struct managed_opts *o, const json_t *live, const json_t *config,
              json_t **ret, bool *ret_changed, struct managed_conflicts *conflicts,
              struct error *e)
{
    struct apply a = {.o = o, .type = managed_type_root(o->kind)};
    int r = check_config(o, config, e);

    if (r < 0)
        return r;
    a.live = live == NULL ? json_object() : managed_strip_object(live);
    a.config = relevant(o, config);
    a.set = managed_fieldset(a.type, a.config);
    r = run(&a, live, ret, ret_changed, conflicts, e);
    fieldset_free(a.set);
    managed_entries_done(&a.owners);
    json_decref(a.live);
    json_decref(a.config);
    return r;
}
