/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What of the machine a container is given: directories, which are made when missing
 * (0777, as any user of any image may be the one who writes) and left as they are when
 * present, and the groups that own device nodes. What drover keeps is never mounted.
 */
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "runner/engines/docker/docker.h"

static bool
inside(const char *path, const char *dir)
{
    size_t n = strlen(dir);
    while (n > 1 && dir[n - 1] == '/')
        n--;
    return strncmp(path, dir, n) == 0 && (n == 1 || path[n] == '\0' || path[n] == '/');
}

static bool
masked(const struct engine_job *j, const char *path)
{
    for (size_t i = 0; i < ARRAY_LEN(j->host_dir_mask) && j->host_dir_mask[i]; i++) {
        autofree char *real = realpath(j->host_dir_mask[i], NULL);
        const char *mask = real != NULL ? real : j->host_dir_mask[i];
        if (inside(path, mask) || inside(mask, path))
            return true;
    }
    return false;
}

static int
prepare(const struct engine_job *j, const struct engine_mount *m, struct error *e)
{
    struct stat st;
    if (m->source[0] != '/')
        return error_set(e, ERR_INVALID, "%.200s is not absolute", m->source);
    if (stat(m->source, &st) < 0) {
        if (errno != ENOENT)
            return error_errno(e, errno, "%.200s", m->source);
        int r = fs_mkdirs(m->source, 0755, e);
        if (r < 0)
            return r;
        if (chmod(m->source, 0777) < 0)
            return error_errno(e, errno, "%.200s", m->source);
    }
    autofree char *real = realpath(m->source, NULL);
    if (real == NULL)
        return error_errno(e, errno, "%.200s", m->source);
    if (masked(j, real))
        return error_set(e, ERR_UNSUPPORTED, "%.200s is or contains the agent's own",
                         m->source);
    return 0;
}

int
docker_prepare_mounts(struct engine_job *j, struct error *e)
{
    for (size_t i = 0; i < j->n_mounts; i++) {
        struct engine_mount *m = &j->mounts[i];
        if (m->path == NULL || m->path[0] != '/')
            return error_set(e, ERR_INVALID, "mount: path %.200s is not absolute",
                             m->path != NULL ? m->path : "");
        if (m->volume || m->source == NULL)
            continue;
        int r = prepare(j, m, e);
        if (r == -ERR_UNSUPPORTED || (r < 0 && !m->optional))
            return error_prepend(e, "mount");
        if (r < 0) {
            *e = ERROR_INIT;
            m->source = NULL;
        }
    }
    return 0;
}

size_t
docker_prepare_groups(const struct engine_job *j, unsigned groups[DOCKER_GROUPS_MAX])
{
    size_t n = 0;
    for (size_t i = 0; i < j->n_devices; i++) {
        const char *const *p = j->devices[i].paths;
        for (; p != NULL && *p != NULL; p++) {
            struct stat st;
            size_t k = 0;
            if (stat(*p, &st) < 0 || st.st_gid == 0)
                continue;
            while (k < n && groups[k] != st.st_gid)
                k++;
            if (k == n && n < DOCKER_GROUPS_MAX)
                groups[n++] = st.st_gid;
        }
    }
    return n;
}
