/* SPDX-License-Identifier: Apache-2.0 */
/* The commands that are the agent itself, for the program's command table. */
#ifndef AGENT_RUN_H
#define AGENT_RUN_H

#include "lib/cli.h"

extern const struct cli_option run_options[], down_options[];

int cmd_run(const struct cli_command *c, int argc, char **argv);
extern const struct cli_option join_options[];
int cmd_join(const struct cli_command *c, int argc, char **argv);
int cmd_down(const struct cli_command *c, int argc, char **argv);

#endif /* AGENT_RUN_H */
