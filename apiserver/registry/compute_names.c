/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rules for names, labels, annotations, finalizers and owners of every object
 *, in the words of Kubernetes, which scripts look for.
 */
#include "api/jtok.h"
#include "api/values.h"
#include "apiserver/registry/compute_internal.h"

enum { ANNOTATIONS_MAX = 256 * 1024, SUBDOMAIN_MAX = 253, LABEL_MAX = 63 };

#define LABEL_PATTERN "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
#define ENDS_ALNUM "and must start and end with an alphanumeric character"

static const char label_rule[] =
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or "
    "'-', " ENDS_ALNUM " (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'" LABEL_PATTERN "')";
static const char subdomain_rule[] =
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, "
    "'-' or '.', " ENDS_ALNUM " (e.g. 'example.com', regex used for validation is "
    "'" LABEL_PATTERN "(\\." LABEL_PATTERN ")*')";
#define QUALIFIED_RULE                                                                   \
    "must consist of alphanumeric characters, '-', '_' or '.', " ENDS_ALNUM              \
    " (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "       \
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
static const char label_value_rule[] =
    "a valid label must be an empty string or consist of alphanumeric characters, '-', "
    "'_' or '.', " ENDS_ALNUM " (e.g. 'MyValue',  or 'my_value',  or '12345', regex used "
    "for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

/* One field under test. */
struct named {
    struct compute *c;
    const char *path;
    struct span value; /* as in the document: escapes and all, without quotes */
};

static void
complain(const struct named *n, const char *prefix, const char *text)
{
    auto_str json = STR_INIT(OBJECT_MAX_BYTES);

    str_addf(&json, "\"%.*s\"", SPAN_ARG(n->value));
    violations_add(&compute_problem(n->c)->v, VIOLATION_INVALID, n->path, json.ptr,
                   "%s%s", prefix, text);
}

static void
check_subdomain(const struct named *n, struct span s, const char *prefix)
{
    if (s.len > SUBDOMAIN_MAX)
        complain(n, prefix, "must be no more than 253 characters");
    /* The length apart, so that both are said. */
    else if (!value_is_dns_subdomain(s.ptr, s.len))
        complain(n, prefix, subdomain_rule);
}

static void
check_label_name(const struct named *n)
{
    if (n->value.len > LABEL_MAX)
        complain(n, "", "must be no more than 63 characters");
    else if (!value_is_dns_label(n->value.ptr, n->value.len))
        complain(n, "", label_rule);
}

/* [prefix/]name */
static void
check_qualified(const struct named *n)
{
    const struct span s = n->value;
    const char *slash = s.len == 0 ? NULL : memchr(s.ptr, '/', s.len);
    struct span name = s;

    if (slash != NULL) {
        struct span prefix = {s.ptr, (size_t)(slash - s.ptr)};
        name = (struct span){slash + 1, s.len - prefix.len - 1};
        if (name.len > 0 && memchr(name.ptr, '/', name.len) != NULL) {
            complain(n, "",
                     "a qualified name " QUALIFIED_RULE
                     " with an optional DNS subdomain prefix and '/' (e.g. "
                     "'example.com/MyName')");
            return;
        }
        if (prefix.len == 0)
            complain(n, "", "prefix part must be non-empty");
        else
            check_subdomain(n, prefix, "prefix part ");
    }
    if (name.len == 0)
        complain(n, "", "name part must be non-empty");
    else if (name.len > LABEL_MAX)
        complain(n, "", "name part must be no more than 63 characters");
    else if (!value_is_label_key(name.ptr, name.len))
        complain(n, "", "name part " QUALIFIED_RULE);
}

static void
check_labels(struct compute *c)
{
    struct span key, raw;
    const char *cursor = NULL;

    while (c->doc.meta.labels.len > 0 &&
           jscan_next_member(c->doc.meta.labels, &cursor, &key, &raw)) {
        struct named k = {c, "metadata.labels", key};
        struct named v = {c, "metadata.labels", {raw.ptr + 1, raw.len - 2}};
        check_qualified(&k);
        if (v.value.len > LABEL_MAX)
            complain(&v, "", "must be no more than 63 characters");
        else if (!value_is_label_value(v.value.ptr, v.value.len))
            complain(&v, "", label_value_rule);
    }
}

/* Bytes of a string whose escaped form is s. */
static size_t
plain_length(struct span s)
{
    size_t n = 0;

    for (size_t i = 0; i < s.len; n++) {
        bool unicode = s.ptr[i] == '\\' && i + 1 < s.len && s.ptr[i + 1] == 'u';
        i += unicode ? 6 : s.ptr[i] == '\\' ? 2 : 1;
    }
    return n;
}

static void
check_annotations(struct compute *c)
{
    struct violations *v = &compute_problem(c)->v;
    struct span key, raw;
    const char *cursor = NULL;
    size_t total = 0;

    while (c->doc.meta.annotations.len > 0 &&
           jscan_next_member(c->doc.meta.annotations, &cursor, &key, &raw)) {
        struct named k = {c, "metadata.annotations", key};
        check_qualified(&k);
        total += plain_length(key) + plain_length((struct span){raw.ptr, raw.len - 2});
    }
    if (total > ANNOTATIONS_MAX)
        violations_add(v, VIOLATION_TOO_LONG, "metadata.annotations", NULL,
                       "may not be more than %d bytes", ANNOTATIONS_MAX);
}

static void
check_finalizers(struct compute *c)
{
    const char *cursor = NULL;
    struct span raw;

    while (c->doc.meta.finalizers.len > 0 &&
           jscan_next_item(c->doc.meta.finalizers, &cursor, &raw)) {
        struct named n = {c, "metadata.finalizers", {raw.ptr + 1, raw.len - 2}};
        check_qualified(&n);
    }
}

static bool
member_is(struct span object, const char *key, const char *wanted)
{
    struct span raw;

    return jscan_member(object, key, &raw) && raw.len == strlen(wanted) + 2 &&
           memcmp(raw.ptr + 1, wanted, raw.len - 2) == 0;
}

static void
check_owner(struct compute *c, struct span owner, size_t i)
{
    static const char *const required[] = {"apiVersion", "kind", "name", "uid"};
    struct violations *v = &compute_problem(c)->v;
    autofree char *path = xasprintf("metadata.ownerReferences[%zu]", i);
    struct span raw;

    for (size_t k = 0; k < ARRAY_LEN(required); k++) {
        if (jscan_member(owner, required[k], &raw) && raw.len > 2)
            continue;
        autofree char *field = xasprintf("%s.%s", path, required[k]);
        violations_add(v, VIOLATION_INVALID, field, "\"\"", "%s",
                       k == 0 ? "version must not be empty" : "must not be empty");
    }
    if (member_is(owner, "apiVersion", "v1") && member_is(owner, "kind", "Event"))
        violations_add(v, VIOLATION_INVALID, path, NULL,
                       "/v1, Kind=Event is disallowed from being an owner");
}

static void
check_owners(struct compute *c)
{
    struct violations *v = &compute_problem(c)->v;
    struct span owner, raw, first = {0};
    const char *cursor = NULL;

    for (size_t i = 0; c->doc.meta.owners.len > 0 &&
                       jscan_next_item(c->doc.meta.owners, &cursor, &owner);
         i++) {
        check_owner(c, owner, i);
        if (!jscan_member(owner, "controller", &raw) || !jscan_bool(raw) ||
            !jscan_member(owner, "name", &raw))
            continue;
        if (first.len > 0)
            violations_add(v, VIOLATION_INVALID, "metadata.ownerReferences", NULL,
                           "Only one reference can have Controller set to true. Found "
                           "\"true\" in references for %.*s and %.*s",
                           (int)first.len - 2, first.ptr + 1, (int)raw.len - 2,
                           raw.ptr + 1);
        else
            first = raw;
    }
}

/* Roles are called "system:basic-user": anything that is one segment of a path. */
static void
check_path_name(struct compute *c, struct span name)
{
    struct violations *v = &compute_problem(c)->v;
    const char *why = NULL;

    if (span_eq(name, ".") || span_eq(name, ".."))
        why = "may not be '.' or '..'";
    for (size_t i = 0; i < name.len && why == NULL; i++) {
        if (name.ptr[i] == '/' || name.ptr[i] == '%')
            why = "may not contain '/' or '%'";
        else if ((unsigned char)name.ptr[i] < 0x20 || name.ptr[i] == '\\')
            why = "may not contain control characters or backslashes";
    }
    if (name.len == 0 || name.len > 253)
        why = "must have 1 to 253 bytes";
    if (why != NULL)
        violations_add(v, VIOLATION_INVALID, "metadata.name", NULL, "\"%.*s\": %s",
                       (int)(name.len < 80 ? name.len : 80), name.ptr, why);
}

void
meta_check_name(struct compute *c)
{
    struct named n = {c, "metadata.name", c->doc.meta.name};

    if (streq(c->in->kind->group, "rbac.authorization.k8s.io"))
        check_path_name(c, n.value);
    else if (streq(c->in->kind->resource, "namespaces"))
        check_label_name(&n);
    else
        check_subdomain(&n, n.value, "");
}

void
meta_check_maps(struct compute *c)
{
    check_labels(c);
    check_annotations(c);
    check_finalizers(c);
    check_owners(c);
}
