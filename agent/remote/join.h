/* SPDX-License-Identifier: Apache-2.0 */
/* Become a node: from a token to a kubeconfig of its own. */
#ifndef AGENT_REMOTE_JOIN_H
#define AGENT_REMOTE_JOIN_H

struct err;

struct join_opts {
	const char *server;  /* "https://HOST:PORT" */
	const char *token;   /* "ID.SECRET", of 'arktosctl node token' */
	const char *ca_hash; /* "sha256:HEX" of the CA's public key */
	const char *node_name;
	const char *out; /* the kubeconfig */
};

/**
 * join_run() - Ask the API server for a certificate and keep it.
 *
 * The server is believed only if its chain ends at the CA with that hash; the
 * token is not shown to anybody else. The key is made here and stays here.
 *
 * Return: 0, -EINVAL (what was given is malformed), -EACCES (another CA, or a
 * token that is not good), -ETIMEDOUT, -errno.
 */
int join_run(const struct join_opts *o, struct err *e);

#endif /* AGENT_REMOTE_JOIN_H */
