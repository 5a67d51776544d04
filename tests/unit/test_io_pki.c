/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates, and TLS between our server and our clients with them. */
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fs.h"
#include "io/pki.h"
#include "io/proc.h"
#include "unit/io_http_fixture.h"

#define PAIR_INIT                                                                        \
    ((struct pki_pair){.cert = STR_INIT(64 * 1024), .key = STR_INIT(64 * 1024)})

static const char *const names[] = {"localhost", "127.0.0.1", "::1", NULL};

static struct pki_pair ca, other_ca, server;
static struct fixture *f;
static char url[64];

static void
pair_done(struct pki_pair *p)
{
    str_done(&p->cert);
    str_done(&p->key);
}

static int
setup(void **state)
{
    UNUSED(state);
    ca = other_ca = server = PAIR_INIT;
    err = ERROR_INIT;
    OK(pki_make_ca("test-ca", 30, &ca, &err));
    OK(pki_make_ca("test-ca", 30, &other_ca, &err));
    OK(pki_make_server(&ca, "test-server", names, 10, &server, &err));
    f = fixture_new(&(struct http_server_opts){.tls_cert_pem = server.cert.ptr,
                                               .tls_key_pem = server.key.ptr,
                                               .client_ca_pem = ca.cert.ptr});
    snprintf(url, sizeof(url), "https://127.0.0.1:%u", http_server_port(f->server));
    return 0;
}

static int
teardown(void **state)
{
    UNUSED(state);
    fixture_free(f);
    pair_done(&ca);
    pair_done(&other_ca);
    pair_done(&server);
    return 0;
}

/* --- certificates ---------------------------------------------------------------------
 */

/* What openssl, an independent reader, says. */
static void
openssl(const char *script, const char *pem, struct str *out)
{
    char path[] = "/tmp/drover-pem-XXXXXX";
    int fd = mkstemp(path);
    const char *argv[] = {"sh", "-c", script, "sh", path, NULL};
    struct proc_opts o = PROC_OPTS_INIT;
    int status = 0;

    OK(fs_write_all(fd, pem, strlen(pem), &err));
    close(fd);
    o.argv = argv;
    OK(proc_run(&o, 20000, out, &status, &err));
    unlink(path);
    if (status != 0)
        fail_msg("%s: %s", script, out->ptr);
}

static void
test_fields(void **state)
{
    auto_str text = STR_INIT(64 * 1024);
    auto_str ca_text = STR_INIT(64 * 1024);
    int64_t expiry = 0;

    UNUSED(state);
    openssl("openssl x509 -in $1 -noout -text", server.cert.ptr, &text);
    assert_non_null(strstr(text.ptr, "DNS:localhost, IP Address:127.0.0.1, "
                                     "IP Address:0:0:0:0:0:0:0:1"));
    assert_non_null(strstr(text.ptr, "CN = test-server"));
    assert_non_null(strstr(text.ptr, "CN = test-ca"));
    assert_non_null(strstr(text.ptr, "prime256v1"));
    assert_non_null(strstr(text.ptr, "CA:FALSE"));
    assert_non_null(strstr(text.ptr, "TLS Web Server Authentication"));
    openssl("openssl x509 -in $1 -noout -text", ca.cert.ptr, &ca_text);
    assert_non_null(strstr(ca_text.ptr, "CA:TRUE"));
    assert_non_null(strstr(ca_text.ptr, "Certificate Sign"));
    OK(pki_expiry(server.cert.ptr, &expiry, &err));
    assert_in_range(expiry - clock_wall_ns() / 1000000000, 10 * 86400 - 100, 10 * 86400);
    assert_true(pki_expiry("no certificate", &expiry, &err) < 0);
    assert_int_equal(err.code, ERR_BAD_REQUEST);
}

static void
test_hash_is_over_the_public_key(void **state)
{
    auto_str expected = STR_INIT(1024);
    char hash[80];
    char other[80];

    UNUSED(state);
    openssl("openssl x509 -in $1 -noout -pubkey | openssl pkey -pubin -outform DER |"
            " sha256sum | cut -c1-64 | tr -d '\\n'",
            ca.cert.ptr, &expected);
    OK(pki_ca_hash(ca.cert.ptr, hash, &err));
    assert_int_equal(strlen(hash), 71);
    assert_memory_equal(hash, "sha256:", 7);
    assert_string_equal(hash + 7, expected.ptr);
    OK(pki_ca_hash(other_ca.cert.ptr, other, &err));
    assert_string_not_equal(hash, other);
    assert_true(pki_ca_hash("x", hash, &err) < 0);
}

static void
test_bad_authority(void **state)
{
    struct pki_pair bad = PAIR_INIT;
    struct pki_pair out = PAIR_INIT;

    UNUSED(state);
    str_adds(&bad.cert, "x");
    str_adds(&bad.key, "y");
    assert_true(pki_make_server(&bad, "s", names, 1, &out, &err) < 0);
    pair_done(&bad);
    pair_done(&out);
}

/* --- TLS ------------------------------------------------------------------------------
 */

struct result {
    int done, status;
    enum err_code code;
    struct str text;
};

static void
on_done(void *arg, const struct http_reply *r, const struct error *e)
{
    struct result *x = arg;

    x->done++;
    x->status = r->status;
    x->code = e->code;
    str_add(&x->text, r->body.ptr, r->body.len);
}

static const struct http_transfer_cbs collecting = {NULL, NULL, on_done};

static enum err_code
fetch_with(struct http_multi *m, const struct http_target *t, const char *path,
           struct str *out)
{
    struct result x = {.text = STR_INIT(8 << 20)};
    struct http_call call = {.method = "GET", .path = path};

    http_multi_start(m, t, &call, 8 << 20, &collecting, &x);
    wait_for(f->l, x.done == 1);
    str_add(out, x.text.ptr, x.text.len);
    str_done(&x.text);
    return x.code;
}

static void
test_round_trip(void **state)
{
    struct http_multi *m = NULL;
    auto_str out = STR_INIT(8 << 20);
    struct http_target trusted = {.url = url, .ca_pem = ca.cert.ptr};
    struct http_target stranger = {.url = url, .ca_pem = other_ca.cert.ptr};
    struct http_target insecure = {.url = url, .insecure = true};

    UNUSED(state);
    OK(http_multi_new(f->l, &m, &err));
    assert_int_equal(fetch_with(m, &trusted, "/hello", &out), ERR_OK);
    assert_string_equal(out.ptr, "hello\n");
    /* A kept connection that one authority vouches for is not used under another. */
    assert_int_equal(fetch_with(m, &stranger, "/hello", &out), ERR_PROVIDER);
    assert_int_equal(fetch_with(m, &insecure, "/hello", &out), ERR_OK);
    str_reset(&out);
    assert_int_equal(fetch_with(m, &trusted, "/big?n=2000000", &out), ERR_OK);
    assert_int_equal(out.len, 2000000);
    assert_int_equal(out.ptr[1999999], 'a' + 1999999 % 23);
    http_multi_free(m);
}

static void
test_name_must_match(void **state)
{
    static const char *const elsewhere[] = {"example.com", NULL};
    struct pki_pair wrong = PAIR_INIT;
    struct http_multi *m = NULL;
    auto_str out = STR_INIT(1 << 16);

    UNUSED(state);
    fixture_free(f);
    OK(pki_make_server(&ca, "127.0.0.1", elsewhere, 10, &wrong, &err));
    f = fixture_new(&(struct http_server_opts){.tls_cert_pem = wrong.cert.ptr,
                                               .tls_key_pem = wrong.key.ptr});
    snprintf(url, sizeof(url), "https://127.0.0.1:%u", http_server_port(f->server));
    struct http_target t = {.url = url, .ca_pem = ca.cert.ptr};
    OK(http_multi_new(f->l, &m, &err));
    assert_int_equal(fetch_with(m, &t, "/hello", &out), ERR_PROVIDER);
    http_multi_free(m);
    pair_done(&wrong);
}

/* A new authority that the old one vouches for: who trusts either is content. */
static void
test_vouched(void **state)
{
    struct pki_pair next = PAIR_INIT, by = PAIR_INIT, made = PAIR_INIT;
    struct http_multi *m = NULL;
    auto_str out = STR_INIT(1 << 16), last = STR_INIT(1 << 16);
    char hash[80], wanted[80];

    UNUSED(state);
    fixture_free(f);
    OK(pki_make_ca("next-ca", 60, &next, &err));
    OK(pki_vouch(&ca, next.cert.ptr, &by.cert, &err));
    str_add(&by.cert, next.cert.ptr, next.cert.len);
    str_add(&by.key, next.key.ptr, next.key.len);
    OK(pki_make_server(&by, "test-server", names, 10, &made, &err));
    f = fixture_new(&(struct http_server_opts){.tls_cert_pem = made.cert.ptr,
                                               .tls_key_pem = made.key.ptr});
    snprintf(url, sizeof(url), "https://127.0.0.1:%u", http_server_port(f->server));
    const struct {
        const char *ca;
        enum err_code code;
    } clients[] = {{ca.cert.ptr, ERR_OK},
                   {next.cert.ptr, ERR_OK},
                   {other_ca.cert.ptr, ERR_PROVIDER}};
    for (size_t i = 0; i < ARRAY_LEN(clients); i++) {
        struct http_target t = {.url = url, .ca_pem = clients[i].ca};
        OK(http_multi_new(f->l, &m, &err));
        assert_int_equal(fetch_with(m, &t, "/hello", &out), clients[i].code);
        http_multi_free(m);
    }
    /* Its end is that of who vouches; agents that enrol are told of the new one. */
    int64_t end = 0, ca_end = 0;
    OK(pki_expiry(by.cert.ptr, &end, &err));
    OK(pki_expiry(ca.cert.ptr, &ca_end, &err));
    assert_true(end == ca_end);
    OK(pki_ca_hash(next.cert.ptr, wanted, &err));
    const char *end_pem = made.cert.ptr;
    for (const char *p = end_pem; (p = strstr(p + 1, "-----BEGIN")) != NULL;)
        end_pem = p;
    OK(pki_ca_hash(end_pem, hash, &err));
    assert_string_equal(hash, wanted);
    assert_true(pki_vouch(&ca, "x", &last, &err) < 0);
    pair_done(&next);
    pair_done(&by);
    pair_done(&made);
}

/* A name counts only from a certificate that our own authority has signed. */
static void
test_client_certificate(void **state)
{
    char dir[] = "/tmp/drover-pki-XXXXXX";
    const struct pki_pair *const authorities[] = {&ca, &other_ca};

    UNUSED(state);
    assert_non_null(mkdtemp(dir));
    autofree char *cert = fs_join(dir, "cert");
    autofree char *key = fs_join(dir, "key");
    struct http_target t = {
        .url = url, .ca_pem = ca.cert.ptr, .cert_file = cert, .key_file = key};
    for (int i = 0; i < 2; i++) {
        struct http_multi *m = NULL;
        struct pki_pair client = PAIR_INIT;
        auto_str out = STR_INIT(1 << 16);
        OK(pki_make_client(authorities[i], "agent-7", 10, &client, &err));
        OK(fs_write_atomic(cert, client.cert.ptr, client.cert.len, 0600, &err));
        OK(fs_write_atomic(key, client.key.ptr, client.key.len, 0600, &err));
        OK(http_multi_new(f->l, &m, &err));
        assert_int_equal(fetch_with(m, &t, "/who", &out), ERR_OK);
        assert_int_equal(strstr(out.ptr, "client agent-7\n") != NULL, i == 0);
        http_multi_free(m);
        pair_done(&client);
    }
    OK(fs_remove_tree(dir, &err));
}

/* A stream over TLS: suspended, woken, and its client's leaving noticed. */
static void
test_stream(void **state)
{
    struct http_multi *m = NULL;
    struct result x = {.text = STR_INIT(1 << 16)};
    struct http_target t = {.url = url, .ca_pem = ca.cert.ptr};
    struct http_call call = {.method = "GET", .path = "/watch", .timeout_ms = -1};

    UNUSED(state);
    OK(http_multi_new(f->l, &m, &err));
    struct http_transfer *tr = http_multi_start(m, &t, &call, 1000, &collecting, &x);
    wait_for(f->l, f->watchers.len == 1);
    for (int i = 1; i <= 5; i++) {
        fixture_fire(f);
        wait_for(f->l, f->watchers.items[0]->sent == i);
        loop_turn(f->l, 10);
    }
    http_transfer_cancel(tr);
    wait_for(f->l, f->aborted == 1);
    assert_int_equal(x.done, 0);
    http_multi_free(m);
    str_done(&x.text);
}

static void
test_plain_text_to_a_tls_port(void **state)
{
    int fd = raw_connect(f);

    UNUSED(state);
    raw_send(fd, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    raw_closed(f, fd);
    close(fd);
    wait_for(f->l, http_server_connections(f->server) == 0);
    assert_int_equal(f->handled, 0);
}

struct fetch {
    uint16_t port;
    struct str pem;
    struct error e;
    int rc, timeout_ms;
    bool done;
};

static void *
run_fetch(void *arg)
{
    struct fetch *x = arg;

    x->rc = pki_fetch_ca("127.0.0.1", x->port, x->timeout_ms, &x->pem, &x->e);
    __atomic_store_n(&x->done, true, __ATOMIC_RELEASE);
    return NULL;
}

static void
test_fetch_ca(void **state)
{
    struct fetch x = {.port = http_server_port(f->server),
                      .pem = STR_INIT(64 * 1024),
                      .timeout_ms = 20000};
    char expected[80];
    char got[80];
    pthread_t t;

    UNUSED(state);
    assert_int_equal(pthread_create(&t, NULL, run_fetch, &x), 0);
    wait_for(f->l, __atomic_load_n(&x.done, __ATOMIC_ACQUIRE));
    pthread_join(t, NULL);
    err = x.e;
    OK(x.rc);
    OK(pki_ca_hash(ca.cert.ptr, expected, &err));
    OK(pki_ca_hash(x.pem.ptr, got, &err));
    assert_string_equal(got, expected);
    /* A server that accepts and says nothing: the limit holds. */
    str_reset(&x.pem);
    x.timeout_ms = 100;
    run_fetch(&x); /* nobody turns the loop; the kernel completes the connection */
    assert_int_equal(x.rc, -ERR_TIMEOUT);
    x.port = 1;
    run_fetch(&x);
    assert_int_equal(x.rc, -ERR_UNAVAILABLE);
    str_done(&x.pem);
}

int
main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_fields),
        T(test_hash_is_over_the_public_key),
        T(test_bad_authority),
        T(test_round_trip),
        T(test_client_certificate),
        T(test_vouched),
        T(test_name_must_match),
        T(test_stream),
        T(test_plain_text_to_a_tls_port),
        T(test_fetch_ca),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
