/* SPDX-License-Identifier: Apache-2.0 */
/* Compiled schemas: lookup, the view that server-side apply has of them, release. */
#include "api/schema_internal.h"

const struct schema schema_any = {
    .type = SCHEMA_ANY,
    .nullable = true,
    .preserve_unknown = true,
    .max_len = SCHEMA_NO_LIMIT,
    .max_items = SCHEMA_NO_LIMIT,
    .max_members = SCHEMA_NO_LIMIT,
};

const struct schema_field *
schema_find(const struct schema *s, struct span key)
{
    size_t lo = 0, hi = s->n_fields;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        const struct schema_field *f = &s->fields[mid];
        int c = span_cmp((struct span){f->key, f->key_len}, key);
        if (c == 0)
            return f;
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

const struct schema *
schema_member(const struct schema *s, const char *key)
{
    auto_str quoted = STR_INIT(4096);
    const struct schema_field *f;

    if (s == NULL)
        return NULL;
    jput_stringz(&quoted, key);
    if (quoted.toobig)
        return NULL;
    f = schema_find(s, (struct span){quoted.ptr + 1, quoted.len - 2});
    if (f != NULL && f->schema != NULL)
        return f->schema;
    return s->additional;
}

const struct schema *
schema_items(const struct schema *s)
{
    return s == NULL ? NULL : s->items;
}

bool
schema_preserves_unknown(const struct schema *s)
{
    return s != NULL && (s->preserve_unknown || s->additional_any);
}

enum schema_list_type
schema_list_type(const struct schema *s)
{
    return s == NULL ? SCHEMA_LIST_ATOMIC : s->list_type;
}

const char *const *
schema_list_map_keys(const struct schema *s)
{
    static const char *const none[] = {NULL};

    return s == NULL || s->map_keys == NULL ? none : (const char *const *)s->map_keys;
}

bool
schema_map_atomic(const struct schema *s)
{
    return s != NULL && s->map_atomic;
}

static void
free_strings(char **list)
{
    for (char **p = list; p != NULL && *p != NULL; p++)
        free(*p);
    free(list);
}

void
schema_allow_no_bytes(struct schema *s)
{
    if (s == NULL)
        return;
    s->empty_ok = s->format_text != NULL && streq(s->format_text, "byte");
    for (size_t i = 0; i < s->n_fields; i++)
        schema_allow_no_bytes(s->fields[i].schema);
    schema_allow_no_bytes(s->additional);
    schema_allow_no_bytes(s->items);
}

void
schema_free(struct schema *s)
{
    if (s == NULL)
        return;
    for (size_t i = 0; i < s->n_fields; i++) {
        free(s->fields[i].key);
        schema_free(s->fields[i].schema);
    }
    free(s->fields);
    free(s->needed);
    schema_free(s->additional);
    schema_free(s->items);
    free_strings(s->map_keys);
    free_strings(s->enums);
    free(s->default_json);
    free(s->pattern_text);
    free(s->format_text);
    pcre2_code_free(s->pattern);
    schema_logic_free(s->logic);
    free(s);
}
