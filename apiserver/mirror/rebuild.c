/* SPDX-License-Identifier: Apache-2.0 */
/* store rebuild: a server without listeners, whose mirror imports all files. */
#include "apiserver/mirror/rebuild.h"

#include <getopt.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#include "apiserver/auth/auth.h"
#include "apiserver/mirror/mirror.h"
#include "apiserver/store/store_seal.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"

enum { POOL_THREADS = 2, STATUS_MAX = 256 * 1024 };

struct rebuild {
    const char *dir;
    bool replace;
    struct loop *loop;
    struct loop_pool *pool;
    struct kinds *kinds;
    struct keyring *seal;
    struct store *store;
    struct api_server *server;
    struct auth *auth;
    struct mirror *mirror;
    struct error e;
};

/* --- the directory
 * ----------------------------------------------------------------------- */

/* What was there before stays beside the new one. */
static int
move_aside(const struct rebuild *r, const char *name, struct error *e)
{
    autofree char *from = fs_join(r->dir, name);
    struct stat st;

    if (lstat(from, &st) != 0)
        return errno == ENOENT ? 0 : error_errno(e, errno, "%s", from);
    if (!r->replace)
        return error_set(e, ERR_EXISTS,
                         "%s exists; with --replace it is moved aside and a new store is "
                         "made",
                         from);
    autofree char *to = xasprintf("%s.before-%lld", from, (long long)time(NULL));
    if (rename(from, to) != 0)
        return error_errno(e, errno, "move %s", from);
    printf("%s is now %s\n", from, to);
    return 0;
}

static int
prepare(const struct rebuild *r, struct error *e)
{
    static const char *const names[] = {"log", "snapshot", "mirror"};
    autofree char *desired = fs_join(r->dir, "desired");
    struct stat st;

    if (stat(desired, &st) != 0 || !S_ISDIR(st.st_mode))
        return error_set(e, ERR_NOT_FOUND, "%s: no such directory", desired);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (move_aside(r, names[i], e) < 0)
            return -(int)e->code;
    }
    return 0;
}

/* --- the server
 * -------------------------------------------------------------------------- */

static void
on_synced(void *arg)
{
    const struct rebuild *r = arg;

    loop_quit(r->loop, 0);
}

static void
on_roles(void *arg, const struct error *e)
{
    struct rebuild *r = arg;
    struct mirror_opts o = {.server = r->server,
                            .data_dir = r->dir,
                            .synced = on_synced,
                            .arg = r,
                            .import = true};

    if (e != NULL)
        r->e = *e;
    else if (mirror_start(&o, &r->mirror, &r->e) == 0)
        return;
    loop_quit(r->loop, 1);
}

static void
on_bootstrapped(void *arg, const struct error *e)
{
    struct rebuild *r = arg;

    if (e != NULL)
        on_roles(r, e);
    else
        auth_bootstrap(r->auth, on_roles, r);
}

static void
on_fatal(void *arg, const struct error *e)
{
    UNUSED(arg);
    fprintf(stderr, "drover store rebuild: %s\n", e->msg);
    _exit(70);
}

static int
start(struct rebuild *r, struct error *e)
{
    struct store_opts so = {
        .dir = r->dir, .on_fatal = on_fatal, .kind_of = kinds_kind_of};

    autofree char *keys = fs_join(r->dir, "keys");
    autofree char *seal = fs_join(keys, KEYRING_FILE);
    if (loop_new(&r->loop, e) < 0 || kinds_load(&r->kinds, e) < 0 ||
        fs_mkdirs(keys, 0700, e) < 0 || keyring_load(seal, true, &r->seal, e) < 0)
        return -(int)e->code;
    so.arg = r->kinds;
    so.seal = r->seal;
    if (store_open(r->loop, &so, &r->store, e) < 0)
        return -(int)e->code;
    r->pool = loop_pool_new(r->loop, "compute", POOL_THREADS);
    struct api_server_opts ao = {.loop = r->loop,
                                 .store = r->store,
                                 .kinds = r->kinds,
                                 .pool = r->pool,
                                 .advertise_address = ""};
    struct auth_opts au = {.ca_hash = ""};
    if (api_server_new(&ao, &r->server, e) < 0)
        return -(int)e->code;
    au.server = r->server;
    if (auth_new(&au, &r->auth, e) < 0)
        return -(int)e->code;
    struct api_hooks hooks = auth_hooks(r->auth);
    api_server_set_hooks(r->server, &hooks);
    if (api_server_start_loops(r->server, e) < 0)
        return -(int)e->code;
    api_server_bootstrap(r->server, on_bootstrapped, r);
    return 0;
}

static void
stop(struct rebuild *r)
{
    mirror_stop(r->mirror);
    api_server_leave_pool(r->server);
    if (r->pool != NULL)
        loop_pool_free(r->pool);
    if (r->server != NULL)
        api_server_prepare_close(r->server);
    if (r->store != NULL)
        store_close(r->store);
    auth_free(r->auth);
    api_server_free(r->server);
    kinds_free(r->kinds);
    keyring_free(r->seal);
    if (r->loop != NULL)
        loop_free(r->loop);
}

/* --- the verb
 * ---------------------------------------------------------------------------- */

static const char usage[] =
    "usage: drover store rebuild [--data-dir DIR] [--replace]\n\n"
    "Makes a new store from the files in DIR/desired alone. Objects get new uids; what "
    "was\n"
    "never in a file (status, Jobs, Instances, Events, history) is not there. Files that "
    "cannot\n"
    "be applied are named, with the reason in <file>.error; exit status 4 then.\n"
    "  --data-dir DIR   that of `drover server` (default ./state)\n"
    "  --replace        move an existing log/, snapshot/ and mirror/ aside first\n";

static int
report(const struct rebuild *r)
{
    auto_str status = STR_INIT(STATUS_MAX);
    struct mirror_counts n;

    mirror_counts(r->mirror, &n);
    printf("%zu objects from %s/desired\n", n.files, r->dir);
    if (n.errors == 0)
        return 0;
    mirror_status(r->mirror, &status);
    fputs(status.ptr, stderr);
    return error_exit_status(ERR_CONFLICT);
}

int
rebuild_main(int argc, char **argv)
{
    static const struct option longs[] = {{"data-dir", required_argument, NULL, 'd'},
                                          {"replace", no_argument, NULL, 'r'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    struct rebuild r = {.dir = "./state", .e = ERROR_INIT};
    int c, status = 0;

    while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
        if (c == 'd')
            r.dir = optarg;
        else if (c == 'r')
            r.replace = true;
        else {
            fputs(usage, c == 'h' ? stdout : stderr);
            return c == 'h' ? 0 : 2;
        }
    }
    log_set_level(LOG_LV_ERR);
    int rc = prepare(&r, &r.e);
    if (rc == 0)
        rc = start(&r, &r.e);
    if (rc == 0 && loop_run(r.loop) != 0)
        rc = -(int)r.e.code;
    if (rc == 0)
        status = report(&r);
    stop(&r);
    if (rc < 0) {
        fprintf(stderr, "drover store rebuild: %s\n", r.e.msg);
        return error_exit_status(r.e.code);
    }
    return status;
}
