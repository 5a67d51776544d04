/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's journal: small files, one per job, and the sums over them. */
#include "runner/journal.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/vec.h"

#define ENTRY_MAX (64 * 1024)
#define SUFFIX ".json"

struct journal {
    char *dir;
    char id[ID_UUID_LEN];
    vec(struct journal_entry *) entries;
};

static int
load_id(struct journal *j, struct error *e)
{
    autofree char *path = fs_join(j->dir, "id");
    auto_str text = STR_INIT(256);
    struct error missing = ERROR_INIT;
    int r = fs_read(path, &text, &missing);
    if (r == 0) {
        while (text.len > 0 && text.ptr[text.len - 1] == '\n')
            str_truncate(&text, text.len - 1);
        if (!id_is_uuid(text.ptr, text.len))
            return error_set(e, ERR_CORRUPT, "%s holds no journal id", path);
        memcpy(j->id, text.ptr, ID_UUID_LEN);
        return 0;
    }
    if (missing.code != ERR_NOT_FOUND) {
        *e = missing;
        return r;
    }
    id_uuid4(j->id);
    return fs_write_atomic(path, j->id, strlen(j->id), 0600, e);
}

static void
copy(const json_t *o, const char *key, char *out, size_t size)
{
    const char *s = json_string_value(json_object_get(o, key));
    snprintf(out, size, "%s", s != NULL ? s : "");
}

static int64_t
integer(const json_t *o, const char *key)
{
    return json_integer_value(json_object_get(o, key));
}

static int
parse_entry(const json_t *o, struct journal_entry *en)
{
    size_t i;
    const json_t *v;
    copy(o, "uid", en->uid, sizeof(en->uid));
    copy(o, "namespace", en->ns, sizeof(en->ns));
    copy(o, "name", en->name, sizeof(en->name));
    copy(o, "run", en->run, sizeof(en->run));
    copy(o, "engine", en->engine, sizeof(en->engine));
    copy(o, "bootID", en->boot_id, sizeof(en->boot_id));
    en->stop_seconds = integer(o, "stopSeconds");
    en->interruptible = json_is_true(json_object_get(o, "interruptible"));
    en->hold.cpu_milli = integer(o, "cpuMilli");
    en->hold.memory_mib = integer(o, "memoryMiB");
    en->hold.disk_mib = integer(o, "diskMiB");
    json_array_foreach (json_object_get(o, "gpus"), i, v) {
        if (en->hold.n_gpus == JOURNAL_GPUS_MAX || !json_is_string(v))
            return -1;
        snprintf(en->hold.gpus[en->hold.n_gpus++], sizeof(en->hold.gpus[0]), "%s",
                 json_string_value(v));
    }
    return en->uid[0] != '\0' && en->name[0] != '\0' && en->engine[0] != '\0' ? 0 : -1;
}

static int
load_entry(struct journal *j, const char *file, struct error *e)
{
    autofree char *path = fs_join(j->dir, file);
    auto_str text = STR_INIT(ENTRY_MAX);
    int r = fs_read(path, &text, e);
    if (r < 0)
        return r;
    struct journal_entry *en = xnew(struct journal_entry);
    json_t *o = json_loadb(text.ptr, text.len, 0, NULL);
    bool good = parse_entry(o, en) == 0;
    /* The uid names directories that are removed: it is the file's name, or a lie. */
    size_t n = strlen(en->uid);
    good = good && str_starts(file, en->uid) && streq(file + n, SUFFIX);
    json_decref(o);
    if (!good) {
        free(en);
        return error_set(e, ERR_CORRUPT,
                         "%s is not a journal entry; move it away only when no container "
                         "or process of its job is left",
                         path);
    }
    vec_push(&j->entries, en);
    return 0;
}

static int
load_entries(struct journal *j, struct error *e)
{
    DIR *d = opendir(j->dir);
    if (d == NULL)
        return error_errno(e, errno, "open %s", j->dir);
    struct dirent *de;
    int r = 0;
    while (r == 0 && (de = readdir(d)) != NULL) {
        if (de->d_name[0] != '.' && str_ends(de->d_name, SUFFIX))
            r = load_entry(j, de->d_name, e);
        else if (strstr(de->d_name, ".tmp.") != NULL)
            unlinkat(dirfd(d), de->d_name, 0); /* of a write that never ended */
    }
    closedir(d);
    return r;
}

int
journal_open(const char *dir, struct journal **ret, struct error *e)
{
    struct journal *j = xnew(struct journal);
    j->dir = fs_join(dir, "journal");
    int r = fs_mkdirs(j->dir, 0700, e);
    if (r == 0)
        r = load_id(j, e);
    if (r == 0)
        r = load_entries(j, e);
    if (r < 0) {
        journal_close(j);
        return r;
    }
    *ret = j;
    return 0;
}

void
journal_close(struct journal *j)
{
    if (j == NULL)
        return;
    vec_foreach (en, &j->entries)
        free(*en);
    vec_done(&j->entries);
    free(j->dir);
    free(j);
}

const char *
journal_id(const struct journal *j)
{
    return j->id;
}

static json_t *
entry_json(const struct journal_entry *en)
{
    json_t *gpus = json_array();
    for (unsigned i = 0; i < en->hold.n_gpus; i++)
        json_array_append_new(gpus, json_string(en->hold.gpus[i]));
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:b, s:I, s:I, s:I, s:o}",
                     "uid", en->uid, "namespace", en->ns, "name", en->name, "run",
                     en->run, "engine", en->engine, "bootID", en->boot_id, "stopSeconds",
                     (json_int_t)en->stop_seconds, "interruptible", en->interruptible,
                     "cpuMilli", (json_int_t)en->hold.cpu_milli, "memoryMiB",
                     (json_int_t)en->hold.memory_mib, "diskMiB",
                     (json_int_t)en->hold.disk_mib, "gpus", gpus);
}

static char *
entry_path(const struct journal *j, const char *uid)
{
    return xasprintf("%s/%s" SUFFIX, j->dir, uid);
}

int
journal_add(struct journal *j, const struct journal_entry *entry, struct error *e)
{
    bug_if(journal_find(j, entry->uid) != NULL);
    if (!id_is_uuid(entry->uid, strlen(entry->uid)))
        return error_set(e, ERR_INVALID, "job uid \"%.64s\" is not a UUID", entry->uid);
    autofree char *path = entry_path(j, entry->uid);
    json_t *o = entry_json(entry);
    autofree char *text = json_dumps(o, JSON_COMPACT);
    json_decref(o);
    if (text == NULL)
        return error_set(e, ERR_INVALID, "the job's fields are not text");
    int r = fs_write_atomic(path, text, strlen(text), 0600, e);
    if (r < 0)
        return error_prepend(e, "write journal");
    struct journal_entry *own = xmemdup(entry, sizeof(*entry));
    vec_push(&j->entries, own);
    return 0;
}

static size_t
index_of(const struct journal *j, const char *uid)
{
    size_t i = 0;
    while (i < j->entries.len && !streq(j->entries.items[i]->uid, uid))
        i++;
    return i;
}

int
journal_remove(struct journal *j, const char *uid, struct error *e)
{
    size_t i = index_of(j, uid);
    if (i == j->entries.len)
        return 0;
    autofree char *path = entry_path(j, uid);
    if (unlink(path) < 0 && errno != ENOENT)
        return error_errno(e, errno, "remove %s", path);
    /* Not synced: an entry that comes back finds that its job is gone, and goes again. */
    free(j->entries.items[i]);
    vec_remove(&j->entries, i);
    return 0;
}

void
journal_free_hold(struct journal *j, const char *uid)
{
    size_t i = index_of(j, uid);
    if (i < j->entries.len)
        j->entries.items[i]->freed = true;
}

const struct journal_entry *
journal_find(const struct journal *j, const char *uid)
{
    size_t i = index_of(j, uid);
    return i < j->entries.len ? j->entries.items[i] : NULL;
}

size_t
journal_len(const struct journal *j)
{
    return j->entries.len;
}

const struct journal_entry *
journal_at(const struct journal *j, size_t i)
{
    return j->entries.items[i];
}

/* --- capacity ------------------------------------------------------------------------
 */

static bool
gpu_taken(const struct journal *j, const char *uuid)
{
    vec_foreach (en, &j->entries) {
        for (unsigned i = 0; i < (*en)->hold.n_gpus && !(*en)->freed; i++) {
            if (streq((*en)->hold.gpus[i], uuid))
                return true;
        }
    }
    return false;
}

static bool
gpu_exists(const struct journal_capacity *have, const char *uuid)
{
    for (size_t i = 0; i < have->n_gpus; i++) {
        if (streq(have->gpus[i], uuid))
            return true;
    }
    return false;
}

static bool
gpus_fit(const struct journal *j, const struct journal_capacity *have,
         const struct journal_hold *want, char *reason, size_t size)
{
    for (unsigned i = 0; i < want->n_gpus; i++) {
        if (!gpu_exists(have, want->gpus[i])) {
            snprintf(reason, size, "GPU %s is not on this machine", want->gpus[i]);
            return false;
        }
        if (gpu_taken(j, want->gpus[i])) {
            snprintf(reason, size, "GPU %s is held by another job", want->gpus[i]);
            return false;
        }
    }
    return true;
}

static bool
amount_fits(const char *what, int64_t used, int64_t want, int64_t have, char *reason,
            size_t size)
{
    if (want <= 0 || used + want <= have)
        return true;
    snprintf(reason, size,
             "%s: %" PRId64 " wanted, %" PRId64 " of %" PRId64 " held by other jobs",
             what, want, used, have);
    return false;
}

bool
journal_fits(const struct journal *j, const struct journal_capacity *have,
             const struct journal_hold *want, char *reason, size_t size)
{
    struct journal_hold used = {0};
    vec_foreach (en, &j->entries) {
        if ((*en)->freed)
            continue;
        used.cpu_milli += (*en)->hold.cpu_milli;
        used.memory_mib += (*en)->hold.memory_mib;
        used.disk_mib += (*en)->hold.disk_mib;
    }
    return amount_fits("CPU (milli)", used.cpu_milli, want->cpu_milli, have->cpu_milli,
                       reason, size) &&
           amount_fits("memory (MiB)", used.memory_mib, want->memory_mib,
                       have->memory_mib, reason, size) &&
           (have->disk_mib < 0 || amount_fits("disk (MiB)", used.disk_mib, want->disk_mib,
                                              have->disk_mib, reason, size)) &&
           gpus_fit(j, have, want, reason, size);
}
