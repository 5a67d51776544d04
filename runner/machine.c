/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keeps the agent's picture of its machine true. Taken at the start; again a moment after
 * the kernel tells of an address or a device that came or went (netlink), and every ten
 * minutes for what nobody tells of (free space, a GPU that its driver gave up).
 */
#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "runner/job.h"

LOG_MODULE(machine);

#define REFRESH_MS 600000
#define SETTLE_MS 1000     /* devices and addresses come in bursts */
#define DISK_STEP_MIB 1024 /* a smaller change of free space is no news */
#define UEVENT_GROUP 1

enum { NEWS_ADDRESSES, NEWS_DEVICES, N_NEWS };

struct machine {
    struct agent *a;
    struct loop_timer *timer;
    struct loop_io *io[N_NEWS];
    int fd[N_NEWS];
    bool probing, again, stopping;
};

struct probe {
    struct machine *m;
    const struct agent_opts *opts;
    struct inventory *inventory;
    struct error error;
};

static void
probe_work(void *arg)
{
    struct probe *p = arg;
    struct gpu_config gpus = {.fake_file = p->opts->fake_gpus};

    p->inventory = xnew(struct inventory);
    if (inventory_probe(p->opts->dir, &gpus, p->inventory, &p->error) < 0) {
        free(p->inventory);
        p->inventory = NULL;
    }
}

/* Free space moves all the time; a small move keeps the old figure. */
static void
smooth(const struct inventory *old, struct inventory *now)
{
    int64_t moved = llabs(now->disk_mib - old->disk_mib);

    if (moved < DISK_STEP_MIB || moved < old->disk_mib / 20)
        now->disk_mib = old->disk_mib;
}

static bool
same(const struct inventory *x, const struct inventory *y)
{
    json_t *a = inventory_json(x);
    json_t *b = inventory_json(y);

    inventory_put_host(x, a);
    inventory_put_host(y, b);
    bool equal = json_equal(a, b) == 1;
    json_decref(a);
    json_decref(b);
    return equal;
}

static void
take(struct agent *a, struct inventory *now)
{
    if (a->inventory != NULL) {
        smooth(a->inventory, now);
        if (same(a->inventory, now)) {
            free(now);
            return;
        }
        log_info("the machine has changed", "cpus=%lld memory_mib=%lld gpus=%zu",
                 (long long)now->cpus, (long long)now->memory_mib, now->gpus.len);
    }
    free(a->inventory);
    a->inventory = now;
    status_changed(a->status);
    agent_look_at_devices(a);
    agent_step_all(a);
}

static void machine_probe(struct machine *m);

static void
probe_done(void *arg)
{
    struct probe *p = arg;
    struct machine *m = p->m;
    struct agent *a = m->a;

    m->probing = false;
    if (m->stopping) {
        free(p->inventory);
        free(p);
        return;
    }
    if (p->inventory != NULL) {
        take(a, p->inventory);
    } else {
        log_err("cannot take stock of this machine", "error=\"%s\"", p->error.msg);
        if (a->inventory == NULL)
            loop_quit(a->loop, 1);
    }
    free(p);
    if (m->again)
        machine_probe(m);
}

static void
machine_probe(struct machine *m)
{
    m->again = m->probing;
    if (m->probing)
        return;
    m->probing = true;
    loop_timer_in(m->timer, REFRESH_MS);
    struct probe *p = xnew(struct probe);
    p->m = m;
    p->opts = m->a->opts;
    loop_pool_run(m->a->pool, probe_work, probe_done, p);
}

static void
on_timer(void *arg)
{
    machine_probe(arg);
}

/* What the messages say is not looked at: that there are some is the news. An overrun
 * (ENOBUFS) is news as well. */
static void
on_news(void *arg, int fd, uint32_t events)
{
    struct machine *m = arg;
    char buf[8192];

    UNUSED(events);
    for (int i = 0; i < 64 && recv(fd, buf, sizeof(buf), MSG_DONTWAIT) >= 0; i++)
        ;
    loop_timer_in(m->timer, SETTLE_MS);
}

static void
listen_for(struct machine *m, int which, int protocol, unsigned groups)
{
    struct sockaddr_nl at = {.nl_family = AF_NETLINK, .nl_groups = groups};
    struct error e = ERROR_INIT;
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);

    m->fd[which] = fd;
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0)
        error_errno(&e, errno, "bind");
    else if (loop_io_add(m->a->loop, "machine news", fd, EPOLLIN, on_news, m,
                         &m->io[which], &e) == 0)
        return;
    log_warn("changes of the machine are seen late", "what=%s error=\"%s\"",
             which == NEWS_DEVICES ? "devices" : "addresses", e.msg);
}

struct machine *
machine_start(struct agent *a)
{
    struct machine *m = xnew(struct machine);

    m->a = a;
    m->timer = loop_timer_new(a->loop, "machine", on_timer, m);
    listen_for(m, NEWS_ADDRESSES, NETLINK_ROUTE, RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR);
    listen_for(m, NEWS_DEVICES, NETLINK_KOBJECT_UEVENT, UEVENT_GROUP);
    machine_probe(m);
    return m;
}

void
machine_stop(struct machine *m)
{
    if (m != NULL)
        m->stopping = true;
}

void
machine_free(struct machine *m)
{
    if (m == NULL)
        return;
    loop_timer_free(m->timer);
    for (int i = 0; i < N_NEWS; i++) {
        loop_io_free(m->io[i]);
        cleanup_close_ptr(&m->fd[i]);
    }
    free(m);
}
