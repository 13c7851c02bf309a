/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Credentials for registries, as docker's configuration files hold them, and
 * which of them are for an image. Pure; nothing is written anywhere.
 *
 *	{"auths":{"r.io:5000/team":{"username":"u","password":"p"}}}
 *
 * What stands before the colon is a host, which may have patterns between its
 * dots ("*.r.io"), a port, and the beginning of a path; "https://" before it
 * and "/v1/" or "/v2/" behind it are old forms of the same.
 */
#ifndef AGENT_IMAGE_KEYRING_H
#define AGENT_IMAGE_KEYRING_H

#include <stddef.h>
#include <stdint.h>

#include "lib/auto.h"

struct buf;
struct err;

#define KEYRING_FILE_MAX    (1024 * 1024)
#define KEYRING_ENTRIES_MAX 256
#define KEYRING_AUTH_MAX    (64 * 1024) /* of one entry */

struct keyring_entry {
	char *where; /* "r.io:5000/team", without scheme */
	char *auth;  /* base64 of "user:password" */
	char *token; /* an identity token instead, or NULL */
};

struct keyring {
	struct keyring_entry *v; /* longest place first */
	size_t nr;
};

void keyring_clear(struct keyring *k);
void keyring_free(struct keyring *k); /* of the heap; NULL is fine */
DEFINE_AUTO_PTR(keyring, keyring_free)

/**
 * keyring_add() - Take what a file has.
 * @k:    Where to. What it has already comes first among equals.
 * @json: A config.json ("auths"), or the old .dockercfg. Borrowed.
 * @e:    Filled on error; never with anything secret.
 *
 * Return: 0, -EBADMSG, -E2BIG, -ENOMEM. Nothing is added then.
 */
int keyring_add(struct keyring *k, const char *json, size_t len, struct err *e);

/* The next entry from @from on that is for @repo ("r.io/team/app"), or NULL. */
const struct keyring_entry *keyring_find(const struct keyring *k, size_t from,
					 const char *repo);

/* A configuration file with this one for the host of @repo. */
int keyring_put(const struct keyring_entry *entry, const char *repo,
		struct buf *out);

#endif /* AGENT_IMAGE_KEYRING_H */
