/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Encoding: a sequence of `u8 tag | u32le length | bytes | NUL`. Lists repeat their tag,
 * in order; numbers are 8 bytes little-endian. An unknown tag is an error: both sides are
 * the same program file.
 */
#include "runner/supervisor/spec.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"

enum tag_kind { TAG_TEXT, TAG_NUMBER, TAG_LIST };
enum { TAG_HEADER = 5 };

static const struct spec_tag {
    enum tag_kind kind;
    size_t offset;
} tags[] = {
    {TAG_TEXT, offsetof(struct spec, dir)},
    {TAG_TEXT, offsetof(struct spec, uid)},
    {TAG_TEXT, offsetof(struct spec, agent_id)},
    {TAG_TEXT, offsetof(struct spec, working_dir)},
    {TAG_TEXT, offsetof(struct spec, user)},
    {TAG_TEXT, offsetof(struct spec, renewed)},
    {TAG_TEXT, offsetof(struct spec, rootfs)},
    {TAG_LIST, offsetof(struct spec, binds)},
    {TAG_LIST, offsetof(struct spec, argv)},
    {TAG_LIST, offsetof(struct spec, env)},
    {TAG_LIST, offsetof(struct spec, masks)},
    {TAG_LIST, offsetof(struct spec, devices)},
    {TAG_NUMBER, offsetof(struct spec, rootfs_kept)},
    {TAG_NUMBER, offsetof(struct spec, cpu_request_milli)},
    {TAG_NUMBER, offsetof(struct spec, cpu_limit_milli)},
    {TAG_NUMBER, offsetof(struct spec, memory_limit_mib)},
    {TAG_NUMBER, offsetof(struct spec, shm_mib)},
    {TAG_NUMBER, offsetof(struct spec, disk_limit_mib)},
    {TAG_NUMBER, offsetof(struct spec, tty_columns)},
    {TAG_NUMBER, offsetof(struct spec, tty_rows)},
    {TAG_NUMBER, offsetof(struct spec, stop_ms)},
    {TAG_NUMBER, offsetof(struct spec, spool_bytes)},
};

static void
put(struct str *out, size_t tag, const void *bytes, size_t n)
{
    uint32_t len = (uint32_t)n;

    str_addc(out, (char)tag);
    str_add(out, &len, sizeof(len));
    str_add(out, bytes, n);
    str_addc(out, '\0');
}

static void
put_tag(struct str *out, size_t tag, const struct spec *s)
{
    const char *at = (const char *)s + tags[tag].offset;
    const char *text;
    struct spec_list list;

    switch (tags[tag].kind) {
    case TAG_NUMBER:
        put(out, tag, at, sizeof(int64_t));
        break;
    case TAG_TEXT:
        memcpy(&text, at, sizeof(text));
        if (text != NULL)
            put(out, tag, text, strlen(text));
        break;
    case TAG_LIST:
        memcpy(&list, at, sizeof(list));
        for (size_t i = 0; i < list.len; i++)
            put(out, tag, list.items[i], strlen(list.items[i]));
        break;
    }
}

int
spec_memfd(const struct spec *s, int *ret_fd, struct error *e)
{
    auto_str out = STR_INIT(SPEC_MAX_BYTES);

    for (size_t i = 0; i < ARRAY_LEN(tags); i++)
        put_tag(&out, i, s);
    if (out.toobig)
        return error_set(e, ERR_TOO_LARGE, "command and environment exceed %d bytes",
                         SPEC_MAX_BYTES);
    autoclose int fd = memfd_create("drover-job", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return error_errno(e, errno, "create memory file");
    int rc = fs_write_all(fd, out.ptr, out.len, e);
    explicit_bzero(out.ptr, out.len);
    if (rc != 0)
        return rc;
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
        return error_errno(e, errno, "seal memory file");
    *ret_fd = move_fd(fd);
    return 0;
}

static int
take(struct spec *s, size_t tag, const char *bytes, size_t n, struct error *e)
{
    char *at = (char *)s + tags[tag].offset;
    struct spec_list list;

    switch (tags[tag].kind) {
    case TAG_NUMBER:
        if (n != sizeof(int64_t))
            return error_set(e, ERR_CORRUPT, "job spec: bad number");
        memcpy(at, bytes, n);
        break;
    case TAG_TEXT:
        memcpy(at, &bytes, sizeof(bytes));
        break;
    case TAG_LIST:
        memcpy(&list, at, sizeof(list));
        list.items[list.len++] = bytes;
        memcpy(at, &list, sizeof(list));
        break;
    }
    return 0;
}

/* Calls take() for each record, or only counts them per tag when counts is given. */
static int
walk(struct spec *s, const char *p, size_t n, size_t *counts, struct error *e)
{
    while (n > 0) {
        uint32_t len;
        if (n < TAG_HEADER + 1)
            return error_set(e, ERR_CORRUPT, "job spec: cut off");
        size_t tag = (unsigned char)p[0];
        memcpy(&len, p + 1, sizeof(len));
        if (tag >= ARRAY_LEN(tags) || len > n - TAG_HEADER - 1 ||
            p[TAG_HEADER + len] != '\0')
            return error_set(e, ERR_CORRUPT, "job spec: bad record");
        if (counts != NULL)
            counts[tag]++;
        else if (take(s, tag, p + TAG_HEADER, len, e) != 0)
            return -(int)e->code;
        p += TAG_HEADER + len + 1;
        n -= TAG_HEADER + len + 1;
    }
    return 0;
}

static int
decode(struct spec *s, struct error *e)
{
    size_t counts[ARRAY_LEN(tags)] = {0};

    int rc = walk(s, s->map, s->map_len, counts, e);
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < ARRAY_LEN(tags); i++) {
        if (tags[i].kind != TAG_LIST)
            continue;
        struct spec_list list = {.items = xcalloc(counts[i] + 1, sizeof(char *))};
        memcpy((char *)s + tags[i].offset, &list, sizeof(list));
    }
    rc = walk(s, s->map, s->map_len, NULL, e);
    if (rc == 0 && (s->dir == NULL || s->uid == NULL || s->agent_id == NULL))
        rc = error_set(e, ERR_CORRUPT, "job spec: incomplete");
    return rc;
}

int
spec_map(int fd, struct spec *ret, struct error *e)
{
    struct spec s = {0};
    struct stat st;

    if (fstat(fd, &st) < 0)
        return error_errno(e, errno, "job spec");
    if (st.st_size == 0 || st.st_size > SPEC_MAX_BYTES)
        return error_set(e, ERR_CORRUPT, "job spec: bad size");
    s.map_len = (size_t)st.st_size;
    s.map = mmap(NULL, s.map_len, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    if (s.map == MAP_FAILED)
        return error_errno(e, errno, "job spec: map");
    int rc = decode(&s, e);
    if (rc != 0) {
        spec_done(&s);
        return rc;
    }
    *ret = s;
    return 0;
}

void
spec_done(struct spec *s)
{
    if (s->map != NULL && s->map != MAP_FAILED)
        munmap(s->map, s->map_len);
    free(s->binds.items);
    free(s->argv.items);
    free(s->env.items);
    free(s->masks.items);
    free(s->devices.items);
    *s = (struct spec){0};
}
