/* SPDX-License-Identifier: Apache-2.0 */
/* The process as /proc shows it. */
#include "apiserver/http/process.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/fs.h"

enum { STAT_MAX = 4096 };

/* Field n (1-based, as in proc(5)) of /proc/self/stat. */
static unsigned long long
field(const char *stat, int n)
{
    const char *p = strrchr(stat, ')'); /* behind the name, which is field 2 */

    for (int i = 2; p != NULL && i < n; i++)
        p = strchr(p + 1, ' ');
    return p == NULL ? 0 : strtoull(p + 1, NULL, 10);
}

static double
boot_time_s(void)
{
    auto_str text = STR_INIT(1 << 20);
    struct error e = ERROR_INIT;
    const char *p;

    if (fs_read("/proc/stat", &text, &e) < 0 ||
        (p = strstr(text.ptr, "\nbtime ")) == NULL)
        return 0;
    return strtod(p + 7, NULL);
}

static size_t
open_descriptors(void)
{
    DIR *d = opendir("/proc/self/fd");
    size_t n = 0;

    while (d != NULL && readdir(d) != NULL)
        n++;
    if (d != NULL)
        closedir(d);
    return n > 3 ? n - 3 : 0; /* . and .. and the directory itself */
}

static void
gauge(struct str *out, const char *name, const char *type, double value)
{
    str_addf(out, "# TYPE %s %s\n%s %.17g\n", name, type, name, value);
}

void
process_metrics(struct str *out)
{
    auto_str stat = STR_INIT(STAT_MAX);
    struct error e = ERROR_INIT;
    struct rusage u = {0};
    struct rlimit files = {0};
    double ticks = (double)sysconf(_SC_CLK_TCK);

    if (fs_read("/proc/self/stat", &stat, &e) < 0)
        return;
    getrusage(RUSAGE_SELF, &u);
    getrlimit(RLIMIT_NOFILE, &files);
    gauge(out, "process_cpu_seconds_total", "counter",
          (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
              (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6);
    gauge(out, "process_open_fds", "gauge", (double)open_descriptors());
    gauge(out, "process_max_fds", "gauge", (double)files.rlim_cur);
    gauge(out, "process_virtual_memory_bytes", "gauge", (double)field(stat.ptr, 23));
    gauge(out, "process_resident_memory_bytes", "gauge",
          (double)field(stat.ptr, 24) * (double)sysconf(_SC_PAGESIZE));
    gauge(out, "process_start_time_seconds", "gauge",
          boot_time_s() + (double)field(stat.ptr, 22) / ticks);
}

void
process_listener_metrics(const struct http_server *s, struct str *out)
{
    if (s == NULL)
        return;
    struct http_server_stats st = http_server_stats(s);
    gauge(out, "drover_http_connections", "gauge", (double)http_server_connections(s));
    gauge(out, "drover_http_accepted_total", "counter", (double)st.accepted);
    gauge(out, "drover_http_refused_address_total", "counter",
          (double)st.refused_address);
    gauge(out, "drover_http_head_timeouts_total", "counter", (double)st.head_timeouts);
    gauge(out, "drover_http_body_timeouts_total", "counter", (double)st.body_timeouts);
}
