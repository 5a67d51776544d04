/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drover logs: the output of a run's job. Follows as frames by offset, so that a cut
 * connection goes on at the exact byte; shows on a terminal what the run is waiting for
 * until there is output.
 */
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/values.h"
#include "base/clock.h"
#include "base/mem.h"
#include "cli/ansi.h"
#include "cli/follow.h"
#include "io/segment.h"

enum { RETRY_MS = 300, GIVE_UP_MS = 60000 };

struct logs {
    struct session s;
    bool follow, timestamps, raw, previous, diagnose, tty;
    const char *tail, *node, *replica;
    char since[64]; /* query parameter */
    const char *run_name;
    char job[256];      /* the job being read */
    char phase[32];     /* of the run */
    char job_phase[32]; /* of the job being read */
    struct http_target streams;
    char *streams_url;
    uint64_t offset;
    struct str frames; /* received, not yet whole */
    size_t skip;       /* bytes of the first frame that are not wanted */
    int64_t since_ns;  /* frames before it are not wanted */
    struct ansi ansi;
    struct str shown; /* scratch */
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

/* To a terminal without what would take it over, to anything else the bytes. */
static void
put_bytes(struct logs *l, const char *p, size_t n)
{
    if (!l->tty || l->raw) {
        fwrite(p, 1, n, stdout);
        return;
    }
    str_reset(&l->shown);
    ansi_filter(&l->ansi, p, n, &l->shown);
    fwrite(l->shown.ptr, 1, l->shown.len, stdout);
}

static void
put_frame(struct logs *l, const struct segment_frame *f)
{
    size_t skip = l->skip < f->bytes.len ? l->skip : f->bytes.len;
    const char *p = f->bytes.ptr + skip;
    const char *end = f->bytes.ptr + f->bytes.len;
    char ts[CLOCK_RFC3339_US_LEN];

    l->skip = 0;
    if (f->unix_ns < l->since_ns)
        return;
    if (f->stream == SEGMENT_MARK) {
        fprintf(stderr, "[drover: %.*s]\n", (int)(end - p), p);
        return;
    }
    if (!l->timestamps) {
        put_bytes(l, p, (size_t)(end - p));
        return;
    }
    clock_format_us(f->unix_ns, ts);
    while (p < end) {
        const char *nl = memchr(p, '\n', (size_t)(end - p));
        size_t n = nl == NULL ? (size_t)(end - p) : (size_t)(nl + 1 - p);
        if (l->at_line_start)
            printf("%s ", ts);
        put_bytes(l, p, n);
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

/* format: "frames" from where we are, or "position", which says where to begin. */
static void
log_path(const struct logs *l, const char *format, struct str *path)
{
    str_addf(path, "/apis/streams.drover.dev/v1/namespaces/%s/jobs/%s/log?format=%s",
             l->s.ns, l->job, format);
    if (l->diagnose)
        str_adds(path, "&log=diagnostics");
    if (streq(format, "frames")) {
        str_addf(path, "&follow=%s&from=%llu", l->follow ? "true" : "false",
                 (unsigned long long)l->offset);
        return;
    }
    if (l->tail != NULL)
        str_addf(path, "&tailLines=%s", l->tail);
    if (l->since[0] != '\0')
        str_addf(path, "&%s", l->since);
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

static bool
on_position(void *arg, const char *bytes, size_t n)
{
    struct logs *l = arg;

    str_add(&l->frames, bytes, n);
    return true;
}

/* Where to begin; from there on the offset alone counts, also after a cut. */
static int
find_position(struct logs *l, struct error *e)
{
    auto_str path = STR_INIT(4096);

    l->offset = 0;
    l->skip = 0;
    l->since_ns = 0;
    l->at_line_start = true;
    l->ansi = (struct ansi){0};
    str_reset(&l->frames);
    log_path(l, "position", &path);
    int rc = stream_once(l, path.ptr, on_position, e);
    if (rc < 0)
        return rc;
    json_t *doc = json_loadb(l->frames.ptr, l->frames.len, 0, NULL);
    const json_t *offset = json_object_get(doc, "offset");
    if (!json_is_integer(offset))
        rc = error_set(e, ERR_PROVIDER, "the server's answer is not understood");
    l->offset = (uint64_t)json_integer_value(offset);
    l->skip = (size_t)js_int(doc, "skip", 0);
    l->since_ns = js_int(doc, "sinceNs", 0);
    json_decref(doc);
    str_reset(&l->frames);
    return rc;
}

static bool
may_pass(const struct error *e)
{
    return error_retry(e->code) == ERR_RETRY_BACKOFF && e->code != ERR_NOT_FOUND;
}

/* A server that goes down ends its streams in good order: only the Job says whether that
 * was all. */
static bool
is_complete(struct logs *l)
{
    autofree char *path =
        xasprintf("/apis/drover.dev/v1/namespaces/%s/jobs/%s", l->s.ns, l->job);
    struct error e = ERROR_INIT;
    json_t *job = NULL;

    if (session_get_json(&l->s, path, NULL, &job, &e) < 0)
        return e.code == ERR_NOT_FOUND;
    int64_t length = js_int(job, "status.agent.logLength", -1);
    const char *state = js(job, "status.agent.state");
    bool over = cli_final_phase(js(job, "status.phase"));
    bool open = length < 0 && !json_is_true(js_get(job, "status.agent.released"));
    bool whole = l->diagnose || !streq(state, "Exited") ||
                 (!open && l->offset >= (uint64_t)length);
    json_decref(job);
    return over && whole;
}

static int
read_job(struct logs *l, struct error *e)
{
    int64_t last_progress = clock_now_ms();
    bool positioned = false;

    for (;;) {
        auto_str path = STR_INIT(4096);
        struct error why = ERROR_INIT;
        uint64_t before = l->offset;
        int rc = positioned ? 0 : find_position(l, &why);
        if (rc == 0) {
            positioned = true;
            log_path(l, "frames", &path);
            rc = stream_once(l, path.ptr, on_frames, &why);
        }
        if (l->broken)
            return error_set(e, ERR_PROVIDER, "the server sent a malformed log");
        if ((rc == 0 && (!l->follow || is_complete(l))) ||
            (rc < 0 && (!l->follow || !may_pass(&why)))) {
            if (rc < 0)
                *e = why;
            return rc;
        }
        str_reset(&l->frames);
        if (l->offset != before)
            last_progress = clock_now_ms();
        if (rc == 0)
            last_progress = clock_now_ms(); /* it answers */
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

/* --- one job of several
 * --------------------------------------------------------------------- */

static bool
is_wanted(const struct logs *l, const json_t *job)
{
    long node = l->node != NULL ? strtol(l->node, NULL, 10) : 0;
    long replica = l->replica != NULL ? strtol(l->replica, NULL, 10) : 0;

    return js_int(job, "spec.node", 0) == node &&
           js_int(job, "spec.replica", 0) == replica;
}

/* The newest attempt of the wanted node and replica, or the one before it. */
static int
choose_job(struct logs *l, struct error *e)
{
    autofree char *path =
        xasprintf("/apis/drover.dev/v1/namespaces/%s/jobs?labelSelector="
                  "drover.dev%%2Frun%%3D%s",
                  l->s.ns, l->run_name);
    json_t *list = NULL;
    const json_t *best[2] = {NULL, NULL}; /* newest, the one before */
    size_t i;
    const json_t *job;

    if (session_get_json(&l->s, path, NULL, &list, e) < 0)
        return -(int)e->code;
    json_array_foreach (json_object_get(list, "items"), i, job) {
        int64_t attempt = js_int(job, "spec.attempt", 0);
        if (!is_wanted(l, job))
            continue;
        if (best[0] == NULL || attempt > js_int(best[0], "spec.attempt", 0)) {
            best[1] = best[0];
            best[0] = job;
        } else if (best[1] == NULL || attempt > js_int(best[1], "spec.attempt", 0)) {
            best[1] = job;
        }
    }
    job = best[l->previous ? 1 : 0];
    int rc = 0;
    if (job != NULL)
        snprintf(l->job, sizeof(l->job), "%s", js(job, "metadata.name"));
    else
        rc = error_set(e, ERR_NOT_FOUND, "%s has no %sattempt of replica %s, node %s",
                       l->run_name, l->previous ? "previous " : "",
                       l->replica != NULL ? l->replica : "0",
                       l->node != NULL ? l->node : "0");
    json_decref(list);
    return rc;
}

static int
show_one(struct logs *l, struct error *e)
{
    if (choose_job(l, e) < 0)
        return -(int)e->code;
    if (l->follow && follow_object(&l->s, &resource_jobs, l->job, -1, on_job, l, e) < 0)
        return -(int)e->code;
    progress_end(l);
    return read_job(l, e);
}

static int
show(struct logs *l, struct error *e)
{
    find_streams(l);
    if (l->previous || l->node != NULL || l->replica != NULL)
        return show_one(l, e);
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

/* "90", "15m", or a time. */
static bool
take_since(struct logs *l, const char *text)
{
    struct error e = ERROR_INIT;
    char time[CLOCK_RFC3339_US_LEN];
    int64_t seconds;
    int64_t ns;

    if (value_duration_text(text, false, &seconds, &e) == 0 && seconds >= 0) {
        snprintf(l->since, sizeof(l->since), "sinceSeconds=%" PRId64, seconds);
        return true;
    }
    if (!clock_parse(text, strlen(text), &ns))
        return false;
    clock_format_us(ns, time);
    snprintf(l->since, sizeof(l->since), "sinceTime=%s", time);
    return true;
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
        {"previous", no_argument, NULL, 'p'},
        {"node", required_argument, NULL, 'N'},
        {"replica", required_argument, NULL, 'R'},
        {"raw", no_argument, NULL, 'r'},
        {"diagnose", no_argument, NULL, 'D'},
        {0},
    };
    struct logs l = {.s.verb = &verb_logs,
                     .tty = isatty(1) == 1,
                     .frames = STR_INIT(2 * SEGMENT_FRAME_MAX),
                     .shown = STR_INIT(2 * SEGMENT_FRAME_MAX)};
    struct error e = ERROR_INIT;
    int c;

    while ((c = getopt_long(argc, argv, SESSION_SHORT "ftp", longs, NULL)) != -1) {
        if (session_option(&l.s, c, optarg))
            continue;
        if (c == 'f') {
            l.follow = true;
        } else if (c == 't') {
            l.timestamps = true;
        } else if (c == 'T' && is_number(optarg)) {
            l.tail = optarg;
        } else if (c == 'S' && take_since(&l, optarg)) {
            continue;
        } else if (c == 'p') {
            l.previous = true;
        } else if (c == 'N' && is_number(optarg)) {
            l.node = optarg;
        } else if (c == 'R' && is_number(optarg)) {
            l.replica = optarg;
        } else if (c == 'r') {
            l.raw = true;
        } else if (c == 'D') {
            l.diagnose = l.timestamps = true;
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
    str_done(&l.shown);
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
            "      --since WHEN          only what is younger: 90, 15m, 2h, or a time\n"
            "  -p, --previous            the attempt before the last one\n"
            "      --node N              of a node other than 0\n"
            "      --replica N           of a replica other than 0\n"
            "      --diagnose            what the agent says of the job, not its output\n"
            "      --raw                 on a terminal, too, the bytes as they "
            "are\n" SESSION_HELP,
    .run = run,
};
