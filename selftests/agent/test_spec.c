// SPDX-License-Identifier: Apache-2.0
// LANE: native
#include "selftests/harness.h"

#include <arpa/inet.h>
#include <errno.h>

#include "agent/spec.h"
#include "agent/total.h"
#include "lib/buf.h"
#include "lib/err.h"

#define POD(spec)                                                         \
	"{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":" \
	"\"web\"},\"spec\":" spec "}"
#define CTR(more) "{\"containers\":[{\"name\":\"c\",\"image\":\"i\"" more "}]}"

static struct pod_spec *parse(const char *json, struct err *e, int *ret)
{
	struct pod_spec *s = NULL;

	*ret = pod_spec_parse(json, strlen(json), &s, e);
	return s;
}

static void refused(int *verdict_, int line, const char *json, int code,
		    const char *message)
{
	struct err e = { 0 };
	int r;
	struct pod_spec *s = parse(json, &e, &r);

	if (r != code || strcmp(e.msg, message) != 0)
		FAIL("line %d: got %d '%s', want %d '%s'", line, r, e.msg, code,
		     message);
	pod_spec_free(s);
}
#define REFUSED(json, code, message) \
	refused(verdict_, __LINE__, json, code, message)

TEST(defaults_are_kubernetes_own)
{
	struct err e = { 0 };
	int r;
	struct pod_spec *s = parse(POD(CTR("")), &e, &r);

	ASSERT_EQ(r, 0);
	EXPECT_STREQ(s->tenant, "system");
	EXPECT_STREQ(s->namespace, "default");
	EXPECT_STREQ(s->network, "default");
	EXPECT_STREQ(s->hostname, "web");
	EXPECT_EQ(s->restart, RESTART_ALWAYS);
	EXPECT_EQ(s->grace_s, 30);
	EXPECT_EQ(s->host_users, true);
	EXPECT_EQ(s->containers[0].pull_policy, PULL_ALWAYS);
	EXPECT_EQ(pod_spec_qos(s), QOS_BEST_EFFORT);
	pod_spec_free(s);
}

TEST(a_tenants_pod_gets_a_user_namespace_unless_it_asks_not_to)
{
	struct err e = { 0 };
	int r;
	struct pod_spec *s =
		parse("{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{"
		      "\"name\":\"web\",\"tenant\":\"acme\"},\"spec\":" CTR(
			      "") "}",
		      &e, &r);

	ASSERT_EQ(r, 0);
	EXPECT_EQ(s->host_users, false);
	pod_spec_free(s);
}

static bool host_users(int *verdict_, const char *json)
{
	struct err e = { 0 };
	int r;
	struct pod_spec *s = parse(json, &e, &r);
	bool yes = s && s->host_users;

	if (!s)
		FAIL("%s: %s", json, e.msg);
	pod_spec_free(s);
	return yes;
}
#define HOST_USERS(json) host_users(verdict_, POD(json))
#define CAPS(list) \
	",\"securityContext\":{\"capabilities\":{\"add\":[" list "]}}"
#define ADMIN                                                   \
	"\"containers\":[{\"name\":\"c\",\"image\":\"i\"" CAPS( \
		"\"CAP_SYS_ADMIN\"") "}]"

TEST(who_may_mount_gets_a_user_namespace)
{
	EXPECT_EQ(HOST_USERS(CTR("")), true);
	EXPECT_EQ(HOST_USERS(CTR(CAPS("\"NET_ADMIN\""))), true);
	EXPECT_EQ(HOST_USERS(CTR(CAPS("\"SYS_ADMIN\""))), false);
	EXPECT_EQ(HOST_USERS(CTR(CAPS("\"ALL\""))), false);
	EXPECT_EQ(HOST_USERS("{" ADMIN "}"), false);
	EXPECT_EQ(HOST_USERS("{\"hostUsers\":true," ADMIN "}"), true);
	EXPECT_EQ(HOST_USERS("{\"hostNetwork\":true," ADMIN "}"), true);
	EXPECT_EQ(HOST_USERS(
			  CTR(",\"securityContext\":{\"privileged\":true,"
			      "\"capabilities\":{\"add\":[\"SYS_ADMIN\"]}}")),
		  true);
}

TEST(a_limit_without_a_request_is_a_request_too)
{
	struct err e = { 0 };
	int r;
	struct pod_spec *s =
		parse(POD(CTR(",\"resources\":{\"limits\":{\"cpu\":\"1500m\","
			      "\"memory\":\"64Mi\"}}")),
		      &e, &r);

	ASSERT_EQ(r, 0);
	EXPECT_EQ(s->containers[0].resources.requests.cpu_milli, 1500);
	EXPECT_EQ(s->containers[0].resources.requests.mem_bytes, 64 << 20);
	EXPECT_EQ(pod_spec_qos(s), QOS_GUARANTEED);
	EXPECT_EQ(pod_spec_total(s).limits.mem_bytes, 64 << 20);
	pod_spec_free(s);
}

TEST(the_pods_security_context_is_inherited_and_overridden)
{
	struct err e = { 0 };
	int r;
	struct pod_spec *s = parse(
		POD("{\"securityContext\":{\"runAsUser\":7,\"fsGroup\":9,"
		    "\"supplementalGroups\":[4,5]},\"containers\":[{\"name\":"
		    "\"a\",\"image\":\"i\"},{\"name\":\"b\",\"image\":\"i\","
		    "\"securityContext\":{\"runAsUser\":8,"
		    "\"allowPrivilegeEscalation\":false}}]}"),
		&e, &r);

	ASSERT_EQ(r, 0);
	EXPECT_EQ(s->containers[0].security.user, 7);
	EXPECT_EQ(s->containers[1].security.user, 8);
	EXPECT_EQ(s->containers[1].security.no_new_privs, true);
	EXPECT_EQ(s->containers[1].security.nr_supplemental_groups, 2);
	EXPECT_EQ(s->fs_group, 9);
	pod_spec_free(s);
}

TEST(a_vm_pod_is_read_with_its_user_data_decoded_once)
{
	struct err e = { 0 };
	int r;
	struct pod_spec *s =
		parse(POD("{\"virtualMachine\":{\"name\":\"vm\",\"image\":\"i\","
			  "\"userData\":\"aGVsbG8=\",\"powerSpec\":\"Paused\","
			  "\"resources\":{\"limits\":{\"cpu\":2}}}}"),
		      &e, &r);

	ASSERT_EQ(r, 0);
	ASSERT_EQ(s->vm != NULL, true);
	EXPECT_STREQ(s->vm->user_data, "hello");
	EXPECT_EQ(s->vm->user_data_len, 5);
	EXPECT_EQ(s->vm->power, POWER_PAUSED);
	EXPECT_EQ(s->vm->resources.limits.cpu_milli, 2000);
	EXPECT_EQ(s->vm->pull_policy, PULL_IF_NOT_PRESENT);
	pod_spec_free(s);
}

TEST(all_that_is_wrong_is_told_at_once)
{
	char many[4096] = "{\"containers\":[{\"name\":\"c\",\"image\":\"i\"";
	struct err e = { 0 };
	int r;

	REFUSED(POD("{\"containers\":[{\"name\":\"c\",\"imgae\":\"i\"},{"
		    "\"name\":\"d\",\"image\":7}],\"hostNetwork\":1}"),
		-EINVAL,
		"spec.hostNetwork: must be a boolean, is a number; "
		"spec.containers[0].imgae: unknown field (did you mean "
		"'image'?); spec.containers[0].image: is required; "
		"spec.containers[1].image: must be a string, is a "
		"number: put it in quotes");
	for (int i = 0; i < 40; i++)
		sprintf(many + strlen(many), ",\"unheardOf%d\":1", i);
	strcat(many, "}]}");
	char *whole = NULL;

	ASSERT_EQ(asprintf(&whole,
			   "{\"apiVersion\":\"v1\",\"kind\":\"Pod\","
			   "\"metadata\":{\"name\":\"x\"},\"spec\":%s}",
			   many) > 0,
		  1);
	EXPECT_EQ(parse(whole, &e, &r) == NULL, 1);
	EXPECT_EQ(strstr(e.msg, "unheardOf0: unknown field; ") != NULL, 1);
	EXPECT_EQ(strstr(e.msg, "; and 3") != NULL, 1);
	EXPECT_STREQ(strstr(e.msg, " more") ? strstr(e.msg, " more") : "",
		     " more");
	free(whole);
}

/* Of no fault another one is said to follow, and none hides another. */
TEST(no_fault_hides_another)
{
	static const char text[] =
		"{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{"
		"\"name\":\"bad\",\"namespace\":\"x y\"},\"spec\":{"
		"\"restartPolicy\":\"Maybe\",\"fooBar\":1,\"volumes\":["
		"{\"name\":\"cm\",\"configMap\":{\"name\":\"c\"}},"
		"{\"name\":7,\"emptyDir\":{}},{\"name\":\"none\"}],"
		"\"dnsPolicy\":\"None\",\"dnsConfig\":{\"nameservers\":[7]},"
		"\"containers\":[{\"name\":\"a\",\"image\":\"\","
		"\"command\":[1,\"b\",2],\"volumeMounts\":["
		"{\"name\":\"gone\",\"mountPath\":\"m\"}],\"resources\":{"
		"\"requests\":{\"cpu\":2,\"memory\":\"5Zi\"},\"limits\":{"
		"\"nvidia.com/gpu\":1,\"cpu\":1,\"memory\":\"1Mi\"}},"
		"\"livenessProbe\":{\"periodSeconds\":-3}},{\"name\":\"a\","
		"\"image\":\"i\",\"envFrom\":[{\"configMapRef\":{\"name\":"
		"\"c\"}}],\"ports\":[{\"hostPort\":1},{\"name\":2}],"
		"\"securityContext\":{\"runAsUser\":\"x\",\"runAsNonRoot\":"
		"true,\"privileged\":true,\"allowPrivilegeEscalation\":false"
		"}}]}}";
#define MOUNT "spec.containers[0].volumeMounts[0]."
	static const char *const want[] = {
		"metadata.namespace: 'x y' is not a DNS label",
		"spec.restartPolicy: 'Maybe' is not one of Always",
		"spec.fooBar: unknown field",
		"spec.volumes[0]: configMap, secret, downwardAPI and",
		"spec.volumes[1].name: must be a string, is a number",
		"spec.volumes[2]: needs exactly one of emptyDir",
		"spec.dnsConfig.nameservers[0]: must be a string",
		"spec.containers[0].image: is required",
		"spec.containers[0].command[0]: must be a string",
		"spec.containers[0].command[2]: must be a string",
		MOUNT "mountPath: must be an absolute path",
		"spec.containers[0].resources.requests: cpu of 2000m is above",
		"spec.containers[0].resources.requests.memory: '5Zi'",
		"spec.containers[0].resources.limits.nvidia.com/gpu: this node",
		"spec.containers[0].livenessProbe.periodSeconds: must be",
		"spec.containers[0].livenessProbe: needs one of exec",
		"spec.containers[1].name: 'a' is used twice",
		"spec.containers[1].env: ConfigMaps and Secrets are in the API",
		"spec.containers[1].ports[0].containerPort: is required",
		"spec.containers[1].ports[1].name: must be a string",
		"spec.containers[1].ports[1].containerPort: is required",
		"spec.containers[1].securityContext.runAsUser: must be",
		"spec.containers[1].securityContext: privileged needs allow",
	};
	auto_buf struct buf told = BUF_INIT;
	struct pod_spec *s = NULL;
	struct err e = { 0 };
	size_t lines = 1;

	EXPECT_EQ(pod_spec_read(text, strlen(text), true, &s, &told, &e),
		  -EINVAL);
	for (size_t i = 0; i < ARRAY_SIZE(want); i++)
		if (!strstr(buf_str(&told), want[i]))
			FAIL("'%s' is not among: %s", want[i], buf_str(&told));
	for (const char *p = buf_str(&told); (p = strchr(p, '\n')); p++)
		lines++;
	if (lines != ARRAY_SIZE(want))
		FAIL("%zu instead of %zu faults: %s", lines, ARRAY_SIZE(want),
		     buf_str(&told));
}

#define PROBED(more)                                                    \
	POD(CTR(",\"ports\":[{\"containerPort\":53,\"name\":\"dns\"},{" \
		"\"containerPort\":8080,\"name\":\"http\"}]," more))

TEST(a_probe_names_a_port_of_its_container)
{
	struct err e = { 0 };
	int r;
	struct pod_spec *s = parse(
		PROBED("\"readinessProbe\":{\"httpGet\":{\"port\":\"http\"}},"
		       "\"livenessProbe\":{\"tcpSocket\":{\"port\":\"dns\"}},"
		       "\"startupProbe\":{\"tcpSocket\":{\"port\":\"81\"}}"),
		&e, &r);

	EXPECT_STREQ(e.msg, "");
	ASSERT_EQ(r, 0);
	EXPECT_EQ(s->containers[0].readiness.port, 8080);
	EXPECT_EQ(s->containers[0].liveness.port, 53);
	EXPECT_EQ(s->containers[0].startup.port, 81);
	pod_spec_free(s);
	REFUSED(PROBED("\"readinessProbe\":{\"httpGet\":{\"port\":\"web\"}}"),
		-EINVAL,
		"spec.containers[0].readinessProbe.httpGet.port: no port of "
		"this container is called 'web': name one in its ports, or "
		"give the number");
	REFUSED(PROBED("\"readinessProbe\":{\"httpGet\":{\"port\":\"70000\"}}"),
		-EINVAL,
		"spec.containers[0].readinessProbe.httpGet.port: must be "
		"between 1 and 65535, is 70000");
}

TEST(what_a_node_has_not_is_told_as_such)
{
	REFUSED(POD(CTR(",\"resources\":{\"limits\":{\"a.com/gpu\":1}}")),
		-EINVAL,
		"spec.containers[0].resources.limits.a.com/gpu: this node has "
		"no such resource: remove it");
	REFUSED(POD(CTR(",\"resources\":{\"limits\":{\"memory\":64}}")),
		-EINVAL,
		"spec.containers[0].resources.limits: memory of 64 bytes is "
		"less than one page; write 64Mi for mebibytes");
	REFUSED(POD("{\"hostname\":\"My_Host\",\"containers\":[{\"name\":"
		    "\"c\",\"image\":\"i\"}]}"),
		-EINVAL, "spec.hostname: 'My_Host' is not a DNS label");
}

#define LONG10 "aaaaaaaaaa"
#define LONG60 LONG10 LONG10 LONG10 LONG10 LONG10 LONG10

TEST(a_long_name_makes_a_host_name_of_63_that_ends_well)
{
	struct err e = { 0 };
	int r;
	struct pod_spec *s = parse("{\"apiVersion\":\"v1\",\"kind\":\"Pod\","
				   "\"metadata\":{\"name\":\"" LONG60
				   "a--" LONG60 "\"},\"spec\":" CTR("") "}",
				   &e, &r);

	ASSERT_EQ(r, 0);
	EXPECT_STREQ(s->hostname, LONG60 "a");
	pod_spec_free(s);
}

TEST(what_is_wrong_is_told_with_its_path)
{
	REFUSED("", -EBADMSG, "not JSON: input length is 0 at byte 0");
	REFUSED("{}", -EBADMSG, "kind '' of apiVersion '' is not a Pod of v1");
	REFUSED(POD("{}"), -EINVAL, "spec: needs containers or virtualMachine");
	REFUSED(POD("{\"containers\":[{\"name\":\"c\"}]}"), -EINVAL,
		"spec.containers[0].image: is required");
	REFUSED(POD(CTR(",\"resuorces\":{}")), -EINVAL,
		"spec.containers[0].resuorces: unknown field (did you mean "
		"'resources'?)");
	REFUSED("{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"sepc\":{}}", -EINVAL,
		"sepc: unknown field (did you mean 'spec'?); metadata.name: is "
		"required; spec: is required");
	REFUSED("{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{"
		"\"name\":\"x\"}}",
		-EINVAL, "spec: is required");
	REFUSED(POD(CTR(",\"resources\":{\"limits\":{\"cpu\":\"1x\"}}")),
		-EINVAL,
		"spec.containers[0].resources.limits.cpu: '1x' is not a "
		"quantity: write a number and a suffix, like 100m, 1.5, "
		"64Mi or 2Gi");
	REFUSED(POD(CTR(",\"resources\":{\"limits\":{\"cpu\":\"1\"},"
			"\"requests\":{\"cpu\":\"2\"}}")),
		-EINVAL,
		"spec.containers[0].resources.requests: cpu of 2000m is above "
		"its limit of 1000m");
	REFUSED(POD(CTR(",\"lifecycle\":{\"stopSignal\":\"SIGINT\"}")), -EINVAL,
		"spec.containers[0].lifecycle.stopSignal: is not supported by "
		"this agent; remove it");
	REFUSED(POD(CTR(",\"lifecycle\":{\"preStop\":{}}")), -EINVAL,
		"spec.containers[0].lifecycle.preStop: needs one of exec, "
		"httpGet, sleep");
	REFUSED(POD(CTR(",\"volumeMounts\":[{\"name\":\"v\",\"mountPath\":"
			"\"/x\"}]")),
		-EINVAL,
		"spec.containers[0].volumeMounts[0].name: no volume 'v' in the "
		"pod");
	REFUSED(POD(CTR(",\"livenessProbe\":{}")), -EINVAL,
		"spec.containers[0].livenessProbe: needs one of exec, httpGet, "
		"tcpSocket, grpc");
	REFUSED(POD(CTR(",\"securityContext\":{\"runAsNonRoot\":true,"
			"\"runAsUser\":0}")),
		-EINVAL,
		"spec.containers[0].securityContext: runAsNonRoot contradicts "
		"runAsUser 0");
	REFUSED(POD("{\"containers\":[{\"name\":\"c\",\"image\":\"i\"},"
		    "{\"name\":\"c\",\"image\":\"i\"}]}"),
		-EINVAL,
		"spec.containers[1].name: 'c' is used twice in the pod");
	REFUSED(POD("{\"containers\":[{\"name\":\"c\",\"image\":\"i\"}],"
		    "\"virtualMachine\":{\"name\":\"v\",\"image\":\"i\"}}"),
		-EINVAL,
		"spec: has both containers and virtualMachine; a pod is one or "
		"the other");
	REFUSED(POD("{\"containers\":[],\"restartPolicy\":\"Sometimes\"}"),
		-EINVAL,
		"spec.restartPolicy: 'Sometimes' is not one of Always, "
		"OnFailure, Never; spec: needs containers or virtualMachine");
	REFUSED("{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{"
		"\"name\":\"Web\"},\"spec\":" CTR("") "}",
		-EINVAL,
		"metadata.name: 'Web' is not a DNS name (a-z, 0-9, '-' and "
		"'.', at most 253 characters)");
	REFUSED("{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{"
		"\"name\":\"w\",\"tenant\":\"all\"},\"spec\":" CTR("") "}",
		-EINVAL,
		"metadata.tenant: 'all' is not an acceptable tenant name");
	REFUSED(POD("{\"containers\":[{\"name\":\"c\",\"name\":\"d\","
		    "\"image\":\"i\"}]}"),
		-EINVAL, "spec.containers[0].name: given twice");
}

#define WITH(more) \
	POD("{\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]," more "}")

TEST(disk_is_a_resource_like_others)
{
	struct err e = { 0 };
	struct resources total;
	int r;
	struct pod_spec *s =
		parse(POD("{\"containers\":["
			  "{\"name\":\"a\",\"image\":\"i\",\"resources\":{"
			  "\"limits\":{\"ephemeral-storage\":\"1Gi\"}}},"
			  "{\"name\":\"b\",\"image\":\"i\",\"resources\":{"
			  "\"requests\":{\"ephemeral-storage\":\"1Mi\"}}}]}"),
		      &e, &r);

	ASSERT_EQ(r, 0);
	total = pod_spec_total(s);
	EXPECT_EQ(total.requests.disk_bytes, (1ULL << 30) + (1ULL << 20));
	EXPECT_EQ(total.limits.has_disk, false); /* b has none */
	EXPECT_EQ(pod_spec_qos(s), QOS_BEST_EFFORT);
	pod_spec_free(s);
	REFUSED(POD(CTR(",\"resources\":{\"limits\":{\"ephemeral-storage\":"
			"\"1\"},\"requests\":{\"ephemeral-storage\":\"2\"}}")),
		-EINVAL,
		"spec.containers[0].resources.requests: ephemeral-storage of 2 "
		"bytes is above its limit of 1");
}

TEST(sidecars_are_init_containers_that_stay)
{
	struct err e = { 0 };
	struct resources total;
	int r;
	struct pod_spec *s = parse(
		WITH("\"initContainers\":["
		     "{\"name\":\"s\",\"image\":\"i\",\"restartPolicy\":"
		     "\"Always\",\"resources\":{\"requests\":{\"cpu\":\"1\"}},"
		     "\"startupProbe\":{\"tcpSocket\":{\"port\":1}},"
		     "\"lifecycle\":{\"preStop\":{\"sleep\":{\"seconds\":1}}}},"
		     "{\"name\":\"i\",\"image\":\"i\",\"resources\":{"
		     "\"requests\":{\"cpu\":\"3\"}}}]"),
		&e, &r);

	ASSERT_EQ(r, 0);
	EXPECT_EQ(s->init[0].sidecar && !s->init[1].sidecar, true);
	total = pod_spec_total(s);
	EXPECT_EQ(total.requests.cpu_milli, 4000); /* both at once */
	pod_spec_free(s);
	REFUSED(WITH("\"initContainers\":[{\"name\":\"s\",\"image\":\"i\","
		     "\"restartPolicy\":\"Never\"}]"),
		-EINVAL,
		"spec.initContainers[0].restartPolicy: 'Never' is not one of "
		"Always");
	REFUSED(POD(CTR(",\"restartPolicy\":\"Always\"")), -EINVAL,
		"spec.containers[0].restartPolicy: is for init containers, "
		"which become sidecars by it");
}

#define MILLI(n)                                  \
	{                                         \
		.has_cpu = true, .cpu_milli = (n) \
	}

TEST(a_pod_comes_to_the_most_there_is_at_once)
{
	static const struct {
		enum ctr_role role;
		struct quantity_set q;
	} ctrs[] = {
		{ ROLE_INIT, MILLI(700) },    /* 700 */
		{ ROLE_SIDECAR, MILLI(100) }, /* 100 stay */
		{ ROLE_INIT, MILLI(900) },    /* 1000 */
		{ ROLE_SIDECAR, MILLI(200) }, /* 300 stay */
		{ ROLE_MAIN, MILLI(300) },    /* 600 */
		{ ROLE_MAIN, { .has_mem = true, .mem_bytes = 5 } },
	};
	struct total t = { 0 };
	struct quantity_set sum;

	EXPECT_EQ(total_sum(&t).has_cpu, false);
	for (size_t i = 0; i < 5; i++)
		total_add(&t, ctrs[i].role, &ctrs[i].q);
	EXPECT_EQ(total_sum(&t).cpu_milli, 1000);
	EXPECT_EQ(total_ceiling(&t).has_cpu, true);
	EXPECT_EQ(total_ceiling(&t).has_mem, false);
	total_add(&t, ctrs[5].role, &ctrs[5].q);
	sum = total_sum(&t);
	EXPECT_EQ(sum.has_cpu && sum.has_mem && !sum.has_disk, true);
	EXPECT_EQ(sum.cpu_milli, 1000);
	EXPECT_EQ(sum.mem_bytes, 5);
	EXPECT_EQ(total_ceiling(&t).has_cpu, false); /* the last has none */
	total_add(&t, ROLE_MAIN, &(struct quantity_set)MILLI(UINT64_MAX));
	EXPECT_EQ(total_sum(&t).cpu_milli, UINT64_MAX);
}

TEST(grpc_probes_have_a_port_and_perhaps_a_service)
{
	struct err e = { 0 };
	int r;
	struct pod_spec *s =
		parse(POD(CTR(",\"livenessProbe\":{\"grpc\":{\"port\":5000,"
			      "\"service\":\"a.B\"}}")),
		      &e, &r);

	ASSERT_EQ(r, 0);
	EXPECT_EQ(s->containers[0].liveness.kind, PROBE_GRPC);
	EXPECT_EQ(s->containers[0].liveness.port, 5000);
	EXPECT_STREQ(s->containers[0].liveness.service, "a.B");
	pod_spec_free(s);
	REFUSED(POD(CTR(",\"livenessProbe\":{\"grpc\":{}}")), -EINVAL,
		"spec.containers[0].livenessProbe.grpc.port: is required");
	REFUSED(POD(CTR(",\"livenessProbe\":{\"grpc\":{\"port\":1},"
			"\"tcpSocket\":{\"port\":1}}")),
		-EINVAL,
		"spec.containers[0].livenessProbe.tcpSocket: a probe has only "
		"one action");
}

TEST(names_and_their_resolution_are_checked)
{
	struct err e = { 0 };
	int r;
	struct pod_spec *s = parse(
		WITH("\"hostname\":\"h\",\"subdomain\":\"s\","
		     "\"setHostnameAsFQDN\":true,\"dnsPolicy\":\"None\","
		     "\"dnsConfig\":{\"nameservers\":[\"10.0.0.1\"],"
		     "\"searches\":[\"a.b.\",\".\"],\"options\":[{\"name\":"
		     "\"ndots\",\"value\":\"2\"},{\"name\":\"rotate\"}]}"),
		&e, &r);

	ASSERT_EQ(r, 0);
	EXPECT_STREQ(s->subdomain, "s");
	EXPECT_EQ(s->fqdn && s->dns.none, true);
	EXPECT_EQ(s->dns.searches.nr, 2);
	EXPECT_STREQ(s->dns.options.v[1].value, "");
	pod_spec_free(s);
	REFUSED(WITH("\"subdomain\":\"a.b\""), -EINVAL,
		"spec.subdomain: 'a.b' is not a DNS label");
	REFUSED(WITH("\"dnsPolicy\":\"None\""), -EINVAL,
		"spec.dnsConfig: must give a nameserver when dnsPolicy is None");
	REFUSED(WITH("\"dnsConfig\":{\"nameservers\":[\"dns\"]}"), -EINVAL,
		"spec.dnsConfig.nameservers: 'dns' is not an address");
	REFUSED(WITH("\"dnsConfig\":{\"searches\":[\"a b\"]}"), -EINVAL,
		"spec.dnsConfig.searches: 'a b' is not a DNS name");
	REFUSED(WITH("\"dnsConfig\":{\"options\":[{\"name\":\"a\\nb\"}]}"),
		-EINVAL, "spec.dnsConfig.options[0]: must not hold blanks");
}

TEST(sysctls_are_those_of_the_pods_own_namespaces)
{
	struct err e = { 0 };
	int r;
	struct pod_spec *s =
		parse(WITH("\"securityContext\":{\"sysctls\":[{\"name\":"
			   "\"kernel.shm_rmid_forced\",\"value\":\"1\"}]}"),
		      &e, &r);

	ASSERT_EQ(r, 0);
	pod_spec_free(s);
	REFUSED(WITH("\"hostIPC\":true,\"securityContext\":{\"sysctls\":[{"
		     "\"name\":\"kernel.msgmax\",\"value\":\"1\"}]}"),
		-EINVAL,
		"spec.securityContext: sysctl 'kernel.msgmax' would be the "
		"host's: the pod has hostIPC");
	REFUSED(WITH("\"securityContext\":{\"sysctls\":[{\"name\":"
		     "\"kernel.core_pattern\",\"value\":\"x\"}]}"),
		-EINVAL,
		"spec.securityContext.sysctls[0].name: 'kernel.core_pattern' is "
		"not a namespaced sysctl; only net.*, kernel.shm*, kernel.msg*, "
		"kernel.sem and fs.mqueue.* can be set for one pod");
}

#define PORTS(list) CTR(",\"ports\":[" list "]")

TEST(ports_of_the_host_are_read_and_checked)
{
	struct err e = { 0 };
	int r;
	struct pod_spec *s =
		parse(POD(PORTS(
			      "{\"containerPort\":80,\"hostPort\":8080,"
			      "\"hostIP\":\"127.0.0.1\",\"protocol\":\"UDP\"},"
			      "{\"containerPort\":81,\"hostPort\":0,"
			      "\"hostIP\":\"\"}")),
		      &e, &r);

	ASSERT_EQ(r, 0);
	EXPECT_EQ(s->containers[0].ports[0].host_port, 8080);
	EXPECT_EQ(s->containers[0].ports[0].host_ip.s_addr,
		  htonl(INADDR_LOOPBACK));
	EXPECT_EQ(s->containers[0].ports[0].protocol, PORT_UDP);
	EXPECT_EQ(s->containers[0].ports[1].host_port, 0);
	pod_spec_free(s);
	s = parse(POD("{\"virtualMachine\":{\"name\":\"vm\",\"image\":\"i\","
		      "\"ports\":[{\"containerPort\":80,\"hostPort\":8080}]}}"),
		  &e, &r);
	ASSERT_EQ(r, 0);
	EXPECT_EQ(s->vm->nr_ports, 1);
	EXPECT_EQ(s->vm->ports[0].host_port, 8080);
	pod_spec_free(s);
	REFUSED(WITH("\"initContainers\":[{\"name\":\"s\",\"image\":\"i\","
		     "\"restartPolicy\":\"Always\",\"ports\":[{"
		     "\"containerPort\":1,\"hostPort\":1},{"
		     "\"containerPort\":2,\"hostPort\":1}]}]"),
		-EINVAL, "spec: hostPort 1/TCP is used twice in the pod");
	REFUSED(POD(PORTS("{\"containerPort\":1,\"hostPort\":65536}")), -EINVAL,
		"spec.containers[0].ports[0].hostPort: must be between 1 and "
		"65535, is 65536");
	REFUSED(POD(PORTS("{\"containerPort\":1,\"hostPort\":1,"
			  "\"protocol\":\"SCTP\"}")),
		-EINVAL,
		"spec.containers[0].ports[0].hostPort: is for TCP and UDP "
		"here, not for SCTP");
	REFUSED(POD(PORTS("{\"containerPort\":1,\"hostPort\":1,"
			  "\"hostIP\":\"::1\"}")),
		-EINVAL,
		"spec.containers[0].ports[0].hostIP: '::1' is not an IPv4 "
		"address of the host");
	REFUSED(POD(PORTS("{\"containerPort\":1,\"hostPort\":1},"
			  "{\"containerPort\":2,\"hostPort\":1}")),
		-EINVAL, "spec: hostPort 1/TCP is used twice in the pod");
	REFUSED(POD("{\"hostNetwork\":true,\"containers\":[{\"name\":\"c\","
		    "\"image\":\"i\",\"ports\":[{\"containerPort\":80,"
		    "\"hostPort\":8080}]}]}"),
		-EINVAL,
		"spec: hostPort 8080/TCP must be the containerPort, 80: the "
		"pod is on the host's network");
}

TEST(deep_and_long_manifests_are_refused)
{
	char deep[4096] = POD("");
	struct err e = { 0 };
	size_t n;
	int r;

	n = (size_t)snprintf(deep, sizeof(deep),
			     "{\"apiVersion\":\"v1\",\"kind\":\"Pod\","
			     "\"spec\":");
	for (int i = 0; i < 200; i++)
		deep[n++] = '[';
	for (int i = 0; i < 200; i++)
		deep[n++] = ']';
	deep[n++] = '}';
	deep[n] = '\0';
	parse(deep, &e, &r);
	EXPECT_EQ(r, -E2BIG);
	EXPECT_STREQ(e.msg, "nested more than 48 deep");
	e = (struct err){ 0 };
	EXPECT_EQ(pod_spec_parse(deep, SPEC_MANIFEST_MAX + 1, NULL, &e),
		  -E2BIG);
}

TEST_MAIN()
