/* SPDX-License-Identifier: Apache-2.0 */
/* Column layout for terminals. */
#include "cli/table.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"

enum { GAP = 3, COLUMN_MIN = 8, CELL_MAX = 1024 };

static const struct {
    const char *phase, *code;
} colours[] = {
    {"Done", "\033[32m"},       {"Ready", "\033[32m"},       {"Active", "\033[32m"},
    {"Failed", "\033[31m"},     {"NotReady", "\033[31m"},    {"Warning", "\033[33m"},
    {"Running", "\033[36m"},    {"Pulling", "\033[36m"},     {"Provisioning", "\033[36m"},
    {"Terminated", "\033[33m"}, {"Terminating", "\033[33m"}, {"Unknown", "\033[35m"},
    {"Submitted", "\033[90m"},
};

bool
term_colours(void)
{
    return isatty(1) && getenv("NO_COLOR") == NULL;
}

size_t
term_width(void)
{
    struct winsize ws;

    return ioctl(1, TIOCGWINSZ, &ws) == 0 ? ws.ws_col : 0;
}

const char *
term_phase_colour(const char *phase)
{
    for (size_t i = 0; i < ARRAY_LEN(colours); i++) {
        if (streq(phase, colours[i].phase))
            return colours[i].code;
    }
    return "";
}

void
table_init(struct table *t, size_t columns)
{
    *t = (struct table){.columns = columns < 64 ? columns : 64};
}

void
table_clear_rows(struct table *t)
{
    while (t->cells.len > t->columns)
        free(t->cells.items[--t->cells.len]);
}

void
table_done(struct table *t)
{
    vec_foreach (c, &t->cells)
        free(*c);
    vec_done(&t->cells);
}

/* Columns on screen: UTF-8 continuation bytes take none. */
static size_t
display_len(const char *s)
{
    size_t n = 0;

    for (; *s != '\0'; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

void
table_cell(struct table *t, const char *text)
{
    char *cell = xstrndup(text, CELL_MAX);

    /* What users put into objects must not move our cursor. */
    for (char *p = cell; *p != '\0'; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = ' ';
    }
    vec_push(&t->cells, cell);
}

static void
measure(struct table *t)
{
    for (size_t i = 0; i < t->cells.len; i++) {
        size_t n = display_len(t->cells.items[i]);
        size_t *w = &t->widths[i % t->columns];
        if (n > *w)
            *w = n;
    }
}

/* Takes from the widest column until all fit. The last one may use what is left. */
static void
fit(struct table *t, size_t width)
{
    for (;;) {
        size_t total = 0;
        size_t widest = 0;
        for (size_t i = 0; i < t->columns; i++) {
            total += t->widths[i] + (i + 1 < t->columns ? GAP : 0);
            if (t->widths[i] > t->widths[widest])
                widest = i;
        }
        if (total <= width || t->widths[widest] <= COLUMN_MIN)
            return;
        size_t over = total - width;
        size_t room = t->widths[widest] - COLUMN_MIN;
        t->widths[widest] -= over < room ? over : room;
    }
}

static void
put_cell(FILE *out, const char *text, size_t width, bool last, bool colour)
{
    size_t n = display_len(text);
    const char *code = colour ? term_phase_colour(text) : "";

    if (*code != '\0')
        fputs(code, out);
    if (n <= width) {
        fputs(text, out);
    } else {
        size_t shown = 0;
        const char *p = text;
        while (*p != '\0' && shown + 1 < width) {
            shown++;
            do {
                fputc(*p++, out);
            } while (((unsigned char)*p & 0xc0) == 0x80);
        }
        fputs("\u2026", out);
        n = width;
    }
    if (*code != '\0')
        fputs("\033[0m", out);
    if (!last)
        fprintf(out, "%*s", (int)(width - n + GAP), "");
}

size_t
table_print(struct table *t, FILE *out, bool with_header)
{
    size_t width = term_width();
    bool colour = term_colours();
    size_t lines = 0;

    measure(t);
    if (width > 0)
        fit(t, width);
    for (size_t i = with_header ? 0 : t->columns; i + t->columns <= t->cells.len;
         i += t->columns) {
        for (size_t c = 0; c < t->columns; c++)
            put_cell(out, t->cells.items[i + c], t->widths[c], c + 1 == t->columns,
                     colour && i > 0);
        fputc('\n', out);
        lines++;
    }
    fflush(out);
    table_clear_rows(t);
    return lines;
}

/* --- Table documents
 * ------------------------------------------------------------------------ */

void
k8s_table_done(struct k8s_table *k)
{
    if (k->started)
        table_done(&k->t);
    vec_done(&k->shown);
}

static void
header(struct k8s_table *k, const json_t *doc)
{
    const json_t *columns = json_object_get(doc, "columnDefinitions");
    size_t n = k->with_ns ? 1 : 0;
    size_t i;
    const json_t *c;

    json_array_foreach (columns, i, c) {
        bool show = k->wide || json_integer_value(json_object_get(c, "priority")) == 0;
        vec_push(&k->shown, show);
        n += show;
    }
    table_init(&k->t, n);
    if (k->with_ns)
        table_cell(&k->t, "NAMESPACE");
    json_array_foreach (columns, i, c) {
        const char *name = json_string_value(json_object_get(c, "name"));
        if (!k->shown.items[i])
            continue;
        char *upper = xstrdup(name == NULL ? "" : name);
        for (char *p = upper; *p != '\0'; p++)
            *p = (*p >= 'a' && *p <= 'z') ? (char)(*p - 32) : *p;
        table_cell(&k->t, upper);
        free(upper);
    }
    k->started = true;
}

static void
value_cell(struct table *t, const json_t *v, const char *prefix)
{
    char number[32];
    autofree char *text = NULL;

    if (json_is_string(v))
        text = xasprintf("%s%s", prefix, json_string_value(v));
    else if (json_is_integer(v))
        snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(v));
    else if (json_is_real(v))
        snprintf(number, sizeof(number), "%g", json_real_value(v));
    else if (json_is_boolean(v))
        snprintf(number, sizeof(number), "%s", json_is_true(v) ? "true" : "false");
    else
        number[0] = '\0';
    table_cell(t, text != NULL ? text : number);
}

void
k8s_table_add(struct k8s_table *k, const json_t *doc, const char *prefix_cell)
{
    size_t i;
    const json_t *row;

    if (!k->started)
        header(k, doc);
    json_array_foreach (json_object_get(doc, "rows"), i, row) {
        const json_t *cells = json_object_get(row, "cells");
        const json_t *meta = json_object_get(json_object_get(row, "object"), "metadata");
        const char *ns = json_string_value(json_object_get(meta, "namespace"));
        if (k->with_ns)
            table_cell(&k->t, ns == NULL ? "" : ns);
        for (size_t c = 0; c < k->shown.len; c++) {
            if (k->shown.items[c])
                value_cell(&k->t, json_array_get(cells, c), c == 0 ? prefix_cell : "");
        }
    }
}
