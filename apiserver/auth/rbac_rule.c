/* SPDX-License-Identifier: Apache-2.0 */
/* Matching of single rules. */
#include "apiserver/auth/rbac_rule.h"

#include <stdlib.h>
#include <string.h>

static void
words_parse(const json_t *list, struct rbac_words *ret)
{
    const json_t *item;
    size_t i;

    ret->items = xcalloc(json_array_size(list) + 1, sizeof(*ret->items));
    json_array_foreach (list, i, item) {
        const char *text = json_string_value(item);
        if (text == NULL)
            continue;
        ret->items[ret->n++] = xstrdup(text);
        ret->all = ret->all || streq(text, "*");
    }
}

static void
words_done(struct rbac_words *w)
{
    for (size_t i = 0; i < w->n; i++)
        free(w->items[i]);
    free(w->items);
}

void
rbac_rules_parse(const json_t *rules, struct rbac_rules *ret)
{
    const json_t *rule;
    size_t i;

    ret->n = 0;
    ret->items = xcalloc(json_array_size(rules) + 1, sizeof(*ret->items));
    json_array_foreach (rules, i, rule) {
        struct rbac_rule *r = &ret->items[ret->n++];
        words_parse(json_object_get(rule, "verbs"), &r->verbs);
        words_parse(json_object_get(rule, "apiGroups"), &r->groups);
        words_parse(json_object_get(rule, "resources"), &r->resources);
        words_parse(json_object_get(rule, "resourceNames"), &r->names);
        r->names.all = false; /* "*" is a name like others here */
        words_parse(json_object_get(rule, "nonResourceURLs"), &r->urls);
    }
}

void
rbac_rules_done(struct rbac_rules *r)
{
    for (size_t i = 0; i < r->n; i++) {
        words_done(&r->items[i].verbs);
        words_done(&r->items[i].groups);
        words_done(&r->items[i].resources);
        words_done(&r->items[i].names);
        words_done(&r->items[i].urls);
    }
    free(r->items);
    *r = (struct rbac_rules){0};
}

static void
put_words(json_t *rule, const char *key, const struct rbac_words *w)
{
    if (w->n == 0)
        return;
    json_t *list = json_array();
    for (size_t i = 0; i < w->n; i++)
        json_array_append_new(list, json_string(w->items[i]));
    json_object_set_new(rule, key, list);
}

json_t *
rbac_rule_json(const struct rbac_rule *r)
{
    json_t *rule = json_object();

    put_words(rule, "verbs", &r->verbs);
    put_words(rule, "apiGroups", &r->groups);
    put_words(rule, "resources", &r->resources);
    put_words(rule, "resourceNames", &r->names);
    put_words(rule, "nonResourceURLs", &r->urls);
    return rule;
}

/* --- matching
 * ---------------------------------------------------------------------------- */

static bool
has(const struct rbac_words *w, const char *text)
{
    for (size_t i = 0; i < w->n; i++) {
        if (streq(w->items[i], text))
            return true;
    }
    return false;
}

static bool
has_or_all(const struct rbac_words *w, const char *text)
{
    return w->all || has(w, text);
}

/* "resource", "resource/sub" or, for subresources, "*" "/sub". */
static bool
resource_matches(const struct rbac_words *w, const char *resource, const char *sub)
{
    size_t n = strlen(resource);

    if (w->all)
        return true;
    if (*sub == '\0')
        return has(w, resource);
    for (size_t i = 0; i < w->n; i++) {
        const char *text = w->items[i];
        if (strncmp(text, resource, n) == 0 && text[n] == '/' && streq(text + n + 1, sub))
            return true;
        if (text[0] == '*' && text[1] == '/' && streq(text + 2, sub))
            return true;
    }
    return false;
}

static bool
url_covers(const char *pattern, const char *path)
{
    size_t n = strlen(pattern);

    if (streq(pattern, path))
        return true;
    return n > 0 && pattern[n - 1] == '*' && strncmp(pattern, path, n - 1) == 0;
}

static bool
url_matches(const struct rbac_words *w, const char *path)
{
    for (size_t i = 0; i < w->n; i++) {
        if (url_covers(w->items[i], path))
            return true;
    }
    return false;
}

bool
rbac_rule_allows(const struct rbac_rule *r, const struct authz_attributes *t)
{
    if (!has_or_all(&r->verbs, t->verb))
        return false;
    if (t->path != NULL)
        return url_matches(&r->urls, t->path);
    return has_or_all(&r->groups, t->group) &&
           resource_matches(&r->resources, t->resource, t->sub) &&
           (r->names.n == 0 || has(&r->names, t->name));
}

/* --- covering
 * ---------------------------------------------------------------------------- */

static bool
has_all(const struct rbac_words *own, const struct rbac_words *asked)
{
    for (size_t i = 0; i < asked->n && !own->all; i++) {
        if (!has(own, asked->items[i]))
            return false;
    }
    return true;
}

static bool
resources_cover(const struct rbac_words *own, const struct rbac_words *asked)
{
    for (size_t i = 0; i < asked->n && !own->all; i++) {
        const char *text = asked->items[i];
        const char *slash = strchr(text, '/');
        if (!has(own, text) && (slash == NULL || !resource_matches(own, "*", slash + 1)))
            return false;
    }
    return true;
}

static bool
urls_cover(const struct rbac_words *own, const struct rbac_words *asked)
{
    for (size_t i = 0; i < asked->n && !own->all; i++) {
        if (!url_matches(own, asked->items[i]))
            return false;
    }
    return true;
}

bool
rbac_rule_covers(const struct rbac_rule *own, const struct rbac_rule *asked)
{
    bool names =
        own->names.n == 0 || (asked->names.n > 0 && has_all(&own->names, &asked->names));

    return names && has_all(&own->verbs, &asked->verbs) &&
           has_all(&own->groups, &asked->groups) &&
           resources_cover(&own->resources, &asked->resources) &&
           urls_cover(&own->urls, &asked->urls);
}

/* --- parts
 * ------------------------------------------------------------------------------- */

static struct rbac_words
one_word(char **item)
{
    return (struct rbac_words){item, 1, streq(*item, "*")};
}

static bool
each_name(const struct rbac_rule *asked, struct rbac_rule *part, rbac_part_fn *fn,
          void *arg)
{
    if (asked->names.n == 0)
        return fn(arg, part);
    for (size_t i = 0; i < asked->names.n; i++) {
        part->names = one_word(&asked->names.items[i]);
        if (!fn(arg, part))
            return false;
    }
    return true;
}

static bool
each_url(const struct rbac_rule *asked, size_t verb, rbac_part_fn *fn, void *arg)
{
    for (size_t u = 0; u < asked->urls.n; u++) {
        struct rbac_rule part = {.verbs = one_word(&asked->verbs.items[verb]),
                                 .urls = one_word(&asked->urls.items[u])};
        if (!fn(arg, &part))
            return false;
    }
    return true;
}

bool
rbac_rule_each_part(const struct rbac_rule *asked, rbac_part_fn *fn, void *arg)
{
    size_t n_resources = asked->groups.n * asked->resources.n * asked->verbs.n;

    for (size_t i = 0; i < n_resources; i++) {
        size_t verb = i % asked->verbs.n, rest = i / asked->verbs.n;
        struct rbac_rule part = {
            .verbs = one_word(&asked->verbs.items[verb]),
            .groups = one_word(&asked->groups.items[rest / asked->resources.n]),
            .resources = one_word(&asked->resources.items[rest % asked->resources.n])};
        if (!each_name(asked, &part, fn, arg))
            return false;
    }
    for (size_t verb = 0; verb < asked->verbs.n; verb++) {
        if (!each_url(asked, verb, fn, arg))
            return false;
    }
    return true;
}

size_t
rbac_rule_parts(const struct rbac_rule *r)
{
    size_t names = r->names.n == 0 ? 1 : r->names.n;

    return r->verbs.n * (r->groups.n * r->resources.n * names + r->urls.n);
}

static void
words_text(const char *name, const struct rbac_words *w, struct str *out)
{
    if (w->n == 0)
        return;
    str_addf(out, "%s%s:[", out->ptr[out->len - 1] == '{' ? "" : ", ", name);
    for (size_t i = 0; i < w->n; i++)
        str_addf(out, "%s\"%s\"", i > 0 ? " " : "", w->items[i]);
    str_addc(out, ']');
}

void
rbac_rule_text(const struct rbac_rule *r, struct str *out)
{
    str_addc(out, '{');
    words_text("APIGroups", &r->groups, out);
    words_text("Resources", &r->resources, out);
    words_text("NonResourceURLs", &r->urls, out);
    words_text("ResourceNames", &r->names, out);
    words_text("Verbs", &r->verbs, out);
    str_addc(out, '}');
}
