// SPDX-License-Identifier: Apache-2.0
/* Tenants and their users' kubeconfigs. Keys are made here and stay here: the
 * server sees a signing request only. */
#include <fcntl.h>
#include <getopt.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "controlplane/apiserver/authn/pki.h"
#include "controlplane/client/rest.h"
#include "lib/buf.h"
#include "lib/cli.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "lib/json.h"
#include "lib/str.h"
#include "tools/ctl/ctl.h"

#define GROUPS_MAX    16
#define DELETE_WAIT_S 60

struct args {
	const char *name, *out, *user, *cluster;
	const char *groups[GROUPS_MAX];
	size_t nr_groups;
};

const char *ctl_take_kubeconfig(int *argc, char **argv)
{
	static const char option[] = "--kubeconfig";
	const char *found = NULL;
	int n = 0;

	for (int i = 0; i < *argc; i++) {
		if (strcmp(argv[i], "--") == 0) {
			while (i < *argc)
				argv[n++] = argv[i++];
			break;
		}
		if (strcmp(argv[i], option) == 0 && i + 1 < *argc)
			found = argv[++i];
		else if (strncmp(argv[i], "--kubeconfig=", sizeof(option)) == 0)
			found = argv[i] + sizeof(option);
		else
			argv[n++] = argv[i];
	}
	argv[n] = NULL;
	*argc = n;
	return found;
}

char *ctl_kubeconfig(const char *given)
{
	const char *home = getenv("HOME");

	char *path;

	if (!given)
		given = getenv("KUBECONFIG");
	if (given && *given)
		return strdup(given);
	path = str_printf("%s/.kube/config", home ? home : "");
	if (!path || access(path, F_OK) == 0 ||
	    access(ADMIN_KUBECONFIG, R_OK) < 0)
		return path;
	free(path);
	return strdup(ADMIN_KUBECONFIG);
}

int ctl_open(const char *kubeconfig, struct rest **ret, struct err *e)
{
	auto_free char *path = ctl_kubeconfig(kubeconfig);

	return path ? rest_open(path, ret, e)
		    : err_set(e, -ENOMEM, "out of memory");
}

static int take_bio(BIO *bio, struct buf *b)
{
	char *data;
	long len = BIO_get_mem_data(bio, &data);

	return len > 0 ? buf_add(b, data, len) : -ENOMEM;
}

/* A fresh key and a signing request for it, both PEM. */
static int make_request(struct buf *key, struct buf *request, struct err *e)
{
	EVP_PKEY *pkey = EVP_EC_gen("P-256");
	X509_REQ *req = X509_REQ_new();
	BIO *kb = BIO_new(BIO_s_mem()), *rb = BIO_new(BIO_s_mem());
	int r = -ENOMEM;

	if (pkey && req && kb && rb && X509_REQ_set_pubkey(req, pkey) &&
	    X509_REQ_sign(req, pkey, EVP_sha256()) &&
	    PEM_write_bio_PrivateKey(kb, pkey, NULL, NULL, 0, NULL, NULL) &&
	    PEM_write_bio_X509_REQ(rb, req))
		r = take_bio(kb, key) || take_bio(rb, request) ? -ENOMEM : 0;
	BIO_free(kb);
	BIO_free(rb);
	X509_REQ_free(req);
	EVP_PKEY_free(pkey);
	return r < 0 ? err_set(e, r, "cannot make a key") : 0;
}

static void put_request(struct buf *b, const struct args *a,
			const struct buf *request)
{
	struct json_out o = JSON_OUT(b);

	json_put_object(&o, NULL);
	json_put_object(&o, "spec");
	json_put_strn(&o, "request", request->data, request->len);
	json_put_str(&o, "user", a->user);
	json_put_array(&o, "groups");
	for (size_t i = 0; i < a->nr_groups; i++)
		json_put_str(&o, NULL, a->groups[i]);
	json_put_end(&o);
	json_put_end(&o);
	json_put_end(&o);
}

static int write_config(const struct args *a, const char *cert,
			const char *authority, const char *server,
			const struct buf *key, struct err *e)
{
	auto_free char *path =
		a->out ? strdup(a->out) : str_printf("%s.kubeconfig", a->name);
	auto_free char *context = str_printf("%s-%s", a->name, a->user);
	auto_buf struct buf b = BUF_INIT;
	int r;

	if (!path || !context)
		return err_set(e, -ENOMEM, "out of memory");
	r = kubeconfig_write(authority, server, context, a->user, cert,
			     buf_str(key), &b);
	if (r == 0)
		r = fs_write_atomic(AT_FDCWD, path, b.data, b.len, 0600, e);
	if (r == 0)
		printf("kubeconfig of user %s written to %s\n", a->user, path);
	return r;
}

static int make_kubeconfig(struct rest *c, const struct args *a, struct err *e)
{
	auto_buf struct buf key = BUF_INIT, request = BUF_INIT;
	auto_buf struct buf body = BUF_INIT, answer = BUF_INIT;
	auto_free char *path = str_printf(
		"/apis/arktos.futurewei.com/v1/tenants/%s/clientcertificates",
		a->name);
	yyjson_doc *doc = NULL;
	yyjson_val *status;
	const char *cert, *authority;
	int r = path ? make_request(&key, &request, e) : -ENOMEM;

	if (r < 0)
		return r;
	put_request(&body, a, &request);
	r = rest_call(c, "POST", path, buf_str(&body), NULL, &answer, e);
	r = rest_check(r, &answer, e);
	if (r == 0)
		r = json_parse(buf_str(&answer), answer.len, &doc, e);
	if (r < 0)
		return r;
	status = yyjson_obj_get(yyjson_doc_get_root(doc), "status");
	cert = yyjson_get_str(yyjson_obj_get(status, "certificate"));
	authority = yyjson_get_str(yyjson_obj_get(status, "authority"));
	if (cert && authority)
		r = write_config(a, cert, authority, rest_server(c), &key, e);
	else
		r = err_set(e, -EPROTO, "the server sent no certificate");
	yyjson_doc_free(doc);
	return r;
}

static int tenant_create(struct rest *c, const struct args *a, struct err *e)
{
	auto_buf struct buf body = BUF_INIT, answer = BUF_INIT;
	struct json_out o = JSON_OUT(&body);
	int r;

	json_put_object(&o, NULL);
	json_put_str(&o, "apiVersion", "v1");
	json_put_str(&o, "kind", "Tenant");
	json_put_object(&o, "metadata");
	json_put_str(&o, "name", a->name);
	json_put_end(&o);
	if (a->cluster) {
		json_put_object(&o, "spec");
		json_put_str(&o, "storageClusterId", a->cluster);
		json_put_end(&o);
	}
	json_put_end(&o);
	r = rest_call(c, "POST", "/api/v1/tenants", buf_str(&body), NULL,
		      &answer, e);
	r = rest_check(r, &answer, e);
	if (r < 0)
		return r;
	printf("tenant %s created\n", a->name);
	r = make_kubeconfig(c, a, e);
	return r < 0 ? err_wrap(e, r,
				"the tenant is there, its kubeconfig is not: "
				"'arktosctl tenant kubeconfig %s' makes it",
				a->name)
		     : 0;
}

static int tenant_delete(struct rest *c, const struct args *a, struct err *e)
{
	auto_buf struct buf answer = BUF_INIT;
	auto_free char *path = str_printf("/api/v1/tenants/%s", a->name);
	int r = path ? rest_call(c, "DELETE", path, NULL, NULL, &answer, e)
		     : -ENOMEM;

	r = rest_check(r, &answer, e);
	/* It is gone when all that it had is gone. */
	for (int i = 0; r == 0 && i < DELETE_WAIT_S * 10; i++) {
		r = rest_call(c, "GET", path, NULL, NULL, &answer, e);
		r = rest_check(r, &answer, e);
		if (r == -ENOENT) {
			printf("tenant %s deleted\n", a->name);
			return 0;
		}
		poll(NULL, 0, 100);
	}
	if (r < 0)
		return r;
	return err_set(e, -ETIMEDOUT,
		       "tenant %s is still terminating after %d s: something "
		       "of it has a finalizer, or a pod of it has not ended",
		       a->name, DELETE_WAIT_S);
}

static void add_tenant(struct cli_table *t, yyjson_val *v)
{
	yyjson_val *meta = yyjson_obj_get(v, "metadata");
	const char *phase = yyjson_get_str(
		yyjson_obj_get(yyjson_obj_get(v, "status"), "phase"));
	const char *born =
		yyjson_get_str(yyjson_obj_get(meta, "creationTimestamp"));
	struct tm tm = { 0 };
	char age[32] = "<unknown>";
	time_t now = time(NULL), then;

	if (born && strptime(born, "%Y-%m-%dT%H:%M:%S", &tm)) {
		then = timegm(&tm);
		cli_format_age(now > then ? (uint64_t)(now - then) : 0, age,
			       sizeof(age));
	}
	cli_row(t, yyjson_get_str(yyjson_obj_get(meta, "name")),
		phase ? phase : "", age, NULL);
}

static int tenant_list(struct rest *c, const struct args *a, struct err *e)
{
	auto_buf struct buf answer = BUF_INIT, out = BUF_INIT;
	struct cli_table t = CLI_TABLE_INIT;
	yyjson_doc *doc = NULL;
	yyjson_arr_iter it;
	yyjson_val *v;
	int r = rest_call(c, "GET", "/api/v1/tenants", NULL, NULL, &answer, e);

	(void)a;
	r = rest_check(r, &answer, e);
	if (r == 0)
		r = json_parse(buf_str(&answer), answer.len, &doc, e);
	if (r < 0)
		return r;
	it = yyjson_arr_iter_with(
		yyjson_obj_get(yyjson_doc_get_root(doc), "items"));
	cli_row(&t, "NAME", "STATUS", "AGE", NULL);
	while ((v = yyjson_arr_iter_next(&it)))
		add_tenant(&t, v);
	r = cli_table_print(&t, &out);
	if (r == 0)
		fputs(buf_str(&out), stdout);
	cli_table_clear(&t);
	yyjson_doc_free(doc);
	return r < 0 ? err_set(e, r, "out of memory") : 0;
}

static bool parse_args(int argc, char **argv, struct args *a)
{
	static const struct option options[] = {
		{ "out", required_argument, NULL, 'o' },
		{ "user", required_argument, NULL, 'u' },
		{ "group", required_argument, NULL, 'g' },
		{ "storagecluster", required_argument, NULL, 's' },
		{ NULL, 0, NULL, 0 },
	};
	int ch;

	/* Zero, not one: also forgets that main() stopped at operands. */
	optind = 0;
	while ((ch = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (ch == 'o')
			a->out = optarg;
		else if (ch == 'u')
			a->user = optarg;
		else if (ch == 's')
			a->cluster = optarg;
		else if (ch == 'g' && a->nr_groups < GROUPS_MAX)
			a->groups[a->nr_groups++] = optarg;
		else
			return false;
	}
	if (optind < argc)
		a->name = argv[optind++];
	return optind == argc;
}

int cmd_tenant(const char *kubeconfig, int argc, char **argv)
{
	static const struct {
		const char *name;
		bool named;
		int (*run)(struct rest *c, const struct args *a, struct err *e);
	} commands[] = {
		{ "create", true, tenant_create },
		{ "delete", true, tenant_delete },
		{ "kubeconfig", true, make_kubeconfig },
		{ "list", false, tenant_list },
	};
	struct args a = { .user = "admin" };
	auto_ptr(rest) c = NULL;
	struct err e = { 0 };
	int r = -EINVAL;

	for (size_t i = 0; argc > 1 && i < ARRAY_LEN(commands); i++) {
		if (strcmp(argv[1], commands[i].name))
			continue;
		if (!parse_args(argc - 1, argv + 1, &a) ||
		    commands[i].named != (a.name != NULL))
			break;
		if (a.name && !str_is_dns_label(a.name)) {
			fprintf(stderr,
				"arktosctl: '%s' is no name for a "
				"tenant: want lower-case letters, "
				"digits and '-'\n",
				a.name);
			return 2;
		}
		r = ctl_open(kubeconfig, &c, &e);
		if (r == 0)
			r = commands[i].run(c, &a, &e);
		if (r < 0)
			fprintf(stderr, "arktosctl: %s\n", e.msg);
		return r < 0;
	}
	fputs("arktosctl: want tenant create|delete|kubeconfig NAME, or tenant "
	      "list; see arktosctl --help\n",
	      stderr);
	return 2;
}
