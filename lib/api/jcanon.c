/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Canonical bytes without a tree: members are written as they come; when an object closes
 * and they were not in order, they are put in order through a scratch buffer. Clients
 * mostly send sorted members, so that is rare. The scratch belongs to the thread and is
 * reused.
 */
#include <pthread.h>

#include "api/jtok_internal.h"

#define SCRATCH_KEEP (256u << 10)

static pthread_key_t canon_thread_key;
static pthread_once_t canon_thread_once = PTHREAD_ONCE_INIT;

static void
canon_free(void *p)
{
    struct canon *c = p;

    vec_done(&c->members);
    str_done(&c->tmp);
    str_done(&c->text);
    if (c->match != NULL)
        c->free_match(c->match);
    free(c);
}

static void
canon_thread_init(void)
{
    bug_if(pthread_key_create(&canon_thread_key, canon_free) != 0);
}

static struct canon *
canon_new(void)
{
    struct canon *c = xnew(struct canon);

    str_init(&c->tmp, SIZE_MAX / 2);
    str_init(&c->text, SIZE_MAX / 2);
    return c;
}

struct canon *
canon_take(void)
{
    struct canon *c;

    pthread_once(&canon_thread_once, canon_thread_init);
    c = pthread_getspecific(canon_thread_key);
    if (c == NULL) {
        c = canon_new();
        bug_if(pthread_setspecific(canon_thread_key, c) != 0);
    }
    if (c->busy) /* called from within another pass: an own scratch for this one */
        c = canon_new();
    c->busy = true;
    c->members.len = 0;
    return c;
}

void
canon_give(struct canon *c)
{
    c->busy = false;
    if (c != pthread_getspecific(canon_thread_key)) {
        canon_free(c);
        return;
    }
    if (c->tmp.cap > SCRATCH_KEEP)
        str_done(&c->tmp);
    if (c->text.cap > SCRATCH_KEEP)
        str_done(&c->text);
    if (c->members.cap > SCRATCH_KEEP / sizeof(struct canon_member))
        vec_done(&c->members);
}

static int
compare(const void *a, const void *b, void *arg)
{
    const struct canon_member *x = a, *y = b;
    int c = span_cmp(canon_key(arg, x), canon_key(arg, y));

    if (c != 0)
        return c;
    return (x->seq > y->seq) - (x->seq < y->seq);
}

void
canon_sort(struct canon *c, const struct str *out, size_t first)
{
    struct canon_member *m = c->members.items + first;
    size_t n = c->members.len - first;
    struct str view = *out; /* qsort_r wants a mutable argument; it is only read */

    if (n > 24) {
        qsort_r(m, n, sizeof(*m), compare, &view);
        return;
    }
    for (size_t i = 1; i < n; i++) {
        struct canon_member x = m[i];
        size_t j = i;
        for (; j > 0 && compare(&m[j - 1], &x, &view) > 0; j--)
            m[j] = m[j - 1];
        m[j] = x;
    }
}

void
canon_dedupe(struct canon *c, const struct str *out, size_t first, canon_dup_fn *fn,
             void *arg)
{
    size_t kept = first;

    for (size_t i = first; i < c->members.len; i++) {
        struct canon_member *m = c->members.items;
        if (i > first && span_same(canon_key(out, &m[kept - 1]), canon_key(out, &m[i]))) {
            fn(arg, canon_key(out, &m[i]));
            m[kept - 1] = m[i];
        } else {
            m[kept++] = m[i];
        }
    }
    c->members.len = kept;
}

void
canon_assemble(struct canon *c, struct str *out, size_t start, size_t first)
{
    str_reset(&c->tmp);
    put_char(&c->tmp, '{');
    for (size_t i = first; i < c->members.len; i++) {
        const struct canon_member *m = &c->members.items[i];
        if (i > first)
            put_char(&c->tmp, ',');
        put(&c->tmp, out->ptr + m->off, m->len);
    }
    str_truncate(out, start);
    put(out, c->tmp.ptr, c->tmp.len);
}

/* --- jcanon: any JSON ------------------------------------------------------------------
 */

struct pass {
    struct jtok_reader r;
    struct canon *c;
    struct str *out;
    struct error *e;
};

static int pass_value(struct pass *p, const struct jtok *t);

static void
ignore_dup(void *arg, struct span key)
{
    UNUSED(arg);
    UNUSED(key);
}

static int
pass_member(struct pass *p, const struct jtok *key, size_t first, bool *sorted)
{
    struct canon_member m = {.seq = p->c->members.len};
    struct jtok t;
    int rc;

    if (p->c->members.len > first)
        put_char(p->out, ',');
    m.off = p->out->len;
    put_char(p->out, '"');
    canon_text(p->out, key);
    m.key_len = p->out->len - m.off - 1;
    put(p->out, "\":", 2);
    if (p->c->members.len > first && !p->out->toobig) {
        const struct canon_member *prev = &p->c->members.items[p->c->members.len - 1];
        if (span_cmp(canon_key(p->out, prev), canon_key(p->out, &m)) >= 0)
            *sorted = false;
    }
    rc = jtok_next(&p->r, &t, p->e);
    if (rc == 0)
        rc = pass_value(p, &t);
    m.len = p->out->len - m.off;
    vec_push(&p->c->members, m);
    return rc;
}

static int
pass_object(struct pass *p)
{
    size_t start = p->out->len, first = p->c->members.len;
    bool sorted = true;
    struct jtok t;
    int rc;

    put_char(p->out, '{');
    while ((rc = jtok_next(&p->r, &t, p->e)) == 0 && t.type != JTOK_OBJECT_END) {
        rc = pass_member(p, &t, first, &sorted);
        if (rc < 0)
            return rc;
    }
    if (rc < 0)
        return rc;
    if (!sorted && !p->out->toobig) {
        canon_sort(p->c, p->out, first);
        canon_dedupe(p->c, p->out, first, ignore_dup, NULL);
        canon_assemble(p->c, p->out, start, first);
    }
    p->c->members.len = first;
    put_char(p->out, '}');
    return 0;
}

static int
pass_array(struct pass *p)
{
    bool any = false;
    struct jtok t;
    int rc;

    put_char(p->out, '[');
    while ((rc = jtok_next(&p->r, &t, p->e)) == 0 && t.type != JTOK_ARRAY_END) {
        if (any)
            put_char(p->out, ',');
        any = true;
        rc = pass_value(p, &t);
        if (rc < 0)
            return rc;
    }
    if (rc < 0)
        return rc;
    put_char(p->out, ']');
    return 0;
}

static int
pass_value(struct pass *p, const struct jtok *t)
{
    if (p->out->toobig)
        return error_set(p->e, ERR_TOO_LARGE, "JSON larger than %zu bytes", p->out->max);
    switch (t->type) {
    case JTOK_OBJECT:
        return pass_object(p);
    case JTOK_ARRAY:
        return pass_array(p);
    case JTOK_STRING:
        put_char(p->out, '"');
        canon_text(p->out, t);
        put_char(p->out, '"');
        return 0;
    case JTOK_NUMBER:
        return canon_number(p->out, t, p->e);
    case JTOK_TRUE:
    case JTOK_FALSE:
    case JTOK_NULL:
        put(p->out, t->text.ptr, t->text.len);
        return 0;
    case JTOK_END:
    case JTOK_OBJECT_END:
    case JTOK_ARRAY_END:
    case JTOK_KEY:
        break;
    }
    bug_if(true);
    return 0;
}

int
jcanon(const char *bytes, size_t n, struct str *out, struct error *e)
{
    auto_canon *c = canon_take();
    struct pass p = {.c = c, .out = out, .e = e};
    size_t before = out->len;
    struct jtok t;
    int rc;

    jtok_init(&p.r, bytes, n);
    rc = jtok_next(&p.r, &t, e);
    if (rc == 0)
        rc = pass_value(&p, &t);
    if (rc == 0)
        rc = jtok_next(&p.r, &t, e);
    if (rc == 0 && out->toobig)
        rc = error_set(e, ERR_TOO_LARGE, "JSON larger than %zu bytes", out->max);
    if (rc < 0)
        str_truncate(out, before);
    return rc;
}
