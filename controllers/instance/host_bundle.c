/* SPDX-License-Identifier: Apache-2.0 */
/* Libraries by the loader's word, a name for all the files, and the archive. */
#include "controllers/instance/host_bundle.h"

#include <ctype.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/id.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/vec.h"
#include "io/proc.h"

enum {
    FILE_MAX = 512 << 20,
    FILES_MAX = 256,
    WORDS_MAX = 64 * 1024,
    TRACE_MS = 10000,
    TAR_MS = 120000,
    KIB = 1024
};

struct item {
    char *name; /* in the archive */
    char *path;
    struct stat st;
};

struct made {
    vec(struct item) items; /* the program first */
    char *tar;
    struct host_bundle bundle;
};

struct host_bundles {
    char *dir;
    struct map *made; /* program -> struct made */
};

static void
made_free(void *arg)
{
    struct made *m = arg;

    vec_foreach (i, &m->items) {
        free(i->name);
        free(i->path);
    }
    vec_done(&m->items);
    if (m->tar != NULL)
        unlink(m->tar);
    free(m->tar);
    free(m);
}

struct host_bundles *
host_bundles_new(const char *dir)
{
    struct host_bundles *b = xnew(struct host_bundles);

    b->dir = xstrdup(dir);
    b->made = map_new(made_free);
    return b;
}

void
host_bundles_free(struct host_bundles *b)
{
    if (b == NULL)
        return;
    map_free(b->made);
    free(b->dir);
    free(b);
}

/* --- which C library ---------------------------------------------------------------- */

int
host_libc_minor(const char *words)
{
    const char *at = words;
    int minor = 0;

    if (strstr(words, "musl") != NULL || strstr(words, "uClibc") != NULL)
        return -1;
    while ((at = strstr(at, "2.")) != NULL) {
        bool word = at == words || at[-1] == ' ';
        at += 2;
        if (word && isdigit((unsigned char)*at))
            minor = (int)strtol(at, NULL, 10); /* the last one, after the distributor's */
    }
    return minor;
}

int
host_libc_needed(const void *bytes, size_t n)
{
    static const char mark[] = "GLIBC_2.";
    const char *p = bytes, *end = p + n;
    int most = 0;

    while ((p = memmem(p, (size_t)(end - p), mark, sizeof(mark) - 1)) != NULL) {
        int minor = 0;
        p += sizeof(mark) - 1;
        for (int digits = 0; p < end && isdigit((unsigned char)*p) && digits < 3;
             digits++)
            minor = minor * 10 + (*p++ - '0');
        if (minor > most)
            most = minor;
    }
    return most;
}

/* --- which files ------------------------------------------------------------------- */

/* What belongs to the C library of a machine and to no other one's. */
static bool
of_glibc(const char *name)
{
    static const char *const own[] = {
        "ld-linux",           "ld64.",           "libc.so.",      "libm.so.",
        "libmvec.so.",        "libdl.so",        "libpthread.so", "librt.so.",
        "libresolv.so",       "libutil.so",      "libanl.so",     "libnss_",
        "libBrokenLocale.so", "libthread_db.so", "linux-vdso"};

    for (size_t i = 0; i < ARRAY_LEN(own); i++)
        if (str_starts(name, own[i]))
            return true;
    return false;
}

static void
add_item(struct made *m, char *name, const char *path)
{
    struct item i = {.name = name, .path = xstrdup(path)};

    vec_push(&m->items, i);
}

/* "\tlibz.so.1 => /lib/libz.so.1 (0x7f...)"; the loader and the vdso have no arrow. */
static int
take_line(struct made *m, char *line, struct error *e)
{
    char *name = line + strspn(line, " \t"), *arrow = strstr(name, " => ");

    if (arrow == NULL)
        return 0;
    *arrow = '\0';
    char *path = arrow + strlen(" => ");
    if (of_glibc(name) || strchr(name, '/') != NULL)
        return 0;
    if (path[0] != '/')
        return error_set(e, ERR_NOT_FOUND, "the library %s of drover-runner is not here",
                         name);
    char *end = strstr(path, " (0x");
    if (end != NULL)
        *end = '\0';
    if (m->items.len >= FILES_MAX)
        return error_set(e, ERR_TOO_LARGE, "drover-runner has too many libraries");
    add_item(m, xasprintf("lib/%s", name), path);
    return 0;
}

static int
trace_libraries(struct made *m, const char *program, struct error *e)
{
    const char *path = getenv("LD_LIBRARY_PATH");
    autofree char *also = xasprintf("LD_LIBRARY_PATH=%s", path == NULL ? "" : path);
    const char *env[] = {"LD_TRACE_LOADED_OBJECTS=1", path == NULL ? NULL : also, NULL};
    const char *argv[] = {program, "--version",
                          NULL}; /* one without a loader says that */
    struct proc_opts o = PROC_OPTS_INIT;
    auto_str words = STR_INIT(WORDS_MAX);
    char *save = NULL;
    int status;

    o.argv = argv;
    o.env = env;
    int rc = proc_run(&o, TRACE_MS, &words, &status, e);
    if (rc < 0)
        return error_prepend(e, "libraries of %s", program);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return error_set(e, ERR_UNAVAILABLE, "%s does not load here: %.200s", program,
                         words.ptr);
    for (char *l = strtok_r(words.ptr, "\n", &save); l != NULL && rc == 0;
         l = strtok_r(NULL, "\n", &save))
        rc = take_line(m, l, e);
    return rc;
}

static int
list_libraries(struct made *m, const char *dir, struct error *e)
{
    DIR *d = opendir(dir);
    struct dirent *entry;
    int rc = 0;

    if (d == NULL)
        return errno == ENOENT ? 0 : error_errno(e, errno, "%s", dir);
    while (rc == 0 && (entry = readdir(d)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        autofree char *path = fs_join(dir, entry->d_name);
        if (m->items.len >= FILES_MAX)
            rc = error_set(e, ERR_TOO_LARGE, "%s has too many files", dir);
        else
            add_item(m, xasprintf("lib/%s", entry->d_name), path);
    }
    closedir(d);
    return rc;
}

static int
by_name(const void *a, const void *b)
{
    return strcmp(((const struct item *)a)->name, ((const struct item *)b)->name);
}

static int
find_files(struct made *m, const char *program, bool ours, struct error *e)
{
    autofree char *beside = xasprintf("%s.lib", program);

    add_item(m, xstrdup("bin/drover-runner"), program);
    int rc = ours && access(beside, F_OK) < 0 ? trace_libraries(m, program, e)
                                              : list_libraries(m, beside, e);
    if (rc == 0)
        qsort(m->items.items + 1, m->items.len - 1, sizeof(m->items.items[0]), by_name);
    return rc;
}

/* --- the archive ------------------------------------------------------------------- */

static int
read_items(struct made *m, struct error *e)
{
    auto_str names = STR_INIT(WORDS_MAX);
    char hash[65];

    vec_foreach (i, &m->items) {
        auto_str bytes = STR_INIT(FILE_MAX);
        if (stat(i->path, &i->st) < 0)
            return error_errno(e, errno, "%s", i->path);
        int rc = fs_read(i->path, &bytes, e);
        if (rc < 0)
            return rc;
        id_hash_hex(bytes.ptr, bytes.len, hash);
        str_addf(&names, "%s %s\n", hash, i->name);
        int needed = host_libc_needed(bytes.ptr, bytes.len);
        if (needed > m->bundle.libc_minor)
            m->bundle.libc_minor = needed;
        m->bundle.kib += (int64_t)(bytes.len / KIB) + 1;
    }
    id_hash_hex(names.ptr, names.len, hash);
    snprintf(m->bundle.id, sizeof(m->bundle.id), "%s", hash);
    return 0;
}

static int
run_tar(const struct made *m, const char *from, struct error *e)
{
    const char *argv[] = {"tar",         "--create",  "--dereference",
                          "--owner=0",   "--group=0", "--numeric-owner",
                          "--mode=0755", "--file",    m->tar,
                          "--directory", from,        "bin",
                          "lib",         "id",        NULL};
    struct proc_opts o = PROC_OPTS_INIT;
    auto_str words = STR_INIT(WORDS_MAX);
    int status;

    o.argv = argv;
    int rc = proc_run(&o, TAR_MS, &words, &status, e);
    if (rc == 0 && (!WIFEXITED(status) || WEXITSTATUS(status) != 0))
        return error_set(e, ERR_INTERNAL, "tar: %.200s", words.ptr);
    return rc;
}

/* A directory of links, which tar follows. */
static int
pack(struct host_bundles *b, struct made *m, struct error *e)
{
    autofree char *from = xasprintf("%s/pack-XXXXXX", b->dir);
    struct error ignored = ERROR_INIT;

    m->tar = xasprintf("%s/agent-%.16s.tar", b->dir, m->bundle.id);
    if (mkdtemp(from) == NULL)
        return error_errno(e, errno, "make a directory in %s", b->dir);
    autofree char *bin = fs_join(from, "bin"), *lib = fs_join(from, "lib"),
                  *id = fs_join(from, "id");
    int rc = fs_mkdirs(bin, 0755, e);
    if (rc == 0)
        rc = fs_mkdirs(lib, 0755, e);
    if (rc == 0)
        rc = fs_write_atomic(id, m->bundle.id, strlen(m->bundle.id), 0644, e);
    vec_foreach (i, &m->items) {
        autofree char *to = fs_join(from, i->name), *real = realpath(i->path, NULL);
        if (rc == 0 && (real == NULL || symlink(real, to) < 0))
            rc = error_errno(e, errno, "link %s", i->path);
    }
    if (rc == 0)
        rc = run_tar(m, from, e);
    m->bundle.path = m->tar;
    int swept = fs_remove_tree(from, &ignored);
    UNUSED(swept); /* the directory is emptied at the next start */
    return rc;
}

static bool
unchanged(const struct made *m)
{
    struct stat st;

    vec_foreach (i, &m->items)
        if (stat(i->path, &st) < 0 || st.st_size != i->st.st_size ||
            st.st_ino != i->st.st_ino || st.st_mtim.tv_sec != i->st.st_mtim.tv_sec ||
            st.st_mtim.tv_nsec != i->st.st_mtim.tv_nsec)
            return false;
    return true;
}

int
host_bundle_get(struct host_bundles *b, const char *program, bool ours,
                struct host_bundle *ret, struct error *e)
{
    struct made *m = map_get(b->made, program);

    if (m == NULL || !unchanged(m)) {
        m = xnew(struct made);
        int rc = find_files(m, program, ours, e);
        if (rc == 0)
            rc = read_items(m, e);
        map_del(b->made, program); /* with an archive that may have the same name */
        if (rc == 0)
            rc = pack(b, m, e);
        if (rc < 0) {
            made_free(m);
            return rc;
        }
        map_put(b->made, program, m);
    }
    *ret = m->bundle;
    return 0;
}
