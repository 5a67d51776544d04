/* SPDX-License-Identifier: Apache-2.0 */
/* The mirror's three-way plan, as a table, and the two tree functions under it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "apiserver/mirror/plan.h"
#include "base/mem.h"

/* base and store: "uid form" with the form as JSON, or NULL. */
struct row {
    const char *name;
    const char *base, *base_file; /* base_file NULL: as base */
    enum mirror_file file;
    const char *form;
    const char *store;
    bool plain, deleting;
    const char *unwanted, *applied;
    enum mirror_action want;
    const char *patch; /* PATCH */
    const char *text;  /* REFUSE, RESTORE: is in it */
};

#define A "a {\"spec\":{\"x\":1,\"y\":1}}"
#define A_X2 "a {\"spec\":{\"x\":2,\"y\":1}}"
#define A_Y2 "a {\"spec\":{\"x\":1,\"y\":2}}"
#define B "b {\"spec\":{\"x\":1,\"y\":1}}"

static const struct row rows[] = {
    {"nothing at all", NULL, NULL, MIRROR_FILE_ABSENT, NULL, NULL,
     .want = MIRROR_NOTHING},
    {"a new object", NULL, NULL, MIRROR_FILE_ABSENT, NULL, A, .want = MIRROR_WRITE},
    {"a new file", NULL, NULL, MIRROR_FILE_CHANGED, "{\"spec\":{}}", NULL,
     .want = MIRROR_CREATE},
    {"a file that says what is stored", NULL, NULL, MIRROR_FILE_CHANGED,
     "{\"spec\":{\"x\":1}}", A, .want = MIRROR_RECORD},
    {"the same with plain secrets", NULL, NULL, MIRROR_FILE_CHANGED,
     "{\"spec\":{\"x\":1}}", A, .plain = true, .want = MIRROR_WRITE},
    {"a file that says something else", NULL, NULL, MIRROR_FILE_CHANGED,
     "{\"spec\":{\"x\":7}}", A, .want = MIRROR_REFUSE, .text = "exists already"},
    {"a file of an object that is not mirrored", NULL, NULL, MIRROR_FILE_CHANGED,
     "{\"spec\":{}}", NULL, .unwanted = "a controller owns it", .want = MIRROR_REFUSE,
     .text = "a controller owns it"},
    {"all the same", A, NULL, MIRROR_FILE_SAME, NULL, A, .want = MIRROR_NOTHING},
    {"the store moved", A, NULL, MIRROR_FILE_SAME, NULL, A_X2, .want = MIRROR_WRITE},
    {"the object was replaced", A, NULL, MIRROR_FILE_SAME, NULL, B, .want = MIRROR_WRITE},
    {"the object is gone", A, NULL, MIRROR_FILE_SAME, NULL, NULL, .want = MIRROR_REMOVE},
    {"an edit", A, NULL, MIRROR_FILE_CHANGED, "{\"spec\":{\"x\":2,\"y\":1}}", A,
     .want = MIRROR_PATCH, .patch = "{\"spec\":{\"x\":2}}"},
    {"an edit beside another change", A, NULL, MIRROR_FILE_CHANGED,
     "{\"spec\":{\"x\":2,\"y\":1}}", A_Y2, .want = MIRROR_PATCH,
     .patch = "{\"spec\":{\"x\":2}}"},
    {"a removed field", A, NULL, MIRROR_FILE_CHANGED, "{\"spec\":{\"y\":1}}", A,
     .want = MIRROR_PATCH, .patch = "{\"spec\":{\"x\":null}}"},
    {"the same edit in both", A, NULL, MIRROR_FILE_CHANGED,
     "{\"spec\":{\"x\":2,\"y\":1}}", A_X2, .want = MIRROR_WRITE},
    {"only comments changed", A, NULL, MIRROR_FILE_CHANGED,
     "{\"spec\":{\"x\":1,\"y\":1}}", A, .want = MIRROR_RECORD},
    {"comments changed and the store moved", A, NULL, MIRROR_FILE_CHANGED,
     "{\"spec\":{\"x\":1,\"y\":1}}", A_X2, .want = MIRROR_WRITE},
    {"a conflict", A, NULL, MIRROR_FILE_CHANGED, "{\"spec\":{\"x\":3,\"y\":1}}", A_X2,
     .want = MIRROR_REFUSE,
     .text = "spec.x: the file says 3, but the stored value has changed meanwhile from 1 "
             "to 2"},
    {"removed here, changed there", A, NULL, MIRROR_FILE_CHANGED, "{\"spec\":{\"y\":1}}",
     A_X2, .want = MIRROR_REFUSE, .text = "spec.x: the file says nothing"},
    {"a short file gains a field that has a default", A, "{\"spec\":{\"x\":1}}",
     MIRROR_FILE_CHANGED, "{\"spec\":{\"x\":1,\"y\":5}}", A, .want = MIRROR_PATCH,
     .patch = "{\"spec\":{\"y\":5}}"},
    {"a short file, its silent field moved in the store", A, "{\"spec\":{\"x\":1}}",
     MIRROR_FILE_CHANGED, "{\"spec\":{\"x\":2}}", A_Y2, .want = MIRROR_PATCH,
     .patch = "{\"spec\":{\"x\":2}}"},
    {"an edit after one that was applied by a killed process", A, NULL,
     MIRROR_FILE_CHANGED, "{\"spec\":{\"x\":3,\"y\":1}}", A_X2,
     .applied = "{\"spec\":{\"x\":2,\"y\":1}}", .want = MIRROR_PATCH,
     .patch = "{\"spec\":{\"x\":3}}"},
    {"the same, but somebody else came after", A, NULL, MIRROR_FILE_CHANGED,
     "{\"spec\":{\"x\":3,\"y\":1}}", A_X2, .applied = "{\"spec\":{\"x\":9,\"y\":1}}",
     .want = MIRROR_REFUSE, .text = "from 1 to 2"},
    {"an edit of a deleted object", A, NULL, MIRROR_FILE_CHANGED,
     "{\"spec\":{\"x\":2,\"y\":1}}", NULL, .want = MIRROR_REFUSE, .text = "was deleted"},
    {"an edit of a replaced object", A, NULL, MIRROR_FILE_CHANGED,
     "{\"spec\":{\"x\":2,\"y\":1}}", B, .want = MIRROR_REFUSE, .text = "was replaced"},
    {"a deleted file", A, NULL, MIRROR_FILE_ABSENT, NULL, A, .want = MIRROR_DELETE},
    {"a deleted file of a changed object", A, NULL, MIRROR_FILE_ABSENT, NULL, A_X2,
     .want = MIRROR_RESTORE, .text = "here it is again"},
    {"a deleted file of a replaced object", A, NULL, MIRROR_FILE_ABSENT, NULL, B,
     .want = MIRROR_WRITE},
    {"deleted in both", A, NULL, MIRROR_FILE_ABSENT, NULL, NULL, .want = MIRROR_FORGET},
    {"being deleted", A, NULL, MIRROR_FILE_ABSENT, NULL, A, .deleting = true,
     .want = MIRROR_NOTHING},
    {"an invalid file", A, NULL, MIRROR_FILE_BAD, NULL, A, .want = MIRROR_REFUSE,
     .text = "line 3"},
    {"an unreadable file", A, NULL, MIRROR_FILE_UNKNOWN, NULL, A, .want = MIRROR_NOTHING},
    {"an unreadable file, no object", A, NULL, MIRROR_FILE_UNKNOWN, NULL, NULL,
     .want = MIRROR_NOTHING},
};

static json_t *
form(const char *text)
{
    json_t *j = text == NULL ? NULL : json_loads(text, 0, NULL);

    assert_true(text == NULL || j != NULL);
    return j;
}

static void
check_row(const struct row *r)
{
    char base_uid[2] = {r->base == NULL ? '\0' : r->base[0], '\0'};
    char uid[2] = {r->store == NULL ? '\0' : r->store[0], '\0'};
    json_t *base = form(r->base == NULL ? NULL : r->base + 2);
    json_t *base_file = r->base_file == NULL ? json_incref(base) : form(r->base_file);
    json_t *store = form(r->store == NULL ? NULL : r->store + 2), *file = form(r->form);
    json_t *patch = form(r->patch), *applied = form(r->applied);
    struct mirror_versions v = {.has_base = base != NULL,
                                .base_uid = base_uid,
                                .base_store = base,
                                .base_file = base_file,
                                .applied = {NULL, applied},
                                .file = r->file,
                                .file_form = file,
                                .file_plain = r->plain,
                                .problem = "line 3: no",
                                .has_store = store != NULL,
                                .uid = uid,
                                .store = store,
                                .store_same = base != NULL && store != NULL &&
                                              streq(base_uid, uid) &&
                                              json_equal(base, store),
                                .deleting = r->deleting,
                                .unwanted = r->unwanted};
    struct mirror_plan p;

    mirror_plan(&v, false, &p);
    if (p.action != r->want)
        fail_msg("%s: action %d instead of %d: %s", r->name, p.action, r->want,
                 p.text.ptr);
    if ((patch == NULL) != (p.patch == NULL) ||
        (patch != NULL && !json_equal(patch, p.patch)))
        fail_msg("%s: another patch", r->name);
    if (r->text != NULL && strstr(p.text.ptr, r->text) == NULL)
        fail_msg("%s: the text is \"%s\"", r->name, p.text.ptr);
    mirror_plan_done(&p);
    json_decref(base);
    json_decref(base_file);
    json_decref(store);
    json_decref(file);
    json_decref(patch);
    json_decref(applied);
}

static void
test_table(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        check_row(&rows[i]);
}

static void
test_no_secret_in_text(void **state)
{
    json_t *base = form("{\"data\":{\"k\":\"one\"}}"),
           *file = form("{\"data\":{\"k\":\"two\"}}");
    json_t *store = form("{\"data\":{\"k\":\"three\"}}");
    struct mirror_versions v = {.has_base = true,
                                .base_uid = "a",
                                .base_store = base,
                                .base_file = base,
                                .file = MIRROR_FILE_CHANGED,
                                .file_form = file,
                                .has_store = true,
                                .uid = "a",
                                .store = store};
    struct mirror_plan p;

    UNUSED(state);
    mirror_plan(&v, true, &p);
    assert_int_equal(p.action, MIRROR_REFUSE);
    assert_non_null(strstr(p.text.ptr, "data.k"));
    assert_null(strstr(p.text.ptr, "one"));
    assert_null(strstr(p.text.ptr, "two"));
    assert_null(strstr(p.text.ptr, "three"));
    mirror_plan_done(&p);
    json_decref(base);
    json_decref(file);
    json_decref(store);
}

static void
check_diff(const char *from_text, const char *to_text, const char *want_text)
{
    json_t *from = form(from_text), *to = form(to_text), *want = form(want_text);
    json_t *patch = mirror_diff(from, to);

    if ((patch == NULL) != (want == NULL) || (want != NULL && !json_equal(patch, want)))
        fail_msg("diff %s -> %s", from_text, to_text);
    json_decref(from);
    json_decref(to);
    json_decref(want);
    json_decref(patch);
}

static void
test_diff(void **state)
{
    UNUSED(state);
    check_diff("{}", "{}", NULL);
    check_diff("{\"a\":{\"b\":1}}", "{\"a\":{\"b\":1}}", NULL);
    check_diff("{\"a\":{\"b\":1,\"c\":2}}", "{\"a\":{\"b\":1}}", "{\"a\":{\"c\":null}}");
    check_diff("{\"a\":[1,2]}", "{\"a\":[2]}", "{\"a\":[2]}");
    check_diff("{\"a\":1}", "{\"a\":{\"b\":1}}", "{\"a\":{\"b\":1}}");
    check_diff("{\"a\":{\"b\":1}}", "{}", "{\"a\":null}");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_no_secret_in_text),
        cmocka_unit_test(test_diff),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
