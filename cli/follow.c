/* SPDX-License-Identifier: Apache-2.0 */
/* One object until something holds. */
#include "cli/follow.h"

#include <poll.h>

#include "base/clock.h"

enum { RETRY_MS = 300, GIVE_UP_MS = 60000 };

struct follow {
    follow_fn *fn;
    void *arg;
    bool done, expired;
};

static bool
on_line(void *arg, struct span line)
{
    struct follow *f = arg;
    json_t *event = json_loadb(line.ptr, line.len, 0, NULL);
    const char *type = js(event, "type");

    if (streq(type, "ERROR"))
        f->expired = true;
    else if (streq(type, "DELETED"))
        f->done = f->fn(f->arg, NULL);
    else if (!streq(type, "BOOKMARK"))
        f->done = f->fn(f->arg, json_object_get(event, "object"));
    json_decref(event);
    return !f->done && !f->expired;
}

/* One list + watch; 0 also when the stream just ended. */
static int
once(struct session *s, const struct resource *r, const char *name, int timeout_ms,
     struct follow *f, struct error *e)
{
    auto_str path = STR_INIT(4096);
    json_t *list = NULL;

    client_path(&path, r, s->ns, NULL, NULL);
    str_addf(&path, "?fieldSelector=metadata.name%%3D%s", name);
    if (session_get_json(s, path.ptr, NULL, &list, e) < 0)
        return -(int)e->code;
    const json_t *item = json_array_get(json_object_get(list, "items"), 0);
    f->done = f->fn(f->arg, item);
    str_addf(&path, "&watch=true&resourceVersion=%s",
             js(list, "metadata.resourceVersion"));
    json_decref(list);
    if (f->done)
        return 0;
    f->expired = false;
    return session_stream_lines(s, path.ptr, NULL, timeout_ms, on_line, f, e);
}

int
follow_object(struct session *s, const struct resource *r, const char *name,
              int64_t timeout_ms, follow_fn *fn, void *arg, struct error *e)
{
    struct follow f = {.fn = fn, .arg = arg};
    int64_t start = clock_now_ms();
    int64_t last_ok = start;

    for (;;) {
        int64_t left = timeout_ms < 0 ? -1 : start + timeout_ms - clock_now_ms();
        if (timeout_ms >= 0 && left <= 0)
            return error_set(e, ERR_TIMEOUT, "timed out");
        struct error why = ERROR_INIT;
        int rc = once(s, r, name, left > INT32_MAX ? INT32_MAX : (int)left, &f, &why);
        if (f.done)
            return 0;
        if (rc == 0) {
            last_ok = clock_now_ms();
            continue;
        }
        bool passing = why.code == ERR_UNAVAILABLE || why.code == ERR_IO ||
                       why.code == ERR_PROVIDER || why.code == ERR_BUSY ||
                       why.code == ERR_TIMEOUT || why.code == ERR_EXPIRED;
        if (!passing || clock_now_ms() - last_ok > GIVE_UP_MS) {
            *e = why;
            return -(int)e->code;
        }
        /* The server may be restarting. Nothing tells us when it is back but asking. */
        poll(NULL, 0, RETRY_MS);
    }
}
