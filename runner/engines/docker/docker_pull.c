/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fetching images. A pull belongs to all jobs that want the same image with the same
 * credentials; the last one that leaves ends it. There is no limit on the whole pull,
 * only on the time in which nothing moves. It has succeeded when the daemon says so in
 * its last line: a stream that just ends has not.
 */
#include "runner/engines/docker/docker_job.h"

#include <inttypes.h>
#include <sodium.h>

#include "base/log.h"
#include "base/mem.h"

LOG_MODULE(docker);

#define AWAY_PATIENCE_MS 60000

struct docker_fetch {
    struct engine *en;
    TAILQ_ENTRY(docker_fetch) link;
    struct docker_jobs jobs;
    struct docker_image image;
    struct str auth; /* value of the header, or empty */
    struct docker_call *call;
    struct docker_pull *progress;
    struct loop_timer *stall;
    struct docker_space_wait room;
    bool ending;
};

static void
fetch_free(struct docker_fetch *f)
{
    if (!f->ending)
        TAILQ_REMOVE(&f->en->fetches, f, link);
    docker_call_cancel(&f->call);
    docker_space_leave(f->en->space, &f->room);
    docker_pull_free(f->progress);
    loop_timer_free(f->stall);
    if (f->auth.len > 0)
        sodium_memzero(f->auth.ptr, f->auth.len);
    str_done(&f->auth);
    free(f);
}

void
docker_fetches_free(struct engine *en)
{
    while (!TAILQ_EMPTY(&en->fetches))
        fetch_free(TAILQ_FIRST(&en->fetches));
}

/* Each job goes its own way from here; f is gone afterwards. */
static void
fetch_end(struct docker_fetch *f, void (*then)(struct docker_job *dj, const char *text),
          const char *text)
{
    struct docker_job *dj;
    f->ending = true; /* a new job for this image begins anew */
    TAILQ_REMOVE(&f->en->fetches, f, link);
    docker_call_cancel(&f->call);
    while ((dj = TAILQ_FIRST(&f->jobs)) != NULL) {
        TAILQ_REMOVE(&f->jobs, dj, fetch_link);
        dj->fetch = NULL;
        then(dj, text);
    }
    fetch_free(f);
}

static void
then_fail(struct docker_job *dj, const char *text)
{
    docker_job_fail(dj, ENGINE_IMAGE_PULL, text);
}

/* Nothing runs yet: when the daemon is back, begin again. */
static void
then_away(struct docker_job *dj, const char *text)
{
    UNUSED(text);
    docker_job_away(dj, docker_job_create, AWAY_PATIENCE_MS);
}

static void
then_create(struct docker_job *dj, const char *text)
{
    UNUSED(text);
    dj->pulled = true;
    dj->step = DOCKER_QUEUED;
    docker_slot_acquire(dj);
}

/* "...: 10 of 300 bytes in 2 of 5 layers" */
static void
fail_at(struct docker_fetch *f, const char *what)
{
    char text[400];
    struct docker_pull_totals t;
    docker_pull_totals(f->progress, &t);
    if (t.total >= 0)
        snprintf(text, sizeof(text),
                 "%s: had %" PRId64 " of %" PRId64 " bytes, %u of %u layers", what,
                 t.downloaded, t.total, t.layers_done, t.layers_total);
    else
        snprintf(text, sizeof(text), "%s: had %" PRId64 " bytes, %u of %u layers", what,
                 t.downloaded, t.layers_done, t.layers_total);
    fetch_end(f, then_fail, text);
}

static void
on_stall(void *arg)
{
    struct docker_fetch *f = arg;
    char what[100];
    snprintf(what, sizeof(what), "the pull made no progress for %" PRId64 " s",
             f->en->stall_ms / 1000);
    fail_at(f, what);
}

static void
tell_progress(struct docker_fetch *f)
{
    struct docker_pull_totals t;
    struct docker_job *dj;
    docker_pull_totals(f->progress, &t);
    struct engine_progress p = {.phase = ENGINE_PULLING,
                                .downloaded_bytes = t.downloaded,
                                .total_bytes = t.total,
                                .layers_done = t.layers_done,
                                .layers_total = t.layers_total};
    TAILQ_FOREACH (dj, &f->jobs, fetch_link)
        dj->j->events->on_progress(dj->j, &p);
}

/* What is still to come takes at least its compressed size. */
static bool
fits(const struct docker_fetch *f)
{
    uint64_t free_bytes;
    uint64_t all;
    struct docker_pull_totals t;
    docker_pull_totals(f->progress, &t);
    return t.total < 0 || !docker_space_look(f->en->space, &free_bytes, &all) ||
           (uint64_t)(t.total - t.downloaded) <= free_bytes;
}

static void
on_data(void *arg, const char *bytes, size_t n)
{
    struct docker_fetch *f = arg;
    if (!docker_pull_feed(f->progress, bytes, n))
        return;
    loop_timer_in(f->stall, f->en->stall_ms);
    tell_progress(f);
}

static void
on_reply(void *arg, const struct docker_reply *r)
{
    struct docker_fetch *f = arg;
    docker_pull_feed(f->progress, "\n", 1);
    const char *error = docker_pull_error(f->progress);
    if (!r->reached)
        fetch_end(f, then_away, NULL);
    else if (error[0] != '\0')
        fetch_end(f, then_fail, fits(f) ? error : "no room for the image");
    else if (r->status != 200)
        fetch_end(f, then_fail, r->message);
    else if (!docker_pull_complete(f->progress) && !f->en->podman)
        fail_at(f, "the pull ended before the image was complete");
    else {
        docker_space_pulled(f->en->space, &f->image);
        fetch_end(f, then_create, NULL);
    }
}

static void
start(struct docker_space_wait *w)
{
    struct docker_fetch *f = CONTAINER_OF(w, struct docker_fetch, room);
    char why[300];
    auto_str path = STR_INIT(4096);

    if (docker_space_short(f->en->space, why, sizeof(why))) {
        fetch_end(f, then_fail, why);
        return;
    }
    str_adds(&path, "/images/create?fromImage=");
    docker_escape(&path, f->image.name);
    str_adds(&path, "&tag=");
    docker_escape(&path, f->image.tag);
    struct docker_request r = {.method = "POST",
                               .path = path.ptr,
                               .registry_auth = f->auth.len > 0 ? f->auth.ptr : NULL,
                               .timeout_ms = -1,
                               .on_data = on_data,
                               .on_reply = on_reply,
                               .arg = f};
    docker_call_start(f->en, &f->call, &r);
    loop_timer_in(f->stall, f->en->stall_ms);
}

static struct docker_fetch *
find(struct engine *en, const struct docker_image *im, const struct str *auth)
{
    struct docker_fetch *f;
    TAILQ_FOREACH (f, &en->fetches, link) {
        if (streq(f->image.name, im->name) && streq(f->image.tag, im->tag) &&
            streq(f->auth.ptr, auth->ptr))
            return f;
    }
    return NULL;
}

void
docker_job_pull(struct docker_job *dj)
{
    struct engine *en = dj->en;
    struct str auth = STR_INIT(64 * 1024);

    if (dj->j->registry_auth != NULL)
        docker_image_auth(&dj->image, dj->j->registry_auth, &auth);
    dj->step = DOCKER_PULLING;
    struct docker_fetch *f = find(en, &dj->image, &auth);
    bool found = f != NULL;
    if (!found) {
        f = xnew(struct docker_fetch);
        f->en = en;
        f->image = dj->image;
        f->auth = auth;
        f->progress = docker_pull_new();
        f->stall = loop_timer_new(en->loop, "docker pull", on_stall, f);
        f->room.done = start;
        TAILQ_INIT(&f->jobs);
        TAILQ_INSERT_TAIL(&en->fetches, f, link);
    } else {
        if (auth.len > 0)
            sodium_memzero(auth.ptr, auth.len);
        str_done(&auth);
    }
    log_info("pulling", "uid=%s image=%s shared=%d", dj->j->uid, dj->j->image, found);
    dj->fetch = f;
    TAILQ_INSERT_TAIL(&f->jobs, dj, fetch_link);
    tell_progress(f);
    if (!found)
        docker_space_make(en->space, &f->room);
}

void
docker_job_pull_leave(struct docker_job *dj)
{
    struct docker_fetch *f = dj->fetch;
    if (f == NULL)
        return;
    dj->fetch = NULL;
    TAILQ_REMOVE(&f->jobs, dj, fetch_link);
    if (TAILQ_EMPTY(&f->jobs) && !f->ending)
        fetch_free(f);
}
