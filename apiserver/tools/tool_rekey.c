/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drover store rekey: a new key seals, store and history are written anew under it, the
 * old keys go when the mirror's files need them no more. In this order, so that at any
 * moment the file has every key that is in use: interrupted, it is simply done again.
 */
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>

#include "apiserver/registry/history.h"
#include "apiserver/registry/kinds.h"
#include "apiserver/store/keyring.h"
#include "apiserver/tools/tool.h"
#include "base/cleanup.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/vec.h"

enum { FILE_MAX_BYTES = 8 << 20 };

/* --- the history --- */

static int
replace(struct tool *t, const struct object *old, struct object *next, struct error *e)
{
    struct tool_result r = {.e = ERROR_INIT};
    struct store_op op = {.type = STORE_PUT,
                          .key = {HISTORY_RESOURCE, old->ns, old->name},
                          .expect = old->revision,
                          .obj = next};
    int rc = store_commit(t->store, &op, 1, STORE_DURABLE, tool_done, &r, NULL, e);

    if (rc < 0)
        return rc;
    return tool_wait(t, &r, e);
}

static int
reseal_history(struct tool *t, struct error *e)
{
    const struct kind *kind = kinds_by_resource(t->kinds, HISTORY_RESOURCE);
    struct store_list *l = store_list(t->store, HISTORY_RESOURCE, NULL, NULL);
    const struct object *o;
    int rc = 0;

    while (rc == 0 && (o = store_list_next(l)) != NULL) {
        auto_object *next = NULL;
        rc = revision_reseal(kind, o, t->seal, &next, e);
        if (rc < 0)
            error_prepend(e, "revision %s", o->name);
        else if (next != NULL)
            rc = replace(t, o, next, e);
    }
    store_list_free(l);
    return rc;
}

/* --- the mirror's files --- */

static bool
has_old_key(const struct keyring *k, const char *text)
{
    for (size_t i = 1; i < keyring_len(k); i++) {
        autofree char *id = xasprintf(":%s:", keyring_id(k, i));
        if (strstr(text, id) != NULL)
            return true;
    }
    return false;
}

/* Files of Secrets in one namespace's directory that an older key has sealed. */
static int
count_files(const struct tool *t, const char *dir, size_t *n, struct error *e)
{
    autofree char *path = fs_join(dir, "secrets");
    DIR *d = opendir(path);
    const struct dirent *de;
    int rc = 0;

    if (d == NULL)
        return errno == ENOENT || errno == ENOTDIR ? 0
                                                   : error_errno(e, errno, "%s", path);
    while (rc == 0 && (de = readdir(d)) != NULL) { /* NOLINT(concurrency-mt-unsafe) */
        auto_str text = STR_INIT(FILE_MAX_BYTES);
        autofree char *file = fs_join(path, de->d_name);
        if (!str_ends(de->d_name, ".yaml"))
            continue;
        rc = fs_read(file, &text, e);
        if (rc == 0 && has_old_key(t->seal, text.ptr))
            (*n)++;
    }
    closedir(d);
    return rc;
}

static int
count_old_files(const struct tool *t, size_t *n, struct error *e)
{
    autofree char *root = tool_path(t, "desired");
    DIR *d = opendir(root);
    const struct dirent *de;
    int rc = 0;

    if (d == NULL)
        return errno == ENOENT ? 0 : error_errno(e, errno, "%s", root);
    while (rc == 0 && (de = readdir(d)) != NULL) { /* NOLINT(concurrency-mt-unsafe) */
        autofree char *dir = fs_join(root, de->d_name);
        if (de->d_name[0] != '.')
            rc = count_files(t, dir, n, e);
    }
    closedir(d);
    return rc;
}

/* --- the verb --- */

static int
verify(struct tool *t, struct error *e)
{
    int rc;

    tool_close(t);
    rc = tool_open(t, TOOL_READ, e);
    return rc < 0 ? error_prepend(e, "with the new key only") : rc;
}

int
tool_rekey(struct tool *t, struct error *e)
{
    autofree char *keys = tool_path(t, "keys/" KEYRING_FILE);
    int rc = tool_open(t, TOOL_WRITE, e); /* nobody else has it, and all can be read */
    size_t files = 0;

    if (rc < 0)
        return rc;
    tool_close(t);
    if (!t->finish && (rc = keyring_add_key(keys, e)) < 0)
        return rc;
    if ((rc = tool_open(t, TOOL_WRITE, e)) < 0 || (rc = reseal_history(t, e)) < 0)
        return rc;
    uint64_t at = store_revision(t->store);
    if ((rc = tool_compact_now(t, at, e)) < 0 || (rc = count_old_files(t, &files, e)) < 0)
        return rc;
    if (files > 0) {
        printf("sealed anew at revision %" PRIu64
               "; %zu files of the mirror need the old "
               "keys, which stay.\nThe next server that starts writes these files anew; "
               "then `drover store rekey --finish`\n",
               at, files);
        return 0;
    }
    tool_close(t);
    if ((rc = keyring_drop_old(keys, e)) < 0 || (rc = verify(t, e)) < 0)
        return rc;
    printf("sealed anew at revision %" PRIu64 "; backups made before need the old keys\n",
           at);
    return 0;
}
