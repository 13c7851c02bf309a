// SPDX-License-Identifier: Apache-2.0
/* LANE: native SECONDS: 120
 * The program itself against an API with a fake backend: what it prints, what
 * it sends, how it ends. */
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/stat.h>

#include "lib/ev.h"
#include "lib/fs.h"
#include "selftests/agent/local/fake_backend.h"
#include "selftests/harness.h"

static struct fake fake;
static struct ev *loop;
static struct api *api;
static pthread_t thread;
static struct err e;
static struct spawn_result res;
static char program[PATH_MAX];

static void *serve(void *arg)
{
	ev_run(loop);
	return arg;
}

static bool start(void)
{
	struct api_opts o = { .socket_path = "node.sock",
			      .backend = &fake_backend,
			      .arg = &fake };

	if (ev_new(&loop, &e) < 0)
		return false;
	o.loop = loop;
	if (api_start(&o, &api, &e) < 0) {
		printf("# %s\n", e.msg);
		return false;
	}
	return pthread_create(&thread, NULL, serve, NULL) == 0;
}

static void stop(void)
{
	ev_stop(loop);
	pthread_join(thread, NULL);
	api_stop(api);
	ev_free(loop);
	spawn_result_clear(&res);
}

/* build/selftests/agent/local/test_cli -> build/bin/arktos-node */
static void find_program(void)
{
	ssize_t n = readlink("/proc/self/exe", program, sizeof(program) - 64);

	program[n > 0 ? n : 0] = '\0';
	for (int i = 0; i < 4; i++)
		*strrchr(program, '/') = '\0';
	strcat(program, "/bin/arktos-node");
}

/* Run it, with @input on its standard input; its exit code. */
static int run_in(const char *input, ...)
{
	const char *argv[16] = { program };
	struct spawn_opts o = { .argv = (char *const *)(uintptr_t)argv };
	struct spawn_io io = { .in = input,
			       .in_len = input ? strlen(input) : 0,
			       .timeout_ms = 20000 };
	size_t nr = 1;
	va_list ap;

	find_program();
	setenv("ARKTOS_NODE_SOCKET", "node.sock", 1);
	va_start(ap, input);
	while (nr < 15 && (argv[nr] = va_arg(ap, const char *)))
		nr++;
	va_end(ap);
	spawn_result_clear(&res);
	if (spawn_run(&o, &io, &res, &e) < 0) {
		printf("# %s\n", e.msg);
		return -1;
	}
	return res.exit_code;
}

#define RUN(...) run_in(NULL, __VA_ARGS__, NULL)
#define OUT      buf_str(&res.out)
#define ERR      buf_str(&res.err)

TEST(without_an_agent_it_says_how_to_start_it)
{
	EXPECT_EQ(RUN("ps"), 1);
	EXPECT_STREQ(ERR, "error: the agent is not running (nobody serves"
			  " node.sock): start it with 'systemctl start"
			  " arktos-node' or 'arktos-node run'\n");
	EXPECT_EQ(RUN("version"), 0);
	spawn_result_clear(&res);
}

TEST(ps_is_a_table_of_what_runs)
{
	ASSERT_EQ(start(), true);
	EXPECT_EQ(RUN("ps"), 0);
	EXPECT_EQ(strncmp(OUT,
			  "NAME   KIND        READY   STATE     RESTARTS   AGE",
			  51),
		  0);
	EXPECT_EQ(strstr(OUT, "web    container   1/1     Running   3    ") !=
			  NULL,
		  true);
	EXPECT_EQ(strstr(OUT, "10.88.0.2   250m \xe2\x86\x92 500m   64Mi\n") !=
			  NULL,
		  true);
	EXPECT_EQ(RUN("ps", "-o", "name"), 0);
	EXPECT_STREQ(OUT, "pod/web\n");
	EXPECT_EQ(RUN("ps", "-A", "-o", "wide"), 0);
	EXPECT_EQ(strncmp(OUT, "TENANT   NAMESPACE   NAME", 25), 0);
	EXPECT_EQ(strstr(OUT, "   500m/500m/250m   ") != NULL, true);
	EXPECT_EQ(strstr(OUT, "   64Mi/-/-   ") != NULL, true);
	EXPECT_EQ(RUN("ps", "-o", "yaml"), 0);
	EXPECT_EQ(strstr(OUT, "\nitems:\n- apiVersion: v1\n") != NULL, true);
	EXPECT_EQ(RUN("ps", "-n", "empty"), 0);
	EXPECT_STREQ(ERR, "No pods in namespace empty (-A shows all)\n");
	stop();
}

/* A pod of the list with these containers: its READY and STATE. */
static const char *columns_of(const char *init, const char *status)
{
	static char more[4096], row[128];
	const char *at;

	snprintf(more, sizeof(more),
		 ",{\"metadata\":{\"name\":\"of\",\"namespace\":\"default\","
		 "\"tenant\":\"system\"},\"spec\":{\"containers\":[{\"name\":"
		 "\"main\"}],\"initContainers\":[%s]},\"status\":{\"phase\":"
		 "\"Running\",%s}}",
		 init, status);
	fake_more = more;
	at = RUN("ps", "-A") == 0 ? OUT : "";
	fake_more = "";
	at = strstr(at, " of ");
	at = at ? strstr(at, "container ") : NULL;
	row[0] = '\0';
	if (at) {
		char ready[16] = "", state[64] = "";

		(void)sscanf(at, "container %15s %63s", ready, state);
		snprintf(row, sizeof(row), "%s %s", ready, state);
	}
	return row;
}

TEST(ps_counts_sidecars_as_kubectl_does)
{
	static const char inits[] =
		"{\"name\":\"first\"},{\"name\":\"side\",\"restartPolicy\":"
		"\"Always\"}";
	static const char main_runs[] =
		"\"containerStatuses\":[{\"name\":\"main\",\"ready\":true,"
		"\"state\":{\"running\":{}}}],";
	char status[1024];

	ASSERT_EQ(start(), true);
	snprintf(status, sizeof(status),
		 "%s\"initContainerStatuses\":[{\"name\":\"first\",\"state\":"
		 "{\"terminated\":{\"exitCode\":0}}},{\"name\":\"side\","
		 "\"started\":true,\"ready\":true,\"state\":{\"running\":{}}}]",
		 main_runs);
	EXPECT_STREQ(columns_of(inits, status), "2/2 Running");
	EXPECT_STREQ(
		columns_of(
			inits,
			"\"initContainerStatuses\":[{\"name\":\"first\","
			"\"state\":{\"waiting\":{\"reason\":"
			"\"PodInitializing\"}}},{\"name\":\"side\",\"state\":"
			"{\"waiting\":{\"reason\":\"PodInitializing\"}}}],"
			"\"containerStatuses\":[{\"name\":\"main\",\"state\":"
			"{\"waiting\":{\"reason\":\"PodInitializing\"}}}]"),
		"0/2 Init:0/2");
	EXPECT_STREQ(columns_of(inits,
				"\"initContainerStatuses\":[{\"name\":\"first\","
				"\"state\":{\"waiting\":{\"reason\":"
				"\"ImagePullBackOff\"}}}]"),
		     "0/2 Init:ImagePullBackOff");
	stop();
}

TEST(apply_takes_yaml_and_goes_on_after_a_failure)
{
	ASSERT_EQ(start(), true);
	EXPECT_EQ(run_in("kind: Pod\nmetadata: {name: a}\nspec: {}\n"
			 "---\n# nothing\n---\n"
			 "kind: Pod\nmetadata: {name: b}\nspec: {bad: 1}\n"
			 "---\nkind: Deployment\nmetadata: {name: c}\n"
			 "---\nkind: Pod\nmetadata:\n  name: d\n"
			 "  tenant: t1\n  namespace: ns\n",
			 "apply", "-f", "-", NULL),
		  1);
	EXPECT_STREQ(OUT, "pod/a created\npod/d created\n");
	EXPECT_STREQ(ERR, "error: -:7: b: spec.bad: unknown field\n"
			  "error: -:11: c: kind: a node knows Pod and Network,"
			  " not 'Deployment'\n");
	EXPECT_STREQ(fake.last_apply,
		     "{\"kind\":\"Pod\",\"metadata\":{\"name\":\"d\","
		     "\"tenant\":\"t1\",\"namespace\":\"ns\"}}");
	EXPECT_EQ(RUN("apply"), 2);
	EXPECT_EQ(RUN("apply", "-f", "nowhere.yaml"), 1);
	EXPECT_STREQ(ERR, "error: open 'nowhere.yaml': No such file or"
			  " directory\n");
	EXPECT_EQ(run_in("a: [", "apply", "-f", "-", NULL), 1);
	EXPECT_EQ(strncmp(ERR, "error: -: 2:1: ", 15), 0);
	EXPECT_EQ(run_in("just words", "apply", "-f", "-", NULL), 1);
	EXPECT_STREQ(ERR, "error: -:1: is no manifest: that begins with"
			  " 'apiVersion: v1' and 'kind: Pod'\n");
	EXPECT_EQ(RUN("apply", "pods.yaml"), 2);
	EXPECT_EQ(strstr(ERR, "files are named with -f: apply -f pods.yaml\n"
			      "usage: arktos-node apply -f FILE\n") != NULL,
		  true);
	stop();
}

static void put_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	fputs(text, f);
	fclose(f);
}

TEST(apply_takes_all_manifests_of_a_folder_in_order)
{
	ASSERT_EQ(start(), true);
	ASSERT_EQ(mkdir("m", 0755), 0);
	EXPECT_EQ(RUN("apply", "-f", "m"), 1);
	EXPECT_STREQ(ERR, "error: 'm' holds no .yaml, .yml or .json file\n");
	put_file("m/2.yml", "kind: Pod\nmetadata: {name: b}\nspec: {}\n");
	put_file("m/1.json", "{\"kind\":\"Pod\",\"metadata\":{\"name\":"
			     "\"a\"},\"spec\":{}}");
	put_file("m/.3.yaml", "not yet");
	put_file("m/README", "kind: Nothing");
	EXPECT_EQ(RUN("apply", "-f", "m"), 0);
	EXPECT_STREQ(OUT, "pod/a created\npod/b created\n");
	put_file("m/1.json", "{");
	EXPECT_EQ(RUN("apply", "-f", "m"), 1);
	EXPECT_STREQ(OUT, "pod/b created\n");
	EXPECT_EQ(strncmp(ERR, "error: m/1.json: ", 17), 0);
	stop();
}

TEST(a_name_that_is_none_is_told_before_the_agent_is_asked)
{
	EXPECT_EQ(RUN("ps", "-n", "No Such"), 1);
	EXPECT_STREQ(ERR, "error: 'No Such' is not a namespace: use lower case"
			  " letters, digits and '-'\n");
	EXPECT_EQ(RUN("logs", "--tenant", "A", "web"), 1);
	EXPECT_STREQ(ERR, "error: 'A' is not a tenant: use lower case"
			  " letters, digits and '-'\n");
	EXPECT_EQ(RUN("describe", "we b"), 1);
	EXPECT_STREQ(ERR, "error: 'we b' is not a pod's name: use lower case"
			  " letters, digits and '-'\n");
	EXPECT_EQ(RUN("run", "--workers", "0"), 2);
	EXPECT_EQ(strncmp(ERR, "error: --workers is 1 to 64\n", 28), 0);
	EXPECT_EQ(RUN("run", "--restart-backoff", "0s"), 2);
	EXPECT_EQ(strncmp(ERR, "error: --restart-backoff is 1ms to 49d\n", 39),
		  0);
	EXPECT_EQ(RUN("image", "ls", "web"), 2);
	spawn_result_clear(&res);
}

TEST(resize_says_what_changed)
{
	ASSERT_EQ(start(), true);
	EXPECT_EQ(RUN("resize", "web", "--cpu", "2", "--memory", "512Mi",
		      "--timeout", "5s"),
		  0);
	EXPECT_STREQ(OUT, "cpu 500m \xe2\x86\x92 2, memory 64Mi \xe2\x86\x92"
			  " 512Mi, guest confirmed, 214 ms\n");
	EXPECT_EQ(fake.last_resize.timeout_ms, 5000);
	EXPECT_EQ(RUN("resize", "web", "--cpu", "1", "--timeout", "1s"), 0);
	EXPECT_STREQ(OUT, "cpu 500m \xe2\x86\x92 1, accepted, takes effect"
			  " when the VM is powered on\n");
	EXPECT_EQ(RUN("resize", "web"), 2);
	EXPECT_EQ(RUN("resize", "web", "--cpu", "lots"), 2);
	EXPECT_EQ(RUN("resize", "nope", "--cpu", "1"), 1);
	EXPECT_STREQ(ERR, "error: pods \"nope\" not found\n");
	stop();
}

TEST(exec_is_like_running_it_here)
{
	ASSERT_EQ(start(), true);
	EXPECT_EQ(RUN("exec", "web", "--", "sh", "-c",
		      "echo out; echo err >&2; exit 7"),
		  7);
	EXPECT_STREQ(OUT, "out\n");
	EXPECT_STREQ(ERR, "err\n");
	EXPECT_EQ(run_in("input", "exec", "-i", "web", "--", "cat", NULL), 0);
	EXPECT_STREQ(OUT, "input");
	EXPECT_EQ(RUN("exec", "web", "--", "arktos-no-such"), 1);
	EXPECT_STREQ(ERR, "error: run 'arktos-no-such': No such file or"
			  " directory\n");
	EXPECT_EQ(RUN("exec", "web"), 2);
	EXPECT_EQ(RUN("exec", "nope", "--", "true"), 1);
	stop();
}

TEST(logs_come_through)
{
	ASSERT_EQ(start(), true);
	EXPECT_EQ(RUN("logs", "web", "--tail", "2"), 0);
	EXPECT_STREQ(OUT, "line 0\nline 1\n");
	EXPECT_EQ(RUN("logs", "nope"), 1);
	EXPECT_STREQ(ERR, "error: pods \"nope\" not found\n");
	stop();
}

TEST(images_are_listed_and_pulled)
{
	ASSERT_EQ(start(), true);
	EXPECT_EQ(RUN("image", "ls"), 0);
	EXPECT_EQ(strncmp(OUT, "NAME       KIND        SIZE   AGE", 33), 0);
	EXPECT_EQ(strstr(OUT, "1Mi") != NULL, true);
	EXPECT_EQ(RUN("image", "pull", "good"), 0);
	EXPECT_STREQ(OUT, "image x\n");
	EXPECT_EQ(RUN("image", "pull", "torn"), 1);
	EXPECT_STREQ(ERR, "error: no space left\n");
	EXPECT_EQ(RUN("image", "pull", "missing"), 1);
	EXPECT_STREQ(ERR, "error: no image 'missing'\n");
	EXPECT_EQ(RUN("image", "import", "/x", "--name", "demo"), 0);
	EXPECT_STREQ(OUT, "image demo\n");
	EXPECT_EQ(RUN("image", "pul", "x"), 2);
	stop();
}

TEST(delete_describe_reboot)
{
	ASSERT_EQ(start(), true);
	EXPECT_EQ(RUN("delete", "web", "--wait=false", "--grace-period", "3s"),
		  0);
	EXPECT_STREQ(OUT, "pod/web deleted\n");
	EXPECT_EQ(fake.last_grace, 3);
	EXPECT_EQ(RUN("delete", "nope"), 1);
	EXPECT_EQ(RUN("describe", "default/web"), 0);
	EXPECT_EQ(strncmp(OUT, "Name:             web\n", 22), 0);
	EXPECT_EQ(strstr(OUT,
			 "    Limits:           cpu 500m, memory 64Mi\n") !=
			  NULL,
		  true);
	EXPECT_EQ(RUN("reboot", "web"), 0);
	EXPECT_EQ(RUN("describe", "a/b/c/d"), 1);
	EXPECT_EQ(RUN("describe", "UPPER"), 1);
	stop();
}

static void *delete_later(void *arg)
{
	struct api_pod_id id = { "system", "default", "web" };

	while (!api_watched(api) || fake.last_grace != -1)
		usleep(1000);
	api_pod_changed(api, API_DELETED, &id, "{}", 2);
	return arg;
}

TEST(a_pods_namespace_and_tenant_are_options_of_every_command)
{
	static const char *const verbs[] = { "describe", "logs", "delete",
					     "reboot" };

	ASSERT_EQ(start(), true);
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
		fake_asked[0] = '\0';
		EXPECT_EQ(RUN(verbs[i], "web", "-n", "ns", "--tenant", "t1",
			      strcmp(verbs[i], "delete") ? NULL
							 : "--wait=false"),
			  0);
		EXPECT_STREQ(fake_asked, "t1/ns/web");
	}
	EXPECT_EQ(RUN("resize", "-n", "ns", "web", "--cpu", "1"), 0);
	EXPECT_STREQ(fake_asked, "system/ns/web");
	EXPECT_EQ(RUN("exec", "-n", "ns", "nope", "--", "true"), 1);
	EXPECT_STREQ(fake_asked, "system/ns/nope");
	EXPECT_EQ(RUN("describe", "-n", "a", "b/web"), 1);
	EXPECT_STREQ(ERR, "error: the namespace is 'b' in the pod's name and "
			  "'a' in --namespace: give it once\n");
	EXPECT_EQ(RUN("ps", "-n", "elsewhere"), 0);
	EXPECT_EQ(strstr(OUT, "web") == NULL, true);
	EXPECT_EQ(run_in("kind: Pod\nmetadata: {name: a}\n", "apply", "-f", "-",
			 "-n", "ns", "--tenant", "t1", NULL),
		  0);
	EXPECT_STREQ(fake.last_apply,
		     "{\"kind\":\"Pod\",\"metadata\":{\"name\":\"a\","
		     "\"tenant\":\"t1\",\"namespace\":\"ns\"}}");
	EXPECT_EQ(run_in("kind: Pod\nmetadata: {name: a, namespace: x}\n",
			 "apply", "-f", "-", "-n", "ns", NULL),
		  1);
	EXPECT_STREQ(ERR, "error: -:1: a: the namespace of the provided object "
			  "does not match the namespace sent on the "
			  "request\n");
	stop();
}

#define OTHER(tenant, name)                                               \
	",{\"metadata\":{\"tenant\":\"" tenant "\",\"namespace\":\"ns\"," \
	"\"name\":\"" name "\"}}"

TEST(a_bare_name_is_that_of_the_one_pod_that_has_it)
{
	static const char *const verbs[] = { "describe", "logs", "reboot" };

	fake_more = OTHER("acme", "lone") OTHER("acme", "twin")
		OTHER("zeta", "twin") OTHER("acme", "web");
	ASSERT_EQ(start(), true);
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
		EXPECT_EQ(RUN(verbs[i], "lone"), 0);
		EXPECT_STREQ(fake_asked, "acme/ns/lone");
	}
	EXPECT_EQ(RUN("resize", "lone", "--cpu", "2"), 0);
	EXPECT_STREQ(fake_asked, "acme/ns/lone");
	/* The default tenant's and namespace's own comes first. */
	EXPECT_EQ(RUN("describe", "web"), 0);
	EXPECT_STREQ(fake_asked, "system/default/web");
	EXPECT_EQ(RUN("resize", "twin", "--cpu", "2"), 1);
	EXPECT_STREQ(ERR, "error: 2 pods on this node are called 'twin': say "
			  "which one: acme/ns/twin, zeta/ns/twin\n");
	/* Who says where, means there. */
	EXPECT_EQ(RUN("describe", "-n", "default", "lone"), 1);
	EXPECT_EQ(RUN("describe", "default/lone"), 1);
	/* What cannot be undone is not guessed at. */
	EXPECT_EQ(RUN("delete", "lone", "--wait=false"), 1);
	EXPECT_STREQ(ERR, "error: pods \"lone\" not found\n");
	stop();
}

TEST(a_delete_that_takes_too_long_names_the_pod)
{
	ASSERT_EQ(start(), true);
	EXPECT_EQ(RUN("delete", "web", "--timeout", "1s"), 1);
	EXPECT_STREQ(ERR, "error: pod/web: still there after 1 s; --force "
			  "kills it\n");
	stop();
}

TEST(what_is_not_near_is_not_suggested)
{
	EXPECT_EQ(RUN("foo"), 2);
	EXPECT_EQ(strstr(ERR, "did you mean") == NULL, true);
	EXPECT_EQ(RUN("dlete"), 2);
	EXPECT_EQ(strstr(ERR, "did you mean 'delete'") != NULL, true);
	spawn_result_clear(&res);
}

TEST(delete_waits_until_the_pod_is_gone)
{
	pthread_t t;

	ASSERT_EQ(start(), true);
	pthread_create(&t, NULL, delete_later, NULL);
	EXPECT_EQ(RUN("delete", "web", "--timeout", "10s"), 0);
	EXPECT_STREQ(OUT, "pod/web deleted\n");
	pthread_join(t, NULL);
	stop();
}

TEST(doctor_finds_this_host_fit)
{
	if (getuid())
		SKIP("needs root");
	EXPECT_EQ(RUN("doctor", "-o", "json", "--state-dir", "/"), 0);
	EXPECT_EQ(strncmp(OUT, "{\"passed\":true,\"checks\":[", 25), 0);
	EXPECT_EQ(RUN("doctor", "--state-dir", "/", "--qemu", "/no/qemu"), 0);
	EXPECT_EQ(strstr(OUT, "VM pods cannot run") != NULL, true);
	EXPECT_EQ(strstr(OUT, "  qemu: apt-get install") != NULL, true);
	spawn_result_clear(&res);
}

TEST(completion_proposes_pods)
{
	ASSERT_EQ(start(), true);
	EXPECT_EQ(RUN("__complete", "pods"), 0);
	EXPECT_STREQ(OUT, "web\n");
	EXPECT_EQ(RUN("completion", "bash"), 0);
	EXPECT_EQ(RUN("completion", "tcsh"), 2);
	stop();
}

TEST_MAIN()
