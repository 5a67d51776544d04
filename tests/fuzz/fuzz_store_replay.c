/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening a store whose files are the input. The first byte says how:
 *   's' the rest is a segment, as it is
 *   'n' the rest is a snapshot, as it is, beside an empty log
 *   'r' the rest is a script of records that get valid checksums, so that mutations reach
 *       what lies behind them: type, flags, number of operations (2), step of the
 * revision (2), length of the body (2), body; type 'n' instead starts a snapshot's
 * records A store that opens must open again with the same contents.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "apiserver/store/store.h"
#include "apiserver/store/store_log.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FILE_MAX (12u << 20)

static ssize_t
fuzz_write(void *arg, int fd, const void *buf, size_t n)
{
    UNUSED(arg);
    return write(fd, buf, n);
}

static int
fuzz_sync(void *arg, int fd)
{
    UNUSED(arg);
    UNUSED(fd);
    return 0;
}

static int
fuzz_rename(void *arg, const char *from, const char *to)
{
    UNUSED(arg);
    return rename(from, to);
}

static int
fuzz_allocate(void *arg, int fd, off_t off, off_t len)
{
    UNUSED(arg);
    UNUSED(fd);
    UNUSED(off);
    UNUSED(len);
    return 0;
}

static const struct store_fs_ops no_disk = {
    .write = fuzz_write,
    .fdatasync = fuzz_sync,
    .rename = fuzz_rename,
    .fallocate = fuzz_allocate,
};

/* Under the name that its head asks for, so that the head is not the end of it. */
static void
put_file(const char *dir, const struct str *bytes, const char *suffix)
{
    uint64_t first = bytes->len < LOG_HEAD_BYTES ? 1 : log_get64(bytes->ptr + 32);
    autofree char *path =
        xasprintf("%s/%020llu%s", dir, (unsigned long long)first, suffix);
    autoclose int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    struct error e = ERROR_INIT;

    bug_if(fd < 0 || fs_write_all(fd, bytes->ptr, bytes->len, &e) < 0);
}

static void
start_file(struct str *out, struct log_head *h, const char *magic)
{
    char head[LOG_HEAD_BYTES];

    log_head_write(h, magic, head);
    str_add(out, head, sizeof(head));
}

static unsigned
get16(const uint8_t *p)
{
    return p[0] | (unsigned)p[1] << 8;
}

/* Builds a segment, and a snapshot of what stands before an 'n'. */
static void
build(const uint8_t *p, size_t size, struct str *log, struct str *snap)
{
    const uint8_t *end = p + size;
    struct log_head h = {.id = "fuzz", .first = 1, .floor = 1u << 20};
    struct log_head sh = {.id = "fuzz snapshot", .first = 1000, .floor = 2000};
    struct str *out = log;
    uint64_t revision = 0;

    start_file(log, &h, LOG_MAGIC);
    while (end - p >= 8) {
        if (*p == 'n' && snap->len == 0) {
            start_file(snap, &sh, LOG_SNAP_MAGIC);
            out = snap;
            p++;
            continue;
        }
        if (*p == 'l') {
            out = log;
            p++;
            continue;
        }
        size_t body = get16(p + 6);
        if (body > (size_t)(end - p) - 8)
            body = (size_t)(end - p) - 8;
        revision += get16(p + 4);
        size_t begin = log_record_begin(out, p[0], p[1], revision);
        str_add(out, p + 8, body);
        log_record_end(out, begin, get16(p + 2), out == log ? LOG_HEAD_BYTES : 0,
                       out == log ? &h : &sh, 0);
        p += 8 + body;
    }
}

static void
add_name(void *arg, const char *resource)
{
    str_addf(arg, "%s\n", resource);
}

static bool
open_and_dump(const char *dir, struct str *out)
{
    struct store_opts opts = {.dir = dir, .inline_sync = true, .fs = &no_disk};
    struct store *s = NULL;
    struct loop *l = NULL;
    struct error e = ERROR_INIT;
    auto_str names = STR_INIT(FILE_MAX);

    bug_if(loop_new(&l, &e) < 0);
    int rc = store_open(l, &opts, &s, &e);
    if (rc == 0) {
        store_resources(s, add_name, &names);
        for (char *p = names.ptr; *p != '\0';) {
            char *nl = strchr(p, '\n');
            *nl = '\0';
            struct store_list *list = store_list(s, p, NULL, NULL);
            const struct object *o;
            while ((o = store_list_next(list)) != NULL)
                str_addf(out, "%s/%s/%s@%llu:%zu\n", p, o->ns, o->name,
                         (unsigned long long)o->revision, o->len);
            store_list_free(list);
            p = nl + 1;
        }
        store_close(s);
    }
    loop_free(l);
    return rc == 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char dir[] = "/dev/shm/drover-fuzz-XXXXXX";
    struct error e = ERROR_INIT;
    auto_str log = STR_INIT(FILE_MAX);
    auto_str snap = STR_INIT(FILE_MAX);
    struct log_head h = {.id = "fuzz", .first = 1, .floor = 1u << 20};

    if (size < 1 || size > (1u << 20))
        return 0;
    log_set_level(LOG_LV_ERR);
    if (data[0] == 'r') {
        build(data + 1, size - 1, &log, &snap);
    } else if (data[0] == 'n') {
        start_file(&log, &h, LOG_MAGIC);
        str_add(&snap, data + 1, size - 1);
    } else {
        str_add(&log, data + 1, size - 1);
    }
    bug_if(mkdtemp(dir) == NULL);
    autofree char *log_dir = fs_join(dir, "log");
    autofree char *snap_dir = fs_join(dir, "snapshot");
    bug_if(mkdir(log_dir, 0700) < 0 || mkdir(snap_dir, 0700) < 0);
    put_file(log_dir, &log, ".log");
    if (snap.len > 0)
        put_file(snap_dir, &snap, ".snap");

    auto_str first = STR_INIT(FILE_MAX);
    auto_str second = STR_INIT(FILE_MAX);
    if (open_and_dump(dir, &first)) {
        bug_if(!open_and_dump(dir, &second));
        bug_if(first.len != second.len || memcmp(first.ptr, second.ptr, first.len) != 0);
    }
    bug_if(fs_remove_tree(dir, &e) < 0);
    return 0;
}
