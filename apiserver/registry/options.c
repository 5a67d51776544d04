/* SPDX-License-Identifier: Apache-2.0 */
/* Parsing of query options and of the Accept header. */
#include "apiserver/registry/options.h"

#include <ctype.h>
#include <stdlib.h>
#include <strings.h>

bool
call_query_bool(const struct api_call *c, const char *key)
{
    const char *v = call_query(c, key);

    return v != NULL && !streq(v, "0") && strcasecmp(v, "false") != 0;
}

static int
query_number(const struct api_call *c, const char *key, int64_t *ret, struct problem *p)
{
    const char *text = call_query(c, key);
    char *end = NULL;

    *ret = 0;
    if (text == NULL || *text == '\0')
        return 0;
    errno = 0;
    long long n = strtoll(text, &end, 10);
    if (errno != 0 || *end != '\0' || n < 0)
        return problem_set(p, ERR_BAD_REQUEST,
                           "%s: \"%.40s\" is not a number of 0 or more", key, text);
    *ret = n;
    return 0;
}

static int
query_error(struct problem *p, const char *options, const char *text)
{
    return problem_set(p, ERR_INVALID, "%s.meta.k8s.io \"\" is invalid: %s", options,
                       text);
}

static void
manager_from_agent(const struct api_call *c, struct write_options *o)
{
    const char *agent = call_header_in(c, "User-Agent");

    if (agent == NULL || *agent == '\0')
        agent = "unknown";
    size_t n = strcspn(agent, "/");
    if (n >= sizeof(o->manager))
        n = sizeof(o->manager) - 1;
    memcpy(o->manager, agent, n);
    o->manager[n] = '\0';
}

static int
parse_manager(const struct api_call *c, struct write_options *o, struct problem *p)
{
    const char *manager = call_query(c, "fieldManager");

    if (manager == NULL || *manager == '\0') {
        manager_from_agent(c, o);
        return 0;
    }
    if (strlen(manager) >= sizeof(o->manager))
        return query_error(p, "PatchOptions",
                           "fieldManager: Invalid value: may not be more than 128 bytes");
    for (const char *s = manager; *s != '\0'; s++) {
        if ((unsigned char)*s < 0x20 || *s == 0x7f)
            return query_error(p, "PatchOptions",
                               "fieldManager: Invalid value: should only contain "
                               "printable characters");
    }
    snprintf(o->manager, sizeof(o->manager), "%s", manager);
    o->manager_given = true;
    return 0;
}

int
write_options_parse(const struct api_call *c, struct write_options *ret,
                    struct problem *p)
{
    const char *dry = call_query(c, "dryRun");
    const char *validation = call_query(c, "fieldValidation");

    *ret = (struct write_options){.validation = FIELD_WARN};
    if (dry != NULL && *dry != '\0') {
        if (!streq(dry, "All"))
            return query_error(p, "PatchOptions",
                               "dryRun: Unsupported value: supported values: \"All\"");
        ret->dry_run = true;
    }
    if (validation != NULL && *validation != '\0') {
        if (streq(validation, "Strict"))
            ret->validation = FIELD_STRICT;
        else if (streq(validation, "Ignore"))
            ret->validation = FIELD_IGNORE;
        else if (!streq(validation, "Warn"))
            return query_error(p, "PatchOptions",
                               "fieldValidation: Unsupported value: supported values: "
                               "\"Ignore\", \"Strict\", \"Warn\"");
    }
    ret->force = call_query_bool(c, "force");
    return parse_manager(c, ret, p);
}

static int
parse_rv(const struct api_call *c, struct list_options *o, struct problem *p)
{
    const char *text = call_query(c, "resourceVersion");
    char *end = NULL;

    if (text == NULL || *text == '\0')
        return 0;
    errno = 0;
    o->rv = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0' || !isdigit((unsigned char)*text))
        return problem_set(p, ERR_BAD_REQUEST,
                           "resourceVersion: Invalid value: \"%.40s\": must be a number",
                           text);
    o->rv_given = true;
    return 0;
}

static int
parse_match(const struct api_call *c, struct list_options *o, struct problem *p)
{
    const char *match = call_query(c, "resourceVersionMatch");

    if (match == NULL || *match == '\0')
        return 0;
    if (streq(match, "Exact"))
        o->match = RV_MATCH_EXACT;
    else if (streq(match, "NotOlderThan"))
        o->match = RV_MATCH_NOT_OLDER;
    else
        return query_error(p, "ListOptions",
                           "resourceVersionMatch: Unsupported value: supported values: "
                           "\"Exact\", \"NotOlderThan\"");
    return 0;
}

static int
check_watch(const struct list_options *o, struct problem *p)
{
    if (o->send_initial_given && o->match == RV_MATCH_UNSET)
        return query_error(p, "ListOptions",
                           "resourceVersionMatch: Forbidden: sendInitialEvents requires "
                           "setting resourceVersionMatch to NotOlderThan");
    if (!o->send_initial_given && o->match != RV_MATCH_UNSET)
        return query_error(p, "ListOptions",
                           "resourceVersionMatch: Forbidden: resourceVersionMatch is "
                           "forbidden for watch unless sendInitialEvents is provided");
    if (o->match == RV_MATCH_EXACT)
        return query_error(
            p, "ListOptions",
            "resourceVersionMatch: Forbidden: Exact is forbidden for watch");
    return 0;
}

static int
check_list(const struct list_options *o, struct problem *p)
{
    bool continued = o->cont != NULL && *o->cont != '\0';

    if (o->send_initial_given)
        return query_error(
            p, "ListOptions",
            "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list");
    if (continued && o->rv_given && o->rv != 0)
        return problem_set(
            p, ERR_BAD_REQUEST,
            "specifying resource version is not allowed when using continue");
    if (o->match == RV_MATCH_UNSET)
        return 0;
    if (continued)
        return query_error(p, "ListOptions",
                           "resourceVersionMatch: Forbidden: resourceVersionMatch is "
                           "forbidden when continue is provided");
    if (!o->rv_given)
        return query_error(p, "ListOptions",
                           "resourceVersionMatch: Forbidden: resourceVersionMatch is "
                           "forbidden unless resourceVersion is provided");
    if (o->match == RV_MATCH_EXACT && o->rv == 0)
        return query_error(p, "ListOptions",
                           "resourceVersionMatch: Forbidden: resourceVersionMatch "
                           "\"Exact\" is forbidden for resourceVersion \"0\"");
    return 0;
}

int
list_options_parse(const struct api_call *c, struct list_options *ret, struct problem *p)
{
    struct list_options o = {0};
    int rc;

    o.watch = call_query_bool(c, "watch");
    o.bookmarks = call_query_bool(c, "allowWatchBookmarks");
    o.send_initial_given = call_query(c, "sendInitialEvents") != NULL;
    o.send_initial = call_query_bool(c, "sendInitialEvents");
    o.cont = call_query(c, "continue");
    o.label = call_query(c, "labelSelector");
    o.field = call_query(c, "fieldSelector");
    if ((rc = query_number(c, "limit", &o.limit, p)) < 0 ||
        (rc = query_number(c, "timeoutSeconds", &o.timeout_s, p)) < 0 ||
        (rc = parse_rv(c, &o, p)) < 0 || (rc = parse_match(c, &o, p)) < 0)
        return rc;
    rc = o.watch ? check_watch(&o, p) : check_list(&o, p);
    if (rc == 0)
        *ret = o;
    return rc;
}

/* One number and unit of a Go duration; the length, 0 when there is none. */
static size_t
duration_part(const char *text)
{
    static const char *const units[] = {"ns", "us", "\u00b5s", "ms", "s", "m", "h"};
    size_t n = strspn(text, "0123456789.");

    if (strcspn(text, "0123456789") >= n || n > 18)
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(units); i++)
        if (str_starts(text + n, units[i]))
            return n + strlen(units[i]);
    return 0;
}

int
timeout_check(const struct api_call *c, struct problem *p)
{
    const char *text = call_query(c, "timeout");
    size_t n;

    if (text == NULL || *text == '\0' || streq(text, "0"))
        return 0;
    while ((n = duration_part(text)) > 0)
        text += n;
    if (*text == '\0')
        return 0;
    return problem_set(p, ERR_BAD_REQUEST,
                       "invalid timeout specified in the request URL");
}

/* --- Accept
 * --------------------------------------------------------------------------- */

struct clause {
    struct span type; /* "application/json" */
    struct span as, group, version;
};

static struct span
trim(struct span s)
{
    while (s.len > 0 && isspace((unsigned char)s.ptr[0])) {
        s.ptr++;
        s.len--;
    }
    while (s.len > 0 && isspace((unsigned char)s.ptr[s.len - 1]))
        s.len--;
    return s;
}

/* Cuts the text before the next `sep` off the front of *rest. */
static bool
cut(struct span *rest, char sep, struct span *ret)
{
    if (rest->ptr == NULL)
        return false;
    const char *at = memchr(rest->ptr, sep, rest->len);
    if (at == NULL) {
        *ret = trim(*rest);
        rest->ptr = NULL;
        return true;
    }
    *ret = trim((struct span){rest->ptr, (size_t)(at - rest->ptr)});
    rest->len -= (size_t)(at - rest->ptr) + 1;
    rest->ptr = at + 1;
    return true;
}

static bool
next_clause(struct span *rest, struct clause *ret)
{
    struct span text, param, key;

    if (!cut(rest, ',', &text))
        return false;
    *ret = (struct clause){0};
    cut(&text, ';', &ret->type);
    while (cut(&text, ';', &param)) {
        if (!cut(&param, '=', &key) || param.ptr == NULL)
            continue;
        struct span value = trim(param);
        if (span_eq(key, "as"))
            ret->as = value;
        else if (span_eq(key, "g"))
            ret->group = value;
        else if (span_eq(key, "v"))
            ret->version = value;
    }
    return true;
}

static bool
is_json(struct span type)
{
    return span_eq(type, "application/json") || span_eq(type, "*/*") ||
           span_eq(type, "application/*");
}

static bool
clause_form(const struct clause *c, struct accept *ret)
{
    if (c->as.len == 0) {
        ret->form = ACCEPT_JSON;
        return true;
    }
    if (!span_eq(c->group, "meta.k8s.io"))
        return false;
    if (span_eq(c->version, "v1"))
        ret->version = "v1";
    else if (span_eq(c->version, "v1beta1"))
        ret->version = "v1beta1";
    else
        return false;
    if (span_eq(c->as, "Table"))
        ret->form = ACCEPT_TABLE;
    else if (span_eq(c->as, "PartialObjectMetadata"))
        ret->form = ACCEPT_PARTIAL;
    else if (span_eq(c->as, "PartialObjectMetadataList"))
        ret->form = ACCEPT_PARTIAL_LIST;
    else
        return false;
    return true;
}

int
accept_parse(const char *header, struct accept *ret, struct problem *p)
{
    struct span rest = span_of(header);
    struct clause c;

    *ret = (struct accept){.form = ACCEPT_JSON, .version = "v1"};
    if (header == NULL || *header == '\0')
        return 0;
    while (next_clause(&rest, &c)) {
        if (is_json(c.type) && clause_form(&c, ret))
            return 0;
    }
    return problem_set(p, ERR_NOT_ACCEPTABLE,
                       "only the following media types are accepted: application/json");
}

bool
accept_plain_json(const char *header)
{
    struct span rest = span_of(header);
    struct clause c;

    if (header == NULL || *header == '\0')
        return true;
    while (next_clause(&rest, &c)) {
        if (is_json(c.type) && c.as.len == 0)
            return true;
    }
    return false;
}

const char *
accept_discovery(const char *header)
{
    struct span rest = span_of(header);
    struct clause c;

    if (header == NULL)
        return NULL;
    while (next_clause(&rest, &c)) {
        if (!is_json(c.type))
            continue;
        if (c.as.len == 0)
            return NULL;
        if (!span_eq(c.as, "APIGroupDiscoveryList") ||
            !span_eq(c.group, "apidiscovery.k8s.io"))
            continue;
        if (span_eq(c.version, "v2"))
            return "v2";
        if (span_eq(c.version, "v2beta1"))
            return "v2beta1";
    }
    return NULL;
}

bool
accept_has(const char *header, const char *media_type)
{
    struct span rest = span_of(header);
    struct clause c;

    while (header != NULL && next_clause(&rest, &c)) {
        if (c.type.len > 0 && span_eq(c.type, media_type))
            return true;
    }
    return false;
}

int
include_parse(const struct api_call *c, enum include_object *ret, struct problem *p)
{
    const char *text = call_query(c, "includeObject");

    *ret = INCLUDE_METADATA;
    if (text == NULL || *text == '\0' || streq(text, "Metadata"))
        return 0;
    if (streq(text, "None"))
        *ret = INCLUDE_NONE;
    else if (streq(text, "Object"))
        *ret = INCLUDE_OBJECT;
    else
        return problem_set(p, ERR_BAD_REQUEST,
                           "unrecognized includeObject value: \"%.40s\"", text);
    return 0;
}
