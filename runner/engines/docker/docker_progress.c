/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tracker of a pull's event stream. The stream comes from a registry by way of the
 * daemon, so every line and every count is bounded here.
 */
#include <jansson.h>

#include "base/mem.h"
#include "runner/engines/docker/docker_image.h"

#define LINE_MAX_BYTES (64 * 1024)

struct layer {
    char id[80];
    int64_t downloaded, total; /* total 0: not told yet */
    bool done;                 /* present or extracted */
    bool downloaded_all;
};

struct docker_pull {
    struct layer layers[DOCKER_PULL_MAX_LAYERS];
    unsigned n_layers;
    struct str line;
    bool skipping; /* the rest of a line past the bound */
    bool complete;
    char error[400];
};

struct docker_pull *
docker_pull_new(void)
{
    struct docker_pull *p = xnew(struct docker_pull);
    str_init(&p->line, LINE_MAX_BYTES);
    return p;
}

void
docker_pull_free(struct docker_pull *p)
{
    if (p == NULL)
        return;
    str_done(&p->line);
    free(p);
}

static struct layer *
find_layer(struct docker_pull *p, const char *id)
{
    for (unsigned i = 0; i < p->n_layers; i++) {
        if (streq(p->layers[i].id, id))
            return &p->layers[i];
    }
    if (p->n_layers == DOCKER_PULL_MAX_LAYERS)
        return &p->layers[DOCKER_PULL_MAX_LAYERS - 1];
    struct layer *l = &p->layers[p->n_layers++];
    snprintf(l->id, sizeof(l->id), "%s", id);
    return l;
}

static int64_t
detail(const json_t *event, const char *key)
{
    const json_t *d = json_object_get(event, "progressDetail");
    int64_t v = (int64_t)json_integer_value(json_object_get(d, key));
    return v < 0 ? 0 : v;
}

/* Which lines speak of a layer; the others ("Pulling from ...", "Digest: ...") do not. */
enum layer_event { EV_NONE, EV_SEEN, EV_DOWNLOAD, EV_DOWNLOADED, EV_EXTRACT, EV_DONE };

static enum layer_event
classify(const char *status)
{
    static const struct {
        const char *status;
        enum layer_event event;
    } table[] = {
        {"Pulling fs layer", EV_SEEN},        {"Waiting", EV_SEEN},
        {"Verifying Checksum", EV_SEEN},      {"Retrying", EV_SEEN},
        {"Downloading", EV_DOWNLOAD},         {"Copying blob", EV_DOWNLOAD},
        {"Download complete", EV_DOWNLOADED}, {"Extracting", EV_EXTRACT},
        {"Pull complete", EV_DONE},           {"Already exists", EV_DONE},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        if (str_starts(status, table[i].status))
            return table[i].event;
    }
    return EV_NONE;
}

static bool
layer_apply(struct layer *l, enum layer_event ev, const json_t *event)
{
    const struct layer before = *l;
    int64_t current = detail(event, "current"), total = detail(event, "total");
    switch (ev) {
    case EV_NONE:
    case EV_SEEN:
        break;
    case EV_DOWNLOAD:
        if (total > 0)
            l->total = total;
        l->downloaded = current; /* a retried layer starts again from 0 */
        break;
    case EV_EXTRACT: {
        /* Newer daemons tell seconds here, which say nothing about bytes. */
        const json_t *d = json_object_get(event, "progressDetail");
        const char *units = json_string_value(json_object_get(d, "units"));
        if ((units == NULL || *units == '\0') && total > 0)
            l->total = total;
        l->downloaded_all = true;
        break;
    }
    case EV_DOWNLOADED:
        l->downloaded_all = true;
        break;
    case EV_DONE:
        l->downloaded_all = l->done = true;
        break;
    }
    if (l->downloaded_all)
        l->downloaded = l->total;
    return ev == EV_EXTRACT || l->downloaded != before.downloaded ||
           l->total != before.total || l->done != before.done ||
           l->downloaded_all != before.downloaded_all;
}

static bool
feed_event(struct docker_pull *p, const json_t *event)
{
    const char *error = json_string_value(json_object_get(event, "error"));
    const json_t *d = json_object_get(event, "errorDetail");
    const char *text = json_string_value(json_object_get(d, "message"));
    if (text == NULL)
        text = error;
    if (text != NULL && p->error[0] == '\0') {
        snprintf(p->error, sizeof(p->error), "%s", text);
        return true;
    }
    const char *status = json_string_value(json_object_get(event, "status"));
    const char *id = json_string_value(json_object_get(event, "id"));
    if (status != NULL && str_starts(status, "Status:"))
        p->complete = true;
    if (status == NULL || id == NULL || *id == '\0')
        return false;
    enum layer_event ev = classify(status);
    if (ev == EV_NONE)
        return false;
    unsigned before = p->n_layers;
    bool moved = layer_apply(find_layer(p, id), ev, event);
    return moved || p->n_layers != before;
}

static bool
feed_line(struct docker_pull *p)
{
    if (p->line.len == 0)
        return false;
    json_t *event = json_loadb(p->line.ptr, p->line.len, JSON_DISABLE_EOF_CHECK, NULL);
    bool moved = json_is_object(event) && feed_event(p, event);
    json_decref(event);
    return moved;
}

bool
docker_pull_feed(struct docker_pull *p, const char *bytes, size_t n)
{
    bool moved = false;
    while (n > 0) {
        const char *nl = memchr(bytes, '\n', n);
        size_t part = nl != NULL ? (size_t)(nl - bytes) : n;
        if (!p->skipping)
            str_add(&p->line, bytes, part);
        if (p->line.toobig)
            p->skipping = true;
        if (nl != NULL) {
            if (!p->skipping)
                moved |= feed_line(p);
            str_reset(&p->line);
            p->skipping = false;
            part++;
        }
        bytes += part;
        n -= part;
    }
    return moved;
}

void
docker_pull_totals(const struct docker_pull *p, struct docker_pull_totals *ret)
{
    struct docker_pull_totals t = {.layers_total = p->n_layers};
    bool known = p->n_layers > 0;
    for (unsigned i = 0; i < p->n_layers; i++) {
        const struct layer *l = &p->layers[i];
        t.downloaded += l->downloaded;
        t.total += l->total;
        t.layers_done += l->done;
        known = known && (l->total > 0 || l->downloaded_all);
    }
    if (!known)
        t.total = -1;
    *ret = t;
}

const char *
docker_pull_error(const struct docker_pull *p)
{
    return p->error;
}

bool
docker_pull_complete(const struct docker_pull *p)
{
    return p->complete;
}
