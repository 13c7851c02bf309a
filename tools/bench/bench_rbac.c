// SPDX-License-Identifier: Apache-2.0
/*
 * Questions to the authorizer, as the server asks them for each request: of a
 * user with one binding, and of one whose tenant has a thousand roles and
 * bindings; and the first one behind each change of a role.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "controlplane/apiserver/apiserver.h"
#include "controlplane/apiserver/authz/access.h"
#include "controlplane/client/rest.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "lib/str.h"

#define ROLES 1000

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void ask(struct api *api, const char *name, const struct user *u,
		struct access *a, int nr)
{
	double begun = now_s();
	int allowed = 0;

	for (int i = 0; i < nr; i++)
		allowed += access_allowed(api, u, a);
	printf("%s %.6g ns\n", name, (now_s() - begun) * 1e9 / nr);
	if (allowed != nr)
		printf("# only %d of %d were allowed\n", allowed, nr);
}

static int post(struct rest *c, const char *kind, char *body)
{
	auto_free char *path =
		str_printf("/apis/rbac.authorization.k8s.io/v1/%s", kind);
	auto_buf struct buf answer = BUF_INIT;
	struct err e = { 0 };

	for (char *p = body; *p; p++)
		if (*p == '\'')
			*p = '"';
	return rest_call(c, "POST", path, body, NULL, &answer, &e);
}

static void fill(struct rest *c, int i)
{
	auto_free char *role = str_printf(
		"{'apiVersion':'rbac.authorization.k8s.io/v1','kind':"
		"'ClusterRole','metadata':{'name':'r%d'},'rules':[{'verbs':["
		"'get','list'],'apiGroups':['apps'],'resources':['things%d']}"
		"]}",
		i, i);
	auto_free char *binding = str_printf(
		"{'apiVersion':'rbac.authorization.k8s.io/v1','kind':"
		"'ClusterRoleBinding','metadata':{'name':'b%d'},'roleRef':{"
		"'apiGroup':'rbac.authorization.k8s.io','kind':'ClusterRole',"
		"'name':'r%d'},'subjects':[{'apiGroup':"
		"'rbac.authorization.k8s.io','kind':'User','name':'u%d'}]}",
		i, i, i);

	post(c, "clusterroles", role);
	post(c, "clusterrolebindings", binding);
}

int main(void)
{
	char dir[] = "/tmp/arktos-bench-rbac.XXXXXX";
	struct api_opts opts = { .data_dir = dir, .listen = "127.0.0.1:0" };
	struct access a = { .verb = "list",
			    .group = "apps",
			    .resource = "things7",
			    .tenant = "system" };
	auto_free char *config = NULL;
	auto_ptr(user) u = user_new("u7", "system");
	struct api *api = NULL;
	struct rest *c = NULL;
	struct err e = { 0 };

	if (!u || !mkdtemp(dir) || api_start(&opts, &api, &e) < 0) {
		printf("# %s\n", e.msg);
		return 1;
	}
	config = str_printf("%s/admin.kubeconfig", dir);
	user_add_group(u, "system:authenticated");
	if (rest_open(config, &c, &e) < 0) {
		printf("# %s\n", e.msg);
		return 1;
	}
	fill(c, 7);
	ask(api, "rbac_allowed_few", u, &a, 1000000);
	for (int i = 100; i < 100 + ROLES; i++)
		fill(c, i);
	ask(api, "rbac_allowed_1000_roles", u, &a, 1000000);
	{
		double asking = 0;

		for (int i = 2000; i < 2020; i++) {
			double begun;

			fill(c, i);
			begun = now_s();
			(void)access_allowed(api, u, &a);
			asking += now_s() - begun;
		}
		printf("rbac_first_after_change_1000_roles %.6g us\n",
		       asking * 1e6 / 20);
	}
	rest_close(c);
	api_stop(api);
	(void)fs_remove_tree(AT_FDCWD, dir, NULL);
	return 0;
}
