/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's journal and identity on disk, and the last arbiter's sums. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/fs.h"
#include "base/mem.h"
#include "runner/identity.h"
#include "runner/journal.h"

static char dir[64];

static int
setup(void **state)
{
    UNUSED(state);
    snprintf(dir, sizeof(dir), "/tmp/drover-journal-XXXXXX");
    return mkdtemp(dir) != NULL ? 0 : -1;
}

static int
teardown(void **state)
{
    struct error e = ERROR_INIT;
    UNUSED(state);
    return fs_remove_tree(dir, &e);
}

static struct journal *
open_journal(void)
{
    struct journal *j;
    struct error e = ERROR_INIT;
    assert_int_equal(journal_open(dir, &j, &e), 0);
    return j;
}

static struct journal_entry
entry(int64_t cpu, const char *gpu)
{
    struct journal_entry en = {.stop_seconds = 7,
                               .interruptible = true,
                               .hold = {.cpu_milli = cpu, .memory_mib = 100}};
    id_uuid4(en.uid);
    snprintf(en.ns, sizeof(en.ns), "default");
    snprintf(en.name, sizeof(en.name), "a-0-0-0");
    snprintf(en.run, sizeof(en.run), "a");
    snprintf(en.engine, sizeof(en.engine), "docker");
    snprintf(en.boot_id, sizeof(en.boot_id), "b");
    if (gpu != NULL)
        snprintf(en.hold.gpus[en.hold.n_gpus++], sizeof(en.hold.gpus[0]), "%s", gpu);
    return en;
}

static void
survives_reopening(void **state)
{
    struct error e = ERROR_INIT;
    char id[ID_UUID_LEN];
    UNUSED(state);
    struct journal *j = open_journal();
    snprintf(id, sizeof(id), "%s", journal_id(j));
    struct journal_entry a = entry(500, "GPU-1");
    struct journal_entry b = entry(250, NULL);
    assert_int_equal(journal_add(j, &a, &e), 0);
    assert_int_equal(journal_add(j, &b, &e), 0);
    assert_int_equal(journal_remove(j, b.uid, &e), 0);
    assert_int_equal(journal_remove(j, b.uid, &e), 0);
    journal_close(j);

    j = open_journal();
    assert_string_equal(journal_id(j), id);
    assert_int_equal(journal_len(j), 1);
    const struct journal_entry *got = journal_find(j, a.uid);
    assert_non_null(got);
    assert_string_equal(got->name, "a-0-0-0");
    assert_string_equal(got->engine, "docker");
    assert_int_equal(got->stop_seconds, 7);
    assert_true(got->interruptible);
    assert_int_equal(got->hold.cpu_milli, 500);
    assert_string_equal(got->hold.gpus[0], "GPU-1");
    assert_null(journal_find(j, b.uid));
    journal_close(j);
}

static void
write_file(const char *name, const char *text)
{
    struct error e = ERROR_INIT;
    autofree char *path = xasprintf("%s/journal/%s", dir, name);
    assert_int_equal(fs_write_atomic(path, text, strlen(text), 0600, &e), 0);
}

static void
refuses_what_it_cannot_read(void **state)
{
    static const char *const bad[] = {
        "",
        "{",
        "[]",
        "{\"uid\":\"x\"}",
        "{\"uid\":\"x\",\"name\":\"n\",\"engine\":\"d\",\"gpus\":[1]}",
    };
    UNUSED(state);
    journal_close(open_journal());
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct journal *j;
        struct error e = ERROR_INIT;
        write_file("x.json", bad[i]);
        assert_int_equal(journal_open(dir, &j, &e), -ERR_CORRUPT);
        assert_non_null(strstr(e.msg, "x.json"));
    }
    autofree char *path = xasprintf("%s/journal/x.json", dir);
    assert_int_equal(unlink(path), 0);
    /* A write that never ended is no entry, and is cleared away. */
    write_file("y.json.tmp.abc", "{");
    journal_close(open_journal());
    autofree char *tmp = xasprintf("%s/journal/y.json.tmp.abc", dir);
    assert_int_equal(access(tmp, F_OK), -1);
    struct journal *j = open_journal();
    struct journal_entry en = entry(1, NULL);
    struct error e = ERROR_INIT;
    snprintf(en.uid, sizeof(en.uid), "../evil");
    assert_int_equal(journal_add(j, &en, &e), -ERR_INVALID);
    journal_close(j);
}

static void
last_arbiter(void **state)
{
    static const char *const gpus[] = {"GPU-1", "GPU-2"};
    const struct journal_capacity have = {
        .cpu_milli = 2000, .memory_mib = 1000, .disk_mib = -1, .gpus = gpus, .n_gpus = 2};
    struct error e = ERROR_INIT;
    char why[200];
    UNUSED(state);
    struct journal *j = open_journal();
    struct journal_entry a = entry(1500, "GPU-1");
    assert_true(journal_fits(j, &have, &a.hold, why, sizeof(why)));
    assert_int_equal(journal_add(j, &a, &e), 0);

    struct journal_entry b = entry(500, "GPU-2");
    assert_true(journal_fits(j, &have, &b.hold, why, sizeof(why)));
    b.hold.cpu_milli = 501;
    assert_false(journal_fits(j, &have, &b.hold, why, sizeof(why)));
    assert_non_null(strstr(why, "CPU"));
    struct journal_entry c = entry(1, "GPU-1");
    assert_false(journal_fits(j, &have, &c.hold, why, sizeof(why)));
    assert_non_null(strstr(why, "GPU-1"));
    struct journal_entry d = entry(1, "GPU-9");
    assert_false(journal_fits(j, &have, &d.hold, why, sizeof(why)));
    struct journal_entry m = entry(1, NULL);
    m.hold.memory_mib = 901;
    assert_false(journal_fits(j, &have, &m.hold, why, sizeof(why)));
    /* What is free again counts no more. */
    journal_free_hold(j, a.uid);
    assert_true(journal_fits(j, &have, &b.hold, why, sizeof(why)));
    assert_true(journal_fits(j, &have, &c.hold, why, sizeof(why)));
    journal_close(j);
}

static void
identity_file(void **state)
{
    struct error e = ERROR_INIT;
    struct identity id = {0};
    struct stat st;
    UNUSED(state);
    assert_int_equal(identity_load(dir, &id, &e), -ERR_NOT_FOUND);
    id = (struct identity){.url = xstrdup("https://h:1"),
                           .ca_pem = xstrdup("PEM\n"),
                           .ns = xstrdup("default"),
                           .name = xstrdup("m"),
                           .uid = xstrdup("u"),
                           .token = xstrdup("t"),
                           .token_issued_ns = 5,
                           .token_expires_ns = INT64_C(1800000000000000000)};
    assert_int_equal(identity_save(dir, &id, &e), 0);
    identity_done(&id);
    autofree char *path = fs_join(dir, "identity.json");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(identity_load(dir, &id, &e), 0);
    assert_string_equal(id.url, "https://h:1");
    assert_string_equal(id.token, "t");
    assert_true(id.token_expires_ns == INT64_C(1800000000000000000));
    identity_done(&id);
    assert_int_equal(fs_write_atomic(path, "{}", 2, 0600, &e), 0);
    e = ERROR_INIT;
    assert_int_equal(identity_load(dir, &id, &e), -ERR_CORRUPT);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(survives_reopening),
        T(refuses_what_it_cannot_read),
        T(last_arbiter),
        T(identity_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
