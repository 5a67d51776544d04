/* SPDX-License-Identifier: Apache-2.0 */
/* `--supervise --probe`: prepares a trial job up to its release and takes it away again.
 * Returns enum supervisor_probe and prints a sentence on stdout when that is not OK. */
#ifndef SUPERVISOR_PROBE_H
#define SUPERVISOR_PROBE_H

int probe_main(void);

#endif
