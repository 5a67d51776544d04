/* SPDX-License-Identifier: Apache-2.0 */
/* The fixture of the store's tests. */
#include "unit/store_fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/jtok.h"
#include "base/fs.h"
#include "base/id.h"
#include "base/mem.h"

#define TEXT_MAX (64u << 20)

/* --- life --- */

static void
on_fatal(void *arg, const struct error *e)
{
    struct fixture *f = arg;

    UNUSED(e);
    f->fatal++;
}

void
fx_init(struct fixture *f, bool inline_sync)
{
    struct error e = ERROR_INIT;
    char root[] = "/tmp/drover-store-XXXXXX";

    *f = (struct fixture){0};
    assert_non_null(mkdtemp(root));
    f->root = xstrdup(root);
    f->dir = fs_join(root, "data");
    assert_int_equal(loop_new(&f->loop, &e), 0);
    f->opts = (struct store_opts){.dir = f->dir,
                                  .inline_sync = inline_sync,
                                  .on_fatal = on_fatal,
                                  .arg = f,
                                  .retain_s = -1};
    if (inline_sync)
        f->opts.fs = &fx_no_sync;
}

void
fx_done(struct fixture *f)
{
    struct error e = ERROR_INIT;

    fx_close(f);
    loop_free(f->loop);
    assert_int_equal(fs_remove_tree(f->root, &e), 0);
    free(f->root);
    free(f->dir);
}

int
fx_try_open(struct fixture *f, struct error *e)
{
    return store_open(f->loop, &f->opts, &f->store, e);
}

void
fx_open(struct fixture *f)
{
    struct error e = ERROR_INIT;

    if (fx_try_open(f, &e) != 0)
        fail_msg("open: %s", e.msg);
}

void
fx_close(struct fixture *f)
{
    store_close(f->store);
    f->store = NULL;
}

void
fx_reopen(struct fixture *f)
{
    fx_close(f);
    fx_open(f);
}

/* --- objects and commits --- */

struct object *
fx_object(const char *ns, const char *name, const char *app, int64_t n, size_t pad)
{
    auto_str s = STR_INIT(8u << 20);
    char uid[ID_UUID_LEN];
    struct object *o = NULL;
    struct error e = ERROR_INIT;

    id_uuid4(uid);
    str_adds(&s, "{\"apiVersion\":\"drover.dev/v1\",\"kind\":\"Run\",\"metadata\":{");
    if (app != NULL)
        str_addf(&s, "\"labels\":{\"app\":\"%s\"},", app);
    str_addf(&s, "\"name\":\"%s\"", name);
    if (*ns != '\0')
        str_addf(&s, ",\"namespace\":\"%s\"", ns);
    str_addf(&s, ",\"uid\":\"%s\"},\"spec\":{\"n\":%" PRId64, uid, n);
    if (pad > 0) {
        str_adds(&s, ",\"pad\":\"");
        for (size_t i = 0; i < pad; i++)
            str_addc(&s, (char)('a' + i % 26));
        str_addc(&s, '"');
    }
    str_adds(&s, "}}");
    assert_false(s.toobig);
    if (object_new(NULL, s.ptr, s.len, 0, &o, &e) != 0)
        fail_msg("object: %s", e.msg);
    return o;
}

int64_t
fx_value(const struct object *o)
{
    return object_get_int(o, "spec.n", -1);
}

void
fx_on_done(void *arg, uint64_t revision, const struct error *e)
{
    struct fx_result *r = arg;

    assert_false(r->done);
    r->done = true;
    r->revision = revision;
    r->e = e == NULL ? ERROR_INIT : *e;
}

void
fx_wait(struct fixture *f, const struct fx_result *r)
{
    while (!r->done) {
        if (f->opts.inline_sync)
            store_flush(f->store);
        if (!r->done)
            loop_turn(f->loop, 10000);
    }
}

static int
start_put(struct fixture *f, const struct store_key *k, const char *app, int64_t n,
          enum store_durability d, struct fx_result *r, struct error *e)
{
    auto_object *o = fx_object(k->ns, k->name, app, n, 0);
    const struct object *have = store_peek(f->store, k);
    struct store_op op = {.type = STORE_PUT,
                          .key = *k,
                          .expect = have == NULL ? 0 : have->revision,
                          .obj = o};

    return store_commit(f->store, &op, 1, d, r == NULL ? NULL : fx_on_done, r, NULL, e);
}

int
fx_start_put(struct fixture *f, const char *ns, const char *name, int64_t n,
             enum store_durability d, struct fx_result *r)
{
    struct store_key k = {RUNS, ns, name};
    struct error e = ERROR_INIT;

    return start_put(f, &k, NULL, n, d, r, &e);
}

static int
start_delete(struct fixture *f, const struct store_key *k, struct fx_result *r)
{
    const struct object *have = store_peek(f->store, k);
    struct store_op op = {
        .type = STORE_DELETE, .key = *k, .expect = have == NULL ? 0 : have->revision};
    struct error e = ERROR_INIT;

    return store_commit(f->store, &op, 1, STORE_DURABLE, r == NULL ? NULL : fx_on_done, r,
                        NULL, &e);
}

int
fx_start_delete(struct fixture *f, const char *ns, const char *name, struct fx_result *r)
{
    struct store_key k = {RUNS, ns, name};

    return start_delete(f, &k, r);
}

uint64_t
fx_put(struct fixture *f, const char *resource, const char *ns, const char *name,
       const char *app, int64_t n)
{
    struct store_key k = {resource, ns, name};
    struct fx_result r = {0};
    struct error e = ERROR_INIT;

    if (start_put(f, &k, app, n, STORE_DURABLE, &r, &e) != 0)
        fail_msg("put: %s", e.msg);
    fx_wait(f, &r);
    if (r.e.code != ERR_OK)
        fail_msg("put: %s", r.e.msg);
    return r.revision;
}

uint64_t
fx_delete(struct fixture *f, const char *resource, const char *ns, const char *name)
{
    struct store_key k = {resource, ns, name};
    struct fx_result r = {0};

    assert_int_equal(start_delete(f, &k, &r), 0);
    fx_wait(f, &r);
    assert_int_equal(r.e.code, ERR_OK);
    return r.revision;
}

struct object *
fx_get(const struct fixture *f, const char *ns, const char *name)
{
    return store_get(f->store, &(struct store_key){RUNS, ns, name});
}

/* --- dumps --- */

struct dump {
    struct store *store;
    struct str out;
    char *names[64];
    size_t n;
};

static void
add_resource(void *arg, const char *resource)
{
    struct dump *d = arg;

    assert_true(d->n < ARRAY_LEN(d->names));
    d->names[d->n++] = xstrdup(resource);
}

static int
compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

char *
fx_dump(struct store *s)
{
    struct dump d = {.store = s, .out = STR_INIT(TEXT_MAX)};

    store_resources(s, add_resource, &d);
    if (d.n > 0)
        qsort(d.names, d.n, sizeof(d.names[0]), compare_names);
    for (size_t i = 0; i < d.n; i++) {
        struct store_list *l = store_list(s, d.names[i], NULL, NULL);
        const struct object *o;
        while ((o = store_list_next(l)) != NULL)
            str_addf(&d.out, "%s %s/%s@%" PRIu64 "=%" PRId64 "\n", d.names[i], o->ns,
                     o->name, o->revision, fx_value(o));
        store_list_free(l);
        free(d.names[i]);
    }
    assert_false(d.out.toobig);
    return d.out.len == 0 ? xstrdup("") : str_detach(&d.out);
}

char *
fx_dump_dir(struct fixture *f, const char *dir, uint64_t *ret_revision)
{
    struct fixture copy = *f;
    struct store_opts opts = f->opts;
    struct error e = ERROR_INIT;

    opts.dir = dir;
    opts.fs = &fx_no_sync;
    opts.inline_sync = true;
    copy.opts = opts;
    copy.store = NULL;
    if (fx_try_open(&copy, &e) != 0)
        fail_msg("open copy: %s", e.msg);
    char *text = fx_dump(copy.store);
    if (ret_revision != NULL)
        *ret_revision = store_revision(copy.store);
    store_close(copy.store);
    return text;
}

/* --- directories --- */

/* The room that is only preallocated stays a hole: a copy costs what is in the file. */
static void
copy_file(const char *from, const char *to)
{
    static char buf[1u << 20];
    autoclose int in = open(from, O_RDONLY | O_CLOEXEC);
    autoclose int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    struct stat st;
    off_t at = 0;

    assert_true(in >= 0 && out >= 0);
    assert_int_equal(fstat(in, &st), 0);
    while ((at = lseek(in, at, SEEK_DATA)) >= 0 && at < st.st_size) {
        ssize_t n = pread(in, buf, sizeof(buf), at);
        assert_true(n > 0);
        assert_true(pwrite(out, buf, (size_t)n, at) == n);
        at += n;
    }
    assert_int_equal(ftruncate(out, st.st_size), 0);
}

void
fx_copy_tree(const char *from, const char *to)
{
    DIR *d = opendir(from);
    const struct dirent *de;

    assert_non_null(d);
    assert_int_equal(mkdir(to, 0700), 0);
    while ((de = readdir(d)) != NULL) { /* NOLINT(concurrency-mt-unsafe) */
        struct stat st;
        if (de->d_name[0] == '.')
            continue;
        autofree char *a = fs_join(from, de->d_name);
        autofree char *b = fs_join(to, de->d_name);
        assert_int_equal(stat(a, &st), 0);
        if (S_ISDIR(st.st_mode))
            fx_copy_tree(a, b);
        else
            copy_file(a, b);
    }
    closedir(d);
}

char *
fx_copy(struct fixture *f)
{
    char *to = xasprintf("%s/copy%u", f->root, f->copies++);

    fx_copy_tree(f->dir, to);
    return to;
}

static size_t
scan(const char *dir, const char *sub, const char *suffix, char **ret_newest)
{
    autofree char *path = fs_join(dir, sub);
    DIR *d = opendir(path);
    const struct dirent *de;
    size_t n = 0;

    assert_non_null(d);
    while ((de = readdir(d)) != NULL) { /* NOLINT(concurrency-mt-unsafe) */
        if (!str_ends(de->d_name, suffix))
            continue;
        n++;
        char *full = fs_join(path, de->d_name);
        if (*ret_newest == NULL || strcmp(full, *ret_newest) > 0) {
            free(*ret_newest);
            *ret_newest = full;
        } else {
            free(full);
        }
    }
    closedir(d);
    return n;
}

char *
fx_newest(const char *dir, const char *sub, const char *suffix)
{
    char *newest = NULL;

    scan(dir, sub, suffix, &newest);
    assert_non_null(newest);
    return newest;
}

size_t
fx_count_files(const char *dir, const char *sub, const char *suffix)
{
    autofree char *newest = NULL;

    return scan(dir, sub, suffix, &newest);
}

/* --- faults --- */

/* True: this call fails. */
static bool
count(struct fx_fault *x, enum fx_op op)
{
    if (x->before != NULL && op < FX_OPEN)
        x->before(x->arg);
    unsigned n = ++x->calls[op];
    if (n < x->fail_from[op] || n - x->fail_from[op] >= x->fail_count[op])
        return false;
    x->hits++;
    errno = x->error[op];
    return true;
}

static ssize_t
fault_write(void *arg, int fd, const void *buf, size_t n)
{
    struct fx_fault *x = arg;

    if (!count(x, FX_WRITE))
        return write(fd, buf, n);
    int sys = errno;
    if (x->short_write && n > 1) {
        assert_true(write(fd, buf, n / 2) == (ssize_t)(n / 2));
        if (sys == 0)
            return (ssize_t)(n / 2);
    }
    errno = sys;
    return -1;
}

static int
fault_sync(void *arg, int fd)
{
    struct fx_fault *x = arg;

    if (count(x, FX_SYNC))
        return -1;
    return x->no_sync ? 0 : fdatasync(fd);
}

static int
fault_rename(void *arg, const char *from, const char *to)
{
    return count(arg, FX_RENAME) ? -1 : rename(from, to);
}

static int
fault_alloc(void *arg, int fd, off_t off, off_t len)
{
    return count(arg, FX_ALLOC) ? -1 : fallocate(fd, 0, off, len);
}

static int
fault_truncate(void *arg, int fd, off_t len)
{
    return count(arg, FX_TRUNCATE) ? -1 : ftruncate(fd, len);
}

static int
fault_unlink(void *arg, const char *path)
{
    return count(arg, FX_UNLINK) ? -1 : unlink(path);
}

static int
fault_open(void *arg, const char *path, int flags, mode_t mode)
{
    return count(arg, FX_OPEN) ? -1 : open(path, flags | O_CLOEXEC, mode);
}

/* A read that fails, or that gives half of what was asked for. */
static ssize_t
fault_read(void *arg, int fd, void *buf, size_t n, off_t off)
{
    const struct fx_fault *x = arg;

    if (!count(arg, FX_READ))
        return pread(fd, buf, n, off);
    return x->error[FX_READ] == 0 ? pread(fd, buf, n / 2 + 1, off) : -1;
}

struct store_fs_ops
fx_fault_ops(struct fx_fault *fault)
{
    return (struct store_fs_ops){.write = fault_write,
                                 .fdatasync = fault_sync,
                                 .rename = fault_rename,
                                 .fallocate = fault_alloc,
                                 .ftruncate = fault_truncate,
                                 .unlink = fault_unlink,
                                 .open = fault_open,
                                 .pread = fault_read,
                                 .arg = fault};
}

static struct fx_fault no_fault = {.no_sync = true};

const struct store_fs_ops fx_no_sync = {.write = fault_write,
                                        .fdatasync = fault_sync,
                                        .rename = fault_rename,
                                        .fallocate = fault_alloc,
                                        .arg = &no_fault};

int
fx_setup(void **state, const char *seed)
{
    struct fixture *f = xnew(struct fixture);
    unsigned char fixed[32] = {0};

    snprintf((char *)fixed, sizeof(fixed), "%s", seed);
    id_seed(fixed);
    fx_init(f, true);
    fx_open(f);
    *state = f;
    return 0;
}

int
fx_go_threaded(void **state)
{
    struct fixture *f = *state;

    fx_close(f);
    f->opts.inline_sync = false;
    f->opts.fs = NULL;
    fx_open(f);
    return 0;
}

int
fx_teardown(void **state)
{
    struct fixture *f = *state;

    fx_done(f);
    free(f);
    return 0;
}
