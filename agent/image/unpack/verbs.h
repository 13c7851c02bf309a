/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_IMAGE_UNPACK_VERBS_H
#define AGENT_IMAGE_UNPACK_VERBS_H

/* {"oci" | "tar", FOLDER, DIGEST | "-", MAX_BYTES, MAX_ENTRIES, MAX_RATIO,
 * CPU_S}: unpack the archive on fd 0 into FOLDER, and say on fd 1
 *	at BYTES				now and then
 *	ok DIFF_ID BYTES ENTRIES SKIPPED DIGEST	or
 *	error ERRNO STORY
 */
int verb_layer(char **args);

/* {PROGRAM, ...}: run it as nobody, without network, within limits. */
int verb_exec(char **args);

/* {PROGRAM, ...}: run it as it is, but let it die with whoever asked. */
int verb_tether(char **args);

/* {VOLUME, NAME, BYTES, NAME, BYTES, ..., NULL}: write an ISO 9660 image of
 * these files to fd 1; their contents are on fd 0, one after the other. */
int verb_iso(char **args);

#endif /* AGENT_IMAGE_UNPACK_VERBS_H */
