/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON to YAML through libyaml's emitter, whose layout is kubectl's: block style, lists
 * not indented in mappings, | for text with newlines, quotes where the text would read as
 * something else.
 */
#include <yaml.h>

#include "api/jtok_internal.h"
#include "api/yaml_internal.h"

struct writer {
    yaml_emitter_t emitter;
    struct jtok_reader r;
    struct str *out;
    struct str text;
    struct error *e;
};

static int
append(void *arg, unsigned char *bytes, size_t n)
{
    struct str *out = arg;

    str_add(out, bytes, n);
    return !out->toobig;
}

static int
emit(struct writer *w, yaml_event_t *ev)
{
    if (yaml_emitter_emit(&w->emitter, ev))
        return 0;
    if (w->out->toobig)
        return error_set(w->e, ERR_TOO_LARGE, "YAML larger than %zu bytes", w->out->max);
    return error_set(w->e, ERR_INTERNAL, "write YAML: %s",
                     w->emitter.problem != NULL ? w->emitter.problem : "unknown problem");
}

static int
emit_scalar(struct writer *w, const char *p, size_t n, yaml_scalar_style_t style)
{
    union {
        const char *c;
        unsigned char *u;
    } text = {.c = p}; /* libyaml copies it, but takes it without const */
    yaml_event_t ev;

    bug_if(n > INT32_MAX);
    if (!yaml_scalar_event_initialize(&ev, NULL, NULL, text.u, (int)n, 1, 1, style))
        return error_set(w->e, ERR_INTERNAL, "write YAML: scalar is not UTF-8");
    return emit(w, &ev);
}

static int
emit_string(struct writer *w, const struct jtok *t)
{
    auto_str json = STR_INIT(4096);
    yaml_scalar_style_t style = YAML_ANY_SCALAR_STYLE;

    str_reset(&w->text);
    jtok_unescape(t, &w->text);
    if (memchr(w->text.ptr, '\n', w->text.len) != NULL)
        style = YAML_LITERAL_SCALAR_STYLE;
    else if (scalar_resolve(w->text.ptr, w->text.len, &json) != SCALAR_STRING ||
             streq(w->text.ptr, "<<") || streq(w->text.ptr, "="))
        style = YAML_DOUBLE_QUOTED_SCALAR_STYLE;
    return emit_scalar(w, w->text.ptr, w->text.len, style);
}

static int
emit_token(struct writer *w, const struct jtok *t)
{
    yaml_event_t ev;

    switch (t->type) {
    case JTOK_OBJECT:
        yaml_mapping_start_event_initialize(&ev, NULL, NULL, 1, YAML_BLOCK_MAPPING_STYLE);
        return emit(w, &ev);
    case JTOK_OBJECT_END:
        yaml_mapping_end_event_initialize(&ev);
        return emit(w, &ev);
    case JTOK_ARRAY:
        yaml_sequence_start_event_initialize(&ev, NULL, NULL, 1,
                                             YAML_BLOCK_SEQUENCE_STYLE);
        return emit(w, &ev);
    case JTOK_ARRAY_END:
        yaml_sequence_end_event_initialize(&ev);
        return emit(w, &ev);
    case JTOK_KEY:
    case JTOK_STRING:
        return emit_string(w, t);
    case JTOK_NUMBER:
    case JTOK_TRUE:
    case JTOK_FALSE:
    case JTOK_NULL:
        return emit_scalar(w, t->text.ptr, t->text.len, YAML_PLAIN_SCALAR_STYLE);
    case JTOK_END:
        yaml_document_end_event_initialize(&ev, 1);
        return emit(w, &ev);
    }
    return 0;
}

static int
emit_all(struct writer *w)
{
    yaml_event_t ev;
    struct jtok t = {0};
    int rc;

    yaml_stream_start_event_initialize(&ev, YAML_UTF8_ENCODING);
    rc = emit(w, &ev);
    if (rc < 0)
        return rc;
    yaml_document_start_event_initialize(&ev, NULL, NULL, NULL, 1);
    rc = emit(w, &ev);
    do {
        if (rc == 0)
            rc = jtok_next(&w->r, &t, w->e);
        if (rc == 0)
            rc = emit_token(w, &t);
    } while (rc == 0 && t.type != JTOK_END);
    if (rc < 0)
        return rc;
    yaml_stream_end_event_initialize(&ev);
    return emit(w, &ev);
}

int
yaml_write(struct span json, struct str *out, struct error *e)
{
    struct writer w = {.out = out, .text = STR_INIT(SIZE_MAX / 2), .e = e};
    size_t before = out->len;
    int rc;

    bug_if(!yaml_emitter_initialize(&w.emitter));
    yaml_emitter_set_output(&w.emitter, append, out);
    yaml_emitter_set_unicode(&w.emitter, 1);
    yaml_emitter_set_width(&w.emitter, -1);
    yaml_emitter_set_indent(&w.emitter, 2);
    jtok_init(&w.r, json.ptr, json.len);
    rc = emit_all(&w);
    yaml_emitter_delete(&w.emitter);
    str_done(&w.text);
    if (rc < 0)
        str_truncate(out, before);
    else if (out->len - before > 5 && memcmp(out->ptr + out->len - 5, "\n...\n", 5) == 0)
        str_truncate(out,
                     out->len - 4); /* the end mark behind |+, which kubectl leaves out */
    return rc;
}
