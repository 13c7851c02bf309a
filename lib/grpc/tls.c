// SPDX-License-Identifier: Apache-2.0
/*
 * Certificates. They are read again when they have changed, before each
 * connection: those of a control plane are renewed while it runs.
 */
#include <openssl/err.h>
#include <sys/stat.h>

#include "lib/grpc/internal.h"

enum { CA, CERT, KEY };

static int failed(struct err *e, const char *what, const char *file)
{
	const char *why = ERR_reason_error_string(ERR_peek_last_error());

	ERR_clear_error();
	return err_set(e, -EINVAL, "%s '%s': %s", what, file,
		       why ? why : "cannot be read");
}

static int load(SSL_CTX *ctx, char *const *files, struct err *e)
{
	static const unsigned char h2[] = "\x02h2";
	const char *key = files[KEY] ? files[KEY] : "";

	SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
	SSL_CTX_set_options(ctx,
			    SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE |
				      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
				      SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_alpn_protos(ctx, h2, sizeof(h2) - 1);
	if (!files[CA])
		(void)SSL_CTX_set_default_verify_paths(ctx);
	else if (SSL_CTX_load_verify_locations(ctx, files[CA], NULL) != 1)
		return failed(e, "CA", files[CA]);
	if (!files[CERT])
		return 0;
	if (SSL_CTX_use_certificate_chain_file(ctx, files[CERT]) != 1)
		return failed(e, "certificate", files[CERT]);
	/* Half of a renewal: the key is not the certificate's. */
	if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1)
		return failed(e, "key", key);
	return 0;
}

static bool is_new(struct grpc *g)
{
	bool changed = false;
	struct stat st;

	for (int i = 0; i < GTLS_FILES; i++) {
		if (!g->files[i] || stat(g->files[i], &st))
			continue;
		changed |= st.st_mtim.tv_sec != g->read_at[i].tv_sec ||
			   st.st_mtim.tv_nsec != g->read_at[i].tv_nsec;
		g->read_at[i] = st.st_mtim;
	}
	return changed;
}

static int read_files(struct grpc *g, struct err *e)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	int r;

	if (!ctx)
		return err_set(e, -ENOMEM, "out of memory");
	r = load(ctx, g->files, e);
	if (r < 0) {
		SSL_CTX_free(ctx);
		return r;
	}
	SSL_CTX_free(g->ctx); /* its connections have it still */
	g->ctx = ctx;
	return 0;
}

int gtls_open(struct grpc *g, const struct grpc_opts *o, struct err *e)
{
	const char *files[] = { o->ca_file, o->cert_file, o->key_file };

	for (int i = 0; i < GTLS_FILES; i++) {
		g->files[i] = files[i] ? strdup(files[i]) : NULL;
		if (files[i] && !g->files[i])
			return err_set(e, -ENOMEM, "out of memory");
	}
	(void)is_new(g);
	return read_files(g, e);
}

void gtls_look(struct grpc *g)
{
	/* Not all there yet: with what we have, and again. */
	if (is_new(g) && read_files(g, NULL) < 0)
		memset(g->read_at, 0, sizeof(g->read_at));
}

void gtls_close(struct grpc *g)
{
	SSL_CTX_free(g->ctx);
	for (int i = 0; i < GTLS_FILES; i++)
		free(g->files[i]);
}
