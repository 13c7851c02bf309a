/* SPDX-License-Identifier: Apache-2.0 */
/* The commands of arktos-control. Each returns an exit code. */
#ifndef CONTROLPLANE_CONTROL_H
#define CONTROLPLANE_CONTROL_H

#include <stdio.h>

/* Serve until SIGTERM or SIGINT. */
int control_run(int argc, char **argv);
/* Copy the store of a data folder that nobody is serving. */
int control_backup(int argc, char **argv);
void control_help(FILE *to);

#endif /* CONTROLPLANE_CONTROL_H */
