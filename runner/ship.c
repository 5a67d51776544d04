/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shipping the logs of jobs to drover-streams. Per job one request at most is in flight:
 * what has gathered meanwhile goes in the next, so a busy job ships large batches and a
 * quiet one ships each line at once. SLOTS jobs ship at a time, the others in turn, so
 * that memory does not grow with their number. Where it is slow, compressed batches are
 * tried, and kept to as long as they get more across. The server's length is the
 * position; nothing is remembered here.
 *
 * A batch that is known not to be the last is answered before the server has synced it
 * (early=true), so that its disk and the network work at the same time. The position of
 * the next batch (sent) then runs ahead of what is acknowledged (acked); a server that
 * has lost the difference says 409 and gets it again. Segment files that are wholly
 * acknowledged are deleted, except the newest, which the writer has open.
 */
#include <dirent.h>
#include <inttypes.h>
#include <sys/inotify.h>
#include <sys/queue.h>
#include <unistd.h>
#include <zlib.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/segment.h"
#include "runner/agent.h"

LOG_MODULE(ship);

#define BATCH_MAX (1024 * 1024)
#define TAIL_MAX (256 * 1024)
#define SLOTS 2
#define COMPRESS_MIN (16 * 1024)
#define SLOW_BYTES_PER_MS (32 * 1024)
#define RETRY_MIN_MS 250
#define RETRY_MAX_MS 30000
#define PLAIN_BATCHES 64
#define HOUR_NS (INT64_C(3600) * 1000000000)
#define TAILS 8

/* Where drover-streams is; asked from the API server, whose own address is the fallback
 * (it proxies). */
struct streams {
    struct agent *a;
    char *url; /* NULL: ask first */
    struct server_call *call;
    unsigned failures;
    unsigned shipping; /* requests in flight */
    TAILQ_HEAD(, shipper) waiting;
};

struct shipper {
    struct streams *streams;
    TAILQ_ENTRY(shipper) link; /* of waiting */
    bool queued;
    bool slow;           /* the last batch took long for its size */
    bool packed;         /* the running request is compressed */
    int64_t plain_rate;  /* bytes per ms of the last one that was not */
    unsigned plain_left; /* so many before compression is tried again */
    int64_t sent_ms;     /* of the running request */
    int64_t quota, hour;
    uint64_t hour_start; /* length when the hour began */
    bool over_quota;
    char *dir, *path; /* of the log; of the request, up to the offset */
    void (*acked_fn)(void *arg);
    void *arg;
    struct loop_watch *watch;
    struct loop_timer *retry;
    struct backoff backoff;
    struct server_call *call;
    uint64_t acked;   /* durable at the server */
    uint64_t sent;    /* taken by it, and where the next batch begins */
    uint64_t sending; /* bytes in the running request */
    bool started;     /* the retained start is known */
    bool gone, dirty;
    uint64_t bounds[TAILS]; /* latest known frame boundaries, a ring */
    unsigned n_bounds;
};

static void ship(struct shipper *s);

/* --- address -------------------------------------------------------------------------
 */

struct streams *
streams_new(struct agent *a)
{
    struct streams *s = xnew(struct streams);
    s->a = a;
    TAILQ_INIT(&s->waiting);
    return s;
}

void
streams_free(struct streams *s)
{
    if (s == NULL)
        return;
    server_call_cancel(&s->call);
    free(s->url);
    free(s);
}

/* "https://host:port"; an unspecified host means the API server's. */
static char *
address_url(const char *api_url, const char *address)
{
    const char *scheme_end = strstr(api_url, "://");
    const char *colon = strrchr(address, ':');
    if (scheme_end == NULL || colon == NULL)
        return NULL;
    size_t scheme = (size_t)(scheme_end - api_url);
    size_t host_len = (size_t)(colon - address);
    bool unspecified = host_len == 0 || strncmp(address, "0.0.0.0", host_len) == 0 ||
                       strncmp(address, "[::]", host_len) == 0;
    if (!unspecified)
        return xasprintf("%.*s://%s", (int)scheme, api_url, address);
    const char *host = scheme_end + 3;
    size_t n = strcspn(host, "/");
    for (size_t i = n; i > 0 && host[i] != ']'; i--) {
        if (host[i] == ':') {
            n = i;
            break;
        }
    }
    return xasprintf("%.*s://%.*s%s", (int)scheme, api_url, (int)n, host, colon);
}

static void
on_group(void *arg, const struct server_reply *r)
{
    struct streams *s = arg;
    const json_t *list = json_object_get(r->doc, "serverAddressByClientCIDRs");
    const char *address =
        json_string_value(json_object_get(json_array_get(list, 0), "serverAddress"));
    const char *api = s->a->identity.url;
    free(s->url);
    s->url = server_ok(r) && address != NULL ? address_url(api, address) : NULL;
    if (s->url == NULL)
        s->url = xstrdup(api);
    log_debug("streams", "url=%s", s->url);
    agent_kick_all(s->a);
}

static void
streams_ask(struct streams *s)
{
    if (s->call != NULL || s->a->identity.uid == NULL)
        return;
    struct server_request r = {.method = "GET",
                               .path = "/apis/streams.drover.dev",
                               .on_reply = on_group,
                               .arg = s};
    server_call(s->a->server, &s->call, &r);
}

const char *
streams_url(struct streams *s)
{
    if (s->url == NULL)
        streams_ask(s);
    return s->url;
}

/* --- trimming ------------------------------------------------------------------------
 */

static void
trim(struct shipper *s)
{
    uint64_t newest = 0;
    DIR *d = opendir(s->dir);
    struct dirent *de;
    if (d == NULL)
        return;
    uint64_t starts[256];
    size_t n = 0;
    while ((de = readdir(d)) != NULL) {
        char *end;
        uint64_t v = strtoull(de->d_name, &end, 16);
        if (end != de->d_name + 16 || !streq(end, ".seg"))
            continue;
        newest = v > newest ? v : newest;
        if (n < ARRAY_LEN(starts))
            starts[n++] = v;
    }
    for (size_t i = 0; i < n; i++) {
        /* A file ends where the next one begins. */
        uint64_t next = UINT64_MAX;
        for (size_t k = 0; k < n; k++) {
            if (starts[k] > starts[i] && starts[k] < next)
                next = starts[k];
        }
        char name[32];
        snprintf(name, sizeof(name), "%016" PRIx64 ".seg", starts[i]);
        if (next != UINT64_MAX && starts[i] != newest && next <= s->acked)
            unlinkat(dirfd(d), name, 0);
    }
    closedir(d);
}

/* --- shipping ------------------------------------------------------------------------
 */

static void
retry_later(struct shipper *s)
{
    loop_timer_in(s->retry, backoff_next_ms(&s->backoff, RETRY_MIN_MS, RETRY_MAX_MS));
}

/* What the server has, and what of it is durable. */
static void
advance(struct shipper *s, uint64_t sent, uint64_t length)
{
    s->sent = sent;
    if (length / SEGMENT_BYTES != s->acked / SEGMENT_BYTES) {
        s->acked = length;
        trim(s);
    }
    s->acked = length;
    s->bounds[s->n_bounds++ % TAILS] = sent;
}

/* A slot is free: the one that waits longest. */
static void
next_in_turn(struct streams *st)
{
    struct shipper *s;

    while (st->shipping < SLOTS && (s = TAILQ_FIRST(&st->waiting)) != NULL) {
        TAILQ_REMOVE(&st->waiting, s, link);
        s->queued = false;
        ship(s); /* takes the slot, unless there is nothing to send after all */
    }
}

static void
note_speed(struct shipper *s)
{
    int64_t ms = loop_now_ms(s->streams->a->loop) - s->sent_ms;
    uint64_t n = s->sending;

    if (n < COMPRESS_MIN)
        return;
    s->slow = ms > 20 && (int64_t)n < ms * SLOW_BYTES_PER_MS;
    int64_t rate = (int64_t)n / (ms > 0 ? ms : 1);
    if (!s->packed)
        s->plain_rate = rate;
    else if (rate <= s->plain_rate) /* it is not the link that is slow */
        s->plain_left = PLAIN_BATCHES;
}

static void
on_reply(void *arg, const struct server_reply *r)
{
    struct shipper *s = arg;
    struct streams *st = s->streams;
    st->shipping--;
    const json_t *length = json_object_get(r->doc, "length");
    const json_t *durable = json_object_get(r->doc, "durable");

    if ((r->status == 200 || r->status == 409) && json_is_integer(length) &&
        json_integer_value(length) >= 0) {
        /* Behind what is known to be durable, it may still be the server's mistake. */
        uint64_t sent = (uint64_t)json_integer_value(length);
        bool moved = r->status == 200 || (sent >= s->acked && sent < s->sent);
        note_speed(s);
        if (r->status == 200)
            s->backoff.failures = 0;
        s->streams->failures = 0;
        advance(s, sent,
                json_is_integer(durable) ? (uint64_t)json_integer_value(durable) : sent);
        next_in_turn(st); /* the others first */
        if (moved)
            ship(s);
        else
            retry_later(s);
        s->acked_fn(s->arg);
        return;
    }
    if (r->error.code == ERR_NOT_FOUND || r->status == 410) {
        s->gone = true;
        next_in_turn(st);
        s->acked_fn(s->arg);
        return;
    }
    next_in_turn(st);
    log_warn_rl("log not taken", "path=%s error=\"%s\"", s->path, r->error.msg);
    if (++s->streams->failures % 4 == 0) {
        /* It may have moved. */
        free(s->streams->url);
        s->streams->url = NULL;
    }
    retry_later(s);
}

/* The bytes of whole frames at the front. */
static size_t
whole_frames(const struct str *buf, uint64_t offset)
{
    size_t at = 0;
    struct segment_frame f;
    struct error e = ERROR_INIT;
    while (segment_frame_get(buf->ptr + at, buf->len - at, offset + at, &f, &e) == 1)
        at += SEGMENT_HEADER + f.bytes.len;
    return at;
}

static bool
find_start(struct shipper *s)
{
    uint64_t first;
    uint64_t length;
    struct error e = ERROR_INIT;
    if (s->started)
        return true;
    if (segment_stat(s->dir, &first, &length, &e) < 0 || length == 0)
        return false;
    s->started = true;
    if (s->acked < first)
        s->acked = s->sent = first;
    return true;
}

/* zlib at its fastest; false when that does not pay. */
static bool
compress_batch(const struct str *buf, size_t n, struct str *out)
{
    uLongf size = compressBound(n);

    if (!str_reserve(out, size) ||
        compress2((Bytef *)out->ptr, &size, (const Bytef *)buf->ptr, n, 1) != Z_OK ||
        size > n - n / 8)
        return false;
    out->len = size;
    return true;
}

static bool
pack(struct shipper *s, const struct str *buf, size_t n, struct str *out)
{
    if (!s->slow || n < COMPRESS_MIN)
        return false;
    if (s->plain_left > 0) {
        s->plain_left--;
        return false;
    }
    if (compress_batch(buf, n, out))
        return true;
    s->plain_left = PLAIN_BATCHES;
    return false;
}

static void
ship(struct shipper *s)
{
    auto_str packed = STR_INIT(2 * BATCH_MAX);
    auto_str buf = STR_INIT(BATCH_MAX + SEGMENT_HEADER + SEGMENT_FRAME_MAX);
    auto_str path = STR_INIT(2048);
    struct error e = ERROR_INIT;
    struct http_target target;

    if (s->call != NULL || s->gone || loop_timer_armed(s->retry) || !find_start(s))
        return;
    if (s->streams->url == NULL) {
        streams_ask(s->streams);
        return;
    }
    if (s->streams->shipping >= SLOTS) {
        if (!s->queued)
            TAILQ_INSERT_TAIL(&s->streams->waiting, s, link);
        s->queued = true;
        return;
    }
    if (segment_read(s->dir, s->sent, &buf, BATCH_MAX, &e) < 0) {
        log_warn_rl("log not readable", "dir=%s error=\"%s\"", s->dir, e.msg);
        retry_later(s);
        return;
    }
    size_t n = whole_frames(&buf, s->sent);
    /* Nothing new, but the last was answered early: only asks until it is durable. */
    if (n == 0 && s->acked == s->sent)
        return;
    bool early = buf.len >= BATCH_MAX;
    s->packed = pack(s, &buf, n, &packed);
    size_t packed_len = packed.len;
    s->sent_ms = loop_now_ms(s->streams->a->loop);
    s->streams->shipping++;
    s->sending = n;
    str_addf(&path, "%s%" PRIu64 "%s", s->path, s->sent, early ? "&early=true" : "");
    server_target(s->streams->a->server, &target);
    target.url = s->streams->url;
    struct server_request r = {.method = "POST",
                               .path = path.ptr,
                               .content_type = s->packed
                                                   ? "application/vnd.drover.frames+zlib"
                                                   : "application/vnd.drover.frames",
                               .owned_bytes = str_detach(s->packed ? &packed : &buf),
                               .n_bytes = s->packed ? packed_len : n,
                               .target = &target,
                               .timeout_ms = 30000,
                               .on_reply = on_reply,
                               .arg = s};
    server_call(s->streams->a->server, &s->call, &r);
}

/* "<hour> <offset>": where in the log the hour began, for an agent after this one. */
static void
save_hour(const struct shipper *s)
{
    struct error e = ERROR_INIT;
    char text[64];
    autofree char *path = xasprintf("%s.hour", s->dir);
    int n =
        snprintf(text, sizeof(text), "%" PRId64 " %" PRIu64 "\n", s->hour, s->hour_start);

    if (fs_write_atomic(path, text, (size_t)n, 0600, &e) < 0)
        log_warn_rl("log quota not written", "path=%s error=\"%s\"", path, e.msg);
}

/* Without a word of an earlier agent, all that there is counts: it began in this hour. */
static void
load_hour(struct shipper *s)
{
    struct error e = ERROR_INIT;
    auto_str text = STR_INIT(64);
    autofree char *path = xasprintf("%s.hour", s->dir);

    char *end = NULL;
    if (fs_read(path, &text, &e) == 0) {
        s->hour = strtoll(text.ptr, &end, 10);
        s->hour_start = strtoull(end, &end, 10);
    }
    if (end == NULL || *end != '\n' || s->hour <= 0) {
        s->hour = clock_wall_ns() / HOUR_NS;
        s->hour_start = 0;
        save_hour(s);
    }
}

static void
check_quota(struct shipper *s)
{
    struct error e = ERROR_INIT;
    uint64_t first;
    uint64_t length;
    int64_t hour = clock_wall_ns() / HOUR_NS;

    if (s->quota <= 0 || s->over_quota || segment_stat(s->dir, &first, &length, &e) < 0)
        return;
    if (s->hour == 0)
        load_hour(s);
    if (hour != s->hour) {
        s->hour_start = length;
        s->hour = hour;
        save_hour(s);
    }
    if (length - s->hour_start <= (uint64_t)s->quota)
        return;
    s->over_quota = true;
    s->acked_fn(s->arg);
}

void
shipper_set_quota(struct shipper *s, int64_t bytes)
{
    if (s->quota == bytes)
        return;
    s->quota = bytes;
    check_quota(s); /* of what was written while nobody knew it */
}

bool
shipper_over_quota(const struct shipper *s)
{
    return s->over_quota;
}

static void
on_watch(void *arg, uint32_t mask, const char *name)
{
    UNUSED(mask);
    UNUSED(name);
    ship(arg);
    check_quota(arg);
}

static void
on_retry(void *arg)
{
    ship(arg);
}

struct shipper *
shipper_start(struct streams *st, const struct shipped_log *what,
              void (*acked)(void *arg), void *arg)
{
    struct error e = ERROR_INIT;
    struct shipper *s = xnew(struct shipper);
    s->streams = st;
    s->dir = xstrdup(what->dir);
    s->path = xasprintf("/apis/streams.drover.dev/v1/namespaces/%s/jobs/%s/"
                        "log?%s%s%suid=%s&offset=",
                        what->ns, what->name, what->kind != NULL ? "log=" : "",
                        what->kind != NULL ? what->kind : "",
                        what->kind != NULL ? "&" : "", what->uid);
    s->acked_fn = acked;
    s->arg = arg;
    s->retry = loop_timer_new(st->a->loop, "log shipper", on_retry, s);
    if (loop_watch_add(st->a->loop, s->dir, IN_MODIFY | IN_CREATE, on_watch, s, &s->watch,
                       &e) < 0)
        log_warn("log not watched", "dir=%s error=\"%s\"", s->dir, e.msg);
    ship(s);
    return s;
}

void
shipper_free(struct shipper *s)
{
    if (s == NULL)
        return;
    if (s->queued)
        TAILQ_REMOVE(&s->streams->waiting, s, link);
    if (s->call != NULL) {
        server_call_cancel(&s->call);
        s->streams->shipping--;
        next_in_turn(s->streams);
    }
    loop_watch_free(s->watch);
    loop_timer_free(s->retry);
    free(s->dir);
    free(s->path);
    free(s);
}

uint64_t
shipper_acked(const struct shipper *s)
{
    return s->acked;
}

bool
shipper_gone(const struct shipper *s)
{
    return s->gone;
}

void
shipper_kick(struct shipper *s)
{
    loop_timer_cancel(s->retry);
    s->backoff.failures = 0;
    ship(s);
}

/* --- the last words ------------------------------------------------------------------
 */

/* The newest known frame boundary that lies at least max bytes before the end, or the
 * oldest known. */
static uint64_t
tail_start(const struct shipper *s, uint64_t length, size_t max)
{
    uint64_t best = UINT64_MAX;
    unsigned n = s->n_bounds < TAILS ? s->n_bounds : TAILS;
    for (unsigned i = 0; i < n; i++) {
        uint64_t b = s->bounds[i];
        bool far_enough = b + max <= length;
        if (b <= length && (best == UINT64_MAX || (far_enough && b > best)))
            best = b;
    }
    uint64_t first;
    uint64_t end;
    struct error e = ERROR_INIT;
    if (best != UINT64_MAX && best + max <= length)
        return best;
    /* Little was shipped yet: the start, when it is near. */
    if (segment_stat(s->dir, &first, &end, &e) == 0 && length - first <= TAIL_MAX)
        return first;
    return best != UINT64_MAX ? best : length;
}

void
shipper_tail(const struct shipper *s, uint64_t length, size_t max, struct str *out)
{
    auto_str raw = STR_INIT(TAIL_MAX + SEGMENT_HEADER + SEGMENT_FRAME_MAX);
    auto_str text = STR_INIT(TAIL_MAX + SEGMENT_FRAME_MAX);
    struct error e = ERROR_INIT;
    struct segment_frame f;
    uint64_t at = tail_start(s, length, 2 * max);
    if (segment_read(s->dir, at, &raw, TAIL_MAX, &e) < 0)
        return;
    for (size_t i = 0;
         segment_frame_get(raw.ptr + i, raw.len - i, at + i, &f, &e) == 1;) {
        if (f.stream != SEGMENT_MARK)
            str_add(&text, f.bytes.ptr, f.bytes.len);
        i += SEGMENT_HEADER + f.bytes.len;
    }
    size_t from = text.len > max ? text.len - max : 0;
    for (size_t i = from; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        /* Text for a status field: what is not plain is shown as such. */
        if (c == '\n' || c == '\t' || (c >= ' ' && c < 0x7f))
            str_addc(out, (char)c);
        else if (c != '\r')
            str_addc(out, '?');
    }
}
