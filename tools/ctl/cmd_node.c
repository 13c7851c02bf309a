// SPDX-License-Identifier: Apache-2.0
/* A token that a new node joins with: good for a day, and for that alone. */
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "controlplane/client/rest.h"
#include "controlplane/client/target.h"
#include "lib/err.h"
#include "lib/json.h"
#include "lib/str.h"
#include "tools/ctl/ctl.h"

#define LIFE_S     86400
#define ID_LEN     6
#define SECRET_LEN 16

static int random_text(char *out, size_t len)
{
	static const char digits[] = "abcdefghijklmnopqrstuvwxyz234567";
	unsigned char r[SECRET_LEN];

	if (RAND_bytes(r, (int)len) != 1)
		return -EIO;
	for (size_t i = 0; i < len; i++)
		out[i] = digits[r[i] % 32];
	out[len] = '\0';
	return 0;
}

static void put_secret(struct buf *b, const char *id, const char *secret)
{
	struct json_out o = JSON_OUT(b);
	time_t until = time(NULL) + LIFE_S;
	char text[32];
	struct tm tm;

	gmtime_r(&until, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	json_put_object(&o, NULL);
	json_put_str(&o, "apiVersion", "v1");
	json_put_str(&o, "kind", "Secret");
	json_put_str(&o, "type", "bootstrap.kubernetes.io/token");
	json_put_object(&o, "metadata");
	json_put_fmt(&o, "name", "bootstrap-token-%s", id);
	json_put_end(&o);
	json_put_object(&o, "stringData");
	json_put_str(&o, "token-id", id);
	json_put_str(&o, "token-secret", secret);
	json_put_str(&o, "expiration", text);
	json_put_str(&o, "usage-bootstrap-authentication", "true");
	json_put_end(&o);
	json_put_end(&o);
}

/* As kubeadm has it: SHA-256 of the public key. */
static int ca_hash(const char *pem, char text[65], struct err *e)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *x = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
	unsigned char *der = NULL, md[32];
	int len = x ? i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x), &der) : -1;
	int ok = len > 0 &&
		 EVP_Digest(der, (size_t)len, md, NULL, EVP_sha256(), NULL);

	for (int i = 0; ok && i < 32; i++)
		snprintf(text + 2 * i, 3, "%02x", md[i]);
	OPENSSL_free(der);
	X509_free(x);
	BIO_free(bio);
	return ok ? 0 : err_set(e, -EBADMSG, "the CA does not load");
}

static int node_token(const char *kubeconfig, struct err *e)
{
	char id[ID_LEN + 1], secret[SECRET_LEN + 1], hash[65];
	auto_buf struct buf body = BUF_INIT, answer = BUF_INIT;
	auto_free char *path = ctl_kubeconfig(kubeconfig);
	auto_ptr(target) t = NULL;
	auto_ptr(rest) c = NULL;
	int r = path ? target_open(path, &t, e) : -ENOMEM;

	if (r == 0)
		r = ca_hash(t->ca_pem, hash, e);
	if (r == 0)
		r = random_text(id, ID_LEN) || random_text(secret, SECRET_LEN)
			    ? err_set(e, -EIO, "no random numbers")
			    : rest_open(path, &c, e);
	if (r < 0)
		return r;
	put_secret(&body, id, secret);
	r = rest_call(c, "POST",
		      "/api/v1/tenants/system/namespaces/kube-system/secrets",
		      buf_str(&body), NULL, &answer, e);
	r = r < 0 ? r : rest_check(r, &answer, e);
	if (r == 0)
		printf("arktos-node join %s --token %s.%s --ca-hash sha256:%s\n",
		       t->server, id, secret, hash);
	return r;
}

int cmd_node(const char *kubeconfig, int argc, char **argv)
{
	struct err e = { 0 };

	if (argc > 1 && strcmp(argv[1], "drain") == 0)
		return cmd_drain(kubeconfig, argc - 1, argv + 1);
	if (argc != 2 || strcmp(argv[1], "token") != 0) {
		fputs("arktosctl: want node token, or node drain NAME; see "
		      "arktosctl --help\n",
		      stderr);
		return 2;
	}
	if (node_token(kubeconfig, &e) == 0)
		return 0;
	fprintf(stderr, "arktosctl: %s\n", e.msg);
	return 1;
}
