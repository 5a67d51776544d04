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
#define UID_C "0e6f5d2c-6f5e-4b7e-9a55-0a6de6a0c003"
#define UID_D "0e6f5d2c-6f5e-4b7e-9a55-0a6de6a0c004"

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

/* Of three old logs, the one without a Job goes, one with a Job keeps its newest file,
 * and no more than is needed. One that is being written stays. */
static void
logs_are_bounded_together(void **state)
{
    struct error e = ERROR_INIT;
    struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    struct timespec older[2] = {{.tv_sec = 500}, {.tv_sec = 500}};
    auto_map *refs = map_new(NULL);
    static const char bytes[1000];
    uint64_t freed;
    UNUSED(state);
    static const char *const uids[] = {UID_A, UID_B, UID_C, UID_D};
    static const char *const names[] = {"0000000000000000.seg", "00000000000003e8.seg"};
    char path[4][2][200];
    for (size_t i = 0; i < 4; i++) {
        for (size_t k = 0; k < 2; k++) {
            snprintf(path[i][k], sizeof(path[i][k]), "%s/n/%s", dir, uids[i]);
            assert_int_equal(fs_mkdirs(path[i][k], 0700, &e), 0);
            snprintf(path[i][k], sizeof(path[i][k]), "%s/n/%s/%s", dir, uids[i],
                     names[k]);
            assert_int_equal(fs_write_atomic(path[i][k], bytes, 1000, 0600, &e), 0);
            if (i < 3) /* c is the oldest of those with a Job */
                utimensat(AT_FDCWD, path[i][k], i == 2 ? older : old, 0);
        }
    }
    blob_scan_refs(
        span_of("{\"uid\":\"" UID_B "\"}{\"uid\":\"" UID_C "\"}{\"uid\":\"" UID_D "\"}"),
        refs);
    log_bound_apply(dir, refs, 8000, &freed);
    assert_int_equal(freed, 0);
    log_bound_apply(dir, refs, 5000, &freed);
    assert_int_equal(freed, 3000);
    assert_int_equal(access(path[0][1], F_OK), -1);
    assert_int_equal(access(path[2][0], F_OK), -1);
    assert_int_equal(access(path[2][1], F_OK), 0);
    assert_int_equal(access(path[1][0], F_OK), 0);
    log_bound_apply(dir, refs, 0, &freed);
    assert_int_equal(freed, 1000);
    assert_int_equal(access(path[1][1], F_OK), 0);
    assert_int_equal(access(path[3][0], F_OK), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(pieces, setup, teardown),
        cmocka_unit_test_setup_teardown(wrong_hash_and_quota, setup, teardown),
        cmocka_unit_test_setup_teardown(collection, setup, teardown),
        cmocka_unit_test_setup_teardown(logs_go_with_their_job, setup, teardown),
        cmocka_unit_test_setup_teardown(logs_are_bounded_together, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
