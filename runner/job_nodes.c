/* SPDX-License-Identifier: Apache-2.0 */
/* Variables, hostfile and configurations of ssh from spec.peers. */
#include "runner/job_nodes.h"

#include <sodium.h>
#include <string.h>

#include "base/id.h"
#include "base/mem.h"
#include "base/str.h"

#define NODES_TEXT_MAX (1 << 18)
#define KEY_TEXT_MAX 16384
#define NODES_DIR "/tmp/.drover"
enum { SSH_PORT = 10022, SSH_PORTS = 900 };
#define PROLOGUE_KEY "DROVER_PROLOGUE_KEY"
#define PROLOGUE_PUBLIC "DROVER_PROLOGUE_PUBLIC"

/* What fails costs the convenience, not the job. */
static const char prologue[] =
    "u=$(umask); umask 077; d=" NODES_DIR "; {\n"
    "mkdir -p $d && printf %s \"$DROVER_PROLOGUE_HOSTS\" > $d/hostfile\n"
    "if [ -n \"$" PROLOGUE_KEY "\" ]; then\n"
    "printf '%s\\n' \"$" PROLOGUE_KEY "\" > $d/id\n"
    "printf '%s\\n' \"$" PROLOGUE_PUBLIC "\" > $d/authorized_keys\n"
    "printf %s \"$DROVER_PROLOGUE_SSHD\" > $d/sshd_config\n"
    "h=$(getent passwd \"$(id -u)\" | cut -d: -f6); h=${h:-$HOME}\n"
    "mkdir -p \"$h/.ssh\" && printf %s \"$DROVER_PROLOGUE_SSH\" >> \"$h/.ssh/config\"\n"
    "if [ -x /usr/sbin/sshd ]; then mkdir -p /run/sshd\n"
    /* Without PAM it refuses an account that cannot log in by password, as root's. */
    "p=no; [ ! -e /etc/pam.d/sshd ] || p=yes\n"
    "/usr/sbin/sshd -o UsePAM=$p -f $d/sshd_config -E $d/sshd.log < /dev/null; fi\n"
    "fi; } > /dev/null 2>&1\n"
    "unset d h p " PROLOGUE_KEY " " PROLOGUE_PUBLIC
    " DROVER_PROLOGUE_HOSTS DROVER_PROLOGUE_SSH DROVER_PROLOGUE_SSHD\n"
    "umask $u; unset u; exec \"$@\"";

static const json_t *
spec_of(const json_t *job)
{
    return json_object_get(job, "spec");
}

static const char *
text_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));

    return s == NULL ? "" : s;
}

bool
job_nodes_wrapped(const json_t *job)
{
    const json_t *argv = json_object_get(spec_of(job), "argv");
    const char *flag = json_string_value(json_array_get(argv, 1));

    return json_integer_value(json_object_get(spec_of(job), "nodes")) > 1 &&
           json_array_size(argv) == 3 && flag != NULL && streq(flag, "-c");
}

const char *
job_nodes_secret(const json_t *job)
{
    const char *name = json_string_value(
        json_object_get(json_object_get(spec_of(job), "sshSecretRef"), "name"));

    return name != NULL && *name != '\0' && job_nodes_wrapped(job) ? name : NULL;
}

static char *
secret_variable(const json_t *secret, const char *key, const char *variable)
{
    const json_t *v = json_object_get(json_object_get(secret, "data"), key);
    struct str bytes = STR_INIT(KEY_TEXT_MAX);
    struct error e = ERROR_INIT;
    char *out = NULL;

    str_reserve(&bytes, KEY_TEXT_MAX / 2); /* so that nothing is copied while it grows */
    if (json_is_string(v) &&
        id_base64_decode(json_string_value(v), json_string_length(v), false, &bytes,
                         &e) == 0 &&
        memchr(bytes.ptr, '\0', bytes.len) == NULL)
        out = xasprintf("%s=%s", variable, bytes.ptr);
    if (bytes.len > 0)
        sodium_memzero(bytes.ptr, bytes.len);
    str_done(&bytes);
    return out;
}

bool
job_nodes_key(const json_t *secret, char *ret[2])
{
    ret[0] = secret_variable(secret, "private-key", PROLOGUE_KEY);
    ret[1] = secret_variable(secret, "public-key", PROLOGUE_PUBLIC);
    if (ret[0] != NULL && ret[1] != NULL)
        return true;
    if (ret[0] != NULL)
        sodium_memzero(ret[0], strlen(ret[0]));
    free(ret[0]);
    free(ret[1]);
    return false;
}

/* --- variables -------------------------------------------------------------------------
 */

struct variables {
    const json_t *own; /* of the Job */
    char **list;
    size_t *n;
};

static void
add(struct variables *v, const char *name, const char *value)
{
    if (json_object_get(v->own, name) == NULL)
        v->list[(*v->n)++] = xasprintf("%s=%s", name, value);
}

static void
add_both(struct variables *v, const char *name, const char *value)
{
    autofree char *ours = xasprintf("DROVER_%s", name);
    autofree char *theirs = xasprintf("DSTACK_%s", name);

    add(v, ours, value);
    add(v, theirs, value);
}

static void
add_number(struct variables *v, const char *name, json_int_t value)
{
    autofree char *text = xasprintf("%lld", (long long)value);

    add_both(v, name, text);
}

/* dstack's rules: a node without devices has no slots, and the file is empty when an
 * address is not known. */
static void
hostfile(const json_t *peers, struct str *out)
{
    size_t i;
    const json_t *p;

    json_array_foreach (peers, i, p) {
        json_int_t gpus = json_integer_value(json_object_get(p, "gpus"));
        const char *address = text_of(p, "address");
        if (*address == '\0') {
            str_reset(out);
            return;
        }
        if (gpus > 0)
            str_addf(out, "%s slots=%lld\n", address, (long long)gpus);
        else
            str_addf(out, "%s\n", address);
    }
}

/* Another one for each run: two may share a machine. */
static int
ssh_port(const json_t *job)
{
    unsigned n = 0;

    for (const char *p = text_of(spec_of(job), "runUID"); *p != '\0'; p++)
        n = n * 31 + (unsigned char)*p;
    return SSH_PORT + (int)(n % SSH_PORTS);
}

static void
ssh_files(struct variables *v, const json_t *peers, const char *own, int port)
{
    auto_str ssh = STR_INIT(NODES_TEXT_MAX);
    auto_str sshd = STR_INIT(NODES_TEXT_MAX);
    size_t i;
    const json_t *p;

    str_adds(&ssh, "Host");
    json_array_foreach (peers, i, p) {
        str_addf(&ssh, " %s", text_of(p, "address"));
    }
    str_addf(&ssh,
             "\n  Port %d\n  IdentityFile " NODES_DIR "/id\n  StrictHostKeyChecking no\n"
             "  UserKnownHostsFile /dev/null\n  LogLevel ERROR\n",
             port);
    str_addf(&sshd,
             "Port %d\nListenAddress %s\nHostKey " NODES_DIR
             "/id\nAuthorizedKeysFile " NODES_DIR
             "/authorized_keys\nStrictModes no\nPasswordAuthentication no\n"
             "KbdInteractiveAuthentication no\nPermitRootLogin yes\nPidFile none\n"
             "X11Forwarding no\nMaxStartups 256:30:1024\nSubsystem sftp internal-sftp\n",
             port, own);
    add(v, "DROVER_PROLOGUE_SSH", ssh.ptr);
    add(v, "DROVER_PROLOGUE_SSHD", sshd.ptr);
}

static void
add_peers(struct variables *v, const json_t *job, const json_t *peers)
{
    size_t node = (size_t)json_integer_value(json_object_get(spec_of(job), "node"));
    auto_str ips = STR_INIT(NODES_TEXT_MAX);
    auto_str hosts = STR_INIT(NODES_TEXT_MAX);
    json_int_t gpus = 0;
    size_t i;
    const json_t *p;

    json_array_foreach (peers, i, p) {
        str_addf(&ips, "%s%s", i == 0 ? "" : "\n", text_of(p, "address"));
        gpus += json_integer_value(json_object_get(p, "gpus"));
    }
    add_both(v, "NODES_IPS", ips.ptr);
    add_both(v, "MASTER_NODE_IP", text_of(json_array_get(peers, 0), "address"));
    add_number(v, "GPUS_PER_NODE",
               json_integer_value(json_object_get(json_array_get(peers, node), "gpus")));
    add_number(v, "GPUS_NUM", gpus);
    if (!job_nodes_wrapped(job))
        return;
    hostfile(peers, &hosts);
    add_both(v, "MPI_HOSTFILE", NODES_DIR "/hostfile");
    add(v, "DROVER_PROLOGUE_HOSTS", hosts.ptr);
    if (job_nodes_secret(job) != NULL)
        ssh_files(v, peers, text_of(json_array_get(peers, node), "address"),
                  ssh_port(job));
}

void
job_nodes_env(const json_t *job, char **list, size_t *n)
{
    const json_t *spec = spec_of(job);
    const json_t *peers = json_object_get(spec, "peers");
    const json_t *own = json_object_get(json_object_get(spec, "reservation"), "gpus");
    struct variables v = {json_object_get(spec, "env"), list, n};

    add(&v, "DSTACK_JOB_ID", text_of(json_object_get(job, "metadata"), "uid"));
    if (json_array_size(peers) > 1) {
        add_peers(&v, job, peers);
        return;
    }
    add_both(&v, "NODES_IPS", "127.0.0.1");
    add_number(&v, "GPUS_PER_NODE", (json_int_t)json_array_size(own));
    add_number(&v, "GPUS_NUM", (json_int_t)json_array_size(own));
}

char **
job_nodes_wrap(char **argv)
{
    size_t n = 0, k = 0;

    while (argv[n] != NULL)
        n++;
    char **out = xcalloc(n + 5, sizeof(*out));
    out[k++] = xstrdup("/bin/sh");
    out[k++] = xstrdup("-c");
    out[k++] = xstrdup(prologue);
    out[k++] = xstrdup("drover");
    memcpy(out + k, argv, n * sizeof(*out));
    free(argv);
    return out;
}
