/* SPDX-License-Identifier: Apache-2.0 */
/* Reading replies token by token, writing requests. */
#include "apiserver/store/etcd/etcd_proto.h"

#include <inttypes.h>
#include <stdlib.h>

#include "api/jtok.h"
#include "base/id.h"

#define ERROR_TEXT_MAX 400

/* --- reading: each helper takes the next value ---
 * "Members" walks an object whose opening brace was taken. */

static int
unexpected(const char *what, struct error *e)
{
    return error_set(e, ERR_PROVIDER, "etcd: the reply is not what it should be: %s",
                     what);
}

/* 1: a key, 0: the end of the object. */
static int
next_member(struct jtok_reader *r, struct jtok *key, struct error *e)
{
    int rc = jtok_next(r, key, e);

    if (rc < 0)
        return rc;
    return key->type == JTOK_OBJECT_END ? 0 : 1;
}

static int
skip_value(struct jtok_reader *r, struct error *e)
{
    struct jtok t;
    int rc = jtok_next(r, &t, e);

    if (rc == 0 && (t.type == JTOK_OBJECT || t.type == JTOK_ARRAY))
        rc = jtok_skip(r, e);
    return rc;
}

static int
enter(struct jtok_reader *r, enum jtok_type type, struct error *e)
{
    struct jtok t;
    int rc = jtok_next(r, &t, e);

    if (rc == 0 && t.type != type)
        rc = unexpected(type == JTOK_OBJECT ? "an object" : "an array", e);
    return rc;
}

/* 1: an object was entered, 0: the end of the array. */
static int
next_object(struct jtok_reader *r, struct error *e)
{
    struct jtok t;
    int rc = jtok_next(r, &t, e);

    if (rc < 0)
        return rc;
    if (t.type == JTOK_ARRAY_END)
        return 0;
    return t.type == JTOK_OBJECT ? 1 : unexpected("an array of objects", e);
}

static int
take_number(struct jtok_reader *r, uint64_t *ret, struct error *e)
{
    struct jtok t;
    uint64_t v = 0;
    int rc = jtok_next(r, &t, e);

    if (rc < 0)
        return rc;
    if ((t.type != JTOK_STRING && t.type != JTOK_NUMBER) || t.text.len == 0 ||
        t.text.len > 20)
        return unexpected("a number", e);
    for (size_t i = 0; i < t.text.len; i++) {
        char c = t.text.ptr[i];
        if (c < '0' || c > '9' || v > (UINT64_MAX - (uint64_t)(c - '0')) / 10)
            return unexpected("a number", e);
        v = v * 10 + (uint64_t)(c - '0');
    }
    *ret = v;
    return 0;
}

/* Revisions are signed there; the sign is never used. */
static int
take_revision(struct jtok_reader *r, uint64_t *ret, struct error *e)
{
    int rc = take_number(r, ret, e);

    if (rc == 0 && *ret > INT64_MAX)
        rc = unexpected("a revision", e);
    return rc;
}

static int
take_bool(struct jtok_reader *r, bool *ret, struct error *e)
{
    struct jtok t;
    int rc = jtok_next(r, &t, e);

    if (rc == 0 && t.type != JTOK_TRUE && t.type != JTOK_FALSE)
        rc = unexpected("a boolean", e);
    if (rc == 0)
        *ret = t.type == JTOK_TRUE;
    return rc;
}

static int
take_bytes(struct jtok_reader *r, size_t max, char **ret, size_t *ret_len,
           struct error *e)
{
    auto_str out = STR_INIT(max);
    struct jtok t;
    int rc = jtok_next(r, &t, e);

    if (rc == 0 && (t.type != JTOK_STRING || t.escaped))
        rc = unexpected("base64", e);
    if (rc == 0)
        rc = id_base64_decode(t.text.ptr, t.text.len, false, &out, e);
    if (rc == 0 && out.toobig)
        rc = error_set(e, ERR_TOO_LARGE, "etcd: a value of more than %zu bytes", max);
    if (rc < 0)
        return rc;
    free(*ret);
    *ret_len = out.len;
    *ret = str_detach(&out);
    return 0;
}

static int
read_header(struct jtok_reader *r, struct etcd_header *ret, struct error *e)
{
    struct jtok key;
    int rc = enter(r, JTOK_OBJECT, e);

    while (rc == 0 && (rc = next_member(r, &key, e)) == 1) {
        if (jtok_eq(&key, "cluster_id"))
            rc = take_number(r, &ret->cluster, e);
        else if (jtok_eq(&key, "revision"))
            rc = take_revision(r, &ret->revision, e);
        else
            rc = skip_value(r, e);
    }
    return rc;
}

/* --- keys and values --- */

void
etcd_kv_done(struct etcd_kv *kv)
{
    free(kv->key);
    free(kv->value);
    *kv = (struct etcd_kv){0};
}

void
etcd_kvs_done(etcd_kvs *list)
{
    vec_foreach (kv, list)
        etcd_kv_done(kv);
    vec_done(list);
}

/* Its brace was taken. */
static int
read_kv_members(struct jtok_reader *r, struct etcd_kv *kv, struct error *e)
{
    struct jtok key;
    int rc = 0;

    while (rc == 0 && (rc = next_member(r, &key, e)) == 1) {
        if (jtok_eq(&key, "key"))
            rc = take_bytes(r, ETCD_KEY_MAX, &kv->key, &kv->key_len, e);
        else if (jtok_eq(&key, "value"))
            rc = take_bytes(r, ETCD_VALUE_MAX, &kv->value, &kv->value_len, e);
        else if (jtok_eq(&key, "mod_revision"))
            rc = take_revision(r, &kv->mod, e);
        else if (jtok_eq(&key, "version"))
            rc = take_revision(r, &kv->version, e);
        else
            rc = skip_value(r, e);
    }
    return rc;
}

static int
check_kv(const struct etcd_kv *kv, struct error *e)
{
    if (kv->key == NULL || kv->mod == 0)
        return unexpected("a key with its revision", e);
    return 0;
}

static int
read_kvs(struct jtok_reader *r, etcd_kvs *list, struct error *e)
{
    int rc = enter(r, JTOK_ARRAY, e);

    while (rc == 0 && (rc = next_object(r, e)) == 1) {
        struct etcd_kv kv = {0};
        rc = read_kv_members(r, &kv, e);
        if (rc == 0)
            rc = check_kv(&kv, e);
        if (rc == 0)
            vec_push(list, kv);
        else
            etcd_kv_done(&kv);
    }
    return rc;
}

static int
read_event(struct jtok_reader *r, struct etcd_kv *kv, struct error *e)
{
    struct jtok key;
    struct jtok t;
    int rc = 0;

    while (rc == 0 && (rc = next_member(r, &key, e)) == 1) {
        if (jtok_eq(&key, "type")) {
            rc = jtok_next(r, &t, e);
            bool text = rc == 0 && t.type == JTOK_STRING;
            kv->deleted = text && jtok_eq(&t, "DELETE");
            if (rc == 0 && !kv->deleted && (!text || !jtok_eq(&t, "PUT")))
                rc = unexpected("the type of an event", e);
        } else if (jtok_eq(&key, "kv")) {
            rc = enter(r, JTOK_OBJECT, e);
            if (rc == 0)
                rc = read_kv_members(r, kv, e);
        } else {
            rc = skip_value(r, e);
        }
    }
    return rc == 0 ? check_kv(kv, e) : rc;
}

static int
read_events(struct jtok_reader *r, etcd_kvs *list, struct error *e)
{
    int rc = enter(r, JTOK_ARRAY, e);

    while (rc == 0 && (rc = next_object(r, e)) == 1) {
        struct etcd_kv kv = {0};
        rc = read_event(r, &kv, e);
        if (rc == 0 && list->len == ETCD_EVENTS_MAX)
            rc = error_set(e, ERR_TOO_LARGE, "etcd: too many events in one reply");
        if (rc == 0)
            vec_push(list, kv);
        else
            etcd_kv_done(&kv);
    }
    return rc;
}

/* --- replies --- */

static int
at_end(struct jtok_reader *r, struct error *e)
{
    struct jtok t;
    int rc = jtok_next(r, &t, e);

    if (rc == 0 && t.type != JTOK_END)
        rc = unexpected("the end", e);
    return rc;
}

/* Failures of the tokenizer are the peer's. */
static int
verdict(int rc, struct error *e)
{
    if (rc == -ERR_BAD_REQUEST) {
        e->code = ERR_PROVIDER;
        return error_prepend(e, "etcd: not JSON");
    }
    return rc;
}

static int
read_range_members(struct jtok_reader *r, struct etcd_range *ret, struct error *e)
{
    struct jtok key;
    int rc = 0;

    while (rc == 0 && (rc = next_member(r, &key, e)) == 1) {
        if (jtok_eq(&key, "header"))
            rc = read_header(r, &ret->header, e);
        else if (jtok_eq(&key, "kvs"))
            rc = read_kvs(r, &ret->kvs, e);
        else if (jtok_eq(&key, "more"))
            rc = take_bool(r, &ret->more, e);
        else
            rc = skip_value(r, e);
    }
    return rc;
}

int
etcd_read_range(struct span json, struct etcd_range *ret, struct error *e)
{
    struct etcd_range range = {0};
    struct jtok_reader r;

    jtok_init(&r, json.ptr, json.len);
    int rc = enter(&r, JTOK_OBJECT, e);
    if (rc == 0)
        rc = read_range_members(&r, &range, e);
    if (rc == 0)
        rc = at_end(&r, e);
    if (rc < 0) {
        etcd_range_done(&range);
        return verdict(rc, e);
    }
    *ret = range;
    return 0;
}

void
etcd_range_done(struct etcd_range *r)
{
    etcd_kvs_done(&r->kvs);
}

/* {"response_range": {...}} or another operation's, which says nothing. */
static int
read_response(struct jtok_reader *r, struct etcd_txn *t, struct error *e)
{
    struct jtok key;
    int rc = 0;

    while (rc == 0 && (rc = next_member(r, &key, e)) == 1) {
        if (!jtok_eq(&key, "response_range")) {
            rc = skip_value(r, e);
            continue;
        }
        struct etcd_range range = {0};
        rc = enter(r, JTOK_OBJECT, e);
        if (rc == 0)
            rc = read_range_members(r, &range, e);
        if (rc == 0)
            vec_push(&t->mods, range.kvs.len == 0 ? 0 : range.kvs.items[0].mod);
        etcd_range_done(&range);
    }
    return rc;
}

static int
read_responses(struct jtok_reader *r, struct etcd_txn *t, struct error *e)
{
    int rc = enter(r, JTOK_ARRAY, e);
    size_t n = 0;

    while (rc == 0 && (rc = next_object(r, e)) == 1) {
        rc = read_response(r, t, e);
        if (rc == 0 && ++n > ETCD_TXN_OPS_MAX)
            rc = unexpected("fewer responses", e);
    }
    return rc;
}

int
etcd_read_txn(struct span json, struct etcd_txn *ret, struct error *e)
{
    struct etcd_txn t = {0};
    struct jtok_reader r;
    struct jtok key;

    jtok_init(&r, json.ptr, json.len);
    int rc = enter(&r, JTOK_OBJECT, e);
    while (rc == 0 && (rc = next_member(&r, &key, e)) == 1) {
        if (jtok_eq(&key, "header"))
            rc = read_header(&r, &t.header, e);
        else if (jtok_eq(&key, "succeeded"))
            rc = take_bool(&r, &t.succeeded, e);
        else if (jtok_eq(&key, "responses"))
            rc = read_responses(&r, &t, e);
        else
            rc = skip_value(&r, e);
    }
    if (rc == 0)
        rc = at_end(&r, e);
    if (rc == 0 && t.header.revision == 0)
        rc = unexpected("a revision", e);
    if (rc < 0) {
        etcd_txn_done(&t);
        return verdict(rc, e);
    }
    *ret = t;
    return 0;
}

void
etcd_txn_done(struct etcd_txn *t)
{
    vec_done(&t->mods);
}

static int
read_watch_result(struct jtok_reader *r, struct etcd_frame *f, struct error *e)
{
    struct jtok key;
    int rc = enter(r, JTOK_OBJECT, e);

    while (rc == 0 && (rc = next_member(r, &key, e)) == 1) {
        if (jtok_eq(&key, "header"))
            rc = read_header(r, &f->header, e);
        else if (jtok_eq(&key, "created"))
            rc = take_bool(r, &f->created, e);
        else if (jtok_eq(&key, "canceled"))
            rc = take_bool(r, &f->canceled, e);
        else if (jtok_eq(&key, "fragment"))
            rc = take_bool(r, &f->fragment, e);
        else if (jtok_eq(&key, "compact_revision"))
            rc = take_revision(r, &f->compact_revision, e);
        else if (jtok_eq(&key, "events"))
            rc = read_events(r, &f->events, e);
        else
            rc = skip_value(r, e);
    }
    return rc;
}

int
etcd_read_frame(struct span json, struct etcd_frame *ret, struct error *e)
{
    struct etcd_frame f = {0};
    struct jtok_reader r;
    struct jtok key;
    bool failed = false;

    jtok_init(&r, json.ptr, json.len);
    int rc = enter(&r, JTOK_OBJECT, e);
    while (rc == 0 && (rc = next_member(&r, &key, e)) == 1) {
        failed = failed || jtok_eq(&key, "error");
        if (jtok_eq(&key, "result"))
            rc = read_watch_result(&r, &f, e);
        else
            rc = skip_value(&r, e);
    }
    if (rc == 0)
        rc = at_end(&r, e);
    if (rc == 0 && failed)
        rc = error_set(e, ERR_UNAVAILABLE, "etcd ended the watch: %.*s",
                       json.len > ERROR_TEXT_MAX ? ERROR_TEXT_MAX : (int)json.len,
                       json.ptr);
    if (rc < 0) {
        etcd_frame_done(&f);
        return verdict(rc, e);
    }
    *ret = f;
    return 0;
}

void
etcd_frame_done(struct etcd_frame *f)
{
    etcd_kvs_done(&f->events);
}

int
etcd_read_token(struct span json, struct str *out, struct error *e)
{
    struct jtok_reader r;
    struct jtok key;
    struct jtok t;

    jtok_init(&r, json.ptr, json.len);
    int rc = enter(&r, JTOK_OBJECT, e);
    while (rc == 0 && (rc = next_member(&r, &key, e)) == 1) {
        if (!jtok_eq(&key, "token")) {
            rc = skip_value(&r, e);
            continue;
        }
        rc = jtok_next(&r, &t, e);
        if (rc == 0 && t.type != JTOK_STRING)
            rc = unexpected("a token", e);
        if (rc == 0)
            jtok_unescape(&t, out);
    }
    if (rc == 0 && (out->len == 0 || out->toobig))
        rc = unexpected("a token", e);
    return verdict(rc, e);
}

void
etcd_read_error(struct span json, int *ret_code, struct str *out)
{
    struct error ignored = ERROR_INIT;
    struct jtok_reader r;
    struct jtok key;
    struct jtok t;
    uint64_t code = 0;

    *ret_code = -1;
    jtok_init(&r, json.ptr, json.len);
    int rc = enter(&r, JTOK_OBJECT, &ignored);
    while (rc == 0 && next_member(&r, &key, &ignored) == 1) {
        if (jtok_eq(&key, "code")) {
            rc = take_number(&r, &code, &ignored);
            if (rc == 0 && code < 100)
                *ret_code = (int)code;
        } else if (jtok_eq(&key, "message")) {
            rc = jtok_next(&r, &t, &ignored);
            if (rc == 0 && t.type == JTOK_STRING)
                jtok_unescape(&t, out);
        } else {
            rc = skip_value(&r, &ignored);
        }
    }
    if (out->len == 0)
        str_add(out, json.ptr, json.len < ERROR_TEXT_MAX ? json.len : ERROR_TEXT_MAX);
}

/* --- requests --- */

void
etcd_put_bytes(struct str *out, const char *name, const char *bytes, size_t n)
{
    jput_key(out, name);
    str_addc(out, '"');
    id_base64(bytes, n, out);
    str_addc(out, '"');
}

void
etcd_put_number(struct str *out, const char *name, uint64_t v)
{
    jput_key(out, name);
    str_addf(out, "\"%" PRIu64 "\"", v);
}

void
etcd_write_range(struct str *out, const struct etcd_range_req *r)
{
    str_addc(out, '{');
    etcd_put_bytes(out, "key", r->key.ptr, r->key.len);
    if (r->end.ptr != NULL)
        etcd_put_bytes(out, "range_end", r->end.ptr, r->end.len);
    if (r->revision != 0)
        etcd_put_number(out, "revision", r->revision);
    if (r->limit != 0)
        etcd_put_number(out, "limit", r->limit);
    if (r->keys_only) {
        jput_key(out, "keys_only");
        str_adds(out, "true");
    }
    str_addc(out, '}');
}

void
etcd_write_compare(struct str *out, struct span key, uint64_t mod)
{
    jput_item(out);
    str_adds(out, "{\"target\":\"MOD\",\"result\":\"EQUAL\"");
    etcd_put_bytes(out, "key", key.ptr, key.len);
    etcd_put_number(out, "mod_revision", mod);
    str_addc(out, '}');
}

/* --- keys --- */

void
etcd_key_write(struct str *out, const char *prefix, const char *resource, const char *ns,
               const char *name)
{
    const char *dot = strchr(resource, '.');
    size_t plural = dot == NULL ? strlen(resource) : (size_t)(dot - resource);

    str_addf(out, "%s/%s/", prefix, dot == NULL ? "_core" : dot + 1);
    str_add(out, resource, plural);
    if (*ns != '\0')
        str_addf(out, "/%s", ns);
    str_addf(out, "/%s", name);
}

static bool
copy_part(struct span part, char *out, size_t size)
{
    if (part.len == 0 || part.len >= size || memchr(part.ptr, '\0', part.len) != NULL)
        return false;
    memcpy(out, part.ptr, part.len);
    out[part.len] = '\0';
    return true;
}

bool
etcd_key_read(struct span rest, struct etcd_key *ret)
{
    struct span part[4] = {{0}};
    size_t n = 0;

    part[0].ptr = rest.ptr;
    for (size_t i = 0; i < rest.len; i++) {
        if (rest.ptr[i] != '/') {
            part[n].len++;
            continue;
        }
        if (++n == ARRAY_LEN(part))
            return false;
        part[n].ptr = rest.ptr + i + 1;
    }
    if (n < 2 || part[0].len == 0)
        return false;
    bool core = span_eq(part[0], "_core");
    if ((part[0].ptr[0] == '_' && !core) || part[1].len == 0 ||
        memchr(part[1].ptr, '.', part[1].len) != NULL ||
        !copy_part(part[1], ret->resource, 250) || !copy_part(part[n], ret->name, 512))
        return false;
    if (!core) {
        ret->resource[part[1].len] = '.';
        if (!copy_part(part[0], ret->resource + part[1].len + 1, 256))
            return false;
    }
    ret->ns[0] = '\0';
    return n == 2 || copy_part(part[2], ret->ns, sizeof(ret->ns));
}
