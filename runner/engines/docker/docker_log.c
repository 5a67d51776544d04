/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies the daemon's log of one container into the job's segments: live while it runs,
 * and once more from the last position after it ended, so that the copy is whole before
 * the exit is reported. One log entry becomes one frame with the daemon's time; where to
 * go on after any interruption is worked out from the stored frames (docker_stream.h).
 *
 * The job is never blocked: bytes that do not fit the spool's bound, or that the disk
 * refuses, are counted and reported in the log itself by a mark.
 */
#include "runner/engines/docker/docker.h"

#include <dirent.h>
#include <inttypes.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"

LOG_MODULE(docker);

#define BATCH_MAX (8 * 1024 * 1024)
#define REPLAY_CHUNK (1024 * 1024)
#define RETRY_MS 1000
/* Takes nothing out of the daemon's sequence, unlike the other marks. */
#define AWAY_TEXT                                                                        \
    "the Docker daemon was stopped: what was printed meanwhile may be missing\n"

struct docker_log {
    struct engine *en;
    char *uid, *dir;
    struct segment_log *segments;
    struct docker_demux demux;
    struct docker_cursor cursor;
    struct docker_call *call;
    struct loop_timer *retry;
    struct loop_hook *flush; /* one write per turn of the loop */
    struct str batch;

    bool finishing;
    bool may_lack;               /* the daemon was away; not yet said in the log */
    struct docker_resume resume; /* of the running call */
    uint64_t skipped;
    bool first_seen;
    uint64_t dropped_bytes;
    int64_t spool_checked_at; /* length at which the bound was last looked at */
    bool spool_full;
    char first_line[300];
    size_t first_line_len;

    void (*done)(void *arg, bool reached);
    void *done_arg;
};

static void start_call(struct docker_log *l);
static void append_batch(struct docker_log *l);

static void
on_retry(void *arg)
{
    struct docker_log *l = arg;
    if (l->call == NULL)
        start_call(l);
}

static void
on_turn_end(void *arg)
{
    append_batch(arg);
}

struct docker_log *
docker_log_new(struct engine *en, const struct engine_job *j)
{
    struct docker_log *l = xnew(struct docker_log);
    l->en = en;
    l->uid = xstrdup(j->uid);
    l->dir = fs_join(j->dir, "log");
    l->retry = loop_timer_new(en->loop, "docker log retry", on_retry, l);
    l->flush = loop_before_sleep(en->loop, "docker log", on_turn_end, l);
    docker_demux_init(&l->demux);
    str_init(&l->batch, BATCH_MAX);
    return l;
}

void
docker_log_free(struct docker_log *l)
{
    if (l == NULL)
        return;
    docker_call_cancel(&l->call);
    loop_timer_free(l->retry);
    loop_hook_free(l->flush);
    if (l->segments != NULL)
        append_batch(l);
    segment_close(l->segments);
    docker_demux_done(&l->demux);
    str_done(&l->batch);
    free(l->uid);
    free(l->dir);
    free(l);
}

/* "[FATAL tini (7)] exec /x failed: ..." of Docker's init, "ERROR (catatonit:6): failed
 * to exec pid1: ..." of Podman's. */
bool
docker_log_exec_error(const struct docker_log *l, char *ret, size_t size)
{
    static const struct {
        const char *prefix;
        char end; /* of the part before the words */
    } inits[] = {{"[FATAL tini (", ']'}, {"ERROR (catatonit:", ')'}};
    const char *text = NULL;
    for (size_t i = 0; i < ARRAY_LEN(inits); i++)
        if (str_starts(l->first_line, inits[i].prefix))
            text = strchr(l->first_line, inits[i].end);
    if (text == NULL)
        return false;
    text += strspn(text, "]): ");
    snprintf(ret, size, "%.*s", (int)strcspn(text, "\r\n"), text);
    return ret[0] != '\0';
}

/* Offset of the last but one segment file: enough history to find a cut in. */
static uint64_t
replay_start(const char *dir)
{
    uint64_t last = 0;
    uint64_t before = 0;
    unsigned n = 0;
    DIR *d = opendir(dir);
    struct dirent *de;
    while (d != NULL && (de = readdir(d)) != NULL) {
        char *end;
        uint64_t v = strtoull(de->d_name, &end, 16);
        if (end != de->d_name + 16 || !streq(end, ".seg"))
            continue;
        if (n++ == 0 || v > last) {
            before = last;
            last = v;
        } else if (n == 2 || v > before) {
            before = v;
        }
    }
    if (d != NULL)
        closedir(d);
    return n < 2 ? last : before;
}

static bool
is_away_mark(struct span text)
{
    return text.len == sizeof(AWAY_TEXT) - 1 &&
           memcmp(text.ptr, AWAY_TEXT, text.len) == 0;
}

static int
replay_frames(struct docker_log *l, const struct str *buf, uint64_t *offset,
              struct error *e)
{
    size_t at = 0;
    while (at < buf->len) {
        struct segment_frame f;
        size_t left = buf->len - at;
        int r = segment_frame_get(buf->ptr + at, left, *offset, &f, e);
        if (r < 0)
            return r;
        if (r == 0)
            break;
        if (f.stream == SEGMENT_MARK && !is_away_mark(f.bytes))
            docker_cursor_gap(&l->cursor);
        else
            docker_cursor_note(&l->cursor, f.stream, f.unix_ns, f.bytes);
        at += SEGMENT_HEADER + f.bytes.len;
        *offset += SEGMENT_HEADER + f.bytes.len;
    }
    return 0;
}

/* Builds the cursor from the frames on disk. */
static int
replay(struct docker_log *l, struct error *e)
{
    auto_str buf = STR_INIT(REPLAY_CHUNK + SEGMENT_HEADER + SEGMENT_FRAME_MAX);
    uint64_t offset = replay_start(l->dir);
    uint64_t end = segment_length(l->segments);
    if (offset > 0)
        docker_cursor_gap(&l->cursor);
    while (offset < end) {
        uint64_t before = offset;
        str_reset(&buf);
        int r = segment_read(l->dir, offset, &buf, REPLAY_CHUNK, e);
        if (r < 0)
            return r;
        r = replay_frames(l, &buf, &offset, e);
        if (r < 0)
            return r;
        if (offset == before)
            return error_set(e, ERR_CORRUPT, "no whole frame at offset %" PRIu64, offset);
    }
    return 0;
}

static bool
open_segments(struct docker_log *l)
{
    struct error e = ERROR_INIT;
    if (l->segments != NULL)
        return true;
    if (segment_open(l->dir, &l->segments, &e) < 0) {
        log_warn_rl("log not writable", "uid=%s error=\"%s\"", l->uid, e.msg);
        return false;
    }
    if (replay(l, &e) < 0) {
        log_warn("stored log not readable, going on by time", "uid=%s error=\"%s\"",
                 l->uid, e.msg);
        docker_cursor_gap(&l->cursor);
    }
    return true;
}

/* What is not yet acknowledged by the server lies in the spool; looked at now and then.
 */
static bool
spool_full(struct docker_log *l)
{
    struct error e = ERROR_INIT;
    uint64_t first;
    uint64_t length;
    int64_t now = (int64_t)segment_length(l->segments);
    if (!l->spool_full && now - l->spool_checked_at < l->en->spool_bytes / 64)
        return false;
    l->spool_checked_at = now;
    if (segment_stat(l->dir, &first, &length, &e) == 0)
        l->spool_full =
            length - first > (uint64_t)l->en->spool_bytes || !segment_room(l->dir);
    return l->spool_full;
}

static void
append_batch(struct docker_log *l)
{
    struct error e = ERROR_INIT;
    uint64_t length;
    if (l->batch.len == 0)
        return;
    bool full = spool_full(l);
    if (!full && l->dropped_bytes > 0) {
        auto_str mark = STR_INIT(512);
        char text[128];
        int n = snprintf(text, sizeof(text),
                         "%" PRIu64 " bytes dropped: the log spool was full\n",
                         l->dropped_bytes);
        segment_frame_put(&mark, l->cursor.max_ns, SEGMENT_MARK, text, (size_t)n);
        if (segment_append(l->segments, segment_length(l->segments), mark.ptr, mark.len,
                           &length, &e) == 0)
            l->dropped_bytes = 0;
    }
    if (full || segment_append(l->segments, segment_length(l->segments), l->batch.ptr,
                               l->batch.len, &length, &e) < 0) {
        l->dropped_bytes += l->batch.len;
        log_warn_rl("log bytes dropped", "uid=%s bytes=%zu error=\"%s\"", l->uid,
                    l->batch.len, full ? "spool full" : e.msg);
    }
    str_reset(&l->batch);
}

static void
store_mark(struct docker_log *l, int64_t unix_ns, struct span text)
{
    if (text.len > SEGMENT_FRAME_MAX)
        text.len = SEGMENT_FRAME_MAX;
    segment_frame_put(&l->batch, unix_ns, SEGMENT_MARK, text.ptr, text.len);
}

static void
tell_away(struct docker_log *l, int64_t unix_ns)
{
    if (l->may_lack)
        store_mark(l, unix_ns, (struct span){AWAY_TEXT, sizeof(AWAY_TEXT) - 1});
    l->may_lack = false;
}

static void
store_frame(struct docker_log *l, enum segment_stream s, int64_t ns, struct span bytes)
{
    if (l->batch.len > BATCH_MAX / 2)
        append_batch(l);
    segment_frame_put(&l->batch, ns, s, bytes.ptr, bytes.len);
    docker_cursor_note(&l->cursor, s, ns, bytes);
}

static void
store_entry(struct docker_log *l, const struct docker_entry *en)
{
    auto_str fixed = STR_INIT(DOCKER_STREAM_ENTRY_MAX + 1);
    struct span b = en->bytes;
    if (docker_cursor_needs_newline(&l->cursor, en)) {
        str_addc(&fixed, '\n');
        str_add(&fixed, b.ptr, b.len);
        b = (struct span){fixed.ptr, fixed.len};
    }
    do {
        struct span part = {b.ptr, b.len < SEGMENT_FRAME_MAX ? b.len : SEGMENT_FRAME_MAX};
        store_frame(l, en->stream, en->unix_ns, part);
        b.ptr += part.len;
        b.len -= part.len;
    } while (b.len > 0);
}

/* The start of a log's first line on stderr, in which an init says why it cannot execute
 * the program: it may come in parts. */
static void
note_first_line(struct docker_log *l, const struct docker_entry *en)
{
    size_t room = sizeof(l->first_line) - l->first_line_len - 1;
    bool begins = l->cursor.frames == 0;
    bool ends = memchr(l->first_line, '\n', l->first_line_len) != NULL;
    if ((!begins && l->first_line_len == 0) || ends ||
        (en->stream != SEGMENT_STDERR && !l->demux.raw))
        return;
    size_t n = en->bytes.len < room ? en->bytes.len : room;
    memcpy(l->first_line + l->first_line_len, en->bytes.ptr, n);
    l->first_line_len += n;
}

/* How many frames store_entry makes of an entry that was stored before. */
static uint64_t
frames_of(const struct docker_entry *en)
{
    return en->bytes.len <= SEGMENT_FRAME_MAX
               ? 1
               : (en->bytes.len + SEGMENT_FRAME_MAX - 1) / SEGMENT_FRAME_MAX;
}

static void
on_entry(void *arg, const struct docker_entry *en)
{
    struct docker_log *l = arg;
    if (en->stream == SEGMENT_MARK) {
        store_mark(l, l->cursor.max_ns, en->bytes);
        return;
    }
    if (!l->first_seen) {
        l->first_seen = true;
        if (l->resume.exact && en->unix_ns != l->resume.since_ns) {
            /* The daemon has rotated away what we would have skipped, and maybe more. */
            static const char text[] = "log lines lost while the agent was away\n";
            store_mark(l, en->unix_ns, (struct span){text, sizeof(text) - 1});
            l->resume.skip = 0;
        }
    }
    if (l->skipped < l->resume.skip) {
        l->skipped += frames_of(en);
        return;
    }
    note_first_line(l, en);
    tell_away(l, en->unix_ns);
    store_entry(l, en);
}

static void
on_bytes(void *arg, const char *bytes, size_t n)
{
    struct docker_log *l = arg;
    struct error e = ERROR_INIT;
    if (docker_demux_feed(&l->demux, bytes, n, on_entry, l, &e) < 0) {
        log_warn_rl("log stream not understood", "uid=%s error=\"%s\"", l->uid, e.msg);
        docker_demux_reset(&l->demux);
    }
}

static void
finish(struct docker_log *l, bool reached)
{
    void (*done)(void *arg, bool reached) = l->done;
    if (reached && l->dropped_bytes > 0) {
        /* Said at the end at the latest. */
        auto_str mark = STR_INIT(512);
        char text[96];
        struct error e = ERROR_INIT;
        uint64_t length;
        int n =
            snprintf(text, sizeof(text), "%" PRIu64 " bytes dropped\n", l->dropped_bytes);
        segment_frame_put(&mark, l->cursor.max_ns, SEGMENT_MARK, text, (size_t)n);
        if (l->segments != NULL &&
            segment_append(l->segments, segment_length(l->segments), mark.ptr, mark.len,
                           &length, &e) == 0)
            l->dropped_bytes = 0;
    }
    l->finishing = false;
    l->done = NULL;
    done(l->done_arg, reached);
}

static void
on_reply(void *arg, const struct docker_reply *r)
{
    struct docker_log *l = arg;
    if (l->finishing && r->reached && r->status == 200)
        docker_demux_end(&l->demux, on_entry, l);
    docker_demux_reset(&l->demux);
    append_batch(l);
    if (r->reached && r->status != 200) {
        log_warn_rl("log not readable", "uid=%s status=%d message=\"%s\"", l->uid,
                    r->status, r->message);
        if (l->finishing && r->status != 404 && open_segments(l)) {
            auto_str text = STR_INIT(512);
            str_addf(&text, "the container's log could not be read: %.300s\n",
                     r->message);
            store_mark(l, clock_wall_ns(), (struct span){text.ptr, text.len});
            append_batch(l);
        }
    }
    if (l->finishing) {
        if (r->reached) {
            tell_away(l, l->cursor.max_ns);
            append_batch(l);
        }
        finish(l, r->reached);
    } else if (r->reached && r->status != 200) {
        loop_timer_in(l->retry, RETRY_MS);
    }
    /* Else: the container ended or the daemon went; its wait call tells which. */
}

static void
start_call(struct docker_log *l)
{
    auto_str path = STR_INIT(512);
    char since[DOCKER_SINCE_LEN];

    if (!open_segments(l)) {
        /* No place to write: the daemon keeps the bytes meanwhile. */
        if (l->finishing)
            finish(l, true);
        else
            loop_timer_in(l->retry, RETRY_MS);
        return;
    }
    docker_cursor_resume(&l->cursor, clock_wall_ns(), &l->resume);
    l->skipped = 0;
    l->first_seen = false;
    docker_since_text(l->resume.since_ns, since);
    str_addf(&path,
             "/containers/%s/logs?stdout=1&stderr=1&timestamps=1&follow=%d&since=%s",
             l->uid, l->finishing ? 0 : 1, l->resume.since_ns == 0 ? "0" : since);
    struct docker_request r = {.method = "GET",
                               .path = path.ptr,
                               .timeout_ms = l->finishing ? 120000 : -1,
                               .on_data = on_bytes,
                               .on_reply = on_reply,
                               .arg = l};
    docker_call_start(l->en, &l->call, &r);
}

void
docker_log_follow(struct docker_log *l)
{
    if (l->call == NULL && !l->finishing)
        start_call(l);
}

void
docker_log_daemon_away(struct docker_log *l)
{
    l->may_lack = true;
}

void
docker_log_finish(struct docker_log *l, void (*done)(void *arg, bool reached), void *arg)
{
    loop_timer_cancel(l->retry);
    docker_call_cancel(&l->call);
    docker_demux_reset(&l->demux);
    append_batch(l);
    l->finishing = true;
    l->done = done;
    l->done_arg = arg;
    start_call(l);
}
