/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drover-streams: the bulky half of the API (group streams.drover.dev/v1). Job logs and
 * blobs.
 *
 *   POST .../jobs/<job>/log?uid=U&offset=N   frames (io/segment.h) from the job's agent;
 *        answered after fdatasync with {"length":N,"durable":N}; 409 with the length on a
 *        gap. With early=true it may be answered before: up to "durable" it is kept, the
 *        rest is to be sent again if the length turns out to be less
 *        With log=diagnostics what the agent says of the job, a log of its own
 *   GET  .../jobs/<job>/log                   text, or frames with format=frames, or with
 *        format=position where tailLines= or since*= begin
 *   PUT, HEAD, GET  .../blobs/sha256:<hex>    see blobs.h
 *
 * One loop thread; appends are written in groups on a pool thread and synced on another,
 * so a slow disk delays acknowledgements only. A follower is a cursor (an offset) and
 * costs no buffer; appends wake the followers of that job and nobody else. The process
 * owns <data>/output and nothing else writes there.
 *
 * The parts: streams.c (routes), access.c (who may), append.c (writing), follow.c
 * (reading), text.c (frames to text). All calls on the loop thread.
 */
#ifndef APISERVER_STREAMS_H
#define APISERVER_STREAMS_H

#include "base/map.h"
#include "base/str.h"
#include "io/http_client.h"
#include "io/http_server.h"
#include "io/loop.h"

#define STREAMS_NAME_MAX 254
#define STREAMS_MAX_APPEND (3u << 20)

struct streams {
    struct loop *loop;
    struct http_multi *multi;
    struct http_target api; /* the API server's unix socket and our own token */
    const char *output_dir;
    struct map *tokens; /* token hash -> struct identity, see access.c */
    struct map *jobs;   /* ns/name -> struct job_fact, see access.c */
    struct map *logs;   /* log -> struct job_log, see append.c */
    struct loop_pool *writer, *syncer;
    struct append_queue *queue;
    uint64_t log_max_bytes; /* kept of a job's log; the oldest segments go */
    struct blobs *blobs;    /* blobs.h */
};

/* What is needed of a Job to serve its log. Plain copy. */
struct job_facts {
    char uid[64], instance_uid[64];
    bool finished;      /* phase is final */
    bool log_open;      /* it is, but its agent is still to tell the log's length */
    bool lost;          /* its machine is gone; the rest of the log will not come */
    int64_t log_length; /* -1: not known yet */
};
/* From the bytes of a Job object (any JSON); false when it is not one. */
bool job_facts_read(struct span json, struct job_facts *ret);

struct route {
    char ns[STREAMS_NAME_MAX], job[STREAMS_NAME_MAX];
};

/* log=: the job's output when there is none; "diagnostics", what its agent says of it.
 * Logs other than the output lie in a directory of their name below it. */
int streams_log_kind(const struct http_request *r, const char **ret_kind,
                     struct error *e) WARN_UNUSED;
/* "<uid>" or "<uid>/<kind>": names a log within its namespace. */
#define STREAMS_LOG_MAX 96

void streams_handle(void *arg, struct http_request *r); /* http_handler_fn */

/* --- access.c
 * --------------------------------------------------------------------------- */
/* Exactly one callback, unless cancelled. facts NULL: *e says why not. */
typedef void access_fn(void *arg, const struct job_facts *facts, const struct error *e);
struct access_check;
/* A reader: TokenReview, SubjectAccessReview (get jobs/log), then the Job. */
struct access_check *access_reader(struct streams *s, const struct http_request *r,
                                   const struct route *route, access_fn *fn, void *arg);
/* An agent: TokenReview, then the Job must be `uid` and bound to the agent's instance. */
struct access_check *access_agent(struct streams *s, const struct http_request *r,
                                  const struct route *route, const char *uid,
                                  access_fn *fn, void *arg);
/* TokenReview, SubjectAccessReview (verb on blobs, name "sha256:<hex>"); the facts are
 * empty. */
struct access_check *access_blob(struct streams *s, const struct http_request *r,
                                 const char *ns, const char *hex, const char *verb,
                                 access_fn *fn, void *arg);
void access_cancel(struct access_check *a); /* NULL ok */
void access_free_identity(void *identity);
void access_free_job(void *job);

/* --- append.c
 * --------------------------------------------------------------------------- */
struct follower;
struct append_queue *append_queue_new(struct streams *s);
/* Starts no further batch; before the writer pool is freed. */
void append_queue_close(struct append_queue *q);
void append_queue_free(struct append_queue *q);
void append_handle(struct streams *s, struct http_request *r, const struct route *route);
/* Durable length of the log as this process knows it, from disk at first. */
int append_length(struct streams *s, const struct route *route, const char *log,
                  uint64_t *ret, struct error *e) WARN_UNUSED;
/* Registers a stream to be woken when the log grows. */
struct log_waiter {
    struct log_waiter *next, **link;
    struct http_stream *stream;
};
void append_wait(struct streams *s, const char *ns, const char *log,
                 struct log_waiter *w);
void append_unwait(struct log_waiter *w);
void append_free_log(void *log);

/* --- follow.c
 * ---------------------------------------------------------------------------- */
void follow_handle(struct streams *s, struct http_request *r, const struct route *route);

/* --- text.c
 * ------------------------------------------------------------------------------ */
struct log_format {
    bool frames;     /* verbatim */
    bool timestamps; /* RFC 3339 before each line */
    bool at_line_start;
    int64_t since_ns; /* skip older frames; 0: all */
};
/* Turns whole frames at the start of `in` into output; returns bytes consumed (0: less
 * than one frame), or -1 when malformed. Stops when out has less than room left. */
ssize_t text_render(struct log_format *f, struct span in, uint64_t offset,
                    struct str *out);
/* Offset of the frame and bytes to skip in it so that at most `lines` lines follow. */
/* Offset of a frame at or before the first one of that time: the segment files' first
 * frames are the index. *ret_offset is left alone when none is earlier. */
int text_since(const char *dir, int64_t since_ns, uint64_t *ret_offset,
               struct error *e) WARN_UNUSED;
int text_tail(const char *dir, uint64_t lines, uint64_t *ret_offset, size_t *ret_skip,
              struct error *e) WARN_UNUSED;

void streams_error(struct http_request *r, const struct error *e);

#endif
