/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses of nodes, their release, and the key pair between them. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
/* after the headers it needs */
#include <cmocka.h>

#include "base/fs.h"
#include "base/mem.h"
#include "controllers/run/run_derive.h"
#include "controllers/run/run_ssh.h"
#include "io/proc.h"

enum { NODES = 3 };

static void
test_addresses(void **state)
{
    static const struct {
        const char *const lists[NODES][4];
        const char *chosen; /* separated by spaces */
    } cases[] = {
        {{{"10.0.0.1/24", NULL}, {"10.0.0.2/24", NULL}, {"10.0.0.3/24", NULL}},
         "10.0.0.1 10.0.0.2 10.0.0.3"},
        /* the bridge that every machine has, and a network that only two have */
        {{{"172.17.0.1/16", "192.168.1.1/24", "10.1.0.1/16", NULL},
          {"172.17.0.1/16", "192.168.1.2/24", "10.1.9.2/16", NULL},
          {"172.17.0.1/16", "192.168.2.3/24", "10.1.0.3/16", NULL}},
         "10.1.0.1 10.1.9.2 10.1.0.3"},
        {{{"fd00::1/64", "10.0.0.1/30", NULL},
          {"10.0.0.9/30", "fd00::2/64", NULL},
          {"fd00::3/64", NULL}},
         "fd00::1 fd00::2 fd00::3"},
        /* nothing in common: each one's first, IPv4 before IPv6 */
        {{{"fe80::1/64", "fd00::1/64", "10.0.0.1/24", NULL},
          {"127.0.0.1/8", "10.0.1.1/24", NULL},
          {"169.254.1.1/16", "fd01::3/64", NULL}},
         "10.0.0.1 10.0.1.1 fd01::3"},
        /* agents of one machine */
        {{{"10.0.0.1/24", NULL}, {"10.0.0.1/24", NULL}, {NULL}}, "10.0.0.1 10.0.0.1 "},
        {{{"10.0.0.1/25", "nonsense", NULL}, {"10.0.0.129/25", NULL}, {"/", NULL}},
         "10.0.0.1 10.0.0.129 "},
    };

    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char *const *lists[NODES];
        char *chosen[NODES];
        auto_str joined = STR_INIT(1024);
        for (size_t k = 0; k < NODES; k++)
            lists[k] = (char *const *)(uintptr_t)cases[i].lists[k];
        run_choose_addresses(lists, NODES, chosen);
        for (size_t k = 0; k < NODES; k++) {
            str_addf(&joined, "%s%s", k == 0 ? "" : " ", chosen[k]);
            free(chosen[k]);
        }
        assert_string_equal(joined.ptr, cases[i].chosen);
    }
}

static struct object *
object_of(const char *kind, const char *name, const char *spec)
{
    autofree char *json = xasprintf(
        "{\"apiVersion\":\"drover.dev/v1\",\"kind\":\"%s\",\"metadata\":{\"name\":\"%s\","
        "\"namespace\":\"ns\",\"uid\":\"u-%s\",\"resourceVersion\":\"3\","
        "\"creationTimestamp\":\"2026-01-01T00:00:00Z\"},\"spec\":%s}",
        kind, name, name, spec);
    struct object *o = NULL;
    struct error e = ERROR_INIT;

    if (object_from_json(NULL, json, strlen(json), &o, &e) < 0)
        fail_msg("%s", e.msg);
    return o;
}

/* The second node of the second group. */
static void
test_release(void **state)
{
    auto_object *run =
        object_of("Run", "r",
                  "{\"groups\":[{\"commands\":[\"a\"]},{\"nodes\":2,\"commands\":[\"ping "
                  "${{ groups[0].nodes[0].IP_ADDRESS }}\",\"x $${{ y }} $$ "
                  "${{groups[1].nodes[1].IP_ADDRESS}}\"]}]}");
    auto_object *job = object_of("Job", "r-0-2-0", "{\"node\":2}");
    static const struct peer peers[] = {{"r-0-0-0", "10.0.0.1", 8},
                                        {"r-0-1-0", "10.0.0.2", 0},
                                        {"r-0-2-0", "fd00::3", 4}};
    struct run_view v;
    struct job_view j;
    struct error e = ERROR_INIT;
    json_t *patch = NULL, *made = NULL;

    UNUSED(state);
    assert_int_equal(run_view_read(run, &v, &e), 0);
    assert_int_equal(v.nodes, 3);
    job_view_read(job, &j);
    assert_int_equal(run_derive_release(&v, &j, peers, ARRAY_LEN(peers), &patch, &e), 0);
    autofree char *text = json_dumps(patch, JSON_COMPACT | JSON_SORT_KEYS);
    assert_string_equal(
        text,
        "{\"metadata\":{\"uid\":\"u-r-0-2-0\"},\"spec\":{\"argv\":[\"/bin/sh\",\"-c\","
        "\"ping 10.0.0.1 && x ${{ y }} $$ fd00::3\"],\"peers\":[{\"address\":"
        "\"10.0.0.1\",\"gpus\":8,\"job\":\"r-0-0-0\"},{\"address\":\"10.0.0.2\","
        "\"gpus\":0,\"job\":\"r-0-1-0\"},{\"address\":\"fd00::3\",\"gpus\":4,\"job\":"
        "\"r-0-2-0\"}],\"released\":true}}");
    json_decref(patch);
    assert_int_equal(
        run_derive_job(&v, &(struct job_new){0, 2, 0}, v.created_ns, &made, &e), 0);
    const json_t *spec = json_object_get(made, "spec");
    assert_true(json_is_false(json_object_get(spec, "released")));
    assert_string_equal(json_string_value(json_object_get(spec, "group")), "1");
    assert_string_equal(json_string_value(json_object_get(spec, "networkMode")), "host");
    json_decref(made);
}

static void
write_file(const char *path, const char *text)
{
    struct error e = ERROR_INIT;

    if (fs_write_atomic(path, text, strlen(text), 0600, &e) < 0)
        fail_msg("%s", e.msg);
}

/* ssh-keygen -y -f path > out */
static void
keygen(const char *path, const char *out)
{
    const char *argv[] = {"/usr/bin/ssh-keygen", "-y", "-f", path, NULL};
    struct proc_opts o = PROC_OPTS_INIT;
    struct error e = ERROR_INIT;
    autoclose int fd = open(out, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    pid_t pid;
    int status;

    assert_true(fd >= 0);
    o.argv = argv;
    o.stdout_fd = fd;
    o.stderr_fd = 2;
    if (proc_spawn(&o, &pid, &e) < 0)
        fail_msg("%s", e.msg);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* OpenSSH reads it, and derives the same public key from it. */
static void
test_ssh_key(void **state)
{
    char dir[] = "/tmp/drover-ssh-XXXXXX";
    auto_str key = STR_INIT(4096), line = STR_INIT(4096);

    UNUSED(state);
    ssh_key_make("train", &key, &line);
    assert_false(key.toobig || line.toobig);
    assert_true(str_starts(line.ptr, "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA"));
    assert_true(str_ends(line.ptr, " train"));
    if (access("/usr/bin/ssh-keygen", X_OK) < 0)
        skip();
    assert_non_null(mkdtemp(dir));
    autofree char *path = fs_join(dir, "id");
    autofree char *out = xasprintf("%s.out", path);
    auto_str derived = STR_INIT(4096);
    struct error e = ERROR_INIT;
    write_file(path, key.ptr);
    keygen(path, out);
    assert_int_equal(fs_read(out, &derived, &e), 0);
    str_truncate(&derived, derived.len - 1);
    assert_string_equal(derived.ptr, line.ptr);
    assert_int_equal(fs_remove_tree(dir, &e), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_release),
        cmocka_unit_test(test_ssh_key),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
