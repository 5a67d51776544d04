/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as what a supervisor, an agent or a renewal left on disk: read or refused, in
 * bounds. The first byte says which file. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "runner/journal.h"
#include "runner/supervisor/record.h"
#include "runner/supervisor/renewed.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define UID "0e6f5d2c-6f5e-4b7e-9a55-0a6de6a0c001"

static void
put_file(const char *dir, const char *name, const uint8_t *data, size_t size)
{
    struct error e = ERROR_INIT;
    autofree char *path = fs_join(dir, name);
    autoclose int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    bug_if(fd < 0 || fs_write_all(fd, data, size, &e) != 0);
}

static void
records(const char *dir, const char *name, const uint8_t *data, size_t size)
{
    struct error e = ERROR_INIT;
    struct record_exit x;
    struct record_claim c;
    struct record_state s;
    autofree char *sup = fs_join(dir, RECORD_DIR);

    put_file(sup, name, data, size);
    if (record_exit_read(dir, &x, &e) == 0) {
        bug_if(x.end >= RECORD_N_ENDS);
        bug_if(memchr(x.message, '\0', sizeof(x.message)) == NULL);
    }
    if (record_claim_read(dir, &c, &e) == 0)
        bug_if(memchr(c.boot_id, '\0', sizeof(c.boot_id)) == NULL);
    if (record_state_read(dir, &s, &e) == 0)
        bug_if(memchr(s.boot_id, '\0', sizeof(s.boot_id)) == NULL);
    autofree char *path = fs_join(sup, name);
    unlink(path);
}

/* What was read as an entry is one of the file's own job. */
static void
entry(const char *dir, const uint8_t *data, size_t size)
{
    struct error e = ERROR_INIT;
    struct journal *j;
    autofree char *path = fs_join(dir, "journal");

    put_file(path, UID ".json", data, size);
    if (journal_open(dir, &j, &e) == 0) {
        bug_if(journal_len(j) > 1);
        if (journal_len(j) == 1) {
            struct journal_entry en = *journal_at(j, 0);
            bug_if(en.hold.n_gpus > JOURNAL_GPUS_MAX);
            bug_if(memchr(en.name, '\0', sizeof(en.name)) == NULL);
            bug_if(!streq(en.uid, UID) || journal_find(j, UID) == NULL);
        }
        journal_close(j);
    }
    autofree char *file = fs_join(path, UID ".json");
    unlink(file);
}

static void
renewal(const uint8_t *data, size_t size)
{
    struct error e = ERROR_INIT;
    struct renewed r;

    if (renewed_parse((const char *)data, size, "d1b0c7a2-5d5e-4b5e-8d8e-000000000001",
                      &r, &e) == 0) {
        bug_if(r.sent_boot_ms < 0 || r.lost_after_ms <= 0);
        bug_if(r.sent_boot_ms + r.lost_after_ms < r.sent_boot_ms);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char dir[] = "/tmp/drover-fuzz-XXXXXX";
    static bool made;
    static const char *const names[] = {RECORD_EXIT, RECORD_CLAIM, RECORD_STATE};
    struct error e = ERROR_INIT;
    struct journal *j;

    if (!made) {
        bug_if(mkdtemp(dir) == NULL);
        bug_if(record_prepare(dir, &e) != 0);
        bug_if(journal_open(dir, &j, &e) != 0);
        journal_close(j);
        made = true;
    }
    if (size == 0)
        return 0;
    if (data[0] % 5 < 3)
        records(dir, names[data[0] % 5], data + 1, size - 1);
    else if (data[0] % 5 == 3)
        entry(dir, data + 1, size - 1);
    else
        renewal(data + 1, size - 1);
    return 0;
}
