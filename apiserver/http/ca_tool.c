/* SPDX-License-Identifier: Apache-2.0 */
/* drover-apiserver keys: exchanges the CA of a data directory that no server runs on. */
#include <getopt.h>
#include <stdio.h>
#include <unistd.h>

#include "apiserver/http/ca.h"
#include "base/fs.h"
#include "base/mem.h"

static const char usage[] =
    "usage: drover-apiserver keys rotate-ca|retire-ca --data-dir DIR\n\n"
    "  rotate-ca  make a new CA. Who trusts the old one accepts the new one, until\n"
    "             retire-ca. Start the server again, and hand out its new kubeconfig\n"
    "  retire-ca  end that: who did not get the new CA meanwhile has to join anew\n"
    "  --data-dir that of a server that does not run now\n";

static int
run(const char *verb, const char *dir, struct error *e)
{
    autofree char *lock = fs_join(dir, "log/lock");
    autofree char *keys = fs_join(dir, "keys");
    autoclose int fd = -1;

    /* A store on etcd has no log. */
    if (fs_lock(lock, &fd, e) < 0) {
        if (e->code != ERR_NOT_FOUND)
            return error_prepend(e, "a server runs on %s", dir);
        *e = ERROR_INIT;
    }
    return streq(verb, "rotate-ca") ? ca_rotate(keys, e) : ca_retire(keys, e);
}

int
ca_tool_main(int argc, char **argv)
{
    static const struct option longs[] = {{"data-dir", required_argument, NULL, 'd'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    const char *dir = NULL;
    struct error e = ERROR_INIT;
    int c;

    while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
        if (c == 'h')
            fputs(usage, stdout);
        if (c != 'd')
            return c == 'h' ? 0 : 2;
        dir = optarg;
    }
    const char *verb = optind + 1 == argc ? argv[optind] : "";
    if (dir == NULL || (!streq(verb, "rotate-ca") && !streq(verb, "retire-ca"))) {
        fputs(usage, stderr);
        return 2;
    }
    if (run(verb, dir, &e) < 0) {
        fprintf(stderr, "drover-apiserver keys: %s\n", e.msg);
        return error_exit_status(e.code);
    }
    return 0;
}
