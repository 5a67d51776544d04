/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drover logs: the output of a run's job. Follows as frames by offset, so that a cut
 * connection goes on at the exact byte; shows on a terminal what the run is waiting for
 * until there is output.
 */
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cli/follow.h"
#include "io/segment.h"

enum { RETRY_MS = 300, GIVE_UP_MS = 60000 };

struct logs {
    struct session s;
    bool follow, timestamps;
    const char *tail, *since;
    const char *run_name;
    char job[256];      /* the job being read */
    char phase[32];     /* of the run */
    char job_phase[32]; /* of the job being read */
    struct http_target streams;
    char *streams_url;
    uint64_t offset;
    struct str frames; /* received, not yet whole */
    bool at_line_start, shown_progress, broken;
};

/* --- what is it waiting for
 * ----------------------------------------------------------------- */

static void
progress(struct logs *l, const char *text)
{
    if (!isatty(2))
        return;
    fprintf(stderr, "\r\033[K\033[90m%s\033[0m", text);
    fflush(stderr);
    l->shown_progress = true;
}

static void
progress_end(struct logs *l)
{
    if (l->shown_progress)
        fputs("\r\033[K", stderr);
    l->shown_progress = false;
}

static void
pull_text(const json_t *job, char *out, size_t size)
{
    int64_t have = js_int(job, "status.agent.pull.downloadedBytes", 0);
    int64_t total = js_int(job, "status.agent.pull.totalBytes", 0);

    if (total > 0)
        snprintf(out, size, "pulling %s: %lld of %lld MB (%lld%%)", js(job, "spec.image"),
                 (long long)(have >> 20), (long long)(total >> 20),
                 (long long)(have * 100 / total));
    else
        snprintf(out, size, "pulling %s", js(job, "spec.image"));
}

/* Stops when the run has a job other than the one read before, or is over. */
static bool
on_run(void *arg, const json_t *o)
{
    struct logs *l = arg;
    char text[512];

    if (o == NULL) {
        l->phase[0] = '\0';
        return true;
    }
    const char *job = js(o, "status.jobName");
    snprintf(l->phase, sizeof(l->phase), "%s", js(o, "status.phase"));
    if (job[0] != '\0' && !streq(job, l->job)) {
        snprintf(l->job, sizeof(l->job), "%s", job);
        return true;
    }
    if (cli_final_phase(l->phase) || !l->follow)
        return true;
    snprintf(text, sizeof(text), "%s is %s%s%s", l->run_name,
             l->phase[0] != '\0' ? l->phase : "new",
             js(o, "status.reason")[0] != '\0' ? ": " : "", js(o, "status.reason"));
    progress(l, text);
    return false;
}

/* Stops when the job has started or ended. */
static bool
on_job(void *arg, const json_t *o)
{
    struct logs *l = arg;
    char text[512];

    if (o == NULL)
        return true;
    const char *state = js(o, "status.agent.state");
    snprintf(l->job_phase, sizeof(l->job_phase), "%s", js(o, "status.phase"));
    if (cli_final_phase(l->job_phase) || streq(state, "Running") ||
        streq(state, "Stopping") || js_int(o, "status.agent.logLength", 0) > 0)
        return true;
    if (streq(state, "Pulling"))
        pull_text(o, text, sizeof(text));
    else
        snprintf(text, sizeof(text), "%s is %s%s%s", l->run_name,
                 l->job_phase[0] != '\0' ? l->job_phase : "Submitted",
                 js(o, "status.reason")[0] != '\0' ? ": " : "", js(o, "status.reason"));
    progress(l, text);
    return false;
}

/* --- output
 * ---------------------------------------------------------------------------------- */

static void
put_frame(struct logs *l, const struct segment_frame *f)
{
    const char *p = f->bytes.ptr;
    const char *end = p + f->bytes.len;
    char ts[CLOCK_RFC3339_US_LEN];

    if (f->stream == SEGMENT_MARK) {
        fprintf(stderr, "[drover: %.*s]\n", (int)f->bytes.len, p);
        return;
    }
    if (!l->timestamps) {
        fwrite(p, 1, f->bytes.len, stdout);
        return;
    }
    clock_format_us(f->unix_ns, ts);
    while (p < end) {
        const char *nl = memchr(p, '\n', (size_t)(end - p));
        size_t n = nl == NULL ? (size_t)(end - p) : (size_t)(nl + 1 - p);
        if (l->at_line_start)
            printf("%s ", ts);
        fwrite(p, 1, n, stdout);
        l->at_line_start = nl != NULL;
        p += n;
    }
}

static bool
on_frames(void *arg, const char *bytes, size_t n)
{
    struct logs *l = arg;
    struct segment_frame f;
    struct error e = ERROR_INIT;
    size_t used = 0;
    int rc;

    str_add(&l->frames, bytes, n);
    while ((rc = segment_frame_get(l->frames.ptr + used, l->frames.len - used, l->offset,
                                   &f, &e)) == 1) {
        put_frame(l, &f);
        used += SEGMENT_HEADER + f.bytes.len;
        l->offset += SEGMENT_HEADER + f.bytes.len;
    }
    fflush(stdout);
    memmove(l->frames.ptr, l->frames.ptr + used, l->frames.len - used);
    str_truncate(&l->frames, l->frames.len - used);
    l->broken = rc < 0 || l->frames.toobig;
    return !l->broken;
}

static bool
on_text(void *arg, const char *bytes, size_t n)
{
    UNUSED(arg);
    fwrite(bytes, 1, n, stdout);
    fflush(stdout);
    return true;
}

static void
log_path(const struct logs *l, bool frames, struct str *path)
{
    str_addf(path, "/apis/streams.drover.dev/v1/namespaces/%s/jobs/%s/log?follow=%s",
             l->s.ns, l->job, l->follow ? "true" : "false");
    if (frames)
        str_addf(path, "&format=frames&from=%llu", (unsigned long long)l->offset);
    if (!frames && l->timestamps)
        str_adds(path, "&timestamps=true");
    if (l->tail != NULL)
        str_addf(path, "&tailLines=%s", l->tail);
    if (l->since != NULL)
        str_addf(path, "&sinceSeconds=%s", l->since);
}

/* Once from the streams server; through the API server when that cannot be reached. */
static int
stream_once(struct logs *l, const char *path,
            bool (*fn)(void *arg, const char *bytes, size_t n), struct error *e)
{
    if (l->streams_url == NULL)
        return session_stream_bytes(&l->s.target, path, -1, fn, l, e);
    int rc = session_stream_bytes(&l->streams, path, -1, fn, l, e);
    if (rc < 0 && e->code == ERR_UNAVAILABLE) {
        *e = ERROR_INIT;
        rc = session_stream_bytes(&l->s.target, path, -1, fn, l, e);
    }
    return rc;
}

static int
read_job(struct logs *l, struct error *e)
{
    bool frames = l->tail == NULL && l->since == NULL;
    int64_t last_progress = clock_now_ms();

    l->offset = 0;
    l->at_line_start = true;
    str_reset(&l->frames);
    for (;;) {
        auto_str path = STR_INIT(4096);
        struct error why = ERROR_INIT;
        uint64_t before = l->offset;
        log_path(l, frames, &path);
        int rc = stream_once(l, path.ptr, frames ? on_frames : on_text, &why);
        if (l->broken)
            return error_set(e, ERR_PROVIDER, "the server sent a malformed log");
        if (rc == 0 || !frames || !l->follow ||
            error_retry(why.code) != ERR_RETRY_BACKOFF || why.code == ERR_NOT_FOUND) {
            if (rc < 0)
                *e = why;
            return rc;
        }
        str_reset(&l->frames);
        if (l->offset != before)
            last_progress = clock_now_ms();
        if (clock_now_ms() - last_progress > GIVE_UP_MS) {
            *e = why;
            return rc;
        }
        poll(NULL, 0, RETRY_MS);
    }
}

static void
find_streams(struct logs *l)
{
    l->streams_url = session_streams_url(&l->s);
    l->streams = l->s.target;
    l->streams.url = l->streams_url;
}

static int
show(struct logs *l, struct error *e)
{
    find_streams(l);
    for (;;) {
        char before[256];
        snprintf(before, sizeof(before), "%s", l->job);
        if (follow_object(&l->s, &resource_runs, l->run_name, -1, on_run, l, e) < 0)
            return -(int)e->code;
        if (l->phase[0] == '\0' && before[0] == '\0' && l->job[0] == '\0')
            return error_set(e, ERR_NOT_FOUND, "runs.drover.dev \"%s\" not found",
                             l->run_name);
        if (streq(before, l->job)) {
            progress_end(l);
            if (before[0] == '\0')
                fprintf(stderr, "drover logs: %s is %s; it has no job yet\n", l->run_name,
                        l->phase);
            return 0;
        }
        if (l->follow &&
            follow_object(&l->s, &resource_jobs, l->job, -1, on_job, l, e) < 0)
            return -(int)e->code;
        progress_end(l);
        if (read_job(l, e) < 0)
            return -(int)e->code;
        if (!l->follow)
            return 0;
    }
}

static bool
is_number(const char *text)
{
    return *text != '\0' && strspn(text, "0123456789") == strlen(text);
}

static int
run(int argc, char **argv)
{
    static const struct option longs[] = {
        SESSION_OPTIONS,
        {"follow", no_argument, NULL, 'f'},
        {"timestamps", no_argument, NULL, 't'},
        {"tail", required_argument, NULL, 'T'},
        {"since", required_argument, NULL, 'S'},
        {0},
    };
    struct logs l = {.s.verb = &verb_logs, .frames = STR_INIT(2 * SEGMENT_FRAME_MAX)};
    struct error e = ERROR_INIT;
    int c;

    while ((c = getopt_long(argc, argv, SESSION_SHORT "ft", longs, NULL)) != -1) {
        if (session_option(&l.s, c, optarg))
            continue;
        if (c == 'f') {
            l.follow = true;
        } else if (c == 't') {
            l.timestamps = true;
        } else if (c == 'T' && is_number(optarg)) {
            l.tail = optarg;
        } else if (c == 'S' && is_number(optarg)) {
            l.since = optarg;
        } else if (c == 'h') {
            cli_usage(&verb_logs);
            return 0;
        } else {
            return cli_misuse(&verb_logs, "see drover logs --help");
        }
    }
    if (argc - optind != 1)
        return cli_misuse(&verb_logs, "name one run");
    l.run_name = str_starts(argv[optind], "run/") ? argv[optind] + 4 : argv[optind];
    int rc = session_open(&l.s, &e);
    if (rc == 0)
        rc = show(&l, &e);
    progress_end(&l);
    fflush(stdout);
    str_done(&l.frames);
    free(l.streams_url);
    session_close(&l.s);
    return rc < 0 ? cli_fail(&verb_logs, &e) : 0;
}

const struct cli_verb verb_logs = {
    .name = "logs",
    .args = "RUN [-f]",
    .summary = "print the output of a run",
    .help = "  -f, --follow              until the run has ended, over all its attempts\n"
            "  -t, --timestamps          RFC 3339 before each line\n"
            "      --tail N              only the last N lines\n"
            "      --since SECONDS       only what is younger\n" SESSION_HELP,
    .run = run,
};
