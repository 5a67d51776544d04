/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fetching a job's image. There is no limit on the whole pull, only on the time in which
 * nothing moves. The daemon merges pulls of one image by several jobs.
 */
#include "runner/engines/docker/docker.h"

#include "base/log.h"

LOG_MODULE(docker);

#define STALL_MS (5 * 60 * 1000)

static void
tell_progress(struct docker_job *dj)
{
    struct docker_pull_totals t;
    docker_pull_totals(dj->pull, &t);
    struct engine_progress p = {.phase = ENGINE_PULLING,
                                .downloaded_bytes = t.downloaded,
                                .total_bytes = t.total,
                                .layers_done = t.layers_done,
                                .layers_total = t.layers_total};
    dj->j->events->on_progress(dj->j, &p);
}

static void
on_data(void *arg, const char *bytes, size_t n)
{
    struct docker_job *dj = arg;
    if (!docker_pull_feed(dj->pull, bytes, n))
        return;
    loop_timer_in(dj->timer, STALL_MS);
    tell_progress(dj);
}

static void
on_reply(void *arg, const struct docker_reply *r)
{
    struct docker_job *dj = arg;
    char message[400];

    loop_timer_cancel(dj->timer);
    docker_pull_feed(dj->pull, "\n", 1);
    snprintf(message, sizeof(message), "%s", docker_pull_error(dj->pull));
    docker_pull_free(dj->pull);
    dj->pull = NULL;
    if (!r->reached) {
        /* Nothing runs yet: when the daemon is back, begin again. */
        docker_job_away(dj, docker_job_create, 60000);
        return;
    }
    if (r->status != 200 && message[0] == '\0')
        snprintf(message, sizeof(message), "%s", r->message);
    if (r->status != 200 || message[0] != '\0') {
        docker_job_fail(dj, ENGINE_IMAGE_PULL, message);
        return;
    }
    dj->pulled = true;
    dj->step = DOCKER_QUEUED;
    docker_slot_acquire(dj);
}

void
docker_job_pull(struct docker_job *dj)
{
    struct docker_image image;
    struct error e = ERROR_INIT;
    auto_str path = STR_INIT(4096);

    if (docker_image_parse(dj->j->image, &image, &e) < 0) {
        docker_job_fail(dj, ENGINE_IMAGE_PULL, e.msg);
        return;
    }
    log_info("pulling", "uid=%s image=%s", dj->j->uid, dj->j->image);
    dj->step = DOCKER_PULLING;
    dj->pull = docker_pull_new();
    tell_progress(dj);
    str_adds(&path, "/images/create?fromImage=");
    docker_escape(&path, image.name);
    str_adds(&path, "&tag=");
    docker_escape(&path, image.tag);
    struct docker_request r = {.method = "POST",
                               .path = path.ptr,
                               .timeout_ms = -1,
                               .on_data = on_data,
                               .on_reply = on_reply,
                               .arg = dj};
    docker_call_start(dj->en, &dj->call, &r);
    loop_timer_in(dj->timer, STALL_MS);
}
