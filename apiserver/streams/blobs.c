/* SPDX-License-Identifier: Apache-2.0 */
/* The blob requests, and the collection of what nobody names any more. */
#include "apiserver/streams/blobs.h"

#include <inttypes.h>
#include <stdlib.h>

#include "api/jtok.h"
#include "base/log.h"
#include "base/mem.h"

LOG_MODULE(blobs);

enum { COLLECT_MS = 600 * 1000, PAGE_MAX = 64 << 20 };

struct blobs {
    struct streams *s;
    struct blob_config c;
    struct loop_pool *pool;
    /* collection */
    struct loop_timer *timer;
    struct http_transfer *list;
    unsigned step; /* index into collected_kinds */
    struct map *refs;
    size_t removed, logs_removed;
    uint64_t log_bytes_freed;
};

struct op {
    struct blobs *b;
    struct http_request *request; /* NULL: the client left */
    struct access_check *access;
    char ns[STREAMS_NAME_MAX], hex[BLOB_HEX + 1];
    bool put;
    uint64_t offset, size;
    struct str body;
    struct blob_put result;
    struct error error;
};

bool
blobs_parse_route(const char *path, char ns[STREAMS_NAME_MAX], char hex[BLOB_HEX + 1])
{
    static const char middle[] = "/blobs/sha256:";
    size_t n = strspn(path, "abcdefghijklmnopqrstuvwxyz0123456789-.");

    if (n == 0 || n >= STREAMS_NAME_MAX || path[0] == '.' ||
        !str_starts(path + n, middle))
        return false;
    const char *h = path + n + sizeof(middle) - 1;
    if (strlen(h) != BLOB_HEX || strspn(h, "0123456789abcdef") != BLOB_HEX)
        return false;
    memcpy(ns, path, n);
    ns[n] = '\0';
    memcpy(hex, h, BLOB_HEX + 1);
    return true;
}

static void
op_free(struct op *o)
{
    str_done(&o->body);
    free(o);
}

/* --- writing -------------------------------------------------------------------------
 */

static void
put_work(void *arg)
{
    struct op *o = arg;
    int rc = blob_store_put(&o->result, &o->error);

    UNUSED(rc); /* the code is in the error */
}

static void
put_done(void *arg)
{
    struct op *o = arg;
    const struct blob_put *p = &o->result;
    auto_str body = STR_INIT(256);

    if (o->request != NULL) {
        http_set_state(o->request, NULL, NULL);
        if (o->error.code == ERR_OK || o->error.code == ERR_CONFLICT) {
            int status = o->error.code == ERR_CONFLICT ? 409
                         : p->created                  ? 201
                         : p->there                    ? 200
                                                       : 202;
            str_addf(&body, "{\"offset\":%" PRIu64 ",\"complete\":%s}\n", p->at,
                     p->created || p->there ? "true" : "false");
            http_respond_str(o->request, status, "application/json", &body);
        } else {
            streams_error(o->request, &o->error);
        }
    }
    op_free(o);
}

static void
put_start(struct op *o)
{
    o->result = (struct blob_put){.dir = o->b->c.dir,
                                  .ns = o->ns,
                                  .hex = o->hex,
                                  .offset = o->offset,
                                  .size = o->size,
                                  .quota_bytes = o->b->c.quota_bytes,
                                  .bytes = {o->body.ptr, o->body.len}};
    loop_pool_run(o->b->pool, put_work, put_done, o);
}

/* --- reading -------------------------------------------------------------------------
 */

struct reader {
    int fd;
    off_t at;
};

static ssize_t
read_some(void *arg, char *buf, size_t max)
{
    struct reader *r = arg;
    ssize_t n = pread(r->fd, buf, max, r->at);

    if (n <= 0)
        return -1;
    r->at += n;
    return n;
}

static void
reader_free(void *arg)
{
    struct reader *r = arg;

    close(r->fd);
    free(r);
}

static void
get_start(struct op *o)
{
    struct error e = ERROR_INIT;
    autoclose int fd = -1;
    uint64_t size;
    struct http_request *request = o->request;

    http_set_state(request, NULL, NULL);
    if (blob_store_open(o->b->c.dir, o->ns, o->hex, &fd, &size, &e) == 0 &&
        o->offset > size)
        error_set(&e, ERR_BAD_REQUEST, "the blob has %" PRIu64 " bytes", size);
    if (e.code != ERR_OK) {
        streams_error(request, &e);
    } else if (o->offset == size) {
        http_respond(request, 200, "application/octet-stream", "", 0);
    } else {
        struct reader *r = xnew(struct reader);
        r->at = (off_t)o->offset;
        r->fd = move_fd(fd);
        http_respond_reader(request, 200, "application/octet-stream", size - o->offset,
                            read_some, reader_free, r);
    }
    op_free(o);
}

/* --- requests ------------------------------------------------------------------------
 */

static void
on_access(void *arg, const struct job_facts *facts, const struct error *e)
{
    struct op *o = arg;

    o->access = NULL;
    if (facts == NULL) {
        http_set_state(o->request, NULL, NULL);
        streams_error(o->request, e);
        op_free(o);
    } else if (o->put) {
        put_start(o);
    } else {
        get_start(o);
    }
}

static void
on_close(void *state, bool aborted)
{
    struct op *o = state;

    UNUSED(aborted);
    o->request = NULL;
    if (o->access != NULL) {
        access_cancel(o->access);
        op_free(o);
    }
}

static bool
number(const struct http_request *r, const char *key, bool required, uint64_t *ret)
{
    const char *text = http_query(r, key);
    char *end;

    *ret = 0;
    if (text == NULL)
        return !required;
    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    *ret = strtoull(text, &end, 10);
    return errno == 0 && *end == '\0' && *ret <= INT64_MAX;
}

void
blobs_handle(struct blobs *b, struct http_request *r, const char *ns, const char *hex)
{
    const char *method = http_method(r);
    bool put = streq(method, "PUT");
    struct error e = ERROR_INIT;
    uint64_t offset = 0;
    uint64_t size = 0;

    if (!put && !streq(method, "GET") && !streq(method, "HEAD"))
        error_set(&e, ERR_UNSUPPORTED,
                  "the server does not allow this method on the requested resource");
    else if (!number(r, "offset", false, &offset) || !number(r, "size", put, &size))
        error_set(&e, ERR_BAD_REQUEST,
                  "query parameters offset and size are numbers; PUT needs size");
    if (e.code != ERR_OK) {
        streams_error(r, &e);
        return;
    }
    struct op *o = xnew(struct op);
    struct span body = http_body(r);
    o->b = b;
    o->request = r;
    o->put = put;
    o->offset = offset;
    o->size = size;
    snprintf(o->ns, sizeof(o->ns), "%s", ns);
    snprintf(o->hex, sizeof(o->hex), "%s", hex);
    str_init(&o->body, STREAMS_MAX_APPEND);
    if (put)
        str_add(&o->body, body.ptr, body.len);
    http_set_state(r, o, on_close);
    o->access = access_blob(b->s, r, ns, hex, put ? "create" : "get", on_access, o);
}

/* --- collection ----------------------------------------------------------------------
 */

static const char *const collected_kinds[] = {"runs", "jobs"};

static void list_next(struct blobs *b, struct span token);

static void
sweep_work(void *arg)
{
    struct blobs *b = arg;

    blob_store_sweep(b->c.dir, b->refs, b->c.grace_s, &b->removed);
    blob_store_sweep_logs(b->c.output_dir, b->refs, b->c.log_ttl_s, &b->logs_removed);
    log_bound_apply(b->c.output_dir, b->refs, b->c.log_total_bytes, &b->log_bytes_freed);
}

static void
collect_end(struct blobs *b)
{
    map_clear(b->refs);
    loop_timer_in(b->timer, b->c.grace_s * 1000 < COLLECT_MS ? b->c.grace_s * 1000 + 1000
                                                             : COLLECT_MS);
}

static void
sweep_done(void *arg)
{
    struct blobs *b = arg;

    if (b->removed > 0 || b->logs_removed > 0)
        log_info("collected", "blobs=%zu logs=%zu", b->removed, b->logs_removed);
    if (b->log_bytes_freed > 0)
        log_warn("logs over the bound removed", "bytes=%" PRIu64 " bound=%" PRIu64,
                 b->log_bytes_freed, b->c.log_total_bytes);
    collect_end(b);
}

/* A list that is not whole collects nothing: absence is only known from all of it. */
static void
on_list(void *arg, const struct http_reply *r, const struct error *e)
{
    struct blobs *b = arg;
    struct error why = ERROR_INIT;
    auto_str canonical = STR_INIT(PAGE_MAX);
    auto_str token = STR_INIT(8192);
    struct span raw;

    b->list = NULL;
    if (e->code != ERR_OK || r->status != 200 ||
        jcanon(r->body.ptr, r->body.len, &canonical, &why) < 0) {
        log_warn_rl("blobs not collected", "status=%d error=\"%s\"", r->status, e->msg);
        collect_end(b);
        return;
    }
    blob_scan_refs((struct span){canonical.ptr, canonical.len}, b->refs);
    if (jscan_path((struct span){canonical.ptr, canonical.len}, "metadata.continue",
                   &raw) &&
        jscan_string(raw, &token) && token.len > 0) {
        list_next(b, (struct span){token.ptr, token.len});
        return;
    }
    if (++b->step < ARRAY_LEN(collected_kinds))
        list_next(b, (struct span){"", 0});
    else
        loop_pool_run(b->pool, sweep_work, sweep_done, b);
}

static void
list_next(struct blobs *b, struct span token)
{
    static const struct http_transfer_cbs cbs = {.on_done = on_list};
    auto_str path = STR_INIT(16384);

    str_addf(&path, "/apis/drover.dev/v1/%s?limit=500", collected_kinds[b->step]);
    if (token.len > 0)
        str_adds(&path, "&continue=");
    for (size_t i = 0; i < token.len; i++)
        str_addf(&path, "%%%02X", (unsigned char)token.ptr[i]);
    struct http_call call = {.method = "GET",
                             .path = path.ptr,
                             .accept = "application/json",
                             .timeout_ms = 60000};
    b->list = http_multi_start(b->s->multi, &b->s->api, &call, PAGE_MAX, &cbs, b);
}

static void
on_timer(void *arg)
{
    struct blobs *b = arg;

    b->step = 0;
    list_next(b, (struct span){"", 0});
}

struct blobs *
blobs_new(struct streams *s, const struct blob_config *c)
{
    struct blobs *b = xnew(struct blobs);

    b->s = s;
    b->c = *c;
    b->refs = map_new(NULL);
    b->pool = loop_pool_new(s->loop, "blobs", 1);
    b->timer = loop_timer_new(s->loop, "blob collection", on_timer, b);
    collect_end(b);
    return b;
}

void
blobs_free(struct blobs *b)
{
    if (b == NULL)
        return;
    http_transfer_cancel(b->list);
    loop_pool_free(b->pool);
    loop_timer_free(b->timer);
    map_free(b->refs);
    free(b);
}
