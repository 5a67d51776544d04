/* SPDX-License-Identifier: Apache-2.0 */
/* Blobs as files: pieces, hashes, quotas, collection. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "apiserver/streams/blobs.h"
#include "base/fs.h"
#include "base/mem.h"

/* SHA-256 of "abc" (FIPS 180-4). */
#define ABC "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define OTHER "0000000000000000000000000000000000000000000000000000000000000001"

static char *dir;

static int
setup(void **state)
{
    char name[] = "/tmp/blobs-XXXXXX";
    UNUSED(state);
    dir = xstrdup(mkdtemp(name));
    return 0;
}

static int
teardown(void **state)
{
    struct error e = ERROR_INIT;
    UNUSED(state);
    int rc = fs_remove_tree(dir, &e);
    free(dir);
    return rc;
}

static int
put(const char *hex, uint64_t offset, const char *bytes, uint64_t size,
    struct blob_put *p)
{
    struct error e = ERROR_INIT;
    *p = (struct blob_put){.dir = dir,
                           .ns = "n",
                           .hex = hex,
                           .offset = offset,
                           .size = size,
                           .quota_bytes = 100,
                           .bytes = span_of(bytes)};
    return blob_store_put(p, &e);
}

static void
pieces(void **state)
{
    struct blob_put p;
    struct error e = ERROR_INIT;
    uint64_t size;
    int fd;
    UNUSED(state);
    assert_int_equal(put(ABC, 0, "a", 3, &p), 0);
    assert_int_equal(p.at, 1);
    assert_false(p.created);
    assert_int_equal(put(ABC, 0, "a", 3, &p), -ERR_CONFLICT);
    assert_int_equal(p.at, 1);
    assert_int_equal(put(ABC, 2, "c", 3, &p), -ERR_CONFLICT);
    assert_int_equal(put(ABC, 1, "bcd", 3, &p), -ERR_BAD_REQUEST);
    assert_int_equal(blob_store_open(dir, "n", ABC, &fd, &size, &e), -ERR_NOT_FOUND);
    assert_int_equal(put(ABC, 1, "bc", 3, &p), 0);
    assert_true(p.created);
    assert_int_equal(put(ABC, 0, "a", 3, &p), 0);
    assert_true(p.there);
    assert_int_equal(blob_store_open(dir, "n", ABC, &fd, &size, &e), 0);
    assert_int_equal(size, 3);
    close(fd);
    assert_int_equal(blob_store_open(dir, "m", ABC, &fd, &size, &e), -ERR_NOT_FOUND);
}

static void
wrong_hash_and_quota(void **state)
{
    struct blob_put p;
    UNUSED(state);
    assert_int_equal(put(OTHER, 0, "abc", 3, &p), -ERR_INVALID);
    assert_int_equal(put(OTHER, 0, "ab", 3, &p), 0); /* from the start again */
    assert_int_equal(p.at, 2);
    assert_int_equal(put(ABC, 0, "", 101, &p), -ERR_FULL);
}

static void
collection(void **state)
{
    struct blob_put p;
    size_t removed;
    auto_map *refs = map_new(NULL);
    UNUSED(state);
    assert_int_equal(put(ABC, 0, "abc", 3, &p), 0);
    assert_int_equal(put(OTHER, 0, "x", 3, &p), 0);
    blob_scan_refs(span_of("{\"blob\":\"sha256:" ABC "\",\"x\":\"sha256:12\"}"), refs);
    assert_int_equal(map_len(refs), 1);
    autofree char *whole = xasprintf("%s/n/" ABC, dir);
    autofree char *part = xasprintf("%s/n/" OTHER ".part", dir);
    struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    blob_store_sweep(dir, refs, 3600, &removed);
    assert_int_equal(removed, 0); /* young */
    utimensat(AT_FDCWD, whole, old, 0);
    utimensat(AT_FDCWD, part, old, 0);
    blob_store_sweep(dir, refs, 3600, &removed);
    assert_int_equal(removed, 1); /* the upload that nobody finished */
    assert_int_equal(access(whole, F_OK), 0);
    map_clear(refs);
    blob_store_sweep(dir, refs, 3600, &removed);
    assert_int_equal(removed, 1);
    assert_int_equal(access(whole, F_OK), -1);
}

#define UID_A "0e6f5d2c-6f5e-4b7e-9a55-0a6de6a0c001"
#define UID_B "0e6f5d2c-6f5e-4b7e-9a55-0a6de6a0c002"

/* Logs go when their Job is gone and they were not written for the time to live. */
static void
logs_go_with_their_job(void **state)
{
    struct error e = ERROR_INIT;
    struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    auto_map *refs = map_new(NULL);
    size_t removed;
    UNUSED(state);
    autofree char *a = xasprintf("%s/n/" UID_A, dir);
    autofree char *b = xasprintf("%s/n/" UID_B, dir);
    autofree char *seg = xasprintf("%s/0000000000000000.seg", b);
    assert_int_equal(fs_mkdirs(a, 0700, &e), 0);
    assert_int_equal(fs_mkdirs(b, 0700, &e), 0);
    assert_int_equal(fs_write_atomic(seg, "x", 1, 0600, &e), 0);
    utimensat(AT_FDCWD, a, old, 0);
    utimensat(AT_FDCWD, b, old, 0);
    blob_scan_refs(span_of("{\"metadata\":{\"uid\":\"" UID_A "\"}}"), refs);
    blob_store_sweep_logs(dir, refs, 3600, &removed);
    assert_int_equal(removed, 0); /* a has its Job, b was just written */
    utimensat(AT_FDCWD, seg, old, 0);
    blob_store_sweep_logs(dir, refs, 3600, &removed);
    assert_int_equal(removed, 1);
    assert_int_equal(access(a, F_OK), 0);
    assert_int_equal(access(b, F_OK), -1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(pieces, setup, teardown),
        cmocka_unit_test_setup_teardown(wrong_hash_and_quota, setup, teardown),
        cmocka_unit_test_setup_teardown(collection, setup, teardown),
        cmocka_unit_test_setup_teardown(logs_go_with_their_job, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
