/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a daemon (and, through it, a registry and a job) sends to the docker engine. The
 * first byte chooses: log stream, pull events, inspect reply, image reference. The log
 * stream must come out the same whole and in pieces.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "runner/engines/docker/docker_image.h"
#include "runner/engines/docker/docker_spec.h"
#include "runner/engines/docker/docker_stream.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

struct sink {
    struct str text;
    struct docker_cursor cursor;
};

static void
on_entry(void *arg, const struct docker_entry *en)
{
    struct sink *s = arg;
    str_addf(&s->text, "%d %lld %d ", (int)en->stream, (long long)en->unix_ns,
             (int)docker_cursor_needs_newline(&s->cursor, en));
    str_add(&s->text, en->bytes.ptr, en->bytes.len);
    docker_cursor_note(&s->cursor, en->stream, en->unix_ns, en->bytes);
}

static int
feed(const char *bytes, size_t n, size_t step, struct sink *s)
{
    struct docker_demux d;
    struct error e = ERROR_INIT;
    int r = 0;
    docker_demux_init(&d);
    for (size_t at = 0; at < n && r == 0; at += step)
        r = docker_demux_feed(&d, bytes + at, n - at < step ? n - at : step, on_entry, s,
                              &e);
    if (r == 0)
        docker_demux_end(&d, on_entry, s);
    docker_demux_done(&d);
    return r;
}

static void
stream(const char *bytes, size_t n)
{
    struct sink whole = {STR_INIT(64 << 20), {0}};
    struct sink parts = {STR_INIT(64 << 20), {0}};
    struct docker_resume r;
    int a = feed(bytes, n, n > 0 ? n : 1, &whole);
    int b = feed(bytes, n, 3, &parts);
    bug_if(a != b || whole.text.len != parts.text.len);
    bug_if(memcmp(whole.text.ptr, parts.text.ptr, whole.text.len) != 0);
    docker_cursor_resume(&whole.cursor, 0, &r);
    bug_if(r.skip > whole.cursor.frames);
    docker_cursor_resume(&whole.cursor, INT64_MAX, &r);
    bug_if(r.skip > whole.cursor.frames);
    str_done(&whole.text);
    str_done(&parts.text);
}

static void
pull(const char *bytes, size_t n)
{
    struct docker_pull *p = docker_pull_new();
    struct docker_pull_totals t;
    docker_pull_feed(p, bytes, n / 2);
    docker_pull_feed(p, bytes + n / 2, n - n / 2);
    docker_pull_totals(p, &t);
    bug_if(t.layers_done > t.layers_total || t.layers_total > DOCKER_PULL_MAX_LAYERS);
    docker_pull_free(p);
}

static void
inspect(const char *bytes, size_t n)
{
    struct docker_facts f;
    struct engine_result r;
    struct error e = ERROR_INIT;
    json_t *doc = json_loadb(bytes, n, 0, NULL);
    if (docker_facts_parse(doc, &f, &e) == 0)
        docker_facts_result(&f, INT64_C(1700000000000000000), &r);
    json_decref(doc);
}

int
LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    if (size == 0)
        return 0;
    const char *bytes = (const char *)data + 1;
    size_t n = size - 1;
    switch (data[0] % 4) {
    case 0:
        stream(bytes, n);
        break;
    case 1:
        pull(bytes, n);
        break;
    case 2:
        inspect(bytes, n);
        break;
    default: {
        struct docker_image im;
        struct error e = ERROR_INIT;
        autofree char *text = xstrndup(bytes, n);
        if (docker_image_parse(text, &im, &e) == 0)
            bug_if(im.name[0] == '\0' || im.tag[0] == '\0');
    }
    }
    return 0;
}
