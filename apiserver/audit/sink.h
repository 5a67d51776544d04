/* SPDX-License-Identifier: Apache-2.0 */
/* The audit log's file and its writer. Private to audit/. */
#ifndef AUDIT_SINK_H
#define AUDIT_SINK_H

#include <sys/queue.h>

#include "apiserver/audit/audit.h"

/* One line to be: head is an object without its last brace; bodies are added to it. */
struct audit_line {
    STAILQ_ENTRY(audit_line) link;
    struct str head;
    char *request, *response; /* NULL: not wanted */
    size_t n_request, n_response;
    bool omit_managed_fields;
};

struct audit_sink;
int audit_sink_open(const struct audit_opts *o, struct audit_sink **ret,
                    struct error *e) WARN_UNUSED;
void audit_sink_close(struct audit_sink *s); /* writes what is waiting; NULL ok */
void audit_sink_put(struct audit_sink *s, struct audit_line *line); /* takes it */
void audit_line_free(struct audit_line *line);
struct audit_stats audit_sink_stats(const struct audit_sink *s);
void audit_sink_flush(struct audit_sink *s, void (*fn)(void *arg), void *arg);

#endif
