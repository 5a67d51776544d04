/* SPDX-License-Identifier: Apache-2.0 */
/* What keeps a run of MHD short and a waiting stream small. */
#ifndef IO_HTTP_PACE_H
#define IO_HTTP_PACE_H

#include "io/http_internal.h"

/* http_idle.c */
void http_idle_init(struct http_server *s);
void http_idle_done(struct http_server *s);
/* Its fill() had nothing to write to this. Ends before MHD may write there. */
void http_idle_begin(struct http_server *s, struct http_stream *st, char *buf,
                     size_t max);
void http_idle_end(struct http_server *s, struct http_stream *st); /* not begun: ok */

/* http_pace.c */
void http_pace_init(struct http_conn_state *c);
/* Before and after MHD_run(). */
void http_pace_begin(struct http_shard *sh);
/* True: this run has taken long enough; the request is suspended and comes back soon. */
bool http_pace_defer(struct http_request *r) WARN_UNUSED;
/* A handshake could go on at once. */
bool http_pace_waiting(const struct http_shard *sh);
/* Real time, also when the clock is a fake one. */
int64_t http_pace_ns(void);

#endif
