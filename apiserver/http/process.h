/* SPDX-License-Identifier: Apache-2.0 */
/* Metrics of the process and of a listener, in Prometheus' text form. */
#ifndef HTTP_PROCESS_H
#define HTTP_PROCESS_H

#include "io/http_server.h"

/* process_*: CPU time, memory, descriptors, start time; from /proc. */
void process_metrics(struct str *out);
void process_listener_metrics(const struct http_server *s, struct str *out);

#endif
