/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tables on a terminal: columns as wide as their contents, the widest cut when the
 * terminal is too narrow, phases coloured on a tty only (and never with NO_COLOR). Not
 * cut when the output is not a terminal.
 */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "base/vec.h"

struct table {
    size_t columns;
    vec(char *) cells; /* row by row; the first row is the header */
    size_t widths[64]; /* kept between prints of a watch */
};

void table_init(struct table *t, size_t columns);
void table_done(struct table *t);
void table_clear_rows(struct table *t); /* keeps header and widths */
/* text is cleaned of control bytes. Header cells come first. */
void table_cell(struct table *t, const char *text);
/* Prints rows (and the header when with_header) and drops them. Returns lines printed. */
size_t table_print(struct table *t, FILE *out, bool with_header);

/* A meta.k8s.io/v1 Table document: header from columnDefinitions, rows appended. */
struct k8s_table {
    struct table t;
    bool started, wide, with_ns;
    vec(bool) shown; /* by column of the document */
};
void k8s_table_done(struct k8s_table *k);
/* Adds all rows; the first document must carry columnDefinitions. */
void k8s_table_add(struct k8s_table *k, const json_t *doc, const char *prefix_cell);

bool term_colours(void); /* stdout is a tty and NO_COLOR is not set */
size_t term_width(void); /* 0: not a terminal */
/* Escape code for a phase or "" */
const char *term_phase_colour(const char *phase);

#endif
