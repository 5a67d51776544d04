/* SPDX-License-Identifier: Apache-2.0 */
/* The ring of keys: what opens where, and what a new first key changes. */
#include <stdlib.h>
#include <unistd.h>

#include "apiserver/store/keyring.h"
#include "base/fs.h"
#include "base/mem.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct keyring_place
place(enum keyring_use use, const char *bound, bool same)
{
    return (struct keyring_place){use, span_of(bound), same};
}

static struct span
text(const struct str *s)
{
    return (struct span){s->ptr, s->len};
}

static void
opens_in_its_place_only(void **state)
{
    struct keyring *ring = NULL, *other = NULL;
    struct error e = ERROR_INIT;
    auto_str sealed = STR_INIT(4096), plain = STR_INIT(4096);
    struct keyring_place a = place(KEYRING_HISTORY, "a", false);
    struct keyring_place b = place(KEYRING_HISTORY, "b", false);
    struct keyring_place use = place(KEYRING_MIRROR, "a", false);

    UNUSED(state);
    assert_int_equal(keyring_load(NULL, false, &ring, &e), 0);
    assert_int_equal(keyring_load(NULL, false, &other, &e), 0);
    keyring_seal(ring, &a, span_of("text"), &sealed);
    assert_int_equal(sealed.len, keyring_sealed_len(4));
    assert_int_equal(keyring_open(ring, &a, text(&sealed), &plain, &e), 0);
    assert_string_equal(plain.ptr, "text");
    assert_int_equal(keyring_open(ring, &b, text(&sealed), &plain, &e), -ERR_CORRUPT);
    assert_int_equal(keyring_open(ring, &use, text(&sealed), &plain, &e), -ERR_CORRUPT);
    assert_int_equal(keyring_open(other, &a, text(&sealed), &plain, &e), -ERR_NOT_FOUND);
    for (size_t i = 0; i < sealed.len; i++) { /* every byte matters */
        char was = sealed.ptr[i];
        sealed.ptr[i] = was == 'A' ? 'B' : 'A';
        assert_true(was == '=' || keyring_open(ring, &a, text(&sealed), &plain, &e) < 0);
        sealed.ptr[i] = was;
    }
    for (size_t n = 0; n < sealed.len; n++)
        assert_true(keyring_open(ring, &a, (struct span){sealed.ptr, n}, &plain, &e) < 0);
    assert_string_equal(plain.ptr, "text");
    keyring_free(ring);
    keyring_free(other);
}

static void
same_value_same_text_only_if_asked(void **state)
{
    struct keyring *ring = NULL;
    struct error e = ERROR_INIT;
    auto_str one = STR_INIT(4096), two = STR_INIT(4096), three = STR_INIT(4096);
    auto_str other = STR_INIT(4096);
    struct keyring_place same = place(KEYRING_MIRROR, "ab", true);
    struct keyring_place split = place(KEYRING_MIRROR, "a", true);
    struct keyring_place random = place(KEYRING_MIRROR, "ab", false);

    UNUSED(state);
    assert_int_equal(keyring_load(NULL, false, &ring, &e), 0);
    keyring_seal(ring, &same, span_of("c"), &one);
    keyring_seal(ring, &same, span_of("c"), &two);
    assert_string_equal(one.ptr, two.ptr);
    keyring_seal(ring, &split, span_of("bc"), &other);
    assert_string_not_equal(one.ptr, other.ptr);
    keyring_seal(ring, &random, span_of("c"), &three);
    str_reset(&two);
    keyring_seal(ring, &random, span_of("c"), &two);
    assert_string_not_equal(two.ptr, three.ptr);
    keyring_free(ring);
}

static void
the_first_key_seals_and_all_open(void **state)
{
    char dir[] = "/tmp/drover-keyring-XXXXXX";
    struct keyring *old = NULL, *both = NULL, *last = NULL;
    struct error e = ERROR_INIT;
    auto_str sealed = STR_INIT(4096), anew = STR_INIT(4096), plain = STR_INIT(4096);
    struct keyring_place a = place(KEYRING_STORE, "a", false);

    UNUSED(state);
    assert_non_null(mkdtemp(dir));
    autofree char *path = fs_join(dir, KEYRING_FILE);
    assert_int_equal(keyring_load(path, false, &old, &e), -ERR_NOT_FOUND);
    assert_int_equal(keyring_load(path, true, &old, &e), 0);
    keyring_seal(old, &a, span_of("x"), &sealed);
    assert_int_equal(keyring_add_key(path, &e), 0);
    assert_int_equal(keyring_load(path, true, &both, &e), 0);
    assert_int_equal(keyring_len(both), 2);
    assert_string_equal(keyring_id(both, 1), keyring_id(old, 0));
    assert_int_equal(keyring_open(both, &a, text(&sealed), &plain, &e), 0);
    keyring_seal(both, &a, span_of("x"), &anew);
    assert_true(str_starts(anew.ptr, keyring_id(both, 0)));
    assert_int_equal(keyring_drop_old(path, &e), 0);
    assert_int_equal(keyring_load(path, false, &last, &e), 0);
    assert_int_equal(keyring_open(last, &a, text(&sealed), &plain, &e), -ERR_NOT_FOUND);
    assert_int_equal(keyring_open(last, &a, text(&anew), &plain, &e), 0);
    assert_string_equal(plain.ptr, "xx");
    keyring_free(old);
    keyring_free(both);
    keyring_free(last);
    assert_int_equal(fs_write_atomic(path, "12\n", 3, 0600, &e), 0);
    assert_int_equal(keyring_load(path, true, &last, &e), -ERR_CORRUPT);
    assert_int_equal(fs_remove_tree(dir, &e), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_in_its_place_only),
        cmocka_unit_test(same_value_same_text_only_if_asked),
        cmocka_unit_test(the_first_key_seals_and_all_open),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
