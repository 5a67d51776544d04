/* SPDX-License-Identifier: Apache-2.0 */
/* The base library: errors, strings, containers, time, identifiers, files, logging. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/fs.h"
#include "base/heap.h"
#include "base/id.h"
#include "base/log.h"
#include "base/map.h"
#include "base/str.h"
#include "base/vec.h"

LOG_MODULE(test);

#define OK(call)                                                                         \
    do {                                                                                 \
        if ((call) != 0)                                                                 \
            fail_msg("%s", err.msg);                                                     \
    } while (0)

static struct error err;
static char tmp[64];

static int
make_tmp(void **state)
{
    UNUSED(state);
    snprintf(tmp, sizeof(tmp), "/tmp/drover-base-XXXXXX");
    return mkdtemp(tmp) == NULL ? -1 : 0;
}

static int
remove_tmp(void **state)
{
    UNUSED(state);
    return fs_remove_tree(tmp, &err);
}

/* --- errors ---------------------------------------------------------------------------
 */

static void
test_error_set_and_prepend(void **state)
{
    struct error e = ERROR_INIT;
    char text[1000];

    UNUSED(state);
    assert_int_equal(error_set(&e, ERR_CONFLICT, "run %s", "r1"), -ERR_CONFLICT);
    assert_string_equal(e.msg, "run r1");
    assert_false(e.terminal);
    assert_int_equal(error_prepend(&e, "update %d", 7), -ERR_CONFLICT);
    assert_string_equal(e.msg, "update 7: run r1");
    /* The message may be built from the old one. */
    error_set(&e, ERR_INVALID, "again: %s", e.msg);
    assert_string_equal(e.msg, "again: update 7: run r1");
    assert_true(e.terminal);
    assert_int_equal(error_errno(&e, ENOSPC, "write %s", "log"), -ERR_FULL);
    assert_string_equal(e.msg, "write log: No space left on device");
    assert_int_equal(e.sys, ENOSPC);
    error_errno(&e, 98765, "odd");
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    for (int i = 0; i < 3; i++) { /* truncated, never overrun */
        error_prepend(&e, "%s", text);
        assert_int_equal(strlen(e.msg), sizeof(e.msg) - 1);
    }
    error_set(&e, ERR_IO, "%s", text);
    assert_int_equal(strlen(e.msg), sizeof(e.msg) - 1);
}

static void
test_error_table(void **state)
{
    UNUSED(state);
    for (int c = 0; c < ERR_N_CODES; c++) {
        enum err_code code = (enum err_code)c;
        assert_true(strlen(error_code_name(code)) > 0);
        assert_in_range(error_http_status(code), 200, 599);
        assert_non_null(error_reason(code));
        assert_in_range(error_exit_status(code), 0, 127);
    }
    assert_int_equal(error_from_http(200, NULL), ERR_OK);
    assert_int_equal(error_from_http(404, NULL), ERR_NOT_FOUND);
    assert_int_equal(error_from_http(409, "AlreadyExists"), ERR_EXISTS);
    assert_int_equal(error_from_http(409, "Conflict"), ERR_CONFLICT);
    assert_int_equal(error_from_http(409, NULL), ERR_CONFLICT);
    assert_int_equal(error_from_http(410, "Gone"), ERR_EXPIRED);
    assert_int_equal(error_from_http(422, NULL), ERR_INVALID);
    assert_int_equal(error_from_http(418, NULL), ERR_BAD_REQUEST);
    assert_int_equal(error_from_http(599, NULL), ERR_PROVIDER);
}

static void
test_bug_if_aborts(void **state)
{
    int status = 0;
    pid_t pid = fork();

    UNUSED(state);
    if (pid == 0) {
        int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
        dup2(fd, 2);
        signal(SIGABRT, SIG_DFL);
        bug_if(1 + 1 == 2);
        _exit(0);
    }
    waitpid(pid, &status, 0);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
}

/* --- strings --------------------------------------------------------------------------
 */

static void
test_str_bound_is_exact(void **state)
{
    auto_str s = STR_INIT(10);

    UNUSED(state);
    assert_string_equal(s.ptr, "");
    str_adds(&s, "12345");
    str_addc(&s, '6');
    str_add(&s, "7890", 4);
    assert_string_equal(s.ptr, "1234567890");
    assert_false(s.toobig);
    str_add(&s, "", 0);
    assert_false(s.toobig);
    str_addc(&s, 'x');
    assert_true(s.toobig);
    assert_string_equal(s.ptr, "1234567890");
    str_truncate(&s, 3);
    str_addc(&s, 'x'); /* sticky: a part in the middle must not go missing */
    assert_string_equal(s.ptr, "123");
    str_reset(&s);
    assert_false(s.toobig);
    str_add(&s, "a\0b", 3);
    assert_int_equal(s.len, 3);
    assert_memory_equal(s.ptr, "a\0b", 4);
    assert_false(str_reserve(&s, SIZE_MAX));
}

static void
test_str_format_and_detach(void **state)
{
    auto_str s = STR_INIT(100000);
    autofree char *empty = str_detach(&s);

    UNUSED(state);
    assert_string_equal(empty, "");
    for (int i = 0; i < 3000; i++) /* short and long ones, across many growths */
        str_addf(&s, i % 100 == 0 ? "%0300d," : "%d,", i % 10);
    assert_int_equal(s.len, 2970 * 2 + 30 * 301);
    autofree char *p = str_detach(&s);
    assert_int_equal(strlen(p), 2970 * 2 + 30 * 301);
    assert_int_equal(s.len, 0);
    assert_int_equal(s.max, 100000);
    assert_true(str_starts("abc", "ab") && !str_starts("a", "ab"));
    assert_true(str_ends("abc", "bc") && !str_ends("c", "bc") && str_ends("x", ""));
    assert_true(span_eq(span_of("abc"), "abc"));
    assert_false(span_eq((struct span){"abc", 2}, "abc"));
    assert_int_equal(span_of(NULL).len, 0);
}

/* --- containers -----------------------------------------------------------------------
 */

static void
test_vec(void **state)
{
    vec(int) v = {0};
    int sum = 0;

    UNUSED(state);
    vec_foreach (p, &v)
        sum += *p;
    for (int i = 0; i < 1000; i++)
        vec_push(&v, i);
    vec_insert(&v, 0, -5);
    vec_insert(&v, 500, -6);
    vec_insert(&v, v.len, -7);
    assert_int_equal(v.len, 1003);
    assert_int_equal(v.items[0], -5);
    assert_int_equal(v.items[1], 0);
    assert_int_equal(v.items[500], -6);
    assert_int_equal(v.items[501], 499);
    assert_int_equal(v.items[1002], -7);
    vec_remove(&v, 1002);
    vec_remove(&v, 500);
    vec_remove(&v, 0);
    vec_foreach (p, &v)
        sum += *p;
    assert_int_equal(sum, 999 * 1000 / 2);
    vec_done(&v);
    assert_int_equal(v.len, 0);
    assert_null(v.items);
}

static int freed;

static void
count_free(void *p)
{
    freed++;
    free(p);
}

static void
test_map(void **state)
{
    auto_map *m = map_new(count_free);
    char key[32];
    const char *k;
    void *v;

    UNUSED(state);
    freed = 0;
    for (int i = 0; i < 2000; i++) {
        snprintf(key, sizeof(key), "key-%d", i);
        map_put(m, key, xasprintf("%d", i));
    }
    assert_int_equal(map_len(m), 2000);
    assert_string_equal(map_get(m, "key-1234"), "1234");
    assert_null(map_get(m, "key-2000"));
    map_put(m, "key-7", xstrdup("seven")); /* frees the older value */
    assert_int_equal(freed, 1);
    assert_string_equal(map_get(m, "key-7"), "seven");
    map_put(m, "key-7", map_get(m, "key-7")); /* the same one: kept */
    assert_int_equal(freed, 1);
    autofree char *taken = map_take(m, "key-7");
    assert_string_equal(taken, "seven");
    assert_null(map_take(m, "key-7"));
    /* Removing what the cursor just returned is allowed. */
    struct map_cursor c = map_begin(m);
    int seen = 0;
    while (map_next(&c, &k, &v)) {
        snprintf(key, sizeof(key), "key-%s", (const char *)v);
        assert_string_equal(k, key);
        if (seen++ % 2 == 0)
            assert_true(map_del(m, key));
    }
    assert_int_equal(seen, 1999);
    assert_int_equal(map_len(m), 999);
    assert_false(map_del(m, "never"));
    map_putn(m, "a\0b", 3, xstrdup("x")); /* keys are bytes */
    map_putn(m, "a\0c", 3, xstrdup("y"));
    map_putn(m, "", 0, xstrdup("empty"));
    assert_string_equal(map_getn(m, "a\0c", 3), "y");
    assert_string_equal(map_get(m, ""), "empty");
    assert_true(map_deln(m, "a\0b", 3));
    assert_null(map_getn(m, "a\0b", 3));
    map_clear(m);
    assert_int_equal(map_len(m), 0);
    assert_int_equal(freed, 2000 + 1 + 3 - 1);
}

static void
assert_heap(const struct heap *h)
{
    for (size_t i = 0; i < h->len; i++) {
        assert_int_equal(h->nodes[i]->index, i);
        if (i > 0)
            assert_true(h->nodes[(i - 1) / 2]->key <= h->nodes[i]->key);
    }
}

/* Against a plain array as the model, over random operations. */
static void
test_heap_against_model(void **state)
{
    enum { N = 64 };
    static const unsigned char seed[32] = {7};
    struct heap h = {0};
    struct heap_node nodes[N];
    int64_t model[N];

    UNUSED(state);
    id_seed(seed);
    for (int i = 0; i < N; i++) {
        nodes[i] = HEAP_NODE_INIT;
        model[i] = -1;
    }
    for (int step = 0; step < 20000; step++) {
        int i = (int)id_uniform(N);
        if (id_uniform(3) == 0 && model[i] >= 0) {
            heap_remove(&h, &nodes[i]);
            model[i] = -1;
        } else {
            model[i] = id_uniform(50);
            heap_set(&h, &nodes[i], model[i]);
        }
        int64_t min = INT64_MAX;
        for (int k = 0; k < N; k++) {
            assert_int_equal(heap_contains(&nodes[k]), model[k] >= 0);
            if (model[k] >= 0 && model[k] < min)
                min = model[k];
        }
        const struct heap_node *top = heap_min(&h);
        if (top == NULL)
            assert_int_equal(min, INT64_MAX);
        else
            assert_int_equal(top->key, min);
        assert_heap(&h);
    }
    heap_done(&h);
    id_seed(NULL);
}

static void
test_heap_is_stable(void **state)
{
    struct heap h = {0};
    struct heap_node nodes[100];

    UNUSED(state);
    for (int i = 0; i < 100; i++) {
        nodes[i] = HEAP_NODE_INIT;
        heap_push(&h, &nodes[i], i % 2);
    }
    for (int i = 0; i < 100; i++) {
        struct heap_node *n = heap_min(&h);
        int expected = i < 50 ? 2 * i : 2 * (i - 50) + 1;
        assert_ptr_equal(n, &nodes[expected]);
        heap_remove(&h, n);
        assert_false(heap_contains(n));
    }
    assert_null(heap_min(&h));
    heap_done(&h);
}

/* --- time -----------------------------------------------------------------------------
 */

static void
test_clock_text(void **state)
{
    static const struct {
        const char *text, *canonical; /* NULL: not valid */
    } cases[] = {
        {"1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000000Z"},
        {"2024-02-29T23:59:59Z", "2024-02-29T23:59:59.000000Z"},
        {"2000-02-29T12:00:00.123456789Z", "2000-02-29T12:00:00.123456Z"},
        {"1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59.500000Z"},
        {"2024-01-01T00:30:00+01:00", "2023-12-31T23:30:00.000000Z"},
        {"2024-01-01t00:30:00.25-00:30", "2024-01-01T01:00:00.250000Z"},
        {"2016-12-31T23:59:60Z", "2017-01-01T00:00:00.000000Z"},
        {"2261-12-31T23:59:59Z", "2261-12-31T23:59:59.000000Z"},
        {"1678-01-01T00:00:00Z", "1678-01-01T00:00:00.000000Z"},
        {"2023-02-29T00:00:00Z", NULL},
        {"2024-13-01T00:00:00Z", NULL},
        {"2024-00-01T00:00:00Z", NULL},
        {"2024-04-31T00:00:00Z", NULL},
        {"2024-01-01T24:00:00Z", NULL},
        {"2024-01-01T00:60:00Z", NULL},
        {"2024-01-01T00:00:00", NULL},
        {"2024-01-01T00:00:00.Z", NULL},
        {"2024-01-01T00:00:00+1:00", NULL},
        {"2024-01-01T00:00:00+24:00", NULL},
        {"2024-01-01T00:00:00Zx", NULL},
        {"2024-01-01 00:00:00Z", NULL},
        {"24-01-01T00:00:00Z", NULL},
        {"-024-01-01T00:00:00Z", NULL},
        {"9999-01-01T00:00:00Z", NULL},
        {"", NULL},
    };
    char out[CLOCK_RFC3339_US_LEN];

    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int64_t ns = 0;
        size_t n = strlen(cases[i].text);
        char *exact = xmemdup(cases[i].text, n); /* no NUL: a read too far is seen */
        bool ok = clock_parse(exact, n, &ns);
        free(exact);
        if (ok != (cases[i].canonical != NULL))
            fail_msg("%s: %s", cases[i].text, ok ? "accepted" : "refused");
        if (!ok)
            continue;
        clock_format_us(ns, out);
        assert_string_equal(out, cases[i].canonical);
    }
    char secs[CLOCK_RFC3339_LEN];
    clock_format(1700000000999999999, secs);
    assert_string_equal(secs, "2023-11-14T22:13:20Z");
}

/* Every day of the permitted range goes out and comes back. */
static void
test_clock_round_trip(void **state)
{
    int64_t start = 0;
    int64_t end = 0;

    UNUSED(state);
    assert_true(clock_parse("1678-01-01T00:00:00Z", 20, &start));
    assert_true(clock_parse("2261-12-31T00:00:00Z", 20, &end));
    for (int64_t t = start; t <= end; t += 86400000000000LL) {
        char text[CLOCK_RFC3339_LEN];
        int64_t back = 0;
        clock_format(t + 3723000000000LL, text);
        assert_true(clock_parse(text, 20, &back));
        assert_int_equal(back, t + 3723000000000LL);
    }
}

static void
test_clock_human(void **state)
{
    static const struct {
        int64_t s;
        const char *text;
    } cases[] = {
        {-2, "<invalid>"},     {-1, "0s"},        {0, "0s"},
        {119, "119s"},         {120, "2m"},       {121, "2m1s"},
        {599, "9m59s"},        {600, "10m"},      {10799, "179m"},
        {10800, "3h"},         {10860, "3h1m"},   {28799, "7h59m"},
        {28800, "8h"},         {172799, "47h"},   {172800, "2d"},
        {176400, "2d1h"},      {691199, "7d23h"}, {691200, "8d"},
        {63071999, "729d"},    {63072000, "2y"},  {63158400, "2y1d"},
        {252287999, "7y364d"}, {252288000, "8y"}, {3153600000, "100y"},
    };
    char out[16];

    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        clock_human(cases[i].s, out, sizeof(out));
        assert_string_equal(out, cases[i].text);
    }
}

static void
test_fake_clock(void **state)
{
    UNUSED(state);
    clock_fake_set(5000000000, 42);
    assert_int_equal(clock_now_ms(), 5000);
    assert_int_equal(clock_boot_ms(), 5000);
    clock_fake_advance(1000000);
    assert_int_equal(clock_now_ns(), 5001000000);
    assert_int_equal(clock_wall_ns(), 1000042);
    clock_fake_stop();
    int64_t a = clock_now_ns();
    assert_true(clock_now_ns() >= a);
    assert_true(clock_wall_ns() > 1600000000000000000);
}

/* --- identifiers ----------------------------------------------------------------------
 */

static void
test_ids(void **state)
{
    static const unsigned char seed[32] = {1, 2, 3};
    char a[ID_UUID_LEN];
    char b[ID_UUID_LEN];
    char token[ID_TOKEN_MAX];
    char suffix[6];

    UNUSED(state);
    id_uuid4(a);
    id_uuid4(b);
    assert_string_not_equal(a, b);
    assert_true(id_is_uuid(a, 36));
    assert_int_equal(a[14], '4');
    assert_non_null(strchr("89ab", a[19]));
    assert_false(id_is_uuid(a, 35));
    assert_false(id_is_uuid("00000000-0000-4000-8000-00000000000G", 36));
    assert_false(id_is_uuid("000000000000040008000000000000000000", 36));
    id_token("drt_", token);
    assert_int_equal(strlen(token), 4 + 43);
    id_suffix(suffix, 5);
    assert_int_equal(strspn(suffix, "bcdfghjklmnpqrstvwxz2456789"), 5);
    id_seed(seed);
    id_uuid4(a);
    uint32_t n = id_uniform(1000000);
    id_seed(seed);
    id_uuid4(b);
    assert_string_equal(a, b);
    assert_int_equal(id_uniform(1000000), n);
    id_seed(NULL);
    id_uuid4(b);
    assert_string_not_equal(a, b);
    for (int i = 0; i < 1000; i++)
        assert_true(id_uniform(7) < 7);
    assert_int_equal(id_uniform(0), 0);
}

static void
test_encodings(void **state)
{
    static const char *const plain[] = {"", "f", "fo", "foo", "foob", "\xfb\xff\xfe"};
    static const char *const coded[] = {"", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "+//+"};
    static const char *const bad[] = {"Zg",    "Zg=",      "Z===", "Zm9v*",
                                      "Zm9v=", "Zg==Zg==", "-__-"};
    char hash[65];

    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(plain); i++) {
        size_t n = strlen(plain[i]);
        auto_str enc = STR_INIT(strlen(coded[i])); /* exactly enough */
        auto_str dec = STR_INIT(100);
        id_base64(plain[i], n, &enc);
        assert_false(enc.toobig);
        assert_string_equal(enc.ptr, coded[i]);
        OK(id_base64_decode(enc.ptr, enc.len, false, &dec, &err));
        assert_int_equal(dec.len, n);
        assert_memory_equal(dec.ptr, plain[i], n);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        auto_str dec = STR_INIT(100);
        assert_int_equal(id_base64_decode(bad[i], strlen(bad[i]), false, &dec, &err),
                         -ERR_BAD_REQUEST);
        assert_int_equal(dec.len, 0);
    }
    auto_str url = STR_INIT(100);
    auto_str dec = STR_INIT(100);
    id_base64url("\xfb\xff\xfe!", 4, &url);
    assert_string_equal(url.ptr, "-__-IQ");
    OK(id_base64_decode(url.ptr, url.len, true, &dec, &err));
    assert_memory_equal(dec.ptr, "\xfb\xff\xfe!", 4);
    str_reset(&url);
    id_hex("\x00\xab\x7f", 3, &url);
    assert_string_equal(url.ptr, "00ab7f");
    id_hash_hex("abc", 3, hash);
    assert_string_equal(
        hash, "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319");
}

/* --- files ----------------------------------------------------------------------------
 */

static void
test_write_atomic_and_read(void **state)
{
    autofree char *path = fs_join(tmp, "file");
    auto_str got = STR_INIT(100);
    struct stat st;

    UNUSED(state);
    OK(fs_write_atomic(path, "one", 3, 0640, &err));
    OK(fs_write_atomic(path, "two!", 4, 0600, &err));
    OK(fs_read(path, &got, &err));
    assert_string_equal(got.ptr, "two!");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    str_done(&got);
    got.max = 3;
    assert_int_equal(fs_read(path, &got, &err), -ERR_TOO_LARGE);
    str_done(&got);
    assert_int_equal(fs_read("/nonexistent/x", &got, &err), -ERR_NOT_FOUND);
    assert_int_equal(fs_write_atomic("/nonexistent/x", "", 0, 0600, &err),
                     -ERR_NOT_FOUND);
    /* Onto a directory: fails, and leaves no temporary file behind. */
    autofree char *dir = fs_join(tmp, "dir");
    OK(fs_mkdirs(dir, 0700, &err));
    assert_true(fs_write_atomic(dir, "x", 1, 0600, &err) < 0);
    DIR *d = opendir(tmp);
    int entries = 0;
    while (readdir(d) != NULL)
        entries++;
    closedir(d);
    assert_int_equal(entries, 4); /* . .. file dir */
}

static void
test_join_and_mkdirs(void **state)
{
    static const char *const cases[][3] = {
        {"/a", "b", "/a/b"}, {"/a/", "b", "/a/b"},  {"/a//", "/b", "/a/b"},
        {"/", "b", "/b"},    {"a", "b/c", "a/b/c"}, {"", "b", "b"},
    };
    struct stat st;

    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        autofree char *got = fs_join(cases[i][0], cases[i][1]);
        assert_string_equal(got, cases[i][2]);
    }
    autofree char *deep = fs_join(tmp, "a/b//c/");
    OK(fs_mkdirs(deep, 0700, &err));
    OK(fs_mkdirs(deep, 0700, &err));
    assert_int_equal(stat(deep, &st), 0);
    assert_true(S_ISDIR(st.st_mode));
    autofree char *file = fs_join(tmp, "f");
    OK(fs_write_atomic(file, "", 0, 0600, &err));
    assert_true(fs_mkdirs(file, 0700, &err) < 0);
    assert_true(fs_mkdirs("", 0700, &err) < 0);
    OK(fs_mkdirs("/", 0700, &err));
}

/* Links are removed, not followed; a nesting without end goes too.
 */
static void
test_remove_tree(void **state)
{
    autofree char *tree = fs_join(tmp, "tree");
    autofree char *kept = fs_join(tmp, "kept");
    autofree char *kept_file = fs_join(kept, "file");
    autofree char *link = fs_join(tree, "link");
    struct stat st;

    UNUSED(state);
    OK(fs_mkdirs(tree, 0700, &err));
    OK(fs_mkdirs(kept, 0700, &err));
    OK(fs_write_atomic(kept_file, "x", 1, 0600, &err));
    assert_int_equal(symlink(kept, link), 0);
    int fd = open(tree, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int depth = 0; depth < 300; depth++) {
        assert_int_equal(mkdirat(fd, "d", 0700), 0);
        int file = openat(fd, "f", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        int next = openat(fd, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(file >= 0 && next >= 0);
        close(file);
        close(fd);
        fd = next;
    }
    close(fd);
    OK(fs_remove_tree(tree, &err));
    assert_int_equal(lstat(tree, &st), -1);
    assert_int_equal(stat(kept_file, &st), 0);
    OK(fs_remove_tree(tree, &err)); /* absent is success */
    OK(fs_remove_tree(kept_file, &err));
    assert_int_equal(lstat(kept_file, &st), -1);
}

static void
test_lock(void **state)
{
    autofree char *path = fs_join(tmp, "lock");
    int fd = -1;
    int ready[2];
    int status = 0;
    char byte;

    UNUSED(state);
    OK(fs_lock(path, &fd, &err));
    int second = -1;
    assert_int_equal(fs_lock(path, &second, &err), -ERR_BUSY);
    assert_int_equal(second, -1);
    autofree char *holder = xasprintf("held by pid %d", (int)getpid());
    assert_non_null(strstr(err.msg, holder));
    close(fd);
    /* A holder that is killed leaves nothing that has to be cleaned up. */
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct error e = ERROR_INIT;
        if (fs_lock(path, &fd, &e) != 0 || write(ready[1], "x", 1) != 1)
            _exit(1);
        pause();
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(fs_lock(path, &fd, &err), -ERR_BUSY);
    autofree char *child = xasprintf("held by pid %d", (int)pid);
    assert_non_null(strstr(err.msg, child));
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    OK(fs_lock(path, &fd, &err));
    close(fd);
    close(ready[0]);
    close(ready[1]);
}

/* --- logging --------------------------------------------------------------------------
 */

static void
rate_limited(int i)
{
    log_warn_rl("often", "i=%d", i);
}

/* Lines go out whole; control bytes of outside text do not reach the terminal. */
static void
test_log_lines(void **state)
{
    char buf[8192];
    int fds[2];

    UNUSED(state);
    assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
    log_set_fd(fds[1]);
    clock_fake_set(1000000000000, 1700000000000000000);
    errno = 77;
    log_info("hello \"you\"", "a=%d text=\"%s\"", 1, "x\x1b[31m\ny\x7f");
    assert_int_equal(errno, 77);
    log_debug("not shown", "a=1");
    assert_true(log_set_spec("test=debug"));
    log_debug("shown", "b=2");
    assert_false(log_set_spec("test=loud"));
    assert_true(log_set_spec("test=info"));
    for (int i = 0; i < 10; i++)
        rate_limited(i);
    clock_fake_advance(2000000000);
    rate_limited(10);
    log_set_json(true);
    log_info("json", "k=\"v w\" n=1");
    log_set_json(false);
    log_set_fd(2);
    clock_fake_stop();
    ssize_t n = read(fds[0], buf, sizeof(buf) - 1);
    assert_true(n > 0);
    buf[n] = '\0';
    assert_string_equal(
        buf, "2023-11-14T22:13:20.000000Z info  drover/test \"hello \\\"you\\\"\""
             " a=1 text=\"x [31m y \"\n"
             "2023-11-14T22:13:20.000000Z debug drover/test \"shown\" b=2\n"
             "2023-11-14T22:13:20.000000Z warn  drover/test \"often\" i=0\n"
             "2023-11-14T22:13:22.000000Z warn  drover/test \"often\" i=10\n"
             "2023-11-14T22:13:22.000000Z warn  drover/test \"more of the same were not"
             " logged\" msg=\"often\" count=9\n"
             "{\"ts\":\"2023-11-14T22:13:22.000000Z\",\"level\":\"info\","
             "\"program\":\"drover\",\"module\":\"test\",\"msg\":\"json\","
             "\"k\":\"v w\",\"n\":\"1\"}\n");
    close(fds[0]);
    close(fds[1]);
}

int
main(void)
{
#define WITH_TMP(fn) cmocka_unit_test_setup_teardown(fn, make_tmp, remove_tmp)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_error_set_and_prepend),
        cmocka_unit_test(test_error_table),
        cmocka_unit_test(test_bug_if_aborts),
        cmocka_unit_test(test_str_bound_is_exact),
        cmocka_unit_test(test_str_format_and_detach),
        cmocka_unit_test(test_vec),
        cmocka_unit_test(test_map),
        cmocka_unit_test(test_heap_against_model),
        cmocka_unit_test(test_heap_is_stable),
        cmocka_unit_test(test_clock_text),
        cmocka_unit_test(test_clock_round_trip),
        cmocka_unit_test(test_clock_human),
        cmocka_unit_test(test_fake_clock),
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_encodings),
        WITH_TMP(test_write_atomic_and_read),
        WITH_TMP(test_join_and_mkdirs),
        WITH_TMP(test_remove_tree),
        WITH_TMP(test_lock),
        cmocka_unit_test(test_log_lines),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
