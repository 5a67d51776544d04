/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Acting as somebody else: the Impersonate-* headers, each of which needs the verb
 * "impersonate" on what it names. What comes out has nothing of the first user.
 */
#include <stdlib.h>
#include <strings.h>

#include "apiserver/auth/auth_internal.h"
#include "apiserver/registry/answer.h"

#define PREFIX "Impersonate-"
#define ACCOUNT_PREFIX "system:serviceaccount:"
#define AUTHENTICATION "authentication.k8s.io"

struct asked {
    struct auth *a;
    const struct api_user *by;
    struct problem *p;
};

static int
check(const struct asked *k, const char *group, const char *resource, const char *sub,
      const char *ns, const char *name)
{
    struct authz_attributes t = {.user = k->by,
                                 .verb = "impersonate",
                                 .group = group,
                                 .resource = resource,
                                 .sub = sub,
                                 .ns = ns,
                                 .name = name};
    auto_str reason = STR_INIT(256), text = STR_INIT(4096);

    if (auth_authorize(k->a, &t, &reason))
        return 0;
    str_addf(&text,
             "%s%s%s \"%s\" is forbidden: User \"%s\" cannot impersonate resource "
             "\"%s%s%s\" in API group \"%s\" ",
             resource, *group == '\0' ? "" : ".", group, name, k->by->name, resource,
             *sub == '\0' ? "" : "/", sub, group);
    if (*ns == '\0')
        str_adds(&text, "at the cluster scope");
    else
        str_addf(&text, "in the namespace \"%s\"", ns);
    return problem_text(k->p, ERR_FORBIDDEN, text.ptr);
}

static bool
split_account(const char *user, char ns[64], const char **ret_name)
{
    const char *at, *colon;

    if (!str_starts(user, ACCOUNT_PREFIX))
        return false;
    at = user + sizeof(ACCOUNT_PREFIX) - 1;
    colon = strchr(at, ':');
    if (colon == NULL || colon == at || colon - at > 63 || colon[1] == '\0' ||
        strchr(colon + 1, ':') != NULL)
        return false;
    snprintf(ns, 64, "%.*s", (int)(colon - at), at);
    *ret_name = colon + 1;
    return true;
}

static const char *
header_rest(const struct auth_header *h, const char *name)
{
    size_t n = strlen(name);

    return strncasecmp(h->name, PREFIX, sizeof(PREFIX) - 1) == 0 &&
                   strncasecmp(h->name + sizeof(PREFIX) - 1, name, n) == 0
               ? h->name + sizeof(PREFIX) - 1 + n
               : NULL;
}

static bool
header_is(const struct auth_header *h, const char *name)
{
    const char *rest = header_rest(h, name);

    return rest != NULL && *rest == '\0';
}

static int
hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Lower case, %XX decoded; what does not decode stays as it is. */
static char *
extra_key(const char *text)
{
    char *out = xstrdup(text);
    size_t n = 0;

    for (const char *p = text; *p != '\0'; p++) {
        int high = *p == '%' ? hex_digit(p[1]) : -1;
        int low = high < 0 ? -1 : hex_digit(p[2]);
        char c = *p;
        if (low >= 0 && high * 16 + low != 0) {
            c = (char)(high * 16 + low);
            p += 2;
        }
        out[n++] = c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
    }
    out[n] = '\0';
    return out;
}

static const char *
find_user(const struct auth_header *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (header_is(&list[i], "User"))
            return list[i].value;
    }
    return "";
}

static int
add_header(const struct asked *k, const struct auth_header *h, struct api_user *u,
           bool *ret_group)
{
    const char *extra = header_rest(h, "Extra-");
    int rc = 0;

    if (header_is(h, "Group")) {
        rc = check(k, "", "groups", "", "", h->value);
        user_add_group(u, h->value);
        *ret_group = true;
    } else if (header_is(h, "Uid")) {
        rc = check(k, AUTHENTICATION, "uids", "", "", h->value);
        user_set_uid(u, h->value);
    } else if (extra != NULL && *extra != '\0') {
        autofree char *key = extra_key(extra);
        rc = check(k, AUTHENTICATION, "userextras", key, "", h->value);
        user_add_extra(u, key, h->value);
    }
    return rc;
}

static void
add_groups(struct api_user *u, const char *account_ns, bool given)
{
    if (account_ns != NULL && !given) {
        autofree char *group = xasprintf("system:serviceaccounts:%s", account_ns);
        user_add_group(u, "system:serviceaccounts");
        user_add_group(u, group);
    }
    const char *last = streq(u->name, "system:anonymous") ? "system:unauthenticated"
                                                          : "system:authenticated";
    if (!user_in_group(u, last))
        user_add_group(u, last);
}

int
auth_impersonate(struct auth *a, const struct api_user *by,
                 const struct auth_header *list, size_t n, struct api_user **ret,
                 struct problem *p)
{
    struct asked k = {a, by, p};
    const char *user = find_user(list, n), *name = NULL;
    bool group = false;
    char ns[64];

    if (*user == '\0')
        return problem_set(p, ERR_BAD_REQUEST,
                           "requested groups, uid or extra without impersonating a user");
    bool account = split_account(user, ns, &name);
    int rc = account ? check(&k, "", "serviceaccounts", "", ns, name)
                     : check(&k, "", "users", "", "", user);
    struct api_user *u = user_new(user, "");
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = add_header(&k, &list[i], u, &group);
    if (rc < 0) {
        user_unref(u);
        return rc;
    }
    add_groups(u, account ? ns : NULL, group);
    if (user_in_group(u, "system:agents"))
        auth_resolve_agent(a, u); /* an unknown agent is nobody's */
    *ret = u;
    return 0;
}
