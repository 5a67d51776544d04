/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blobs from drover-streams into a cache of this machine, shared by its jobs: files named
 * by their hash, the least recently used ones removed when there is too much. An open
 * descriptor outlives the removal.
 */
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sodium.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "client/client.h"
#include "io/http_client.h"
#include "runner/place/place.h"

enum { TRIES = 8, WAIT_MIN_MS = 250, PART_OLD_S = 3600, HEX = 64 };

struct download {
    int fd;
    int64_t at;
    crypto_hash_sha256_state hash;
    struct error error;
};

static bool
on_data(void *arg, const char *bytes, size_t n)
{
    struct download *d = arg;

    if (fs_write_all(d->fd, bytes, n, &d->error) < 0)
        return false;
    crypto_hash_sha256_update(&d->hash, (const unsigned char *)bytes, n);
    d->at += (int64_t)n;
    return true;
}

/* Makes room: the oldest goes until the rest is within the bound. */
static void
trim_cache(const char *cache, int64_t bound)
{
    for (;;) {
        DIR *d = opendir(cache);
        const struct dirent *de;
        struct stat st;
        char oldest[256] = "";
        int64_t oldest_s = INT64_MAX;
        int64_t sum = 0;
        if (d == NULL)
            return;
        while ((de = readdir(d)) != NULL) {
            if (de->d_name[0] == '.' ||
                fstatat(dirfd(d), de->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                continue;
            bool part = strchr(de->d_name, '.') != NULL;
            if (part && st.st_mtim.tv_sec > time(NULL) - PART_OLD_S)
                continue; /* being written */
            sum += st.st_size;
            if (st.st_mtim.tv_sec < oldest_s) {
                oldest_s = st.st_mtim.tv_sec;
                snprintf(oldest, sizeof(oldest), "%s", de->d_name);
            }
        }
        bool removed =
            sum > bound && oldest[0] != '\0' && unlinkat(dirfd(d), oldest, 0) == 0;
        closedir(d);
        if (!removed)
            return;
    }
}

static int
try_once(const struct fetch *f, const char *blob, struct download *d, bool *ret_again,
         struct error *e)
{
    autofree char *path =
        xasprintf("/apis/streams.drover.dev/v1/namespaces/%s/blobs/%s?offset=%lld", f->ns,
                  blob, (long long)d->at);
    struct http_target target = {.url = f->url,
                                 .ca_pem = f->ca_pem,
                                 .bearer = f->bearer,
                                 .user_agent = "drover-runner/" DROVER_VERSION};
    struct http_call call = {.method = "GET", .path = path, .timeout_ms = -1};
    auto_http_reply reply = {0};
    struct http_conn *c = http_conn_new(&target);

    http_reply_init(&reply, 65536);
    int rc = http_conn_stream(c, &call, on_data, d, NULL, &reply, e);
    http_conn_free(c);
    *ret_again = rc < 0;
    if (rc == 0 && d->error.code != ERR_OK) {
        *e = d->error;
        return -(int)e->code;
    }
    if (rc == 0 && reply.status / 100 != 2) {
        rc = client_reply_error(reply.status,
                                (struct span){reply.body.ptr, reply.body.len}, e);
        /* The claim may not have reached the authorizer of this server yet. */
        *ret_again = reply.status >= 500 || reply.status == 403 || reply.status == 429;
    }
    return rc;
}

static int
download(const struct fetch *f, const char *blob, struct download *d, struct error *e)
{
    int wait_ms = WAIT_MIN_MS;

    for (int i = 0;; i++) {
        bool again = false;
        int64_t before = d->at;
        int rc = try_once(f, blob, d, &again, e);
        if (rc == 0)
            return 0;
        if (d->at > before)
            i = 0; /* it moves */
        if (!again || i == TRIES)
            return rc;
        *e = ERROR_INIT;
        poll(NULL, 0, wait_ms); /* this process has nothing else to do */
        wait_ms = wait_ms < 8000 ? wait_ms * 2 : wait_ms;
    }
}

static int
fetch_new(const struct fetch *f, const char *blob, const char *whole, int *ret_fd,
          struct error *e)
{
    autofree char *part = xasprintf("%s.%d", whole, (int)getpid());
    unsigned char digest[crypto_hash_sha256_BYTES];
    char hex[HEX + 1];
    struct download d = {.fd = -1};

    if (fs_mkdirs(f->cache, 0700, e) < 0)
        return -(int)e->code;
    trim_cache(f->cache, PLACE_CACHE_BYTES);
    autoclose int fd = open(part, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_errno(e, errno, "create %s", part);
    d.fd = fd;
    crypto_hash_sha256_init(&d.hash);
    int rc = download(f, blob, &d, e);
    if (rc == 0) {
        crypto_hash_sha256_final(&d.hash, digest);
        sodium_bin2hex(hex, sizeof(hex), digest, sizeof(digest));
        if (!streq(hex, blob + strlen("sha256:")))
            rc = error_set(e, ERR_CORRUPT, "the server sent bytes of another hash");
    }
    if (rc == 0 && rename(part, whole) < 0)
        rc = error_errno(e, errno, "keep %s", whole);
    if (rc < 0) {
        unlink(part);
        return rc;
    }
    *ret_fd = move_fd(fd);
    return 0;
}

int
fetch_blob(const struct fetch *f, const char *blob, int *ret_fd, struct error *e)
{
    if (!str_starts(blob, "sha256:") || strlen(blob) != 7 + HEX ||
        strspn(blob + 7, "0123456789abcdef") != HEX)
        return error_set(e, ERR_INVALID, "\"%.100s\" is no sha256:<64 hex digits>", blob);
    autofree char *whole = fs_join(f->cache, blob + 7);
    int fd = open(whole, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd >= 0) {
        futimens(fd, NULL);
        *ret_fd = fd;
        return 0;
    }
    int rc = fetch_new(f, blob, whole, &fd, e);
    if (rc < 0)
        return error_prepend(e, "fetch %.20s...", blob);
    if (lseek(fd, 0, SEEK_SET) < 0) {
        close(fd);
        return error_errno(e, errno, "read %s", whole);
    }
    *ret_fd = fd;
    return 0;
}

void
fetch_forget(const struct fetch *f, const char *blob)
{
    autofree char *whole = fs_join(f->cache, blob + strlen("sha256:"));

    unlink(whole);
}
