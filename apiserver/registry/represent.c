/* SPDX-License-Identifier: Apache-2.0 */
/* An object as JSON, as PartialObjectMetadata, and the rows of Tables. */
#include <math.h>
#include <stdlib.h>

#include "api/jtok.h"
#include "apiserver/registry/server_internal.h"
#include "base/clock.h"
#include "base/log.h"

LOG_MODULE(api);

struct object *
view_object(const struct kind *k, const struct object *o)
{
    struct object *view = NULL;
    struct error e = ERROR_INIT;

    if (object_as(k, o, &view, &e) == 0)
        return view;
    log_warn_rl("cannot convert an object", "resource=%s name=%s error=\"%s\"",
                k->resource, o->name, e.msg);
    return object_ref(o);
}

void
metadata_write(const struct object *o, struct str *out)
{
    struct span meta = object_fact(o, o->facts.metadata);
    size_t before = o->facts.rv_offset - o->facts.metadata.off;

    if (o->revision == 0) {
        str_add(out, meta.ptr, meta.len);
        return;
    }
    str_add(out, meta.ptr, before);
    str_addf(out, "\"resourceVersion\":\"%llu\",", (unsigned long long)o->revision);
    str_add(out, meta.ptr + before, meta.len - before);
}

void
represent_partial(const struct object *o, const char *version, struct str *out)
{
    str_addf(out,
             "{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/%s\","
             "\"metadata\":",
             version);
    metadata_write(o, out);
    str_addc(out, '}');
}

void
represent_object(const struct object *o, enum accept_form form, const char *version,
                 struct str *out)
{
    if (form == ACCEPT_PARTIAL || form == ACCEPT_PARTIAL_LIST)
        represent_partial(o, version, out);
    else
        object_write(o, out);
}

/* --- Table
 * ------------------------------------------------------------------------------- */

static void
column(struct str *out, const char *name, const char *type, const char *format,
       const char *description)
{
    jput_item(out);
    str_addc(out, '{');
    jput_member(out, "name", name);
    jput_member(out, "type", type);
    jput_member(out, "format", format == NULL ? "" : format);
    jput_member(out, "description", description == NULL ? "" : description);
    str_adds(out, ",\"priority\":");
}

static bool
is_date(const struct kind_column *c)
{
    return streq(c->type, "date");
}

void
table_columns(const struct table_opts *t, struct str *out)
{
    size_t n;
    const struct table_column *own = builtin_columns(t->kind, &n);

    str_adds(out, "\"columnDefinitions\":[");
    for (size_t i = 0; own != NULL && i < n; i++) {
        column(out, own[i].name, own[i].type, own[i].format, NULL);
        str_addf(out, "%d}", own[i].priority);
    }
    if (own != NULL) {
        str_addc(out, ']');
        return;
    }
    column(out, "Name", "string", "name", "Unique within a namespace.");
    str_adds(out, "0}");
    for (size_t i = 0; i < t->kind->n_columns; i++) {
        const struct kind_column *c = &t->kind->columns[i];
        column(out, c->name, is_date(c) ? "string" : c->type, c->format, c->description);
        str_addf(out, "%d}", c->priority);
    }
    str_addc(out, ']');
}

void
table_age(const struct table_opts *t, struct span raw, struct str *out)
{
    char age[32];
    int64_t ns;

    if (raw.len < 2 || raw.ptr[0] != '"' || !clock_parse(raw.ptr + 1, raw.len - 2, &ns)) {
        str_adds(out, "\"<invalid>\"");
        return;
    }
    int64_t seconds = (t->now_ns - ns) / 1000000000;
    if (seconds < 0)
        seconds = 0;
    clock_human(seconds, age, sizeof(age));
    jput_stringz(out, age);
}

/* A value of another type than its column's is shown as nothing; as text all are shown.
 */
static void
value_cell(const struct kind_column *c, struct span raw, struct str *out)
{
    char first = raw.ptr[0];
    bool number = first == '-' || (first >= '0' && first <= '9');
    bool fits = streq(c->type, "boolean")  ? first == 't' || first == 'f'
                : streq(c->type, "string") ? first != 'n'
                                           : number;
    struct error ignored = ERROR_INIT;
    int64_t i;
    double d;

    if (!fits) {
        str_adds(out, "null");
    } else if (streq(c->type, "string") && first != '"') {
        jput_string(out, raw.ptr, raw.len);
    } else if (streq(c->type, "integer") && !jscan_int64(raw, &i) &&
               jtok_double(&(struct jtok){.type = JTOK_NUMBER, .text = raw}, &d,
                           &ignored) == 0) {
        str_addf(out, "%.0f", trunc(d));
    } else {
        str_add(out, raw.ptr, raw.len);
    }
}

static void
cell(const struct table_opts *t, const struct object *o, size_t i, struct str *out)
{
    const struct kind_column *c = &t->kind->columns[i];

    jput_item(out);
    if (i >= o->facts.n_cells || o->facts.cells[i].len == 0) {
        str_adds(out, "null");
        return;
    }
    struct span raw = object_fact(o, o->facts.cells[i]);
    if (is_date(c))
        table_age(t, raw, out);
    else
        value_cell(c, raw, out);
}

void
table_row(const struct table_opts *t, const struct object *o, struct str *out)
{
    size_t n;
    const struct table_column *own = builtin_columns(t->kind, &n);

    jput_item(out);
    str_adds(out, "{\"cells\":[");
    for (size_t i = 0; own != NULL && i < n; i++) {
        jput_item(out);
        own[i].cell(t, o, out);
    }
    if (own == NULL)
        jput_stringz(out, o->name);
    for (size_t i = 0; own == NULL && i < t->kind->n_columns; i++)
        cell(t, o, i, out);
    str_addc(out, ']');
    if (t->include == INCLUDE_METADATA) {
        str_adds(out, ",\"object\":");
        represent_partial(o, t->version, out);
    } else if (t->include == INCLUDE_OBJECT) {
        str_adds(out, ",\"object\":");
        object_write(o, out);
    }
    str_addc(out, '}');
}

void
table_head(const struct table_opts *t, const char *metadata, bool columns,
           struct str *out)
{
    str_addf(out,
             "{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/%s\",\"metadata\":{%s}",
             t->version, metadata);
    str_addc(out, ',');
    if (columns)
        table_columns(t, out);
    else
        str_adds(out, "\"columnDefinitions\":null");
    str_adds(out, ",\"rows\":[");
}
