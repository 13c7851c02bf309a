/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signed tokens (JWS compact, ES256 and RS256), and the keys that sign them.
 *
 * A ring is a folder of private keys in PEM, NUMBER.key: the highest number
 * signs, all of them are believed. A key is retired by removing its file once
 * nothing it signed is in use any more.
 */
#ifndef CONTROLPLANE_APISERVER_AUTHN_JWT_H
#define CONTROLPLANE_APISERVER_AUTHN_JWT_H

#include <stddef.h>
#include <stdint.h>
#include <yyjson.h>

#include "lib/auto.h"

struct buf;
struct err;
struct keyring;

#define KEYRING_MAX 16

/* Load the ring of folder @dir; an empty or missing one gets its first key. */
int keyring_open(const char *dir, struct keyring **ret, struct err *e);
void keyring_free(struct keyring *k);
DEFINE_AUTO_PTR(keyring, keyring_free)

/* Look again; 1: there are other keys now. On error it keeps those it has. */
int keyring_refresh(struct keyring *k, struct err *e);
/* Add a fresh key, which signs from now on. */
int keyring_rotate(struct keyring *k, struct err *e);
/* When the signing key was made (its file was). */
int64_t keyring_age_s(struct keyring *k, int64_t now_s);

/* Append the token with these claims (JSON). */
int jwt_sign(struct keyring *k, const char *claims, struct buf *b,
	     struct err *e);
/**
 * jwt_verify() - Read the claims of a token one of the keys has signed.
 * @token: Borrowed; at most 16 KiB.
 * @ret:   The claims, an object. yyjson_doc_free().
 *
 * Says nothing about what is claimed: times, audience, issuer.
 *
 * Return: 0, -EACCES (signed by none of ours) or -EBADMSG (no token).
 */
int jwt_verify(struct keyring *k, const char *token, yyjson_doc **ret,
	       struct err *e);
/* The claims, without looking at the signature: for finding out whether the
 * token is for us at all. */
int jwt_claims(const char *token, yyjson_doc **ret, struct err *e);

/* Append the public keys as a JSON Web Key Set. */
int keyring_jwks(struct keyring *k, struct buf *b);

#endif /* CONTROLPLANE_APISERVER_AUTHN_JWT_H */
