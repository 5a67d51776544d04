/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clusters: the network that machines have in common, and gangs that keep off machines
 * that are not in it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the headers it needs */
#include <cmocka.h>
#include <string.h>

#include "base/mem.h"
#include "controllers/fleet/fleet_network.h"
#include "controllers/job/scheduler/scheduler.h"

/* The network of a cluster: members as "a|b;c" (addresses by |, machines by ;). */
static void
test_network(void **state)
{
    static const struct {
        const char *members, *wanted, *network;
        bool common;
        const char *word;
    } cases[] = {
        {"", NULL, "", true, ""},
        {"10.0.0.5/24", NULL, "10.0.0.0/24", true, ""},
        {"10.0.0.5/24;10.0.0.6/24", NULL, "10.0.0.0/24", true, ""},
        {"8.8.0.1/24|10.0.0.5/24;8.8.0.2/24|10.0.0.6/24", NULL, "10.0.0.0/24", true, ""},
        {"8.8.0.1/24|10.0.0.5/24;8.8.0.2/24|10.9.0.6/24", NULL, "8.8.0.0/24", true, ""},
        {"10.0.0.5/24;10.0.0.9/16", NULL, "10.0.0.0/24", true, ""},
        {"fd00::1/64|10.0.0.5/24;fd00::2/64|10.0.0.6/24", NULL, "10.0.0.0/24", true, ""},
        {"fd00::1/64;fd00::2/64", NULL, "fd00::/64", true, ""},
        {"10.0.0.5/24;10.1.0.6/24", NULL, "", false,
         "m0 (10.0.0.5/24), m1 (10.1.0.6/24)"},
        {"10.0.0.5/24;10.0.0.6/24;10.1.0.7/24", NULL, "10.0.0.0/24", false,
         "m2 (10.1.0.7/24)"},
        /* a bridge that each has for itself */
        {"172.20.0.1/16|10.0.0.5/24;172.20.0.1/16|10.0.0.6/24", NULL, "10.0.0.0/24", true,
         ""},
        {"172.20.0.1/16;172.20.0.1/16", NULL, "", false, "no two machines"},
        {"10.0.0.5/32;10.0.0.6/32", NULL, "", false, "no two machines"},
        {"10.0.0.5/32;10.0.0.6/32", "10.0.0.0/20", "10.0.0.0/20", true, ""},
        {"10.0.0.5/24;10.1.0.6/24", "10.1.0.0/24", "10.1.0.0/24", false, "m0"},
        {"10.0.0.5/24;-", NULL, "10.0.0.0/24", true, ""}, /* has not told */
        {"nonsense|/|10.0.0.5/x;10.0.0.6/24", NULL, "", false, "no two machines"},
    };

    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fleet_net_member m[4] = {0};
        static const char *const names[] = {"m0", "m1", "m2", "m3"};
        autofree char *text = xstrdup(cases[i].members);
        struct fleet_network net;
        char *outer = NULL, *inner = NULL;
        json_t *lists[4] = {0};
        size_t n = 0;
        for (char *t = strtok_r(text, ";", &outer); t != NULL;
             t = strtok_r(NULL, ";", &outer), n++) {
            m[n].name = names[n];
            if (streq(t, "-"))
                continue;
            m[n].addresses = lists[n] = json_array();
            for (char *a = strtok_r(t, "|", &inner); a != NULL;
                 a = strtok_r(NULL, "|", &inner))
                json_array_append_new(lists[n], json_string(a));
        }
        fleet_network_choose(m, n, cases[i].wanted, &net);
        if (!streq(net.network, cases[i].network) || net.common != cases[i].common ||
            strstr(net.message, cases[i].word) == NULL)
            fail_msg("%s: %s: %s", cases[i].members, net.network, net.message);
        for (size_t k = 0; k < n; k++)
            json_decref(lists[k]);
    }
}

/* A machine that the others do not reach takes single jobs, no member of a gang. */
static void
gang_apart(void **state)
{
    struct scheduler *s = scheduler_new();
    struct resource_have have = {.cpu_milli = 8000, .memory_mib = 8192, .disk_mib = 8192};
    struct resource_req req = {0};
    struct sched_decision d;
    struct sched_reason r;
    struct violations v = {0};
    struct error e = ERROR_INIT;

    UNUSED(state);
    assert_int_equal(resources_parse(NULL, "r", &req, &v, &e), 0);
    struct sched_instance i = {.ns = "d",
                               .fleet = "f",
                               .usable = true,
                               .engines = SCHED_PROCESS,
                               .capacity = &have};
    struct sched_job j = {
        .ns = "d", .req = &req, .gang = "g", .gang_size = 2, .reason = ""};
    for (int k = 0; k < 2; k++) {
        i.uid = i.name = k == 0 ? "i0" : "i1";
        i.apart = k == 1;
        scheduler_set_instance(s, &i);
        j.uid = j.name = k == 0 ? "j0" : "j1";
        scheduler_queue(s, &j);
    }
    assert_false(scheduler_next(s, &d));
    assert_true(scheduler_next_reason(s, &r));
    assert_string_equal(r.code, "NoCommonNetwork");
    j = (struct sched_job){.uid = "k", .name = "k", .ns = "d", .req = &req, .reason = ""};
    j.instances = (const char *const[]){"i1"};
    j.n_instances = 1;
    scheduler_queue(s, &j);
    assert_true(scheduler_next(s, &d));
    assert_string_equal(d.instance_name, "i1");
    i.apart = false; /* it got an address there */
    scheduler_set_instance(s, &i);
    assert_true(scheduler_next(s, &d));
    assert_true(scheduler_next(s, &d));
    violations_done(&v);
    scheduler_free(s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_network),
        cmocka_unit_test(gang_apart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
