/* SPDX-License-Identifier: Apache-2.0 */
/* The mirror's names, its own memory over crashes, and its way with files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <zlib.h>

#include "apiserver/mirror/path.h"
#include "apiserver/mirror/seal.h"
#include "apiserver/mirror/state.h"
#include "apiserver/mirror/tree.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"

static struct error err;

static int
make_dir(void **state)
{
    char template[] = "/tmp/drover-mirror-XXXXXX";

    log_set_level(LOG_LV_ERR);
    *state = xstrdup(mkdtemp(template));
    err = ERROR_INIT;
    return 0;
}

static int
remove_dir(void **state)
{
    int rc = fs_remove_tree(*state, &err);

    free(*state);
    return rc;
}

/* --- names
 * ------------------------------------------------------------------------------- */

static void
test_names(void **state)
{
    static const struct {
        const char *name;
        enum mirror_name want;
    } rows[] = {
        {"hello.yaml", MIRROR_NAME_OBJECT},
        {"runs.drover.dev.yaml", MIRROR_NAME_OBJECT},
        {"a:b.yaml", MIRROR_NAME_OBJECT},
        {"hello.yaml.error", MIRROR_NAME_ERROR},
        {".hello.yaml", MIRROR_NAME_IGNORED},
        {".hello.yaml.swp", MIRROR_NAME_IGNORED},
        {"4913", MIRROR_NAME_IGNORED},
        {"hello.yaml~", MIRROR_NAME_IGNORED},
        {"#hello.yaml#", MIRROR_NAME_IGNORED},
        {".#hello.yaml", MIRROR_NAME_IGNORED},
        {"hello.yaml___jb_tmp___", MIRROR_NAME_IGNORED},
        {"hello___jb_old___.yaml", MIRROR_NAME_IGNORED},
        {".hello.yaml.kate-swp", MIRROR_NAME_IGNORED},
        {"hello.yaml.orig", MIRROR_NAME_IGNORED},
        {"hello.LOCAL.123.yaml", MIRROR_NAME_IGNORED},
        {"README.md", MIRROR_NAME_IGNORED},
        {"hello.yml", MIRROR_NAME_WEIRD},
        {"he llo.yaml", MIRROR_NAME_WEIRD},
        {"-x.yaml", MIRROR_NAME_WEIRD},
        {"a\nb.yaml", MIRROR_NAME_WEIRD},
        {".yaml", MIRROR_NAME_IGNORED},
    };

    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (mirror_name_class(rows[i].name) != rows[i].want)
            fail_msg("%s: %d", rows[i].name, mirror_name_class(rows[i].name));
    }
}

static void
test_paths(void **state)
{
    struct mirror_key k;
    char longest[300];

    UNUSED(state);
    autofree char *run = mirror_path("runs.drover.dev", "default", "hello");
    assert_string_equal(run, "default/runs.drover.dev/hello.yaml");
    autofree char *ns = mirror_path("namespaces", "", "team");
    assert_string_equal(ns, "_cluster/namespaces/team.yaml");
    assert_true(mirror_path_split(run, &k));
    assert_string_equal(k.ns, "default");
    assert_string_equal(k.resource, "runs.drover.dev");
    assert_string_equal(k.name, "hello");
    assert_true(mirror_path_split(ns, &k));
    assert_string_equal(k.ns, "");
    assert_false(mirror_path_split("hello.yaml", &k));
    assert_false(mirror_path_split("default/hello.yaml", &k));
    assert_false(mirror_path_split("default/runs/a/hello.yaml", &k));
    assert_false(mirror_path_split("../runs/hello.yaml", &k));
    assert_false(mirror_path_split("default/../hello.yaml", &k));
    memset(longest, 'a', sizeof(longest));
    longest[MIRROR_NAME_MAX + 1] = '\0';
    assert_null(mirror_path("runs", "default", longest));
    longest[MIRROR_NAME_MAX] = '\0';
    autofree char *fits = mirror_path("runs", "default", longest);
    assert_true(fits != NULL && mirror_path_split(fits, &k));
    assert_null(mirror_path("runs", "default", "a/b"));
}

/* --- seal
 * -------------------------------------------------------------------------------- */

static void
test_seal(void **state)
{
    struct keyring *s = NULL, *again = NULL;
    auto_str a = STR_INIT(4096), b = STR_INIT(4096), out = STR_INIT(4096);
    autofree char *keys = fs_join(*state, KEYRING_FILE);
    struct mirror_field f = {"u1", "default", "db", "password"};
    struct mirror_field other = {"u1", "default", "db", "user"};
    struct mirror_field elsewhere = {"u1", "default", "db2", "password"};

    assert_int_equal(keyring_load(keys, true, &s, &err), 0);
    mirror_seal_value(s, &f, "geheim", 6, &a);
    mirror_seal_value(s, &f, "geheim", 6, &b);
    assert_string_equal(a.ptr, b.ptr);
    assert_true(str_starts(a.ptr, "sealed:v1:u1:"));
    assert_null(strstr(a.ptr, "geheim"));
    keyring_free(s);
    assert_int_equal(keyring_load(keys, false, &again, &err), 0);
    assert_int_equal(mirror_seal_open(again, &f, a.ptr, &out, &err), 0);
    assert_string_equal(out.ptr, "geheim");
    assert_true(mirror_seal_open(again, &other, a.ptr, &out, &err) < 0);
    assert_true(mirror_seal_open(again, &elsewhere, a.ptr, &out, &err) < 0);
    a.ptr[a.len - 2] ^= 1;
    assert_true(mirror_seal_open(again, &f, a.ptr, &out, &err) < 0);
    assert_true(mirror_seal_open(again, &f, "sealed:v9:u1:AAAA", &out, &err) < 0);
    assert_true(mirror_seal_open(again, &f, "sealed:v1:u1", &out, &err) < 0);
    assert_string_equal(out.ptr, "geheim");
    keyring_free(again);
}

/* --- state
 * ------------------------------------------------------------------------------- */

#define P "default/runs.drover.dev/a.yaml"

static struct mirror_new
version(const char *text)
{
    return (struct mirror_new){.uid = "u1",
                               .revision = 7,
                               .file = mirror_hash_of(text, strlen(text)),
                               .store = span_of(text)};
}

static struct mirror_state *
reopen(struct mirror_state *s, const char *dir)
{
    struct mirror_state *again = NULL;

    mirror_state_close(s);
    if (mirror_state_open(dir, &again, &err) < 0)
        fail_msg("%s", err.msg);
    return again;
}

static void
test_state(void **state)
{
    struct mirror_state *s = reopen(NULL, *state);
    struct mirror_new one = version("one"), two = version("two");
    auto_str store = STR_INIT(4096), form = STR_INIT(4096);

    two.form = span_of("file");
    assert_int_equal(mirror_state_record(s, P, &one, &err), 0);
    assert_int_equal(mirror_state_record(s, P, &two, &err), 0);
    assert_int_equal(mirror_state_record(s, "b", &one, &err), 0);
    assert_int_equal(mirror_state_record(s, "c", &one, &err), 0);
    assert_int_equal(mirror_state_forget(s, "c", &err), 0);
    assert_int_equal(mirror_state_hold(s, "b", true, &err), 0);
    assert_int_equal(mirror_state_set_root(s, 11, 12, &err), 0);
    s = reopen(s, *state);
    assert_int_equal(mirror_state_len(s), 2);
    assert_null(mirror_state_get(s, "c"));
    assert_true(mirror_state_get(s, "b")->held);
    assert_true(mirror_state_root(s).known && mirror_state_root(s).ino == 12);
    const struct mirror_base *b = mirror_state_get(s, P);
    assert_true(b->now.set && b->now.revision == 7);
    assert_true(mirror_hash_eq(b->now.store, mirror_hash_of("two", 3)));
    assert_int_equal(mirror_state_read(s, b, &store, &form, &err), 0);
    assert_string_equal(store.ptr, "two");
    assert_string_equal(form.ptr, "file");
    mirror_state_close(s);
}

/* Killed between announcing a write and its end: the file decides. */
static void
test_state_intent(void **state)
{
    struct mirror_state *s = reopen(NULL, *state);
    struct mirror_new one = version("one"), two = version("two");
    struct mirror_hash user = mirror_hash_of("user", 4);

    assert_int_equal(mirror_state_record(s, P, &one, &err), 0);
    assert_int_equal(mirror_state_intend(s, P, &two, &err), 0);
    s = reopen(s, *state);
    assert_true(mirror_hash_eq(mirror_state_get(s, P)->now.file, one.file));
    assert_false(mirror_state_settle(s, P, &two.file)); /* renamed already */
    assert_true(mirror_hash_eq(mirror_state_get(s, P)->now.file, two.file));
    assert_int_equal(mirror_state_intend(s, P, &one, &err), 0);
    s = reopen(s, *state);
    s = reopen(s, *state);
    assert_false(mirror_state_settle(s, P, &user)); /* not yet, and edited since */
    assert_false(mirror_state_get(s, P)->intent.set);
    mirror_state_close(s);
}

static void
test_state_applied(void **state)
{
    struct mirror_state *s = reopen(NULL, *state);
    struct mirror_new one = version("one");
    auto_str form = STR_INIT(4096);

    assert_int_equal(mirror_state_record(s, P, &one, &err), 0);
    assert_int_equal(mirror_state_applying(s, P, span_of("{1}"), &err), 0);
    assert_int_equal(mirror_state_applying(s, "new", span_of("{2}"), &err), 0);
    assert_int_equal(mirror_state_applying(s, "refused", span_of("{3}"), &err), 0);
    assert_int_equal(mirror_state_refused(s, "refused", &err), 0);
    /* Refused after one whose end is not known: that one counts again. */
    assert_int_equal(mirror_state_applying(s, P, span_of("{4}"), &err), 0);
    assert_int_equal(mirror_state_refused(s, P, &err), 0);
    s = reopen(s, *state);
    assert_int_equal(mirror_state_len(s), 1);
    assert_null(mirror_state_get(s, "refused"));
    const struct mirror_base *b = mirror_state_get(s, "new");
    assert_true(b != NULL && !b->now.set && b->applied[0] != 0);
    assert_int_equal(
        mirror_state_read_applied(s, mirror_state_get(s, P)->applied[0], &form, &err), 0);
    assert_string_equal(form.ptr, "{1}");
    assert_int_equal(mirror_state_record(s, P, &one, &err), 0);
    s = reopen(s, *state);
    assert_true(mirror_state_get(s, P)->applied[0] == 0);
    mirror_state_close(s);
}

/* Every length of a torn file opens, with a prefix of what was recorded. */
static void
test_state_torn(void **state)
{
    struct mirror_state *s = reopen(NULL, *state);
    autofree char *path = fs_join(*state, "state");
    struct mirror_new one = version("one"), two = version("two");
    auto_str whole = STR_INIT(1 << 20);
    size_t last = 0;

    assert_int_equal(mirror_state_record(s, P, &one, &err), 0);
    assert_int_equal(mirror_state_intend(s, "b", &two, &err), 0);
    assert_int_equal(mirror_state_done(s, "b", &err), 0);
    mirror_state_close(s);
    assert_int_equal(fs_read(path, &whole, &err), 0);
    for (size_t n = 22; n <= whole.len; n++) { /* 22: the first line */
        assert_int_equal(fs_write_atomic(path, whole.ptr, n, 0600, &err), 0);
        s = reopen(NULL, *state);
        assert_true(mirror_state_len(s) >= last);
        last = mirror_state_len(s);
        assert_int_equal(mirror_state_record(s, "new", &one, &err), 0);
        s = reopen(s, *state);
        assert_non_null(mirror_state_get(s, "new"));
        mirror_state_close(s);
    }
    assert_int_equal(last, 2);
    assert_int_equal(fs_write_atomic(path, "something else\n and more", 24, 0600, &err),
                     0);
    assert_int_equal(mirror_state_open(*state, &s, &err), -ERR_CORRUPT);
}

/* The machine lost power: what was mirrored since the last checkpoint is ours. */
static void
test_state_power_cut(void **state)
{
    struct mirror_state *s = reopen(NULL, *state);
    autofree char *path = fs_join(*state, "state");
    struct mirror_new one = version("one"), two = version("two"),
                      three = version("three");
    struct mirror_hash user = mirror_hash_of("user", 4);
    auto_str whole = STR_INIT(1 << 20);

    assert_int_equal(mirror_state_opened(s, &err), 0);
    assert_int_equal(mirror_state_record(s, "old", &one, &err), 0);
    assert_int_equal(mirror_state_record(s, P, &one, &err), 0);
    assert_int_equal(mirror_state_checkpoint(s, &err), 0);
    assert_int_equal(mirror_state_record(s, P, &two, &err), 0);
    assert_int_equal(mirror_state_record(s, P, &three, &err), 0);
    assert_int_equal(mirror_state_record(s, "fresh", &one, &err), 0);
    assert_int_equal(mirror_state_record(s, "edited", &one, &err), 0);
    s = reopen(s, *state); /* the same boot: nothing is taken for ours */
    assert_false(mirror_state_settle(s, P, &one.file));
    mirror_state_close(s);
    /* Another boot: the same length, a new checksum is needed, so write it as a record.
     */
    assert_int_equal(fs_read(path, &whole, &err), 0);
    char *boot = memmem(whole.ptr, whole.len, "O\0\0", 3);
    assert_non_null(boot);
    uint32_t len;
    memcpy(&len, boot - 8, 4);
    boot[5] ^= 1;
    uint32_t crc = (uint32_t)crc32_z(0, (const unsigned char *)boot, len);
    memcpy(boot - 4, &crc, 4);
    assert_int_equal(fs_write_atomic(path, whole.ptr, whole.len, 0600, &err), 0);
    s = reopen(NULL, *state);
    assert_true(mirror_state_settle(s, P, &one.file));     /* lost two renames */
    assert_true(mirror_state_settle(s, "fresh", NULL));    /* lost its first one */
    assert_false(mirror_state_settle(s, "edited", &user)); /* a person's */
    assert_false(mirror_state_settle(s, "old", NULL));     /* deleted by a person */
    mirror_state_close(s);
}

/* --- tree
 * -------------------------------------------------------------------------------- */

static void
put(const char *dir, const char *name, const char *text)
{
    autofree char *path = fs_join(dir, name);

    assert_int_equal(fs_write_atomic(path, text, strlen(text), 0600, &err), 0);
}

static void
test_tree_writes(void **state)
{
    struct mirror_tree *t = mirror_tree_new(*state);
    struct mirror_root root;
    struct mirror_stat st;
    struct mirror_hash one = mirror_hash_of("one", 3), two = mirror_hash_of("two", 3);
    auto_str out = STR_INIT(4096);
    autofree char *file = fs_join(*state, P);

    assert_int_equal(mirror_tree_open_root(t, &root, &err), 0);
    assert_int_equal(mirror_tree_write(t, P, span_of("one"), NULL, &st, &err), 0);
    assert_int_equal(mirror_tree_write(t, P, span_of("x"), NULL, &st, &err),
                     -ERR_CONFLICT);
    assert_int_equal(mirror_tree_write(t, P, span_of("two"), &one, &st, &err), 0);
    assert_int_equal(mirror_tree_write(t, P, span_of("x"), &one, &st, &err),
                     -ERR_CONFLICT);
    assert_int_equal(mirror_tree_read(t, P, &out, &st, &err), MIRROR_FOUND_FILE);
    assert_string_equal(out.ptr, "two"); /* what a person wrote is never lost */
    assert_int_equal(mirror_tree_remove(t, P, &one, &err), -ERR_CONFLICT);
    assert_int_equal(mirror_tree_remove(t, P, &two, &err), 0);
    assert_true(access(file, F_OK) != 0);
    autofree char *ns = fs_join(*state, "default");
    assert_true(access(ns, F_OK) != 0); /* empty directories go too */
    assert_int_equal(mirror_tree_write(t, P, span_of("x"), &one, &st, &err),
                     -ERR_CONFLICT);
    mirror_tree_free(t);
}

static void
test_tree_strange_files(void **state)
{
    struct mirror_tree *t = mirror_tree_new(*state);
    struct mirror_root root;
    struct mirror_stat st;
    auto_str out = STR_INIT(4096);
    autofree char *dir = fs_join(*state, "default/runs.drover.dev");
    autofree char *a = fs_join(dir, "link.yaml"), *b = fs_join(dir, "pipe.yaml");
    autofree char *c = fs_join(dir, "one.yaml"), *d = fs_join(dir, "two.yaml");
    autofree char *big = fs_join(dir, "big.yaml"), *ns = fs_join(*state, "linked");

    assert_int_equal(fs_mkdirs(dir, 0700, &err), 0);
    put(dir, "one.yaml", "x");
    put(dir, "big.yaml", "");
    assert_int_equal(truncate(big, 5000), 0);
    assert_int_equal(symlink("/etc/passwd", a), 0);
    assert_int_equal(mkfifo(b, 0600), 0);
    assert_int_equal(link(c, d), 0);
    assert_int_equal(symlink("default", ns), 0);
    assert_int_equal(mirror_tree_open_root(t, &root, &err), 0);
#define READ(name) mirror_tree_read(t, name, &out, &st, &err)
    assert_int_equal(READ("default/runs.drover.dev/link.yaml"), MIRROR_FOUND_OTHER);
    assert_int_equal(READ("default/runs.drover.dev/pipe.yaml"), MIRROR_FOUND_OTHER);
    assert_int_equal(READ("default/runs.drover.dev/two.yaml"), MIRROR_FOUND_OTHER);
    assert_int_equal(READ("default/runs.drover.dev/none.yaml"), MIRROR_FOUND_NONE);
    assert_int_equal(READ("default/runs.drover.dev/big.yaml"), MIRROR_FOUND_OTHER);
    str_reset(&out);
    assert_int_equal(READ("linked/runs.drover.dev/one.yaml"), MIRROR_FOUND_NONE);
    assert_int_equal(out.len, 0);
    mirror_tree_free(t);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_paths),
        cmocka_unit_test_setup_teardown(test_seal, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_state, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_state_intent, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_state_applied, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_state_torn, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_state_power_cut, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_tree_writes, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_tree_strange_files, make_dir, remove_dir),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
