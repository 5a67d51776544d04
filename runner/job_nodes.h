/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a job is told about the nodes of its run, beyond the variables that the Job has:
 * addresses and devices, as the binding decided them. A shell command of a run with
 * several nodes also finds a hostfile for MPI, and can `ssh` the others without a
 * password: a prologue in front of it writes the files below /tmp/.drover, starts an sshd
 * of its own (port 10022 to 10921, by the run) where the machine or image has one, and
 * executes the command. Pure.
 */
#ifndef RUNNER_JOB_NODES_H
#define RUNNER_JOB_NODES_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#define JOB_NODES_ENV_MAX 24

/* The job gets the prologue. */
bool job_nodes_wrapped(const json_t *job);
/* Name of the Secret with the key pair; NULL: none is needed. */
const char *job_nodes_secret(const json_t *job);
/* The key pair out of its Secret as "NAME=value" for the prologue: two malloc'd strings.
 * False: the Secret does not have it. */
bool job_nodes_key(const json_t *secret, char *ret[2]);
/* Appends "NAME=value" to list[*n], at most JOB_NODES_ENV_MAX; what the Job's own
 * environment has is left out. */
void job_nodes_env(const json_t *job, char **list, size_t *n);
/* The prologue's argv in front of argv (NULL-terminated, taken over). */
char **job_nodes_wrap(char **argv);

#endif
