/* SPDX-License-Identifier: Apache-2.0 */
/* A YAML stream that is one JSON document takes this way: no events, just tokens. */
#include "api/jtok_internal.h"
#include "api/yaml_internal.h"

struct walk {
    struct jtok_reader r;
    struct str json, path;
    struct map *lines;
    const char *counted; /* lines are counted up to here */
    size_t line, noted;
};

static void
note_line(struct walk *w, const struct jtok *t)
{
    const char *at = w->r.start + t->offset;

    if (w->lines == NULL || w->path.toobig || w->noted > YAML_LINES_BUDGET)
        return;
    w->noted += w->path.len;
    for (; w->counted < at; w->counted++)
        w->line += *w->counted == '\n';
    map_putn(w->lines, w->path.ptr, w->path.len, (void *)(uintptr_t)w->line);
}

static int value(struct walk *w, const struct jtok *t);

static int
object(struct walk *w)
{
    size_t outer = w->path.len;
    struct error ignored;
    struct jtok t;
    int rc;

    put_char(&w->json, '{');
    while ((rc = jtok_next(&w->r, &t, &ignored)) == 0 && t.type != JTOK_OBJECT_END) {
        jput_item(&w->json);
        put_char(&w->json, '"');
        put(&w->json, t.text.ptr, t.text.len);
        put(&w->json, "\":", 2);
        if (outer > 0)
            str_addc(&w->path, '.');
        jtok_unescape(&t, &w->path);
        note_line(w, &t);
        rc = jtok_next(&w->r, &t, &ignored);
        if (rc == 0)
            rc = value(w, &t);
        if (rc < 0)
            return rc;
        str_truncate(&w->path, outer);
    }
    put_char(&w->json, '}');
    return rc;
}

static int
array(struct walk *w)
{
    size_t outer = w->path.len;
    struct error ignored;
    struct jtok t;
    int rc;

    put_char(&w->json, '[');
    for (size_t i = 0;
         (rc = jtok_next(&w->r, &t, &ignored)) == 0 && t.type != JTOK_ARRAY_END; i++) {
        jput_item(&w->json);
        str_addf(&w->path, "[%zu]", i);
        note_line(w, &t);
        rc = value(w, &t);
        if (rc < 0)
            return rc;
        str_truncate(&w->path, outer);
    }
    put_char(&w->json, ']');
    return rc;
}

static int
value(struct walk *w, const struct jtok *t)
{
    if (t->type == JTOK_OBJECT)
        return object(w);
    if (t->type == JTOK_ARRAY)
        return array(w);
    if (t->type == JTOK_STRING)
        put_char(&w->json, '"');
    put(&w->json, t->text.ptr, t->text.len);
    if (t->type == JTOK_STRING)
        put_char(&w->json, '"');
    return 0;
}

bool
yaml_from_json(const char *bytes, size_t n, bool want_lines, struct yaml_docs *ret)
{
    struct walk w = {.json = STR_INIT(YAML_MAX_BYTES), .path = STR_INIT(8192), .line = 1};
    struct yaml_doc doc = {0};
    struct error ignored;
    struct jtok t, end;
    size_t i = 0;

    while (i < n && strchr(" \t\r\n", bytes[i]) != NULL && bytes[i] != '\0')
        i++;
    if (i == n || (bytes[i] != '{' && bytes[i] != '['))
        return false;
    jtok_init(&w.r, bytes, n);
    w.counted = bytes;
    w.lines = want_lines ? map_new(NULL) : NULL;
    if (jtok_next(&w.r, &t, &ignored) < 0 || value(&w, &t) < 0 ||
        jtok_next(&w.r, &end, &ignored) < 0) {
        str_done(&w.json);
        str_done(&w.path);
        map_free(w.lines);
        return false;
    }
    str_done(&w.path);
    doc.json = w.json;
    doc.lines = w.lines;
    doc.line = 1;
    for (size_t k = 0; k < i; k++)
        doc.line += bytes[k] == '\n';
    *ret = (struct yaml_docs){0};
    vec_push(&ret->list, doc);
    return true;
}
