// SPDX-License-Identifier: Apache-2.0
// FUZZ: lib/cel/*.c lib/base64.c
// FUZZ: controlplane/apiserver/*.c controlplane/apiserver/*/*.c lib/*.c
// FUZZ: controlplane/store/*.c controlplane/schema/*.c lib/http/*.c
// FUZZ: controlplane/client/*.c lib/grpc/*.c
// FUZZ: build/deps/src/yyjson/src/yyjson.c
/*
 * What users may ask of a whole API server: PodSecurity's labels, quotas,
 * webhooks, APIServices, Actions, aggregated discovery, metrics.k8s.io, pages,
 * with everything in the audit log. NUL bytes divide requests; of each the
 * first byte chooses method, type and user, then come the path up to a line's
 * end, and the body. The server answers all of them, and lives.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <net/if.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <syslog.h>
#include <unistd.h>

#include "controlplane/apiserver/apiserver.h"
#include "controlplane/client/rest.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "lib/log.h"
#include "lib/str.h"

#define INPUTS_MAX   400 /* then on fresh data */
#define REQUESTS_MAX 8   /* of one input */
#define PATIENCE_S   2   /* a watch is let go of then */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);
const char *__asan_default_options(void);

/* The server lives on in its threads between inputs. Leaks are looked for where
 * servers end ('make SAN=1 check'). */
const char *__asan_default_options(void)
{
	return "detect_leaks=0";
}

enum { SYSTEM_ADMIN, ACME_ADMIN, NOBODY, A_NODE, USERS };

static char dir[] = "/tmp/arktos-fuzz-api.XXXXXX";
static struct api *api;
static struct rest *users[USERS];
static unsigned int inputs;

static const char policy[] =
	"apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n"
	"- level: Request\n  verbs: [create]\n  omitManagedFields: true\n"
	"- level: RequestResponse\n";

static int drop(const char *path, const struct stat *st, int type,
		struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

static void must(int r, const struct err *e)
{
	if (r < 0) {
		fprintf(stderr, "fuzz_apiserver: %s\n", e->msg);
		abort();
	}
}

static struct rest *user(const char *tenant, const char *name,
			 const char *groups)
{
	auto_buf struct buf b = BUF_INIT;
	struct rest *c = NULL;
	struct err e = { 0 };

	must(api_kubeconfig(api, tenant, name, groups, &b, &e), &e);
	must(rest_open_text(buf_str(&b), NULL, PATIENCE_S, &c, &e), &e);
	return c;
}

static void post(const char *path, const char *body)
{
	auto_buf struct buf answer = BUF_INIT;
	struct err e = { 0 };

	must(rest_call(users[SYSTEM_ADMIN], "POST", path, body, NULL, &answer,
		       &e),
	     &e);
}

static void start(void)
{
	auto_free char *data = str_printf("%s/data", dir);
	auto_free char *log = str_printf("%s/audit.log", dir);
	auto_free char *file = str_printf("%s/policy", dir);
	struct api_opts o = {
		.data_dir = data,
		.listen = "127.0.0.1:0",
		.threads = 1,
		.extension_cidrs = "10.0.0.0/8",
		.audit = { .path = log,
			   .policy_file = file,
			   .max_size_mb = 1,
			   .max_backups = 1 },
	};
	struct err e = { 0 };

	must(fs_write_atomic(AT_FDCWD, file, policy, strlen(policy), 0600, &e),
	     &e);
	must(api_start(&o, &api, &e), &e);
	users[SYSTEM_ADMIN] = user("system", "root", "system:masters");
	post("/api/v1/tenants", "{\"metadata\":{\"name\":\"acme\"}}");
	post("/api/v1/nodes", "{\"metadata\":{\"name\":\"n1\"}}");
	users[ACME_ADMIN] = user("acme", "admin", "system:masters");
	users[NOBODY] = user("acme", "nobody", NULL);
	users[A_NODE] = user("system", "system:node:n1", "system:nodes");
}

static void end(void)
{
	auto_free char *data = str_printf("%s/data", dir);

	for (size_t i = 0; i < USERS; i++)
		rest_close(users[i]);
	api_stop(api);
	nftw(data, drop, 8, FTW_DEPTH | FTW_PHYS);
}

static void clean_up(void)
{
	end();
	nftw(dir, drop, 8, FTW_DEPTH | FTW_PHYS);
}

/* Whatever address is made up, nothing of it leaves this process' network. */
static int alone(void)
{
	struct ifreq ifr = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd, r;

	if (unshare(CLONE_NEWNET) < 0 &&
	    unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
		return -errno;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	r = fd < 0 ? -errno : ioctl(fd, SIOCSIFFLAGS, &ifr);
	close(fd);
	return r;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	log_set_level(LOG_CRIT);
	if (alone() < 0 || !mkdtemp(dir)) {
		perror("fuzz_apiserver: a network and a folder of its own");
		abort();
	}
	start();
	atexit(clean_up);
	return 0;
}

static void request(const char *text, size_t len)
{
	static const char *const methods[] = { "GET", "POST", "PUT", "PATCH",
					       "DELETE" };
	static const char *const types[] = {
		"application/json", "application/merge-patch+json",
		"application/strategic-merge-patch+json",
		"application/json-patch+json", "application/apply-patch+yaml"
	};
	unsigned int how = (unsigned char)*text;
	auto_free char *all = strndup(text + 1, len - 1);
	auto_buf struct buf answer = BUF_INIT;
	char *body = strchr(all, '\n');
	struct err e = { 0 };
	int status;

	if (body)
		*body++ = '\0';
	/* What a head cannot hold never gets there; what does not end is let
	 * go of. */
	if (*all != '/' || strpbrk(all, " \t\r") || strstr(all, "watch") ||
	    strstr(all, "follow"))
		return;
	for (const char *p = all; *p; p++)
		if (*p < 0x21 || *p > 0x7e)
			return;
	status = rest_call(users[how / 25 % USERS], methods[how % 5], all,
			   body && *body ? body : NULL, types[how / 5 % 5],
			   &answer, &e);
	assert(status < 0 || (status >= 200 && status < 600));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_buf struct buf answer = BUF_INIT;
	const char *at = (const char *)data;
	struct err e = { 0 };

	if (!size || size > 32768)
		return 0;
	if (++inputs % INPUTS_MAX == 0) {
		end();
		start();
	}
	for (int i = 0; i < REQUESTS_MAX && size; i++) {
		const char *nul = memchr(at, '\0', size);
		size_t n = nul ? (size_t)(nul - at) : size;

		if (n > 1)
			request(at, n);
		at += n + !!nul;
		size -= n + !!nul;
	}
	must(rest_call(users[SYSTEM_ADMIN], "GET", "/livez", NULL, NULL,
		       &answer, &e),
	     &e);
	return 0;
}
