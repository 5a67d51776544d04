/* SPDX-License-Identifier: Apache-2.0 */
/* Paths of object files and the names that are left alone. */
#include "apiserver/mirror/path.h"

#include <ctype.h>
#include <limits.h>

#include "base/mem.h"

/* The characters that object names of any kind are made of (RBAC's have colons). */
static bool
plain_name(const char *name, size_t n)
{
    if (n == 0 || n > MIRROR_NAME_MAX || name[0] == '.' || name[0] == '-')
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!isalnum((unsigned char)name[i]) && strchr("._:-", name[i]) == NULL)
            return false;
    }
    return true;
}

bool
mirror_dir_is_namespace(const char *name)
{
    size_t n = strlen(name);

    if (streq(name, MIRROR_CLUSTER_DIR))
        return true;
    if (n == 0 || n > 63 || name[0] == '-' || name[n - 1] == '-')
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!islower((unsigned char)name[i]) && !isdigit((unsigned char)name[i]) &&
            name[i] != '-')
            return false;
    }
    return true;
}

char *
mirror_path(const char *resource, const char *ns, const char *name)
{
    if (!plain_name(name, strlen(name)) || !plain_name(resource, strlen(resource)) ||
        mirror_name_class(name) == MIRROR_NAME_ERROR)
        return NULL;
    return xasprintf("%s/%s/%s" MIRROR_SUFFIX, *ns == '\0' ? MIRROR_CLUSTER_DIR : ns,
                     resource, name);
}

static bool
take(const char *from, size_t n, char *to)
{
    if (n == 0 || n >= MIRROR_SEGMENT_MAX)
        return false;
    memcpy(to, from, n);
    to[n] = '\0';
    return true;
}

bool
mirror_path_split(const char *path, struct mirror_key *ret)
{
    const char *kind = strchr(path, '/');
    const char *file = kind == NULL ? NULL : strchr(kind + 1, '/');
    size_t suffix = strlen(MIRROR_SUFFIX);

    if (file == NULL || strchr(file + 1, '/') != NULL ||
        mirror_name_class(file + 1) != MIRROR_NAME_OBJECT)
        return false;
    if (!take(path, (size_t)(kind - path), ret->ns) ||
        !take(kind + 1, (size_t)(file - kind - 1), ret->resource) ||
        !take(file + 1, strlen(file + 1) - suffix, ret->name))
        return false;
    if (!mirror_dir_is_namespace(ret->ns) ||
        !plain_name(ret->resource, strlen(ret->resource)))
        return false;
    if (streq(ret->ns, MIRROR_CLUSTER_DIR))
        ret->ns[0] = '\0';
    return true;
}

/* Left behind or made for a moment by vim (4913, .swp, ~), emacs (#x#, .#x), Kate,
 * JetBrains (___jb_tmp___), patch and merge tools. Only names ending in .yaml matter: all
 * others are ignored anyway. */
static bool
editors_own(const char *name)
{
    static const char *const marks[] = {"___jb_tmp___",    "___jb_old___", ".kate-swp",
                                        ".sync-conflict-", ".BACKUP.",     ".BASE.",
                                        ".LOCAL.",         ".REMOTE."};

    if (name[0] == '.' || name[0] == '#' || name[0] == '~')
        return true;
    for (size_t i = 0; i < ARRAY_LEN(marks); i++) {
        if (strstr(name, marks[i]) != NULL)
            return true;
    }
    return false;
}

enum mirror_name
mirror_name_class(const char *name)
{
    size_t n = strlen(name);

    if (editors_own(name))
        return MIRROR_NAME_IGNORED;
    if (str_ends(name, MIRROR_SUFFIX MIRROR_ERROR_SUFFIX))
        return MIRROR_NAME_ERROR;
    if (str_ends(name, MIRROR_SUFFIX))
        return plain_name(name, n - strlen(MIRROR_SUFFIX)) ? MIRROR_NAME_OBJECT
                                                           : MIRROR_NAME_WEIRD;
    return str_ends(name, ".yml") ? MIRROR_NAME_WEIRD : MIRROR_NAME_IGNORED;
}

const char *
mirror_name_problem(const char *name)
{
    if (str_ends(name, ".yml"))
        return "the name must end in .yaml";
    if (strlen(name) > MIRROR_NAME_MAX + strlen(MIRROR_SUFFIX))
        return "the name is too long: an object file's name has at most 240 characters "
               "before .yaml";
    return "the name cannot be an object's: letters, digits, '-', '.' and ':' only, and "
           "it begins with a letter or a digit";
}
