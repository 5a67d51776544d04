/* SPDX-License-Identifier: Apache-2.0 */
/*
 * <agent dir>/renewed: when the control plane last acknowledged this machine's lease.
 * Written by the agent at each renewal, read by the agent after a restart and by the
 * supervisors of interruptible jobs, which obey the dead-man switch also while no agent
 * lives. One line of fixed width, overwritten in place: `<boot id> <sent> <L>`, both in
 * milliseconds, the first by the clock that also counts while the machine sleeps.
 */
#ifndef SUPERVISOR_RENEWED_H
#define SUPERVISOR_RENEWED_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

#define RENEWED_FILE "renewed"
#define RENEWED_LOST_AFTER_MS 120000 /* L, where nothing else is known */

struct renewed {
    int64_t sent_boot_ms;  /* send time of the last acknowledged renewal */
    int64_t lost_after_ms; /* L */
};

/* Not synced: who loses it in a power failure has another boot id, and nothing to stop.
 */
int renewed_write(const char *path, const char *boot_id, const struct renewed *r,
                  struct error *e) WARN_UNUSED;
/* ERR_NOT_FOUND when absent or of another boot, ERR_CORRUPT when it is no such line. */
int renewed_read(const char *path, const char *boot_id, struct renewed *ret,
                 struct error *e) WARN_UNUSED;
int renewed_parse(const char *text, size_t n, const char *boot_id, struct renewed *ret,
                  struct error *e) WARN_UNUSED;

/* The switch as a supervisor holds it. */
struct deadman {
    const char *path; /* NULL: the job is not interruptible; borrowed */
    const char *boot_id;
    struct renewed last;
    int fd; /* timer, readable when it is worth looking; -1: none */
};
#define DEADMAN_INIT ((struct deadman){.fd = -1})
/* Counts from now until the file says better. */
int deadman_open(struct deadman *d, const char *path, const char *boot_id,
                 struct error *e) WARN_UNUSED;
/* Looks; true when L has passed since the last renewal, else the timer is set anew. A
 * file that cannot be read changes nothing: the last known renewal counts. */
bool deadman_over(struct deadman *d);
void deadman_close(struct deadman *d);

#endif
