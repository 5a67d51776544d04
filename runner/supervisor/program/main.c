/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The supervisor as a program of its own, which drover-runner carries inside itself
 * (runner/embedded.c). One is started per job: without the libraries of the agent (HTTP,
 * TLS) that takes a quarter of the processor time, and each fork on the way to the job's
 * first process copies less.
 */
#include "runner/supervisor/supervisor.h"

int
main(int argc, char **argv)
{
    return supervisor_main(argc, argv);
}
