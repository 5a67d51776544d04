/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values of Secrets: ciphertext in every file, plaintext for readers, bound to the object
 * and the field, readable after a change of keys and not without them.
 */
#include "unit/store_fixture.h"

#include <dirent.h>
#include <stdio.h>

#include "apiserver/store/store_seal.h"
#include "base/fs.h"
#include "base/mem.h"

#define SECRET                                                                           \
    "{\"apiVersion\":\"v1\",\"data\":{\"a\":\"cGxhaW4tYQ==\",\"b\":\"cGxhaW4tYg==\","    \
    "\"empty\":\"\"},\"kind\":\"Secret\",\"metadata\":{\"annotations\":{"                \
    "\"kubectl.kubernetes.io/last-applied-configuration\":"                              \
    "\"{\\\"data\\\":{\\\"a\\\":\\\"cGxhaW4tYQ==\\\"}}\",\"other\":\"x\"},\"name\":"     \
    "\"s\",\"namespace\":\"d\",\"uid\":\"u-1\"},\"type\":\"Opaque\"}"
struct world {
    struct fixture f;
    char *keys;
    struct keyring *seal;
};

static int
setup(void **state)
{
    struct world *w = xnew(struct world);
    struct error e = ERROR_INIT;

    fx_init(&w->f, true);
    w->keys = fs_join(w->f.root, KEYRING_FILE);
    assert_int_equal(keyring_load(w->keys, false, &w->seal, &e), -ERR_NOT_FOUND);
    assert_int_equal(keyring_load(w->keys, true, &w->seal, &e), 0);
    w->f.opts.seal = w->seal;
    *state = w;
    return 0;
}

static int
teardown(void **state)
{
    struct world *w = *state;

    fx_done(&w->f);
    keyring_free(w->seal);
    free(w->keys);
    free(w);
    return 0;
}

static void
put(struct world *w, const char *resource, const char *json, const char *name)
{
    struct store_key k = {resource, "d", name};
    struct error e = ERROR_INIT;
    struct fx_result r = {0};
    auto_object *o = NULL;

    assert_int_equal(object_new(NULL, json, strlen(json), 0, &o, &e), 0);
    struct store_op op = {STORE_PUT, k, 0, o};
    assert_int_equal(
        store_commit(w->f.store, &op, 1, STORE_DURABLE, fx_on_done, &r, NULL, &e), 0);
    fx_wait(&w->f, &r);
    assert_int_equal(r.e.code, ERR_OK);
}

static void
expect(struct world *w, const char *resource, const char *json, const char *name)
{
    const struct object *o =
        store_get(w->f.store, &(struct store_key){resource, "d", name});

    assert_non_null(o);
    assert_string_equal(o->bytes, json);
}

/* How often the text stands in the files of the store. */
static size_t
occurrences(const struct world *w, const char *sub, const char *text)
{
    autofree char *dir = fs_join(w->f.dir, sub);
    DIR *d = opendir(dir);
    const struct dirent *de;
    size_t n = 0;

    assert_non_null(d);
    while ((de = readdir(d)) != NULL) { /* NOLINT(concurrency-mt-unsafe) */
        auto_str bytes = STR_INIT(64u << 20);
        autofree char *path = fs_join(dir, de->d_name);
        struct error e = ERROR_INIT;
        if (de->d_name[0] == '.' || fs_read(path, &bytes, &e) < 0)
            continue;
        for (const char *p = bytes.ptr;
             (p = memmem(p, (size_t)(bytes.ptr + bytes.len - p), text, strlen(text))) !=
             NULL;
             p++)
            n++;
    }
    closedir(d);
    return n;
}

static void
snapshot(struct world *w)
{
    struct fx_result r = {0};

    store_snapshot(w->f.store, fx_on_done, &r);
    fx_wait(&w->f, &r);
    assert_int_equal(r.e.code, ERR_OK);
}

static void
test_files(void **state)
{
    struct world *w = *state;

    fx_open(&w->f);
    put(w, "secrets", SECRET, "s");
    expect(w, "secrets", SECRET, "s");
    for (int round = 0; round < 3; round++) {
        assert_int_equal(occurrences(w, "log", "cGxhaW4"), 0);
        assert_int_equal(occurrences(w, "snapshot", "cGxhaW4"), 0);
        assert_true(occurrences(w, round == 2 ? "snapshot" : "log", "sealed:v1:") >= 4);
        fx_reopen(&w->f);
        expect(w, "secrets", SECRET, "s");
        if (round == 1)
            snapshot(w);
    }
    struct error e = ERROR_INIT;
    struct fx_result r = {0};
    struct store_key k = {"secrets", "d", "s"};
    struct store_op op = {STORE_DELETE, k, store_get(w->f.store, &k)->revision, NULL};
    assert_int_equal(
        store_commit(w->f.store, &op, 1, STORE_DURABLE, fx_on_done, &r, NULL, &e), 0);
    fx_wait(&w->f, &r);
    assert_int_equal(occurrences(w, "log", "cGxhaW4"), 0);
    fx_reopen(&w->f);
}

static void
test_keys(void **state)
{
    struct world *w = *state;
    struct error e = ERROR_INIT;
    struct keyring *other = NULL;
    autofree char *elsewhere = fs_join(w->f.root, "other");

    fx_open(&w->f);
    put(w, "secrets", SECRET, "s");
    fx_close(&w->f);
    /* Another key: refused, with the key's id and the object. */
    assert_int_equal(keyring_load(elsewhere, true, &other, &e), 0);
    w->f.opts.seal = other;
    assert_int_equal(fx_try_open(&w->f, &e), -ERR_CORRUPT);
    assert_non_null(strstr(e.msg, "which is not in secrets.keys"));
    assert_non_null(strstr(e.msg, "secrets \"s\""));
    keyring_free(other);
    /* Two keys: the old one opens, the new one seals. */
    assert_int_equal(keyring_add_key(w->keys, &e), 0);
    keyring_free(w->seal);
    assert_int_equal(keyring_load(w->keys, false, &w->seal, &e), 0);
    w->f.opts.seal = w->seal;
    fx_open(&w->f);
    expect(w, "secrets", SECRET, "s");
    snapshot(w);
    fx_close(&w->f);
    assert_int_equal(keyring_drop_old(w->keys, &e), 0);
    keyring_free(w->seal);
    assert_int_equal(keyring_load(w->keys, false, &w->seal, &e), 0);
    w->f.opts.seal = w->seal;
    fx_open(&w->f);
    expect(w, "secrets", SECRET, "s");
}

/* A value that is moved to another field or object does not open. */
static void
test_bound(void **state)
{
    struct world *w = *state;
    struct error e = ERROR_INIT;
    auto_str sealed = STR_INIT(1u << 20);
    auto_str opened = STR_INIT(1u << 20);
    struct span plain = span_of(SECRET);

    store_seal(w->seal, plain, &sealed);
    assert_int_equal(sealed.len, store_seal_size(plain));
    assert_int_equal(
        store_unseal(w->seal, (struct span){sealed.ptr, sealed.len}, &opened, &e), 0);
    assert_string_equal(opened.ptr, SECRET);
    /* a <-> b: both have the same length */
    char *a = strstr(sealed.ptr, "\"a\":\"");
    char *b = strstr(sealed.ptr, "\"b\":\"");
    assert_true(a != NULL && b != NULL);
    a[1] = 'b';
    b[1] = 'a';
    str_reset(&opened);
    assert_int_equal(
        store_unseal(w->seal, (struct span){sealed.ptr, sealed.len}, &opened, &e),
        -ERR_CORRUPT);
    assert_non_null(strstr(e.msg, "belongs to another object"));
    a[1] = 'a';
    b[1] = 'b';
    char *uid = strstr(sealed.ptr, "u-1");
    uid[2] = '2';
    str_reset(&opened);
    assert_int_equal(
        store_unseal(w->seal, (struct span){sealed.ptr, sealed.len}, &opened, &e),
        -ERR_CORRUPT);
    uid[2] = '1';
    /* Any changed digit of a value; the last ones may have bits of no meaning. */
    const char *end = strchr(a + 5, '"') - 4;
    for (char *p = a + 5 + 19; p < end; p += 7) {
        char was = *p;
        *p = was == 'A' ? 'B' : 'A';
        str_reset(&opened);
        assert_int_equal(
            store_unseal(w->seal, (struct span){sealed.ptr, sealed.len}, &opened, &e),
            -ERR_CORRUPT);
        *p = was;
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_files, setup, teardown),
        cmocka_unit_test_setup_teardown(test_keys, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bound, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
