/* SPDX-License-Identifier: Apache-2.0 */
/* Kubeconfig files: what is read, what is written, and what is refused with which words.
 */
#include "client/client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/fs.h"
#include "base/mem.h"

static char dir[] = "/tmp/test-context-XXXXXX";

static char *
write_file(const char *name, const char *text)
{
    char *path = fs_join(dir, name);
    struct error e = ERROR_INIT;

    assert_int_equal(fs_write_atomic(path, text, strlen(text), 0600, &e), 0);
    return path;
}

static const char two_contexts[] =
    "apiVersion: v1\nkind: Config\ncurrent-context: one\n"
    "clusters:\n- name: c1\n  cluster:\n    server: https://127.0.0.1:6440\n"
    "    certificate-authority: ca.pem\n"
    "- name: c2\n  cluster: {server: 'unix:///run/api.sock'}\n"
    "users:\n- name: u1\n  user: {token: secret}\n"
    "- name: u2\n  user: {tokenFile: tokens/u2}\n"
    "- name: u3\n  user: {client-certificate-data: AAAA}\n"
    "contexts:\n- name: one\n  context: {cluster: c1, user: u1, namespace: team}\n"
    "- name: two\n  context: {cluster: c2, user: u2}\n"
    "- name: three\n  context: {cluster: c2, user: u3}\n"
    "- name: four\n  context: {cluster: nope, user: u3}\n";

static void
reads(void **state)
{
    autofree char *ca = write_file("ca.pem", "PEM\n");
    autofree char *path = write_file("config", two_contexts);
    autofree char *token_file = fs_join(dir, "tokens/u2");
    struct client_context c;
    struct http_target t;
    struct error e = ERROR_INIT;

    UNUSED(state);
    UNUSED(ca);
    assert_int_equal(client_context_load(path, NULL, &c, &e), 0);
    assert_string_equal(c.name, "one");
    assert_string_equal(c.ns, "team");
    assert_string_equal(c.ca_pem, "PEM\n");
    client_context_target(&c, &t);
    assert_string_equal(t.url, "https://127.0.0.1:6440");
    assert_string_equal(t.bearer, "secret");
    assert_null(t.unix_socket);
    client_context_done(&c);

    assert_int_equal(client_context_load(path, "two", &c, &e), 0);
    client_context_target(&c, &t);
    assert_string_equal(t.unix_socket, "/run/api.sock");
    assert_string_equal(t.bearer_file, token_file);
    assert_string_equal(c.ns, "default");
    client_context_done(&c);
}

static void
refuses(void **state)
{
    autofree char *path = write_file("config", two_contexts);
    autofree char *broken = write_file("broken", "a: [");
    autofree char *absent = fs_join(dir, "absent");
    struct client_context c;
    struct error e = ERROR_INIT;

    UNUSED(state);
    assert_true(client_context_load(path, "three", &c, &e) < 0);
    assert_non_null(strstr(e.msg, "inline client certificate"));
    assert_true(client_context_load(path, "four", &c, &e) < 0);
    assert_non_null(strstr(e.msg, "cluster is not defined"));
    assert_int_equal(client_context_load(path, "none", &c, &e), -ERR_NOT_FOUND);
    assert_non_null(strstr(e.msg, "no context \"none\""));
    assert_true(client_context_load(broken, NULL, &c, &e) < 0);
    assert_int_equal(client_context_load(absent, NULL, &c, &e), -ERR_NOT_FOUND);
}

static void
written_is_read_back(void **state)
{
    autofree char *path = fs_join(dir, "written");
    char server[] = "https://[::1]:6440", pem[] = "-----BEGIN\nx\n", token[] = "t:0\"x";
    char ns[] = "default";
    struct client_context c = {.server = server, .ca_pem = pem, .token = token, .ns = ns};
    struct client_context back;
    struct error e = ERROR_INIT;

    UNUSED(state);
    assert_int_equal(client_context_write(path, &c, &e), 0);
    assert_int_equal(client_context_load(path, NULL, &back, &e), 0);
    assert_string_equal(back.server, server);
    assert_string_equal(back.ca_pem, pem);
    assert_string_equal(back.token, token);
    client_context_done(&back);
}

static void
order_of_files(void **state)
{
    autofree char *path = write_file("config", two_contexts);
    autofree char *list = xasprintf("%s/absent:%s", dir, path);
    struct client_context c;
    struct error e = ERROR_INIT;

    UNUSED(state);
    unsetenv("DROVER_CONFIG");
    setenv("HOME", dir, 1);
    setenv("KUBECONFIG", list, 1);
    assert_int_equal(client_context_load(NULL, NULL, &c, &e), 0);
    assert_string_equal(c.file, path);
    client_context_done(&c);
    unsetenv("KUBECONFIG");
    assert_int_equal(client_context_load(NULL, NULL, &c, &e), -ERR_NOT_FOUND);
}

static int
setup(void **state)
{
    UNUSED(state);
    return mkdtemp(dir) == NULL ? -1 : 0;
}

static int
teardown(void **state)
{
    struct error e = ERROR_INIT;

    UNUSED(state);
    return fs_remove_tree(dir, &e);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads),
        cmocka_unit_test(refuses),
        cmocka_unit_test(written_is_read_back),
        cmocka_unit_test(order_of_files),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
