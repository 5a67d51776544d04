/* SPDX-License-Identifier: Apache-2.0 */
/* The mirror on a whole API server in this process: its thread, its files, its state over
 * restarts. The test's thread is the loop. */
#include "integration/api_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "apiserver/mirror/mirror.h"
#include "base/clock.h"
#include "base/fs.h"

#define CONFIGMAPS "/api/v1/namespaces/default/configmaps"
#define DIR "desired/default/configmaps/"
enum { LIMIT_MS = 20000 };

struct world {
    struct api_fixture *f;
    struct mirror *m;
};

static void
start(struct world *w, bool import)
{
    struct error e = ERROR_INIT;
    struct mirror_opts o = {
        .server = w->f->server, .data_dir = w->f->dir, .import = import};

    if (mirror_start(&o, &w->m, &e) < 0)
        fail_msg("%s", e.msg);
}

static void
stop(struct world *w)
{
    mirror_stop(w->m);
    w->m = NULL;
}

static int
setup(void **state)
{
    struct world *w = xnew(struct world);
    void *f;

    if (api_setup(&f) != 0)
        return -1;
    w->f = f;
    start(w, false);
    *state = w;
    return 0;
}

static int
teardown(void **state)
{
    struct world *w = *state;
    void *f = w->f;

    stop(w);
    free(w);
    return api_teardown(&f);
}

/* --- waiting
 * ----------------------------------------------------------------------------- */

/* Turns the loop until check says yes. */
#define WAIT(w, check)                                                                   \
    do {                                                                                 \
        int64_t wait_end_ = clock_now_ms() + LIMIT_MS;                                   \
        while (!(check)) {                                                               \
            turn(w);                                                                     \
            if (clock_now_ms() > wait_end_)                                              \
                fail_msg("never: %s\n%s", #check, status(w));                            \
        }                                                                                \
    } while (0)

static void
turn(struct world *w)
{
    store_flush(w->f->store);
    loop_turn(w->f->loop, 5);
}

static const char *
status(struct world *w)
{
    static char text[4096];
    auto_str out = STR_INIT(1 << 20);

    mirror_status(w->m, &out);
    snprintf(text, sizeof(text), "%s", out.ptr);
    return text;
}

static bool
idle(struct world *w)
{
    struct mirror_counts n;

    mirror_counts(w->m, &n);
    return n.idle;
}

static size_t
held(struct world *w)
{
    struct mirror_counts n;

    mirror_counts(w->m, &n);
    return n.idle ? n.held : 0;
}

/* --- files and objects
 * ------------------------------------------------------------------- */

static char *
in_dir(struct world *w, const char *name)
{
    return fs_join(w->f->dir, name);
}

static void
put(struct world *w, const char *name, const char *text)
{
    autofree char *path = in_dir(w, name);
    autofree char *dir = xstrndup(path, (size_t)(strrchr(path, '/') - path));
    struct error e = ERROR_INIT;

    if (fs_mkdirs(dir, 0700, &e) < 0 ||
        fs_write_atomic(path, text, strlen(text), 0600, &e) < 0)
        fail_msg("%s", e.msg);
}

static bool
file_has(struct world *w, const char *name, const char *text)
{
    autofree char *path = in_dir(w, name);
    auto_str out = STR_INIT(1 << 20);
    struct error e = ERROR_INIT;

    return fs_read(path, &out, &e) == 0 && strstr(out.ptr, text) != NULL;
}

static bool
there(struct world *w, const char *name)
{
    autofree char *path = in_dir(w, name);
    struct stat st;

    return lstat(path, &st) == 0;
}

static void
drop(struct world *w, const char *name)
{
    autofree char *path = in_dir(w, name);
    struct error e = ERROR_INIT;

    assert_int_equal(fs_remove_tree(path, &e), 0);
}

static bool
exists(struct world *w, const char *name)
{
    autofree char *path = xasprintf(CONFIGMAPS "/%s", name);

    return api_do(w->f, "GET", path, NULL, NULL) == 200;
}

static bool
value_is(struct world *w, const char *name, const char *value)
{
    return exists(w, name) && streq(api_text(w->f, "data.k"), value);
}

static void
create(struct world *w, const char *name)
{
    autofree char *body =
        xasprintf("{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\","
                  "\"metadata\":{\"name\":\"%s\"},\"data\":{\"k\":\"1\"}}",
                  name);

    api_ok(w->f, 201, "POST", CONFIGMAPS, "application/json", body);
}

static void
patch(struct world *w, const char *name, const char *body)
{
    autofree char *path = xasprintf(CONFIGMAPS "/%s", name);

    api_ok(w->f, 200, "PATCH", path, MERGE, body);
}

/* --- tests
 * ------------------------------------------------------------------------------- */

static void
test_both_ways(void **state)
{
    struct world *w = *state;

    create(w, "a");
    WAIT(w, file_has(w, DIR "a.yaml", "k: \"1\""));
    patch(w, "a", "{\"data\":{\"k\":\"2\"},\"metadata\":{\"labels\":{\"x\":\"z\"}}}");
    WAIT(w, file_has(w, DIR "a.yaml", "k: \"2\"") && file_has(w, DIR "a.yaml", "x: z"));
    WAIT(w, idle(w));
    put(w, DIR "a.yaml", "# mine\ndata: {k: '3'}\n");
    WAIT(w, value_is(w, "a", "3"));
    assert_string_equal(api_text(w->f, "metadata.labels.x"),
                        ""); /* removed in the file */
    WAIT(w, idle(w));
    assert_true(file_has(w, DIR "a.yaml", "# mine"));
    patch(w, "a", "{\"data\":{\"other\":\"o\"}}");
    WAIT(w, file_has(w, DIR "a.yaml", "other: o"));
    WAIT(w, idle(w));
    drop(w, DIR "a.yaml");
    WAIT(w, !exists(w, "a"));
    put(w, DIR "b.yaml", "data: {k: '1'}\n");
    WAIT(w, value_is(w, "b", "1"));
    WAIT(w, idle(w));
    api_ok(w->f, 200, "DELETE", CONFIGMAPS "/b", NULL, NULL);
    WAIT(w, !there(w, DIR "b.yaml"));
}

/* The file changes first, the object before the file is looked at. */
static void
test_conflict_and_merge(void **state)
{
    struct world *w = *state;

    create(w, "c");
    create(w, "d");
    WAIT(w, there(w, DIR "c.yaml") && there(w, DIR "d.yaml") && idle(w));
    put(w, "desired/.git/index.lock", "");
    put(w, DIR "c.yaml", "data: {k: mine}\n");
    put(w, DIR "d.yaml", "data: {k: mine}\n");
    patch(w, "c", "{\"data\":{\"k\":\"theirs\"}}");
    patch(w, "d", "{\"data\":{\"other\":\"theirs\"}}");
    drop(w, "desired/.git/index.lock");
    WAIT(w, file_has(w, DIR "c.yaml.error",
                     "data.k: the file says \"mine\", but the stored value has changed "
                     "meanwhile from \"1\" to \"theirs\""));
    assert_true(file_has(w, DIR "c.yaml", "mine"));
    WAIT(w,
         file_has(w, DIR "d.yaml", "other: theirs") && file_has(w, DIR "d.yaml", "mine"));
    assert_true(value_is(w, "d", "mine"));
    assert_true(value_is(w, "c", "theirs"));
    patch(w, "c", "{\"data\":{\"k\":\"mine\"}}"); /* the other side gives in */
    WAIT(w, !there(w, DIR "c.yaml.error"));
}

static void
test_restart(void **state)
{
    struct world *w = *state;

    create(w, "edited");
    create(w, "gone");
    create(w, "moved");
    create(w, "both");
    WAIT(w, there(w, DIR "edited.yaml") && there(w, DIR "both.yaml") && idle(w));
    stop(w);
    put(w, DIR "edited.yaml", "data: {k: '2'}\n");
    drop(w, DIR "gone.yaml");
    drop(w, DIR "both.yaml");
    put(w, DIR ".drover-abc.tmp", "left by a crash");
    put(w, DIR "stale.yaml.error", "left by a crash");
    patch(w, "moved", "{\"data\":{\"k\":\"2\"}}");
    patch(w, "both", "{\"data\":{\"k\":\"2\"}}");
    start(w, false);
    WAIT(w, value_is(w, "edited", "2"));
    WAIT(w, !exists(w, "gone"));
    WAIT(w, file_has(w, DIR "moved.yaml", "\"2\""));
    /* Deleted here, changed there: nothing is lost, and it is said. */
    WAIT(w, file_has(w, DIR "both.yaml", "\"2\""));
    WAIT(w, there(w, DIR "both.yaml.error"));
    WAIT(w, !there(w, DIR ".drover-abc.tmp") && !there(w, DIR "stale.yaml.error"));
    /* What was refused is looked at again when a namespace comes. This is told still. */
    api_ok(
        w->f, 201, "POST", "/api/v1/namespaces", "application/json",
        "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"n\"}}");
    WAIT(w, there(w, "desired/_cluster/namespaces/n.yaml") && idle(w));
    assert_true(there(w, DIR "both.yaml.error"));
    patch(w, "both", "{\"data\":{\"k\":\"3\"}}");
    WAIT(w, file_has(w, DIR "both.yaml", "\"3\"") && !there(w, DIR "both.yaml.error"));
}

/* Without its memory the mirror compares; it deletes nothing. */
static void
test_lost_memory(void **state)
{
    struct world *w = *state;

    create(w, "same");
    create(w, "differs");
    create(w, "unseen");
    WAIT(w, there(w, DIR "unseen.yaml") && there(w, DIR "same.yaml") && idle(w));
    stop(w);
    drop(w, "mirror");
    drop(w, DIR "unseen.yaml");
    put(w, DIR "differs.yaml", "data: {k: other}\n");
    start(w, false);
    WAIT(w, there(w, DIR "unseen.yaml"));
    WAIT(w, file_has(w, DIR "differs.yaml.error", "exists already"));
    assert_true(value_is(w, "differs", "1"));
    assert_true(exists(w, "unseen") && !there(w, DIR "same.yaml.error"));
}

static void
command(struct world *w, const char *text)
{
    auto_str out = STR_INIT(1 << 16);

    mirror_command(w->m, text, &out);
    assert_true(out.len > 0);
}

static void
test_held(void **state)
{
    struct world *w = *state;

    for (char name[] = "a"; name[0] <= 'e'; name[0]++)
        create(w, name);
    WAIT(w, there(w, DIR "e.yaml") && there(w, DIR "a.yaml") && idle(w));
    drop(w, DIR);
    WAIT(w, held(w) == 5);
    stop(w); /* held over a restart, even if few are left of the batch */
    put(w, DIR "a.yaml", "data: {k: '1'}\n");
    put(w, DIR "b.yaml", "data: {k: '1'}\n");
    put(w, DIR "c.yaml", "data: {k: '1'}\n");
    put(w, DIR "d.yaml", "data: {k: '1'}\n");
    start(w, false);
    WAIT(w, held(w) == 1);
    assert_true(exists(w, "e"));
    command(w, "discard");
    WAIT(w, there(w, DIR "e.yaml") && idle(w) && held(w) == 0);
    drop(w, DIR);
    WAIT(w, held(w) == 5);
    command(w, "confirm");
    WAIT(w, !exists(w, "a") && !exists(w, "e"));
}

/* One file, but a Namespace: what is in it counts. */
static void
test_namespace_counts_for_its_objects(void **state)
{
    struct world *w = *state;

    put(w, "desired/_cluster/namespaces/team.yaml", "");
    WAIT(w, file_has(w, "desired/_cluster/namespaces/team.yaml.error", "empty"));
    put(w, "desired/_cluster/namespaces/team.yaml", "metadata: {name: team}\n");
    for (int i = 0; i < 12; i++) {
        autofree char *name = xasprintf("desired/team/configmaps/n%d.yaml", i);
        put(w, name, "data: {k: '1'}\n");
    }
    WAIT(w, idle(w) && strstr(status(w), "files: 14") != NULL);
    drop(w, "desired/_cluster/namespaces/team.yaml");
    WAIT(w, held(w) == 1);
    api_ok(w->f, 200, "GET", "/api/v1/namespaces/team", NULL, NULL);
    assert_string_equal(api_text(w->f, "metadata.deletionTimestamp"), "");
}

static void
test_root_is_gone_or_another(void **state)
{
    struct world *w = *state;
    autofree char *root = in_dir(w, "desired"), *away = in_dir(w, "away");

    create(w, "x");
    create(w, "y");
    WAIT(w, there(w, DIR "x.yaml") && there(w, DIR "y.yaml") && idle(w));
    assert_int_equal(rename(root, away), 0);
    WAIT(w, strstr(status(w), "is missing") != NULL);
    assert_int_equal(mkdir(root, 0700), 0);
    WAIT(w, held(w) > 0);
    assert_true(exists(w, "x") && exists(w, "y"));
    assert_int_equal(rmdir(root), 0);
    assert_int_equal(rename(away, root), 0);
    WAIT(w, idle(w) && held(w) == 0 && strstr(status(w), "following") != NULL);
    drop(w, "desired");
    WAIT(w, strstr(status(w), "is missing") != NULL);
    command(w, "discard");
    WAIT(w, there(w, DIR "x.yaml") && there(w, DIR "y.yaml"));
    assert_true(exists(w, "x") && exists(w, "y"));
}

static void
test_import(void **state)
{
    struct world *w = *state;

    WAIT(w, idle(w));
    stop(w);
    drop(w, "mirror");
    put(w, DIR "i.yaml", "data: {k: '1'}\n");
    put(w, "desired/_cluster/namespaces/default.yaml",
        "metadata: {labels: {from: file}}\n");
    start(w, true);
    WAIT(w, value_is(w, "i", "1") && idle(w));
    api_ok(w->f, 200, "GET", "/api/v1/namespaces/default", NULL, NULL);
    assert_string_equal(api_text(w->f, "metadata.labels.from"), "file");
}

/* What is not meant for people has no file, and a file cannot take it over. */
static void
test_not_mirrored(void **state)
{
    struct world *w = *state;

    api_ok(w->f, 201, "POST", CONFIGMAPS, "application/json",
           "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"off\","
           "\"annotations\":{\"drover.dev/mirror\":\"false\"}}}");
    create(w, "on");
    WAIT(w, there(w, DIR "on.yaml") && idle(w));
    assert_false(there(w, DIR "off.yaml"));
    put(w, DIR "off.yaml", "data: {k: '1'}\n");
    WAIT(w, file_has(w, DIR "off.yaml.error", "not mirrored"));
    drop(w, DIR "off.yaml");
    WAIT(w, !there(w, DIR "off.yaml.error"));
    put(w, "desired/default/jobs.drover.dev/j.yaml", "spec: {}\n");
    WAIT(w, file_has(w, "desired/default/jobs.drover.dev/j.yaml.error", "not mirrored"));
    patch(w, "on", "{\"metadata\":{\"annotations\":{\"drover.dev/mirror\":\"false\"}}}");
    WAIT(w, !there(w, DIR "on.yaml"));
    assert_true(exists(w, "on"));
}

int
main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_both_ways),
        TEST(test_conflict_and_merge),
        TEST(test_restart),
        TEST(test_lost_memory),
        TEST(test_held),
        TEST(test_namespace_counts_for_its_objects),
        TEST(test_root_is_gone_or_another),
        TEST(test_import),
        TEST(test_not_mirrored),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
