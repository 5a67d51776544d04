/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What drover-streams asks of us: who sends a request that came through our proxy, by a
 * ticket that is good while that request lasts; and what its own clients read, for the
 * audit log.
 */
#include <stdlib.h>

#include "apiserver/auth/auth_internal.h"
#include "base/id.h"
#include "base/map.h"

#define TICKET_PREFIX "drt_"
#define STREAMS_USER "system:drover:streams"
#define STREAMS_PATH "/apis/streams.drover.dev/v1"
/* Said by drover-streams of who came to its own port. */
#define EXTRA_SOURCE "streams.drover.dev/source"
#define EXTRA_AGENT "streams.drover.dev/user-agent"

static void
free_user(void *user)
{
    user_unref(user);
}

void
auth_ticket_new(struct auth *a, struct api_user *u, char *out)
{
    if (a->tickets == NULL)
        a->tickets = map_new(free_user);
    id_token(TICKET_PREFIX, out);
    map_put(a->tickets, out, user_ref(u));
}

void
auth_ticket_drop(struct auth *a, const char *ticket)
{
    map_del(a->tickets, ticket);
}

struct api_user *
ticket_user(struct auth *a, const struct api_user *by, const char *token)
{
    if (a->tickets == NULL || !streq(by->name, STREAMS_USER) ||
        !str_starts(token, TICKET_PREFIX))
        return NULL;
    struct api_user *u = map_get(a->tickets, token);
    return u == NULL ? NULL : user_ref(u);
}

static const char *
extra_of(const json_t *spec, const char *key)
{
    return json_string_value(
        json_array_get(json_object_get(json_object_get(spec, "extra"), key), 0));
}

void
streams_note_access(struct auth *a, const struct api_user *by, const json_t *spec,
                    bool allowed)
{
    const json_t *what = json_object_get(spec, "resourceAttributes"), *group;
    const char *source = extra_of(spec, EXTRA_SOURCE),
               *agent = extra_of(spec, EXTRA_AGENT);
    const char *sub = body_text(what, "subresource");
    auto_str path = STR_INIT(2048), groups = STR_INIT(16384);
    size_t i;

    if (source == NULL || !streq(by->name, STREAMS_USER) ||
        !streq(body_text(what, "group"), "streams.drover.dev"))
        return;
    str_addf(&path, STREAMS_PATH "/namespaces/%s/%s/%s%s%s", body_text(what, "namespace"),
             body_text(what, "resource"), body_text(what, "name"),
             *sub == '\0' ? "" : "/", sub);
    json_array_foreach (json_object_get(spec, "groups"), i, group) {
        if (json_is_string(group))
            str_addf(&groups, "%s%s", groups.len == 0 ? "" : ",",
                     json_string_value(group));
    }
    struct api_observed o = {.user = body_text(spec, "user"),
                             .groups = groups.len == 0 ? "" : groups.ptr,
                             .verb = body_text(what, "verb"),
                             .path = path.ptr,
                             .status = allowed ? 200 : 403,
                             .source = source,
                             .user_agent = agent == NULL ? "" : agent};
    api_server_observed(a->server, &o);
}
