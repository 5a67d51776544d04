/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drover ps: runs that are going on (all with --all), with what each waits for. -w
 * redraws when something changes: two threads hold a watch on runs and jobs and only say
 * "changed"; the lists are then read again, at most ten times a second.
 */
#include <getopt.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/session.h"
#include "cli/table.h"

enum { COALESCE_MS = 100, RETRY_MS = 500 };

struct ps {
    struct session s;
    bool all, watch;
    int changed_fd;
    size_t lines; /* of the last drawing */
};

struct ps_watch {
    struct ps *ps;
    const struct resource *resource;
};

static int
list(struct ps *p, const struct resource *r, json_t **ret, struct error *e)
{
    auto_str path = STR_INIT(2048);

    client_path(&path, r, p->s.all_namespaces ? NULL : p->s.ns, NULL, NULL);
    return session_get_json(&p->s, path.ptr, NULL, ret, e);
}

static const json_t *
job_of(const json_t *jobs, const json_t *run)
{
    const char *uid = js(run, "status.jobUID");
    size_t i;
    const json_t *j;

    json_array_foreach (json_object_get(jobs, "items"), i, j) {
        if (uid[0] != '\0' && streq(js(j, "metadata.uid"), uid))
            return j;
    }
    return NULL;
}

static void
why(const json_t *run, const json_t *job, char *out, size_t size)
{
    int64_t have = js_int(job, "status.agent.pull.downloadedBytes", 0);
    int64_t total = js_int(job, "status.agent.pull.totalBytes", 0);
    const char *reason = js(run, "status.reason");

    out[0] = '\0';
    if (streq(js(run, "status.phase"), "Pulling") && total > 0)
        snprintf(out, size, "%lld%% of %lld MB", (long long)(have * 100 / total),
                 (long long)(total >> 20));
    else if (streq(reason, "Exited"))
        snprintf(out, size, "exit %lld", (long long)js_int(run, "status.exitCode", 0));
    else
        snprintf(out, size, "%s", reason);
}

static size_t
draw(struct ps *p, const json_t *runs, const json_t *jobs)
{
    static const char *const header[] = {"NAME",     "PHASE",    "WHY",
                                         "INSTANCE", "PRIORITY", "AGE"};
    struct table t;
    size_t i;
    const json_t *r;
    size_t rows = 0;
    size_t lines = 0;

    table_init(&t, ARRAY_LEN(header));
    for (size_t c = 0; c < ARRAY_LEN(header); c++)
        table_cell(&t, header[c]);
    json_array_foreach (json_object_get(runs, "items"), i, r) {
        char text[128];
        char age[32];
        char priority[32];
        const char *phase = js(r, "status.phase");
        if (!p->all && cli_final_phase(phase))
            continue;
        why(r, job_of(jobs, r), text, sizeof(text));
        cli_age(js(r, "metadata.creationTimestamp"), age, sizeof(age));
        snprintf(priority, sizeof(priority), "%lld",
                 (long long)js_int(r, "status.priorityClass.value",
                                   js_int(r, "spec.priority", 0)));
        table_cell(&t, js(r, "metadata.name"));
        table_cell(&t, phase[0] != '\0' ? phase : "Submitted");
        table_cell(&t, text);
        table_cell(&t, js(r, "status.instanceName"));
        table_cell(&t, priority);
        table_cell(&t, age);
        rows++;
    }
    if (rows > 0) {
        lines = table_print(&t, stdout, true);
    } else {
        printf("no run is going on%s\n",
               p->all ? "" : "; --all shows those that have ended");
        lines = 1;
    }
    table_done(&t);
    return lines;
}

static int
draw_now(struct ps *p, struct error *e)
{
    json_t *runs = NULL;
    json_t *jobs = NULL;

    int rc = list(p, &resource_runs, &runs, e);
    if (rc == 0)
        rc = list(p, &resource_jobs, &jobs, e);
    if (rc == 0) {
        if (p->lines > 0 && isatty(1))
            printf("\033[%zuA\033[J", p->lines);
        p->lines = draw(p, runs, jobs);
        fflush(stdout);
    }
    json_decref(runs);
    json_decref(jobs);
    return rc;
}

static bool
on_change(void *arg, struct span line)
{
    const struct ps *p = arg;
    uint64_t one = 1;

    UNUSED(line);
    return write(p->changed_fd, &one, sizeof(one)) == sizeof(one);
}

static void *
watch_thread(void *arg)
{
    const struct ps_watch *w = arg;
    struct ps *p = w->ps;

    for (;;) {
        auto_str path = STR_INIT(2048);
        struct error e = ERROR_INIT;
        client_path(&path, w->resource, p->s.all_namespaces ? NULL : p->s.ns, NULL, NULL);
        str_adds(&path, "?watch=true");
        if (session_stream_lines(&p->s, path.ptr, NULL, -1, on_change, p, &e) < 0)
            poll(NULL, 0, RETRY_MS);
    }
    return NULL;
}

static int
watch(struct ps *p, struct error *e)
{
    struct ps_watch watches[] = {{p, &resource_runs}, {p, &resource_jobs}};
    pthread_t threads[2];
    uint64_t n;

    p->changed_fd = eventfd(0, EFD_CLOEXEC);
    if (p->changed_fd < 0)
        return error_errno(e, errno, "eventfd");
    for (size_t i = 0; i < ARRAY_LEN(watches); i++) {
        int rc = pthread_create(&threads[i], NULL, watch_thread, &watches[i]);
        if (rc != 0)
            return error_errno(e, rc, "start a thread");
    }
    while (read(p->changed_fd, &n, sizeof(n)) == sizeof(n)) {
        struct error why_not = ERROR_INIT;
        if (draw_now(p, &why_not) < 0)
            fprintf(stderr, "drover ps: %s\n", why_not.msg);
        poll(NULL, 0, COALESCE_MS);
    }
    return 0;
}

static int
run(int argc, char **argv)
{
    static const struct option longs[] = {
        SESSION_OPTIONS,
        {"watch", no_argument, NULL, 'w'},
        {"all", no_argument, NULL, 'a'},
        {0},
    };
    struct ps p = {.s.verb = &verb_ps};
    struct error e = ERROR_INIT;
    int c;

    while ((c = getopt_long(argc, argv, SESSION_SHORT "wa", longs, NULL)) != -1) {
        if (session_option(&p.s, c, optarg))
            continue;
        if (c == 'w') {
            p.watch = true;
        } else if (c == 'a') {
            p.all = true;
        } else if (c == 'h') {
            cli_usage(&verb_ps);
            return 0;
        } else {
            return cli_misuse(&verb_ps, "see drover ps --help");
        }
    }
    if (optind < argc)
        return cli_misuse(&verb_ps, "unexpected argument \"%s\"", argv[optind]);
    int rc = session_open(&p.s, &e);
    if (rc == 0)
        rc = draw_now(&p, &e);
    if (rc == 0 && p.watch)
        rc = watch(&p, &e);
    session_close(&p.s);
    return rc < 0 ? cli_fail(&verb_ps, &e) : 0;
}

const struct cli_verb verb_ps = {
    .name = "ps",
    .args = "[-w] [--all]",
    .summary = "show the runs that are going on",
    .help = "  -w, --watch               redraw on every change\n"
            "  -a, --all                 also those that have ended\n"
            "  -A, --all-namespaces\n" SESSION_HELP,
    .run = run,
};
