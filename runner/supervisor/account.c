/* SPDX-License-Identifier: Apache-2.0 */
/* User and group lookup in files. */
#include "runner/supervisor/account.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "runner/supervisor/idmap.h"
#include "runner/supervisor/inside.h"

enum { ENTRY_BYTES = 64 * 1024 };

static bool
parse_id(const char *text, uint32_t *ret)
{
    char *end;

    if (text[0] < '0' || text[0] > '9')
        return false;
    errno = 0;
    unsigned long v = strtoul(text, &end, 10);
    if (*end != '\0' || errno != 0 || v > UINT32_MAX)
        return false;
    *ret = (uint32_t)v;
    return true;
}

static int
check_range(const char *what, uint32_t id, struct error *e)
{
    if (id >= IDMAP_SIZE)
        return error_set(e, ERR_INVALID, "%s %u: ids of a job are below %u", what, id,
                         IDMAP_SIZE);
    return 0;
}

/* Absolute and not too long, or "". */
static void
copy_path(const char *path, char out[ACCOUNT_PATH])
{
    if (path != NULL && path[0] == '/' && strlen(path) < ACCOUNT_PATH)
        snprintf(out, ACCOUNT_PATH, "%s", path);
}

/* By number when text is one, else by name; *ret_name (ENTRY_BYTES) may stay "". */
static int
find_user(int root_fd, const char *text, struct account *a, char *ret_name,
          struct error *e)
{
    autofile FILE *f = inside_read(root_fd, "/etc/passwd");
    autofree char *buf = xmalloc(ENTRY_BYTES);
    struct passwd pw;
    struct passwd *found = NULL;
    uint32_t id = 0;
    bool numeric = parse_id(text, &id);

    ret_name[0] = '\0';
    while (f != NULL && fgetpwent_r(f, &pw, buf, ENTRY_BYTES, &found) == 0) {
        if (numeric ? pw.pw_uid == id : streq(pw.pw_name, text))
            break;
        found = NULL;
    }
    if (found == NULL && !numeric)
        return error_set(e, ERR_NOT_FOUND, "user \"%s\" is not in /etc/passwd", text);
    a->uid = found == NULL ? id : pw.pw_uid;
    a->gid = found == NULL ? 0 : pw.pw_gid;
    if (found != NULL) {
        snprintf(ret_name, ENTRY_BYTES, "%s", pw.pw_name);
        copy_path(pw.pw_dir, a->home);
        copy_path(pw.pw_shell, a->shell);
    }
    int rc = check_range("user", a->uid, e);
    return rc != 0 ? rc : check_range("group", a->gid, e);
}

static int
find_group(int root_fd, const char *text, gid_t *ret, struct error *e)
{
    autofile FILE *f = inside_read(root_fd, "/etc/group");
    autofree char *buf = xmalloc(ENTRY_BYTES);
    struct group gr;
    struct group *found = NULL;
    uint32_t id;

    if (parse_id(text, &id)) {
        *ret = id;
        return check_range("group", id, e);
    }
    while (f != NULL && fgetgrent_r(f, &gr, buf, ENTRY_BYTES, &found) == 0) {
        if (streq(gr.gr_name, text)) {
            *ret = gr.gr_gid;
            return check_range("group", gr.gr_gid, e);
        }
    }
    return error_set(e, ERR_NOT_FOUND, "group \"%s\" is not in /etc/group", text);
}

static void
add_supplementary(int root_fd, const char *name, struct account *a)
{
    autofile FILE *f = inside_read(root_fd, "/etc/group");
    autofree char *buf = xmalloc(ENTRY_BYTES);
    struct group gr;
    struct group *found = NULL;

    while (f != NULL && fgetgrent_r(f, &gr, buf, ENTRY_BYTES, &found) == 0) {
        bool member = false;
        for (char **m = gr.gr_mem; !member && *m != NULL; m++)
            member = streq(*m, name);
        if (member && gr.gr_gid < IDMAP_SIZE && gr.gr_gid != a->gid &&
            a->n_groups < ACCOUNT_GROUPS)
            a->groups[a->n_groups++] = gr.gr_gid;
    }
}

static int
by_number(const void *x, const void *y)
{
    gid_t a = *(const gid_t *)x;
    gid_t b = *(const gid_t *)y;

    return a < b ? -1 : a > b;
}

/* Sorted, each once. */
static void
tidy_groups(struct account *a)
{
    size_t n = 0;

    qsort(a->groups, a->n_groups, sizeof(a->groups[0]), by_number);
    for (size_t i = 0; i < a->n_groups; i++) {
        if (n == 0 || a->groups[n - 1] != a->groups[i])
            a->groups[n++] = a->groups[i];
    }
    a->n_groups = n;
}

int
account_find(int root_fd, const char *text, struct account *ret, struct error *e)
{
    struct account a = {0};
    autofree char *name = xmalloc(ENTRY_BYTES);
    autofree char *user = xstrdup(text == NULL || text[0] == '\0' ? "0" : text);
    char *group = strchr(user, ':');

    if (group != NULL)
        *group++ = '\0';
    int rc = find_user(root_fd, user[0] == '\0' ? "0" : user, &a, name, e);
    if (rc == 0 && group != NULL && group[0] != '\0')
        rc = find_group(root_fd, group, &a.gid, e);
    if (rc != 0)
        return rc;
    a.groups[a.n_groups++] = a.gid;
    if (group == NULL && name[0] != '\0')
        add_supplementary(root_fd, name, &a);
    tidy_groups(&a);
    *ret = a;
    return 0;
}

int
account_fit(struct account *a, const struct usermap *m, struct error *e)
{
    uint32_t size = usermap_size(m);
    size_t n = 0;

    if (!m->needed)
        return 0;
    if (m->count == 0 && (a->uid != 0 || a->gid != 0))
        return error_set(e, ERR_UNSUPPORTED,
                         "user %u:%u: jobs of this agent have one user only, root, "
                         "because it does not run as root and %s",
                         (unsigned)a->uid, (unsigned)a->gid, m->why);
    if (a->uid >= size || a->gid >= size)
        return error_set(e, ERR_UNSUPPORTED,
                         "user %u:%u: jobs of this agent have the ids 0 to %u, as many "
                         "as /etc/subuid and /etc/subgid give it",
                         (unsigned)a->uid, (unsigned)a->gid, size - 1);
    for (size_t i = 0; i < a->n_groups; i++) {
        if (a->groups[i] < size)
            a->groups[n++] = a->groups[i];
    }
    a->fixed_groups = m->count == 0;
    a->n_groups = a->fixed_groups ? 0 : n;
    return 0;
}
