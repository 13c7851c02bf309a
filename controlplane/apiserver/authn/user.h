/* SPDX-License-Identifier: Apache-2.0 */
/* Who asks: the result of authentication. */
#ifndef CONTROLPLANE_APISERVER_AUTHN_USER_H
#define CONTROLPLANE_APISERVER_AUTHN_USER_H

#include <openssl/x509.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/auto.h"

#define GROUPS_MAX 32
#define EXTRA_MAX  16
#define NODE_USER  "system:node:"
#define SA_USER    "system:serviceaccount:"

struct err;

/* One further fact; a key with several values comes several times. */
struct user_extra {
	char *key, *value;
};

struct user {
	char *name;
	char *uid;    /* NULL: it has none */
	char *tenant; /* never NULL or "" */
	/* The very tenant that the certificate was issued in: one that has its
	 * name later is another. NULL: any; and which revision of it was seen.
	 */
	char *tenant_uid;
	_Atomic uint64_t tenant_seen;
	char *groups[GROUPS_MAX];
	size_t nr_groups;
	struct user_extra extra[EXTRA_MAX];
	size_t nr_extra;
};

/* A user without groups; NULL when out of memory. */
struct user *user_new(const char *name, const char *tenant);
void user_free(struct user *u);
struct user *user_dup(const struct user *u); /* NULL: out of memory */
DEFINE_AUTO_PTR(user, user_free)

/* Copies. 0, -ENOMEM, or -E2BIG when there is no room. A group the user is in
 * already is not added twice. */
int user_add_group(struct user *u, const char *group);
int user_add_extra(struct user *u, const char *key, const char *value);

bool user_in_group(const struct user *u, const char *group);
bool user_is_system(const struct user *u); /* of the system tenant */
/* The node this user is: its certificate said so, in the system tenant. NULL:
 * it is none. Borrowed. */
const char *user_node(const struct user *u);

/* From a client's certificate that the TLS layer has verified. */
int user_from_cert(X509 *cert, struct user **ret, struct err *e);

#endif /* CONTROLPLANE_APISERVER_AUTHN_USER_H */
