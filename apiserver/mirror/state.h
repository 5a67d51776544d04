/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was last mirrored, per path, durable and outside the tree: <data>/mirror/state.
 *
 * Format: the line "drover mirror state 1\n", then records
 *
 *     u32 length, u32 CRC-32 of the payload, payload   (little endian)
 *     payload: u8 type, u16 n + path, then by type
 *       'W'  about to write the file     \  u16 n + uid, u64 revision, 16 bytes hash of
 * the 'B'  the file is the base now    /  file, u32 n + stored form, u32 n + file's form
 *                                           (0 bytes: the same)
 *       'K'  the write announced by W is done: it is the base now
 *       'A'  about to apply the file: u32 n + its form       'X'  that was refused
 *       'F'  forgotten                   'H' held for confirmation   'U' not held any
 * more 'R'  (path "") identity of the root: u64 st_dev, u64 st_ino 'O'  (path "") opened:
 * u16 n + boot id 'C'  (path "") checkpoint: the tree and all records before are on the
 * disk
 *
 * A record that does not check ends the file: it is cut there. The file is written
 * without waiting for the disk; a killed process loses nothing. After a power cut
 * (another boot id and no checkpoint at the end) files may be older than the records say:
 * contents that were mirrored since the last checkpoint are then taken for ours, not for
 * an edit, and a missing file written since then not for a deletion.
 *
 * Memory: some 150 bytes per path; the forms stay in the file. Not thread-safe.
 */
#ifndef MIRROR_STATE_H
#define MIRROR_STATE_H

#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/id.h"
#include "base/map.h"
#include "base/str.h"
#include "base/vec.h"

#define MIRROR_HASH 16
struct mirror_hash {
    unsigned char b[MIRROR_HASH];
};
struct mirror_hash mirror_hash_of(const void *bytes, size_t n);
static inline bool
mirror_hash_eq(struct mirror_hash a, struct mirror_hash b)
{
    return memcmp(a.b, b.b, MIRROR_HASH) == 0;
}

struct mirror_mark { /* one version, in the file */
    bool set;
    char uid[ID_UUID_LEN];
    uint64_t revision;
    struct mirror_hash file, store; /* of the file's bytes, of the stored form's text */
    uint64_t off;                   /* of the record */
};
/* A second one: the request after a kill may be refused while the one before was not. */
#define MIRROR_APPLIED 2
struct mirror_base {
    struct mirror_mark now, intent; /* intent: W without its K */
    /* Where the forms are that may have been applied since, newest first; 0: none. */
    uint64_t applied[MIRROR_APPLIED];
    bool held;
    /* After a power cut: hashes mirrored since the last checkpoint. */
    bool suspect;
    vec(struct mirror_hash) older;
};

struct mirror_new {
    const char *uid;
    uint64_t revision;
    struct mirror_hash file;
    struct span store, form; /* form: the file's, zero when equal */
};

struct mirror_state;
/* ERR_CORRUPT when the file is something else; a torn end is cut and logged. */
int mirror_state_open(const char *dir, struct mirror_state **ret,
                      struct error *e) WARN_UNUSED;
void mirror_state_close(struct mirror_state *s);       /* NULL ok */
size_t mirror_state_len(const struct mirror_state *s); /* paths with a base */
/* The first look at the whole tree is over: from here on this boot's records count. */
int mirror_state_opened(struct mirror_state *s, struct error *e) WARN_UNUSED;
/* Borrowed until the next change of that path. NULL: never mirrored. */
const struct mirror_base *mirror_state_get(const struct mirror_state *s,
                                           const char *path);
/* All paths: fn may not change the state. */
void mirror_state_each(const struct mirror_state *s,
                       void (*fn)(void *arg, const char *path,
                                  const struct mirror_base *b),
                       void *arg);

/* After the first look at the file: settles an intent, and what a power cut left. hash
 * NULL: the file is absent. True: what is there is ours and out of date (write it again).
 */
bool mirror_state_settle(struct mirror_state *s, const char *path,
                         const struct mirror_hash *hash);

int mirror_state_intend(struct mirror_state *s, const char *path,
                        const struct mirror_new *n, struct error *e) WARN_UNUSED;
int mirror_state_done(struct mirror_state *s, const char *path,
                      struct error *e) WARN_UNUSED;
int mirror_state_record(struct mirror_state *s, const char *path,
                        const struct mirror_new *n, struct error *e) WARN_UNUSED;
/* A killed process may have applied a form and not recorded it: what the store has of it
 * is no one else's change. Void with the next record of the path. */
int mirror_state_applying(struct mirror_state *s, const char *path, struct span form,
                          struct error *e) WARN_UNUSED;
int mirror_state_refused(struct mirror_state *s, const char *path,
                         struct error *e) WARN_UNUSED;
int mirror_state_read_applied(const struct mirror_state *s, uint64_t off,
                              struct str *form, struct error *e) WARN_UNUSED;
int mirror_state_forget(struct mirror_state *s, const char *path,
                        struct error *e) WARN_UNUSED;
int mirror_state_hold(struct mirror_state *s, const char *path, bool held,
                      struct error *e) WARN_UNUSED;
/* The forms of the base. */
int mirror_state_read(const struct mirror_state *s, const struct mirror_base *b,
                      struct str *store, struct str *form, struct error *e) WARN_UNUSED;

struct mirror_root {
    bool known;
    uint64_t dev, ino;
};
struct mirror_root mirror_state_root(const struct mirror_state *s);
int mirror_state_set_root(struct mirror_state *s, uint64_t dev, uint64_t ino,
                          struct error *e) WARN_UNUSED;
/* The caller has just synced the tree. Waits for the disk; rewrites the file when most of
 * it is old. */
int mirror_state_checkpoint(struct mirror_state *s, struct error *e) WARN_UNUSED;
bool mirror_state_dirty(const struct mirror_state *s); /* records since the checkpoint */

#endif
