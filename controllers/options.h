/* SPDX-License-Identifier: Apache-2.0 */
/* Command line of drover-controllers. */
#ifndef CONTROLLERS_OPTIONS_H
#define CONTROLLERS_OPTIONS_H

#include "base/error.h"

struct options {
    const char *api_socket, *token_file, *kubeconfig, *only, *log_level;
    const char *agent_url, *agent_programs, *ssh_dir;
    bool help, version;
};
/* ERR_BAD_REQUEST with one sentence. Strings are borrowed from argv. */
int options_parse(int argc, char **argv, struct options *ret,
                  struct error *e) WARN_UNUSED;
extern const char options_help[];

#endif
