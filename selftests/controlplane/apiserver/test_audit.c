// SPDX-License-Identifier: Apache-2.0
/*
 * LANE: native
 * SECONDS: 30
 * The audit policy's rules, and the file that events go to.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "controlplane/apiserver/audit/policy.h"
#include "controlplane/apiserver/audit/sink.h"
#include "controlplane/apiserver/authn/user.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "selftests/harness.h"

static struct audit_policy *policy(const char *rules)
{
	auto_buf struct buf b = BUF_INIT;
	struct audit_policy *p = NULL;
	struct err e = { 0 };

	buf_printf(&b, "{apiVersion: audit.k8s.io/v1, kind: Policy, %s}",
		   rules);
	if (audit_policy_parse(buf_str(&b), b.len, &p, &e) < 0)
		printf("# %s\n", e.msg);
	return p;
}

/* The level of a request about "RESOURCE[/SUB]" or "/path". */
static int level(const char *rule, const char *what)
{
	struct user u = { .name = (char *)"joe",
			  .tenant = (char *)"acme",
			  .groups = { (char *)"dev" },
			  .nr_groups = 1 };
	struct audit_attrs a = { .user = &u, .verb = "get", .tenant = "acme" };
	auto_buf struct buf b = BUF_INIT;
	auto_ptr(audit_policy) p = NULL;
	char *text = strdup(what), *slash = strchr(text + 1, '/');
	int got;

	buf_printf(&b, "rules: [{level: Request, %s}]", rule);
	p = policy(buf_str(&b));
	if (*what == '/') {
		a.path = what;
	} else {
		if (slash)
			*slash = '\0', a.subresource = slash + 1;
		a.resource = text;
		a.group = "";
		a.namespace = "ns";
		a.name = "web";
	}
	got = p ? (int)audit_policy_ask(p, &a).level : -1;
	free(text);
	return got;
}

TEST(rules_fit_as_kubernetes_says)
{
	static const struct {
		const char *rule, *what;
		int level;
	} cases[] = {
		{ "users: [joe]", "pods", 2 },
		{ "users: [jim]", "pods", 0 },
		{ "userGroups: [x, dev]", "pods", 2 },
		{ "userGroups: [x]", "pods", 0 },
		{ "verbs: [get]", "pods", 2 },
		{ "verbs: [list]", "pods", 0 },
		{ "tenants: [acme]", "pods", 2 },
		{ "tenants: [system]", "pods", 0 },
		{ "namespaces: [ns]", "pods", 2 },
		{ "namespaces: [\"\"]", "pods", 0 },
		{ "namespaces: [ns]", "/healthz", 0 },
		{ "resources: [{}]", "pods/log", 2 },
		{ "resources: [{group: apps}]", "pods", 0 },
		{ "resources: [{resources: [pods]}]", "pods", 2 },
		{ "resources: [{resources: [pods]}]", "pods/log", 0 },
		{ "resources: [{resources: [pods/log]}]", "pods/log", 2 },
		{ "resources: [{resources: [pods/log]}]", "pods", 0 },
		{ "resources: [{resources: [\"pods/*\"]}]", "pods/log", 2 },
		{ "resources: [{resources: [\"pods/*\"]}]", "pods", 0 },
		{ "resources: [{resources: [\"*/log\"]}]", "pods/log", 2 },
		{ "resources: [{resources: [\"*/log\"]}]", "pods/exec", 0 },
		{ "resources: [{resources: [\"*\"]}]", "pods/log", 2 },
		{ "resources: [{resources: [pods], resourceNames: [web]}]",
		  "pods", 2 },
		{ "resources: [{resources: [pods], resourceNames: [db]}]",
		  "pods", 0 },
		{ "nonResourceURLs: [\"/healthz*\"]", "/healthz/x", 2 },
		{ "nonResourceURLs: [/healthz]", "/healthz/x", 0 },
		{ "nonResourceURLs: [\"*\"]", "pods", 0 },
		{ "omitStages: [RequestReceived]", "/x", 2 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int got = level(cases[i].rule, cases[i].what);

		if (got != cases[i].level)
			printf("# %s of %s\n", cases[i].rule, cases[i].what);
		EXPECT_EQ(got, cases[i].level);
	}
}

TEST(the_first_rule_counts)
{
	struct audit_attrs a = { .verb = "get", .path = "/x" };
	auto_ptr(audit_policy) p =
		policy("omitStages: [Panic], omitManagedFields: true, rules: "
		       "[{level: None, verbs: [list]}, {level: Metadata, "
		       "omitStages: [ResponseStarted]}, {level: Request}]");
	struct audit_verdict v = audit_policy_ask(p, &a);

	EXPECT_EQ(v.level, AUDIT_METADATA);
	EXPECT_EQ(v.omit, 1u << STAGE_PANIC | 1u << STAGE_STARTED);
	EXPECT_EQ(v.omit_managed_fields, 1);
}

TEST(what_is_wrong_is_named)
{
	static const char *const cases[][2] = {
		{ "rules: []", "rules: there are none" },
		{ "rules: [{verbs: [get]}]", "level: is required" },
		{ "rules: [{level: All}]", "Unsupported value: \"All\"" },
		{ "rules: [{level: None, stages: []}]", "unknown field" },
		{ "rules: [{level: None, verbs: get}]", "must be an array" },
		{ "rules: [{level: None, nonResourceURLs: [/x], namespaces: "
		  "[a]}]",
		  "cannot apply to both" },
		{ "rules: [{level: None, resources: [{resourceNames: [a]}]}]",
		  "requires at least one resource" },
		{ "omitStages: [Later], rules: [{level: None}]", "\"Later\"" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		auto_buf struct buf b = BUF_INIT;
		struct audit_policy *p = NULL;
		struct err e = { 0 };

		buf_printf(&b,
			   "{apiVersion: audit.k8s.io/v1, kind: Policy, %s}",
			   cases[i][0]);
		EXPECT_EQ(audit_policy_parse(buf_str(&b), b.len, &p, &e) < 0,
			  1);
		if (!strstr(e.msg, cases[i][1]))
			EXPECT_STREQ(e.msg, cases[i][1]);
	}
}

static size_t lines_of(const char *path)
{
	auto_buf struct buf b = BUF_INIT;
	size_t nr = 0;

	(void)fs_read(AT_FDCWD, path, 64 << 20, &b, NULL);
	for (size_t i = 0; i < b.len; i++)
		nr += b.data[i] == '\n';
	return nr;
}

static void *put_many(void *arg)
{
	for (int i = 0; i < 5000; i++)
		sink_put(arg, "{\"a\":\"some event\"}\n", 19);
	return NULL;
}

TEST(nothing_is_lost_between_threads_and_files)
{
	struct sink_opts o = { .path = "log/audit.log", .max_bytes = 64000 };
	struct sink_stats st;
	struct sink *s = NULL;
	pthread_t t[4];
	size_t nr = 0, files = 0;
	struct dirent *d;
	DIR *dir;

	mkdir("log", 0700);
	ASSERT_EQ(sink_open(&o, &s, NULL), 0);
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, put_many, s);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	sink_stats(s, &st);
	sink_close(s);
	EXPECT_EQ(st.dropped, 0);
	dir = opendir("log");
	while ((d = readdir(dir))) {
		char path[300];

		snprintf(path, sizeof(path), "log/%s", d->d_name);
		if (*d->d_name != '.')
			nr += lines_of(path), files++;
	}
	closedir(dir);
	EXPECT_EQ(nr, 20000);
	EXPECT_EQ(files, 6); /* 380,000 bytes */
}

TEST(what_finds_no_room_is_counted)
{
	struct sink_opts o = { .path = "/dev/full", .blocking = true };
	struct sink_stats st;
	struct sink *s = NULL;

	ASSERT_EQ(sink_open(&o, &s, NULL), 0);
	sink_put(s, "a\n", 2);
	sink_put(s, "b\n", 2);
	sink_stats(s, &st);
	sink_close(s);
	EXPECT_EQ(st.dropped, 2);
	EXPECT_EQ(st.written, 0);
}

TEST_MAIN()
