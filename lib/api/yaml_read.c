/* SPDX-License-Identifier: Apache-2.0 */
/*
 * YAML to JSON text over libyaml's events. JSON is written as the events come; an anchor
 * is a copy of the text of its node, an alias appends it, `<<` appends what is missing.
 * All text, copies included, comes out of one budget, so that no document grows past it.
 */
#include <yaml.h>

#include "api/jtok_internal.h"
#include "api/yaml_internal.h"
#include "base/id.h"

#define TEXT_BUDGET (2 * YAML_MAX_BYTES)
#define KEY_MAX 4096
#define MERGE_INTO_MAX 1000

struct anchor {
    char *name;
    char *json; /* NULL while its node is open */
    size_t len;
};

struct member {      /* of a mapping, for duplicates */
    size_t off, len; /* quoted key in the JSON */
    yaml_mark_t mark;
};

struct reader {
    yaml_parser_t parser;
    const char *bytes;
    size_t n_bytes;
    struct str json;
    struct str path;
    struct map *lines;
    vec(struct anchor) anchors;
    struct map *by_name;           /* anchor name -> index + 1 of the latest */
    size_t noted;                  /* bytes of paths in lines */
    size_t nodes, copied, written; /* against the bounds; written: by documents before */
    unsigned depth;
    struct error *e;
};

static int
fail_at(struct reader *r, yaml_mark_t at, const char *what)
{
    return error_set(r->e, ERR_BAD_REQUEST, "line %zu, column %zu: %s", at.line + 1,
                     at.column + 1, what);
}

/* Errors of libyaml's reader carry a byte offset only. */
static yaml_mark_t
mark_of_offset(const struct reader *r, size_t offset)
{
    yaml_mark_t m = {0};

    for (size_t i = 0; i < offset && i < r->n_bytes; i++) {
        m.column++;
        if (r->bytes[i] == '\n') {
            m.line++;
            m.column = 0;
        }
    }
    return m;
}

static bool
tab_indents(const struct reader *r, size_t line)
{
    const char *p = r->bytes, *end = p + r->n_bytes;

    while (line-- > 0) {
        p = memchr(p, '\n', (size_t)(end - p));
        if (p == NULL)
            return false;
        p++;
    }
    while (p < end && *p == ' ')
        p++;
    return p < end && *p == '\t';
}

static int
parser_error(struct reader *r)
{
    const yaml_parser_t *p = &r->parser;
    yaml_mark_t at = p->problem_mark;
    char text[300];

    if (p->error == YAML_READER_ERROR)
        return fail_at(r, mark_of_offset(r, p->problem_offset),
                       p->problem != NULL ? p->problem : "cannot be read");
    if (p->error == YAML_SCANNER_ERROR && tab_indents(r, at.line))
        return fail_at(r, at, "a tab cannot indent YAML, use spaces");
    snprintf(text, sizeof(text), "%s%s%s", p->problem != NULL ? p->problem : "not YAML",
             p->context != NULL ? " " : "", p->context != NULL ? p->context : "");
    return fail_at(r, at, text);
}

static int
next_event(struct reader *r, yaml_event_t *ev)
{
    return yaml_parser_parse(&r->parser, ev) ? 0 : parser_error(r);
}

static inline void
event_done_ptr(yaml_event_t *ev)
{
    yaml_event_delete(ev);
}
#define auto_event CLEANUP(event_done_ptr) yaml_event_t

static int
check_budget(struct reader *r, yaml_mark_t at)
{
    if (r->nodes > YAML_MAX_NODES)
        return fail_at(r, at, "too many nodes");
    if (r->json.toobig || r->written + r->copied + r->json.len > TEXT_BUDGET)
        return fail_at(r, at, "the text is too large, or its aliases expand too far");
    return 0;
}

/* --- anchors
 * ----------------------------------------------------------------------------- */

static void
anchors_clear(struct reader *r)
{
    vec_foreach (a, &r->anchors) {
        free(a->name);
        free(a->json);
    }
    r->anchors.len = 0;
    if (r->by_name != NULL)
        map_clear(r->by_name);
}

/* Returns its index, SIZE_MAX when the node has no anchor. */
static size_t
anchor_open(struct reader *r, const yaml_char_t *name)
{
    struct anchor a = {0};

    if (name == NULL)
        return SIZE_MAX;
    a.name = xstrdup((const char *)name);
    vec_push(&r->anchors, a);
    map_put(r->by_name, a.name, (void *)(uintptr_t)r->anchors.len);
    return r->anchors.len - 1;
}

static void
anchor_close(struct reader *r, size_t index, size_t start)
{
    struct anchor *a;

    if (index == SIZE_MAX || r->json.toobig)
        return;
    a = &r->anchors.items[index];
    a->len = r->json.len - start;
    a->json = xstrndup(r->json.ptr + start, a->len);
    r->copied += a->len;
}

static const struct anchor *
anchor_find(struct reader *r, const yaml_event_t *ev)
{
    const char *name = (const char *)ev->data.alias.anchor;
    size_t index = (size_t)(uintptr_t)map_get(r->by_name, name);
    char text[200];

    if (index > 0) {
        const struct anchor *a = &r->anchors.items[index - 1];
        if (a->json != NULL)
            return a;
        fail_at(r, ev->start_mark, "an alias inside the node that it stands for");
        return NULL;
    }
    snprintf(text, sizeof(text), "unknown alias \"%.100s\"", name);
    fail_at(r, ev->start_mark, text);
    return NULL;
}

/* --- scalars
 * ------------------------------------------------------------------------------ */

#define TAG(x) "tag:yaml.org,2002:" x

static int
binary_scalar(struct reader *r, const yaml_event_t *ev, struct str *out)
{
    auto_str bytes = STR_INIT(YAML_MAX_BYTES);
    struct error ignored = ERROR_INIT;

    if (id_base64_decode((const char *)ev->data.scalar.value, ev->data.scalar.length,
                         false, &bytes, &ignored) < 0)
        return fail_at(r, ev->start_mark, "!!binary is not base64");
    for (size_t i = 0, n; i < bytes.len; i += n) {
        n = jtok_utf8(bytes.ptr + i, bytes.ptr + bytes.len);
        if (n == 0)
            return fail_at(r, ev->start_mark, "!!binary does not hold UTF-8 text");
    }
    jput_string(out, bytes.ptr, bytes.len);
    return 0;
}

static int
tagged_scalar(struct reader *r, const yaml_event_t *ev, const char *tag, struct str *out)
{
    static const struct {
        const char *tag;
        enum scalar_kind kind, also;
    } typed[] = {
        {TAG("int"), SCALAR_INT, SCALAR_INT},
        {TAG("float"), SCALAR_FLOAT, SCALAR_INT},
        {TAG("bool"), SCALAR_BOOL, SCALAR_BOOL},
        {TAG("null"), SCALAR_NULL, SCALAR_NULL},
    };
    const char *text = (const char *)ev->data.scalar.value;
    size_t n = ev->data.scalar.length;
    char what[200];

    if (streq(tag, "!") || streq(tag, TAG("str")) || streq(tag, TAG("timestamp"))) {
        jput_string(out, text, n);
        return 0;
    }
    if (streq(tag, TAG("binary")))
        return binary_scalar(r, ev, out);
    for (size_t i = 0; i < ARRAY_LEN(typed); i++) {
        enum scalar_kind k;
        if (!streq(typed[i].tag, tag))
            continue;
        k = scalar_resolve(text, n, out);
        if (k == typed[i].kind || k == typed[i].also)
            return 0;
        snprintf(what, sizeof(what), "the value is not a !!%s",
                 tag + sizeof(TAG("")) - 1);
        return fail_at(r, ev->start_mark, what);
    }
    snprintf(what, sizeof(what), "unsupported tag \"%.100s\"", tag);
    return fail_at(r, ev->start_mark, what);
}

/* Appends the scalar as JSON. */
static int
scalar(struct reader *r, const yaml_event_t *ev, struct str *out)
{
    const char *text = (const char *)ev->data.scalar.value;
    size_t n = ev->data.scalar.length;
    const char *tag = (const char *)ev->data.scalar.tag;
    enum scalar_kind k;

    if (tag != NULL)
        return tagged_scalar(r, ev, tag, out);
    if (ev->data.scalar.style != YAML_PLAIN_SCALAR_STYLE) {
        jput_string(out, text, n);
        return 0;
    }
    k = scalar_resolve(text, n, out);
    if (k == SCALAR_NOT_JSON)
        return fail_at(r, ev->start_mark, "infinity and NaN are not allowed");
    if (k == SCALAR_STRING)
        jput_string(out, text, n);
    return 0;
}

/* --- nodes
 * -------------------------------------------------------------------------------- */

static int node(struct reader *r, const yaml_event_t *ev);

static void
note_line(struct reader *r, yaml_mark_t at)
{
    if (r->lines == NULL || r->path.toobig || r->noted > YAML_LINES_BUDGET)
        return;
    r->noted += r->path.len;
    map_putn(r->lines, r->path.ptr, r->path.len, (void *)(uintptr_t)(at.line + 1));
}

static int
alias(struct reader *r, const yaml_event_t *ev)
{
    const struct anchor *a = anchor_find(r, ev);

    if (a == NULL)
        return -(int)r->e->code;
    str_add(&r->json, a->json, a->len);
    return check_budget(r, ev->start_mark);
}

static int
open_node(struct reader *r, const yaml_event_t *ev, const char *tag,
          const char *plain_tag)
{
    char what[200];

    if (++r->depth > JTOK_MAX_DEPTH)
        return fail_at(r, ev->start_mark, "nested too deeply");
    if (tag == NULL || streq(tag, plain_tag) || streq(tag, "!"))
        return 0;
    snprintf(what, sizeof(what), "unsupported tag \"%.100s\"", tag);
    return fail_at(r, ev->start_mark, what);
}

static int
sequence(struct reader *r, const yaml_event_t *start)
{
    size_t outer = r->path.len;
    int rc =
        open_node(r, start, (const char *)start->data.sequence_start.tag, TAG("seq"));

    if (rc < 0)
        return rc;
    put_char(&r->json, '[');
    for (size_t i = 0;; i++) {
        auto_event ev = {0};
        rc = next_event(r, &ev);
        if (rc < 0)
            return rc;
        if (ev.type == YAML_SEQUENCE_END_EVENT)
            break;
        if (i > 0)
            put_char(&r->json, ',');
        str_addf(&r->path, "[%zu]", i);
        note_line(r, ev.start_mark);
        rc = node(r, &ev);
        if (rc < 0)
            return rc;
        str_truncate(&r->path, outer);
    }
    put_char(&r->json, ']');
    r->depth--;
    return 0;
}

struct mapping {
    vec(struct member) members;
    struct str merges; /* JSON array of what `<<` named */
};

/* The key as a JSON string. Numbers and booleans become their text, as in kubectl. */
static int
mapping_key(struct reader *r, const yaml_event_t *ev, struct str *out)
{
    auto_str text = STR_INIT(KEY_MAX);
    int rc;

    if (ev->type == YAML_ALIAS_EVENT) {
        const struct anchor *a = anchor_find(r, ev);
        if (a == NULL)
            return -(int)r->e->code;
        str_add(&text, a->json, a->len);
    } else if (ev->type == YAML_SCALAR_EVENT) {
        if (ev->data.scalar.length > KEY_MAX / 2)
            return fail_at(r, ev->start_mark, "the key is too long");
        rc = scalar(r, ev, &text);
        if (rc < 0)
            return rc;
    } else {
        return fail_at(r, ev->start_mark, "a mapping key must be a scalar");
    }
    if (text.toobig)
        return fail_at(r, ev->start_mark, "the key is too long");
    if (ev->type == YAML_SCALAR_EVENT && ev->data.scalar.anchor != NULL) {
        size_t index = anchor_open(r, ev->data.scalar.anchor);
        struct anchor *a = &r->anchors.items[index];
        a->len = text.len;
        a->json = xstrndup(text.ptr, text.len);
        r->copied += text.len;
    }
    if (text.ptr[0] == '"') {
        put(out, text.ptr, text.len);
    } else if (text.ptr[0] == '{' || text.ptr[0] == '[' || streq(text.ptr, "null")) {
        return fail_at(r, ev->start_mark, "a mapping key must be text");
    } else {
        put_char(out, '"');
        put(out, text.ptr, text.len);
        put_char(out, '"');
    }
    return 0;
}

static void
push_path(struct reader *r, struct span quoted)
{
    if (r->path.len > 0)
        str_addc(&r->path, '.');
    jscan_string(quoted, &r->path);
}

static bool
is_merge(const yaml_event_t *ev)
{
    return ev->type == YAML_SCALAR_EVENT && ev->data.scalar.tag == NULL &&
           ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           streq((const char *)ev->data.scalar.value, "<<");
}

/* The value of `<<` is read and taken out of the text again. */
static int
merge_value(struct reader *r, struct mapping *m)
{
    size_t start = r->json.len;
    auto_event ev = {0};
    struct span text, item;
    const char *c = NULL;
    int rc = next_event(r, &ev);

    if (rc == 0)
        rc = node(r, &ev);
    if (rc < 0)
        return rc;
    text = (struct span){r->json.ptr + start, r->json.len - start};
    if (text.ptr[0] == '{') {
        jput_item(&m->merges);
        put(&m->merges, text.ptr, text.len);
    } else if (text.ptr[0] == '[') {
        while (jscan_next_item(text, &c, &item)) {
            if (item.ptr[0] != '{')
                return fail_at(r, ev.start_mark, "<< needs mappings");
            jput_item(&m->merges);
            put(&m->merges, item.ptr, item.len);
        }
    } else {
        return fail_at(r, ev.start_mark, "<< needs a mapping");
    }
    r->copied += text.len;
    str_truncate(&r->json, start);
    return check_budget(r, ev.start_mark);
}

static int
by_key(const void *a, const void *b, void *arg)
{
    const struct member *x = a, *y = b;
    const char *json = arg;
    int c = span_cmp((struct span){json + x->off, x->len},
                     (struct span){json + y->off, y->len});

    if (c != 0)
        return c;
    return (x->off > y->off) - (x->off < y->off);
}

static int
check_duplicates(struct reader *r, struct mapping *m)
{
    const char *json = r->json.ptr;

    if (r->json.toobig || m->members.len < 2)
        return 0;
    qsort_r(m->members.items, m->members.len, sizeof(m->members.items[0]), by_key,
            r->json.ptr);
    for (size_t i = 1; i < m->members.len; i++) {
        const struct member *a = &m->members.items[i - 1], *b = &m->members.items[i];
        char what[200];
        if (a->len != b->len || memcmp(json + a->off, json + b->off, a->len) != 0)
            continue;
        snprintf(what, sizeof(what), "key %.*s is already set at line %zu",
                 (int)(b->len > 100 ? 100 : b->len), json + b->off, a->mark.line + 1);
        return fail_at(r, b->mark, what);
    }
    return 0;
}

static bool
has_member(const struct reader *r, const struct mapping *m, struct span quoted)
{
    for (size_t i = 0; i < m->members.len; i++) {
        const struct member *x = &m->members.items[i];
        if (span_same((struct span){r->json.ptr + x->off, x->len}, quoted))
            return true;
    }
    return false;
}

static void
append_member(struct reader *r, struct mapping *m, struct span quoted, struct span value)
{
    struct member add = {.len = quoted.len};

    jput_item(&r->json);
    add.off = r->json.len;
    put(&r->json, quoted.ptr, quoted.len);
    put_char(&r->json, ':');
    put(&r->json, value.ptr, value.len);
    vec_push(&m->members, add);
}

/* Appends the members of `from` that the mapping does not have yet. */
static int
merge_one(struct reader *r, struct mapping *m, struct span from, yaml_mark_t at)
{
    struct span key, value;
    const char *c = NULL;

    while (jscan_next_member(from, &c, &key, &value)) {
        struct span quoted = {key.ptr - 1, key.len + 2};
        if (m->members.len > MERGE_INTO_MAX)
            return fail_at(r, at, "<< in too large a mapping");
        if (++r->nodes > YAML_MAX_NODES || r->json.toobig)
            return check_budget(r, at);
        if (has_member(r, m, quoted))
            continue;
        append_member(r, m, quoted, value);
    }
    return 0;
}

/* The mapping's own members win, then earlier merges. */
static int
apply_merges(struct reader *r, struct mapping *m, yaml_mark_t at)
{
    struct span all, one;
    const char *c = NULL;
    int rc = 0;

    if (m->merges.len == 1)
        return 0;
    str_addc(&m->merges, ']');
    all = (struct span){m->merges.ptr, m->merges.len};
    while (rc == 0 && jscan_next_item(all, &c, &one))
        rc = merge_one(r, m, one, at);
    return rc < 0 ? rc : check_budget(r, at);
}

/* ev: the key. */
static int
mapping_member(struct reader *r, struct mapping *m, const yaml_event_t *ev)
{
    size_t outer = r->path.len;
    struct member x = {.mark = ev->start_mark};
    auto_event value = {0};
    int rc;

    if (is_merge(ev))
        return merge_value(r, m);
    jput_item(&r->json);
    x.off = r->json.len;
    rc = mapping_key(r, ev, &r->json);
    if (rc < 0)
        return rc;
    x.len = r->json.len - x.off;
    put_char(&r->json, ':');
    rc = check_budget(r, ev->start_mark);
    if (rc < 0)
        return rc;
    vec_push(&m->members, x);
    push_path(r, (struct span){r->json.ptr + x.off, x.len});
    note_line(r, ev->start_mark);
    rc = next_event(r, &value);
    if (rc == 0)
        rc = node(r, &value);
    str_truncate(&r->path, outer);
    return rc;
}

static int
mapping(struct reader *r, const yaml_event_t *start)
{
    struct mapping m = {.merges = STR_INIT(TEXT_BUDGET)};
    int rc = open_node(r, start, (const char *)start->data.mapping_start.tag, TAG("map"));

    put_char(&m.merges, '[');
    put_char(&r->json, '{');
    while (rc == 0) {
        auto_event ev = {0};
        rc = next_event(r, &ev);
        if (rc < 0 || ev.type == YAML_MAPPING_END_EVENT)
            break;
        r->nodes++;
        rc = mapping_member(r, &m, &ev);
    }
    if (rc == 0)
        rc = check_duplicates(r, &m);
    if (rc == 0)
        rc = apply_merges(r, &m, start->start_mark);
    put_char(&r->json, '}');
    r->depth--;
    vec_done(&m.members);
    str_done(&m.merges);
    return rc;
}

static int
node(struct reader *r, const yaml_event_t *ev)
{
    size_t start = r->json.len, anchor = SIZE_MAX;
    int rc;

    r->nodes++;
    rc = check_budget(r, ev->start_mark);
    if (rc < 0)
        return rc;
    if (ev->type == YAML_ALIAS_EVENT)
        return alias(r, ev);
    if (ev->type == YAML_SCALAR_EVENT) {
        anchor = anchor_open(r, ev->data.scalar.anchor);
        rc = scalar(r, ev, &r->json);
    } else if (ev->type == YAML_SEQUENCE_START_EVENT) {
        anchor = anchor_open(r, ev->data.sequence_start.anchor);
        rc = sequence(r, ev);
    } else {
        anchor = anchor_open(r, ev->data.mapping_start.anchor);
        rc = mapping(r, ev);
    }
    if (rc < 0)
        return rc;
    anchor_close(r, anchor, start);
    return check_budget(r, ev->start_mark);
}

/* --- documents
 * ---------------------------------------------------------------------------- */

/* Behind DOCUMENT-START. */
static int
document(struct reader *r, bool want_lines, struct yaml_docs *ret)
{
    auto_event ev = {0};
    auto_event end = {0};
    struct yaml_doc doc = {0};
    int rc = next_event(r, &ev);

    if (rc < 0)
        return rc;
    if (ret->list.len == YAML_MAX_DOCS)
        return fail_at(r, ev.start_mark, "too many documents");
    str_init(&r->json, TEXT_BUDGET);
    str_reset(&r->path);
    r->lines = want_lines ? map_new(NULL) : NULL;
    rc = node(r, &ev);
    anchors_clear(r);
    doc.lines = r->lines;
    doc.json = r->json;
    doc.line = (unsigned)ev.start_mark.line + 1;
    r->json = STR_INIT(0);
    r->written += doc.json.len;
    if (rc == 0)
        rc = next_event(r, &end); /* DOCUMENT-END */
    if (rc == 0 && !streq(doc.json.ptr, "null")) {
        vec_push(&ret->list, doc);
        return 0;
    }
    str_done(&doc.json);
    map_free(doc.lines);
    return rc;
}

static int
stream(struct reader *r, bool want_lines, struct yaml_docs *ret)
{
    for (;;) {
        auto_event ev = {0};
        int rc = next_event(r, &ev);
        if (rc < 0)
            return rc;
        if (ev.type == YAML_STREAM_END_EVENT)
            return 0;
        if (ev.type != YAML_DOCUMENT_START_EVENT)
            continue;
        rc = document(r, want_lines, ret);
        if (rc < 0)
            return rc;
    }
}

void
yaml_docs_done(struct yaml_docs *d)
{
    vec_foreach (x, &d->list) {
        str_done(&x->json);
        map_free(x->lines);
    }
    vec_done(&d->list);
}

int
yaml_read(const char *bytes, size_t n, bool want_lines, struct yaml_docs *ret,
          struct error *e)
{
    struct reader r = {
        .e = e, .json = STR_INIT(0), .path = STR_INIT(8192), .by_name = NULL};
    struct yaml_docs docs = {0};
    int rc;

    if (n > YAML_MAX_BYTES)
        return error_set(e, ERR_TOO_LARGE, "YAML of %zu bytes; the limit is %u", n,
                         YAML_MAX_BYTES);
    if (yaml_from_json(bytes, n, want_lines, ret))
        return 0;
    if (n >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0) {
        bytes += 3;
        n -= 3;
    }
    r.bytes = bytes;
    r.n_bytes = n;
    r.by_name = map_new(NULL);
    bug_if(!yaml_parser_initialize(&r.parser));
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)bytes, n);
    rc = stream(&r, want_lines, &docs);
    yaml_parser_delete(&r.parser);
    anchors_clear(&r);
    vec_done(&r.anchors);
    map_free(r.by_name);
    str_done(&r.path);
    if (rc < 0) {
        yaml_docs_done(&docs);
        return rc;
    }
    *ret = docs;
    return 0;
}

unsigned
yaml_line(const struct yaml_doc *d, const char *path)
{
    size_t n = strlen(path);

    if (d->lines == NULL)
        return 0;
    while (n > 0) {
        const void *line = map_getn(d->lines, path, n);
        if (line != NULL)
            return (unsigned)(uintptr_t)line;
        do
            n--;
        while (n > 0 && path[n] != '.' && path[n] != '[');
    }
    return d->line;
}
