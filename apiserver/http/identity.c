/* SPDX-License-Identifier: Apache-2.0 */
/* Who sends a request: client certificate, bearer token, nobody; and as whom he acts. */
#include <stdlib.h>
#include <strings.h>

#include "apiserver/http/front.h"
#include "apiserver/registry/answer.h"
#include "base/log.h"

LOG_MODULE(http);

enum { IMPERSONATE_MAX = 256 };

/* Subject of a certificate that --client-ca-file vouches for: CN is the user, each O a
 * group. */
static struct api_user *
certificate_user(struct http_request *r)
{
    const char *name = http_client_name(r);
    const char *groups = name == NULL ? NULL : http_client_groups(r);

    if (groups == NULL)
        return NULL;
    struct api_user *u = user_new(name, "");
    for (size_t n; *groups != '\0'; groups += n + (groups[n] == '\n')) {
        n = strcspn(groups, "\n");
        autofree char *group = xstrndup(groups, n);
        if (n > 0)
            user_add_group(u, group);
    }
    user_add_group(u, "system:authenticated");
    return u;
}

/* Answered without credentials whatever the options are. */
static bool
is_public(const char *path)
{
    return streq(path, "/version") || streq(path, "/version/");
}

static struct api_user *
authenticate(struct auth *a, struct http_request *r, bool anonymous, struct error *e)
{
    const char *header = http_header(r, "Authorization");
    struct api_user *u = certificate_user(r);

    if (u != NULL)
        return u;
    if (header == NULL && (anonymous || is_public(http_path(r))))
        return user_new("system:anonymous", "system:unauthenticated");
    return auth_bearer(a, header, e);
}

struct collected {
    struct auth_header list[IMPERSONATE_MAX];
    size_t n;
    bool toomany;
};

static bool
collect(void *arg, const char *name, const char *value)
{
    struct collected *c = arg;

    if (strncasecmp(name, "Impersonate-", strlen("Impersonate-")) != 0)
        return true;
    c->toomany = c->n == IMPERSONATE_MAX;
    if (!c->toomany)
        c->list[c->n++] = (struct auth_header){name, value};
    return !c->toomany;
}

static void
refuse_problem(struct http_request *r, const struct problem *p)
{
    struct str body = STR_INIT(256 * 1024);
    int status;

    problem_write(p, &body, &status);
    front_note_status(r, &body);
    http_respond_str(r, status, "application/json", &body);
}

/* The user, or who he acts as; then the reference goes to ret_by. NULL: answered. */
static struct api_user *
acting_user(struct auth *a, struct http_request *r, struct api_user *user,
            struct api_user **ret_by)
{
    struct collected *c = xnew(struct collected);
    struct api_user *other = NULL;
    auto_problem p;

    problem_init(&p, NULL, NULL);
    http_headers_each(r, collect, c);
    if (c->n == 0) {
        free(c);
        return user;
    }
    int rc = c->toomany ? problem_set(&p, ERR_BAD_REQUEST, "too many Impersonate headers")
                        : auth_impersonate(a, user, c->list, c->n, &other, &p);
    free(c);
    *ret_by = user;
    if (rc == 0)
        return other;
    refuse_problem(r, &p);
    return NULL;
}

struct api_user *
front_user(struct auth *a, struct http_request *r, bool anonymous,
           struct api_user **ret_by)
{
    struct error e = ERROR_INIT;
    struct api_user *user = authenticate(a, r, anonymous, &e);

    if (user != NULL)
        return acting_user(a, r, user, ret_by);
    log_debug("refused", "peer=%s error=\"%s\"", http_peer(r), e.msg);
    http_add_header(r, "WWW-Authenticate", "Bearer");
    /* Which of the tokens it is not is nobody's business but the log's. */
    front_refuse(r, ERR_UNAUTHORIZED, "Unauthorized");
    return NULL;
}
