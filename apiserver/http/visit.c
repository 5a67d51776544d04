/* SPDX-License-Identifier: Apache-2.0 */
/* Ids, and what is written about a request when it is over. */
#include "apiserver/http/visit.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/jtok.h"
#include "base/clock.h"
#include "base/id.h"
#include "base/log.h"
#include "base/mem.h"

LOG_MODULE(http);

enum { SLOW_MS = 1000 };

/* Letters, digits and a few signs: it goes into logs as it is. */
static bool
is_id(const char *text)
{
    size_t n = 0;

    for (; text[n] != '\0'; n++) {
        if (n == VISIT_ID_MAX ||
            (!isalnum((unsigned char)text[n]) && strchr("-_.", text[n]) == NULL))
            return false;
    }
    return n > 0;
}

struct visit *
visit_new(struct front *f, struct http_request *r)
{
    struct visit *v = xnew(struct visit);
    const char *given = http_header(r, "Audit-ID");

    v->front = f;
    v->r = r;
    v->started_ns = clock_now_ns();
    if (given != NULL && is_id(given))
        snprintf(v->id, sizeof(v->id), "%s", given);
    else
        id_uuid4(v->id);
    http_set_tag(r, v);
    http_add_header(r, "Audit-Id", v->id);
    return v;
}

void
visit_free(struct visit *v)
{
    user_unref(v->user);
    user_unref(v->by);
    free(v);
}

enum limits_lane
visit_lane(const struct api_user *u)
{
    if (user_in_group(u, "system:masters") || str_starts(u->name, "system:drover:"))
        return LANE_EXEMPT;
    return user_in_group(u, "system:agents") ? LANE_AGENTS : LANE_USERS;
}

void
front_note(struct http_request *r, const char *reason, const char *message)
{
    struct visit *v = http_tag(r);

    if (v == NULL)
        return;
    snprintf(v->reason, sizeof(v->reason), "%s", reason);
    snprintf(v->message, sizeof(v->message), "%s", message);
}

static void
copy_member(struct span object, const char *key, char *out, size_t size)
{
    struct span raw;
    auto_str text = STR_INIT(256 << 10);

    if (jscan_member(object, key, &raw) && jscan_string(raw, &text))
        snprintf(out, size, "%s", text.ptr);
}

/* The body is ours: a Status without white space. */
void
front_note_status(struct http_request *r, const struct str *body)
{
    struct visit *v = http_tag(r);
    struct span object = {body->ptr, body->len};

    if (v == NULL || body->len == 0 || body->ptr[0] != '{')
        return;
    copy_member(object, "reason", v->reason, sizeof(v->reason));
    copy_member(object, "message", v->message, sizeof(v->message));
}

#define FIELDS                                                                           \
    "id=%s method=%s path=\"%.*s\" user=\"%.100s\" peer=%s status=%d reason=%s ms=%lld"

/* Messages of refusals quote what the client sent, maybe a secret: only those about us
 * are written. */
void
visit_log(const struct visit *v, int status, bool aborted)
{
    long long ms = (clock_now_ns() - v->started_ns) / 1000000;
    const struct http_request *r = v->r;
    const char *path = http_raw_path(r);
    int n = (int)strcspn(path, "?");
    const char *method = http_method(r);
    const char *user = v->user == NULL ? "" : v->user->name;
    const char *reason = *v->reason != '\0' ? v->reason : aborted ? "ClientLeft" : "-";

    if (n > 300)
        n = 300;
    if (status >= 500)
        log_warn_rl("request failed", FIELDS " error=\"%.200s\"", v->id, method, n, path,
                    user, http_peer(r), status, reason, ms, v->message);
    else if (ms >= SLOW_MS && !v->long_running)
        log_warn_rl("slow request", FIELDS, v->id, method, n, path, user, http_peer(r),
                    status, reason, ms);
    else
        log_debug("request", FIELDS, v->id, method, n, path, user, http_peer(r), status,
                  reason, ms);
}
