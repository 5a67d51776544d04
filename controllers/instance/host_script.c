/* SPDX-License-Identifier: Apache-2.0 */
/* The scripts themselves, and the words of ssh. */
#include "controllers/instance/host_script.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* --- scripts ----------------------------------------------------------------------- */

/* $D: our directory; $UID_: of the Instance. */
static const char prelude[] =
    "set -u\n"
    "export LC_ALL=C\n"
    "PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
    "say() { printf 'drover:%s=%s\\n' \"$1\" \"$2\"; }\n"
    "fail() { say fail \"$*\"; exit 1; }\n"
    "systemd() { [ -d /run/systemd/system ] && command -v systemctl >/dev/null 2>&1; }\n"
    "unit=/etc/systemd/system/drover-runner.service\n"
    "loop_pid() {\n"
    "  pid=$(cat $D/loop.pid 2>/dev/null) || return 1\n"
    "  grep -q \"$D/loop\" \"/proc/$pid/cmdline\" 2>/dev/null && echo \"$pid\"\n"
    "}\n"
    "put() { cat >\"$1.new\" && mv \"$1.new\" \"$1\" || fail WriteFailed \"cannot write "
    "$1\"; }\n"
    "run=$D/program/bin/drover-runner\n"
    "old=$run; [ -x $old ] || old=$D/bin/drover-runner\n" /* of an earlier layout */
    "owner() { sed -n \"$1\" $D/owner 2>/dev/null; }\n"
    /* One step at a time, whoever's it is. Who stays behind must not have it: 9<&-. */
    "lock() {\n"
    "  command -v flock >/dev/null 2>&1 || return 0\n"
    "  exec 9<$D && flock -w 60 9 || fail HostBusy another step is under way there\n"
    "}\n"
    /* Nothing is done to a machine that has another mark than was seen before. */
    "claim() {\n"
    "  mkdir -p $D && chmod 700 $D || fail DirectoryFailed cannot make $D\n"
    "  lock\n"
    "  o=$(owner 1p)\n"
    "  if [ -n \"$o\" ] && [ \"$o\" != \"$UID_\" ] && [ \"$o\" != \"$PRIOR\" ]; then\n"
    "    fail HostTaken \"the machine was taken by $(owner s/^who=//p)\"\n"
    "  fi\n"
    "  if [ -n \"$o\" ] && [ ! -e $D/agent.owner ]; then\n"
    "    printf %s \"$o\" | put $D/agent.owner || exit 1\n"
    "  fi\n"
    "  printf %s \"$MARK\" | put $D/owner || exit 1\n"
    "}\n"
    "active() { if systemd; then systemctl is-active -q drover-runner; "
    "else [ -n \"$(loop_pid)\" ]; fi; }\n"
    /* The agent ends, its jobs do not. */
    "stop() {\n"
    "  if systemd && [ -f $unit ]; then systemctl stop drover-runner || return 1; fi\n"
    "  pid=$(loop_pid) && [ -n \"$pid\" ] && kill \"$pid\"\n"
    "  n=0\n"
    "  while [ -n \"$(loop_pid)\" ] && [ $n -lt 100 ]; do sleep 0.1; n=$((n + 1)); done\n"
    "  [ -z \"$(loop_pid)\" ]\n"
    "}\n";

static const char probe[] =
    "say arch \"$(uname -m)\"\n"
    "say boot \"$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)\"\n"
    "if systemd; then say systemd yes; else say systemd no; fi\n"
    "if active; then say active yes; else say active no; fi\n"
    "set -- $(df -Pk /var/lib 2>/dev/null | tail -n 1)\n"
    "say free \"${4:-}\"\n"
    "l=$(getconf GNU_LIBC_VERSION 2>/dev/null) || l=$(ldd --version 2>&1 | head -n 1)\n"
    "say libc \"$l\"\n"
    "say owner \"$(owner 1p)\"\n"
    "say server \"$(owner s/^server=//p)\"\n"
    "say who \"$(owner s/^who=//p)\"\n"
    "say program \"$(cat $D/program/id 2>/dev/null)\"\n"
    "say settings \"$(cat $D/settings.id 2>/dev/null)\"\n"
    "say done yes\n";

/* The files are there whole or not at all; the program must run before they count. */
static const char copy[] =
    "umask 022\n"
    "claim\n"
    "command -v tar >/dev/null 2>&1 || fail NoTar the machine has no tar\n"
    "n=$D/programs/new p=$D/programs/$PROGRAM\n"
    "rm -rf $n && mkdir -p $n || fail DirectoryFailed cannot make $n\n"
    "w=$(tar -xof - -C $n 2>&1) && [ \"$(cat $n/id)\" = \"$PROGRAM\" ] || {\n"
    "  rm -rf $n; fail CopyFailed \"not all of the program arrived: $w\"; }\n"
    "w=$($n/bin/drover-runner --version 2>&1) || { rm -rf $n; "
    "fail ProgramDoesNotRun \"the agent does not run there: $w\"; }\n"
    "rm -rf $p && mv $n $p || fail CopyFailed cannot rename $n\n"
    "rm -f $D/program.new && ln -s programs/$PROGRAM $D/program.new || "
    "fail CopyFailed cannot link $p\n"
    "mv -fT $D/program.new $D/program 2>/dev/null || "
    "{ rm -f $D/program; mv $D/program.new $D/program; } || fail CopyFailed cannot link "
    "$p\n"
    "say done yes\n";

static const char start[] =
    "umask 077\n"
    "claim\n"
    "rm -f $D/settings.id\n"
    /* The identity of another Instance's agent is no use to ours. */
    "if [ \"$(cat $D/agent.owner 2>/dev/null)\" != \"$UID_\" ] && [ -d $D/agent ]; then\n"
    "  stop || fail StopFailed the earlier agent does not stop\n"
    "  w=$($old --uninstall --force --dir $D/agent 2>&1) || "
    "fail UninstallFailed \"what an earlier agent left: $w\"\n"
    "  rm -rf $D/agent\n"
    "fi\n"
    "printf %s \"$UID_\" | put $D/agent.owner || exit 1\n"
    "printf %s \"$TOKEN\" | put $D/join.token || exit 1\n"
    "printf %s \"$JOB_ENV\" | put $D/job-env.json || exit 1\n"
    "run=\"$run --dir $D/agent --join $URL --token-file $D/join.token "
    "--ca-hash $CA --name $NAME --job-env $D/job-env.json\"\n"
    "if systemd; then\n"
    "  umask 022\n"
    "  put $unit <<END\n"
    "[Unit]\n"
    "Description=drover agent\n"
    "After=network-online.target docker.service\n"
    "Wants=network-online.target\n"
    "StartLimitIntervalSec=0\n"
    "\n"
    "[Service]\n"
    "ExecStart=$run\n"
    "ExecReload=/bin/kill -HUP \\$MAINPID\n"
    "Restart=always\n"
    "RestartSec=3\n"
    "KillMode=process\n"
    "Delegate=yes\n"
    "LimitNOFILE=65536\n"
    "TasksMax=infinity\n"
    "\n"
    "[Install]\n"
    "WantedBy=multi-user.target\n"
    "END\n"
    "  w=$(systemctl daemon-reload 2>&1 && systemctl enable drover-runner 2>&1 && "
    "systemctl restart drover-runner 2>&1 9<&-) || fail ServiceFailed \"systemctl: $w\"\n"
    "else\n"
    "  stop || fail StopFailed the agent does not stop\n"
    "  put $D/loop <<END\n"
    "#!/bin/sh\n"
    "# Keeps the drover agent running where there is no systemd.\n"
    "trap 'kill \\$child 2>/dev/null; wait \\$child; rm -f $D/loop.pid; exit 0' TERM "
    "INT\n"
    "echo \\$\\$ >$D/loop.pid\n"
    "while :; do\n"
    "  [ \"\\$(wc -c <$D/agent.log 2>/dev/null || echo 0)\" -lt 4000000 ] || "
    "mv $D/agent.log $D/agent.log.1\n"
    "  $run </dev/null >>$D/agent.log 2>&1 &\n"
    "  child=\\$!\n"
    "  wait \\$child\n"
    "  sleep 3 &\n"
    "  child=\\$!\n"
    "  wait \\$child\n"
    "done\n"
    "END\n"
    "  chmod 755 $D/loop\n"
    "  if command -v setsid >/dev/null 2>&1; then s=setsid; else s=nohup; fi\n"
    "  $s /bin/sh $D/loop </dev/null >/dev/null 2>&1 9<&- &\n"
    "  n=0\n"
    "  while [ -z \"$(loop_pid)\" ] && [ $n -lt 100 ]; do sleep 0.1; n=$((n + 1)); done\n"
    "  [ -n \"$(loop_pid)\" ] || fail ServiceFailed the loop around the agent does not "
    "start\n"
    "fi\n"
    "printf %s \"$SETTINGS\" | put $D/settings.id || exit 1\n"
    "for p in $D/programs/*; do\n"
    "  [ \"$p\" = \"$D/programs/$PROGRAM\" ] || rm -rf \"$p\"\n"
    "done\n"
    "rm -rf $D/bin\n"
    "say done yes\n";

static const char diagnose[] =
    "if systemd; then l=$(journalctl -u drover-runner -n 20 --no-pager -o cat "
    "2>/dev/null)\n"
    "else l=$(tail -n 20 $D/agent.log 2>/dev/null); fi\n"
    "b=$(printf '%s\\n' \"$l\" | grep -E 'warn|err|drover-runner:' | tail -n 1)\n"
    "[ -n \"$b\" ] || b=$(printf '%s\\n' \"$l\" | tail -n 1)\n"
    "say last \"$b\"\n"
    "say done yes\n";

/* Somebody else's agent is none of ours. */
static const char remove_all[] =
    "[ ! -d $D ] || lock\n"
    "o=$(owner 1p)\n"
    "if [ -n \"$o\" ] && [ \"$o\" != \"$UID_\" ]; then say done yes; exit 0; fi\n"
    "stop || fail StopFailed the agent does not stop\n"
    "if [ -d $D/agent ] && [ -x $old ]; then\n"
    "  w=$($old --uninstall --force --dir $D/agent 2>&1) || "
    "case $w in *'no agent'*) ;; *) fail UninstallFailed \"$w\" ;; esac\n"
    "fi\n"
    "if [ -f $unit ]; then\n"
    "  systemd && systemctl disable -q drover-runner 2>/dev/null\n"
    "  rm -f $unit\n"
    "  systemd && systemctl daemon-reload\n"
    "fi\n"
    "rm -rf $D\n"
    "[ ! -e $D ] || fail RemoveFailed cannot remove $D\n"
    "say done yes\n";

static const char *
script_of(enum host_step step)
{
    switch (step) {
    case HOST_PROBE:
        return probe;
    case HOST_COPY:
        return copy;
    case HOST_START:
        return start;
    case HOST_DIAGNOSE:
        return diagnose;
    case HOST_REMOVE:
        return remove_all;
    case HOST_STEP_NONE:
        break;
    }
    return "";
}

/* 'text' for a POSIX shell. */
static void
quote(struct str *out, const char *text)
{
    str_addc(out, '\'');
    for (; *text != '\0'; text++) {
        if (*text == '\'')
            str_adds(out, "'\\''");
        else
            str_addc(out, *text);
    }
    str_addc(out, '\'');
}

static void
set(struct str *out, const char *name, const char *value)
{
    str_addf(out, "%s=", name);
    quote(out, value == NULL ? "" : value);
    str_addc(out, '\n');
}

static void
set_common(struct str *out, const struct host_task *t)
{
    set(out, "D", HOST_DIR);
    set(out, "UID_", t->instance_uid);
    set(out, "PRIOR", t->prior);
    set(out, "MARK", t->mark);
    set(out, "PROGRAM", t->program_id);
}

void
host_script_command(const struct host_task *t, struct str *out)
{
    auto_str run = STR_INIT(32 * 1024), as_root = STR_INIT(64 * 1024);

    if (t->step == HOST_COPY) {
        auto_str script = STR_INIT(32 * 1024);
        set_common(&script, t);
        str_addf(&script, "%s%s", prelude, copy);
        str_adds(&run, "sh -c ");
        quote(&run, script.ptr);
    } else {
        str_adds(&run, "sh -s");
    }
    str_addf(&as_root, "if [ \"$(id -u)\" = 0 ]; then exec %s; else exec sudo -n %s; fi",
             run.ptr, run.ptr);
    str_adds(out, "exec sh -c "); /* whatever the login shell is */
    quote(out, as_root.ptr);
}

void
host_script_input(const struct host_task *t, struct str *out)
{
    set_common(out, t);
    if (t->step == HOST_START) {
        set(out, "URL", t->agent_url);
        set(out, "TOKEN", t->token);
        set(out, "CA", t->ca_hash);
        set(out, "NAME", t->name);
        set(out, "SETTINGS", t->settings_id);
        set(out, "JOB_ENV", t->job_env);
    }
    str_addf(out, "%s%s", prelude, script_of(t->step));
}

/* --- answers ----------------------------------------------------------------------- */

static void
take_text(char *to, size_t size, const char *from, size_t n)
{
    size_t w = 0;

    for (size_t i = 0; i < n && w + 1 < size; i++)
        to[w++] = isprint((unsigned char)from[i]) ? from[i] : ' ';
    while (w > 0 && to[w - 1] == ' ')
        w--;
    to[w] = '\0';
}

/* Value of the last "drover:key=" line. */
static bool
said(const char *output, const char *key, char *out, size_t size)
{
    autofree char *mark = xasprintf("drover:%s=", key);
    const char *found = NULL;

    for (const char *p = output; (p = strstr(p, mark)) != NULL; p++)
        if (p == output || p[-1] == '\n')
            found = p + strlen(mark);
    if (found == NULL)
        return false;
    take_text(out, size, found, strcspn(found, "\r\n"));
    return true;
}

static bool
said_yes(const char *output, const char *key)
{
    char value[8];

    return said(output, key, value, sizeof(value)) && streq(value, "yes");
}

static void
read_facts(const char *output, struct host_facts *f)
{
    char number[32] = "", *end;

    said(output, "arch", f->arch, sizeof(f->arch));
    said(output, "boot", f->boot_id, sizeof(f->boot_id));
    said(output, "libc", f->libc, sizeof(f->libc));
    said(output, "owner", f->owner, sizeof(f->owner));
    said(output, "server", f->owner_server, sizeof(f->owner_server));
    said(output, "who", f->owner_words, sizeof(f->owner_words));
    said(output, "program", f->program_id, sizeof(f->program_id));
    said(output, "settings", f->settings_id, sizeof(f->settings_id));
    f->systemd = said_yes(output, "systemd");
    f->active = said_yes(output, "active");
    said(output, "free", number, sizeof(number));
    f->free_kib = strtoll(number, &end, 10);
    if (end == number || *end != '\0')
        f->free_kib = -1;
}

/* The line of the output in which the word is, for a message. */
static void
line_with(const char *output, const char *word, char *out, size_t size)
{
    const char *at = strstr(output, word), *from = at;

    while (from != NULL && from > output && from[-1] != '\n')
        from--;
    if (from != NULL)
        take_text(out, size, from, strcspn(from, "\r\n"));
}

static void
last_line(const char *output, char *out, size_t size)
{
    size_t n = strlen(output);

    while (n > 0 && isspace((unsigned char)output[n - 1]))
        n--;
    const char *from = output + n;
    while (from > output && from[-1] != '\n')
        from--;
    take_text(out, size, from, n - (size_t)(from - output));
}

/* Words of OpenSSH's client. The first that fits. */
static const struct {
    const char *word, *reason, *text;
} ssh_words[] = {
    {"HOST IDENTIFICATION HAS CHANGED", "HostKeyChanged",
     "the host shows another key than at first: another machine, or somebody in between; "
     "if it was set up anew, `drover instance forget` it"},
    {"Host key verification failed", "HostKeyChanged",
     "the host shows another key than at first: another machine, or somebody in between; "
     "if it was set up anew, `drover instance forget` it"},
    {"Load key", "BadIdentity", "the private key in the Secret cannot be used"},
    {"Permission denied", "AuthenticationFailed", "the host refuses the key"},
    {"Too many authentication failures", "AuthenticationFailed",
     "the host refuses the key"},
    {"Could not resolve hostname", "UnknownHost", "there is no such host"},
    {"onnection timed out", "Unreachable", "the host does not answer"},
    {"peration timed out", "Unreachable", "the host does not answer"},
    {"onnection refused", "Unreachable", "no SSH server listens there"},
    {"No route to host", "Unreachable", "the host cannot be reached"},
    {"Network is unreachable", "Unreachable", "the host cannot be reached"},
    {"Connection closed", "Unreachable", "the host closes the connection"},
    {"Connection reset", "Unreachable", "the host closes the connection"},
    {"Timeout, server", "Unreachable", "the connection was lost"},
};

static void
read_ssh_failure(const char *output, struct host_result *r)
{
    char line[HOST_LINE_MAX] = "";

    for (size_t i = 0; i < ARRAY_LEN(ssh_words); i++) {
        if (strstr(output, ssh_words[i].word) == NULL)
            continue;
        line_with(output, ssh_words[i].word, line, sizeof(line));
        host_result_fail(r, r->step, ssh_words[i].reason, "%s (%s)", ssh_words[i].text,
                         line);
        return;
    }
    last_line(output, line, sizeof(line));
    host_result_fail(r, r->step, "ConnectionFailed", "ssh failed: %s",
                     line[0] != '\0' ? line : "it gave no reason");
}

void
host_script_read_jump(const char *output, struct host_result *r)
{
    struct host_result jump = {.step = r->step};

    if (r->reached || *output == '\0')
        return;
    read_ssh_failure(output, &jump);
    host_result_fail(r, r->step, "ProxyFailed",
                     "the jump host does not connect us: %.350s", jump.message);
}

/* What can go wrong in any script. */
static const struct {
    const char *word, *reason, *text;
} script_words[] = {
    {"No space left on device", "DiskFull", "the disk of the host is full"},
    {"Disk quota exceeded", "DiskFull", "the disk quota of the host is used up"},
    {"Read-only file system", "ReadOnly", "the file system of the host is read-only"},
    {"sudo: a password is required", "NoSudo",
     "the user is not root and needs a password for sudo; let sudo pass it without one"},
    {"a terminal is required", "NoSudo",
     "the user is not root and needs a password for sudo; let sudo pass it without one"},
    {"is not in the sudoers file", "NoSudo", "the user is not root and may not use sudo"},
    {"may not run sudo", "NoSudo", "the user is not root and may not use sudo"},
    {"sudo: not found", "NoSudo", "the user is not root and there is no sudo"},
    {"sudo: command not found", "NoSudo", "the user is not root and there is no sudo"},
};

static void
read_script_failure(const char *output, struct host_result *r)
{
    char words[HOST_MESSAGE_MAX] = "", line[HOST_LINE_MAX] = "";

    for (size_t i = 0; i < ARRAY_LEN(script_words); i++) {
        if (strstr(output, script_words[i].word) == NULL)
            continue;
        line_with(output, script_words[i].word, line, sizeof(line));
        host_result_fail(r, r->step, script_words[i].reason, "%s (%s)",
                         script_words[i].text, line);
        return;
    }
    if (said(output, "fail", words, sizeof(words))) {
        size_t n = strcspn(words, " ");
        const char *rest = words[n] == ' ' ? words + n + 1 : "";
        autofree char *reason = xstrndup(words, n);
        host_result_fail(r, r->step, reason, "%s", rest);
        return;
    }
    last_line(output, line, sizeof(line));
    host_result_fail(r, r->step, "CommandFailed", "the host says: %s",
                     line[0] != '\0' ? line : "nothing");
}

void
host_script_read(const struct host_task *t, const char *output, int exit_code,
                 struct host_result *r)
{
    r->step = t->step;
    r->reached = strstr(output, "drover:") != NULL;
    if (said_yes(output, "done") && exit_code == 0) {
        r->ok = true;
        r->reached = true;
        if (t->step == HOST_PROBE)
            read_facts(output, &r->facts);
        said(output, "last", r->last, sizeof(r->last));
        return;
    }
    if (exit_code == -1) {
        host_result_fail(r, t->step, "Timeout", "the host is too slow: %s%s",
                         r->reached ? "the step did not end in time" : "no answer",
                         r->reached ? "" : " to the login");
        return;
    }
    if (exit_code == 255 && !r->reached) {
        read_ssh_failure(output, r);
        return;
    }
    if (exit_code == 255) {
        host_result_fail(r, t->step, "ConnectionLost", "the connection was lost");
        return;
    }
    r->reached = true;
    read_script_failure(output, r);
}
