// SPDX-License-Identifier: Apache-2.0
/*
 * LANE: native
 * What controllers decide, without a server: replica sets, deployments, jobs,
 * taints.
 */
#include "controlplane/client/object.h"
#include "controlplane/controllers/cron.h"
#include "controlplane/controllers/deployment_plan.h"
#include "controlplane/controllers/job_plan.h"
#include "controlplane/controllers/job_policy.h"
#include "controlplane/controllers/replicaset.h"
#include "controlplane/controllers/taints.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "selftests/harness.h"

/* --- replica sets --- */

struct fake_pod {
	struct informer_object o;
	struct pod_facts f;
};

#define POD(n, ...)                                                    \
	{                                                              \
		.o = { .name = (n), .key = (n) }, .f = { __VA_ARGS__ } \
	}

static size_t pods_of(struct fake_pod *p, size_t nr, struct informer_object **v)
{
	for (size_t i = 0; i < nr; i++) {
		p[i].o.facts = &p[i].f;
		v[i] = &p[i].o;
	}
	return nr;
}

TEST(missing_pods_are_created)
{
	struct rs_want want = { .replicas = 5 };
	struct fake_pod p[] = { POD("a", .phase = POD_RUNNING, .ready = true),
				POD("b", .phase = POD_PENDING) };
	struct informer_object *v[2];
	struct rs_plan plan;

	rs_plan(&want, v, pods_of(p, 2, v), 100, &plan);
	EXPECT_EQ(plan.create, 3);
	EXPECT_EQ(plan.remove, 0);
	EXPECT_EQ(plan.ready, 1);
	EXPECT_EQ(plan.active, 2);
}

TEST(the_smallest_loss_goes_first)
{
	struct rs_want want = { .replicas = 2 };
	struct fake_pod p[] = {
		POD("old", .phase = POD_RUNNING, .ready = true,
		    .scheduled = true, .ready_s = 10),
		POD("young", .phase = POD_RUNNING, .ready = true,
		    .scheduled = true, .ready_s = 90),
		POD("unready", .phase = POD_RUNNING, .scheduled = true),
		POD("nowhere", .phase = POD_PENDING),
		POD("dear", .phase = POD_RUNNING, .ready = true,
		    .scheduled = true, .ready_s = 95, .deletion_cost = 5),
	};
	struct informer_object *v[5];
	struct rs_plan plan;

	rs_plan(&want, v, pods_of(p, 5, v), 100, &plan);
	ASSERT_EQ(plan.remove, 3);
	EXPECT_STREQ(v[0]->name, "nowhere");
	EXPECT_STREQ(v[1]->name, "unready");
	EXPECT_STREQ(v[2]->name, "young");
}

TEST(ready_for_long_enough_is_available)
{
	struct rs_want want = { .replicas = 2, .min_ready_s = 30 };
	struct fake_pod p[] = {
		POD("a", .phase = POD_RUNNING, .ready = true, .ready_s = 60),
		POD("b", .phase = POD_RUNNING, .ready = true, .ready_s = 90)
	};
	struct informer_object *v[2];
	struct rs_plan plan;

	rs_plan(&want, v, pods_of(p, 2, v), 100, &plan);
	EXPECT_EQ(plan.ready, 2);
	EXPECT_EQ(plan.available, 1);
	EXPECT_EQ(plan.again_s, 120);
}

/* --- deployments --- */

static void limits(struct dep_want *w)
{
	dep_limits(w);
}

TEST(a_rollout_keeps_within_surge_and_unavailable)
{
	/* Played through: whatever is scaled up becomes available, one step
	 * later. Never more than 13 pods, never fewer than 8 available. */
	struct dep_want w = { .replicas = 10, .surge = 3, .unavailable = 2 };
	struct dep_rs v[2] = {
		{ .spec = 10,
		  .have = 10,
		  .available = 10,
		  .desired = 10,
		  .max = 13,
		  .created_s = 1 },
		{ .is_new = true, .desired = 10, .max = 13, .created_s = 2 }
	};
	int steps = 0;

	limits(&w);
	while ((v[1].available < 10 || v[0].spec) && steps++ < 100) {
		dep_plan(&w, v, 2);
		for (int i = 0; i < 2; i++) {
			/* Pods end at once and begin a step later. */
			v[i].available =
				v[i].spec < v[i].to ? v[i].spec : v[i].to;
			v[i].spec = v[i].have = v[i].to;
		}
		ASSERT_GE(13, v[0].spec + v[1].spec);
		ASSERT_GE(v[0].available + v[1].available, 8);
	}
	EXPECT_EQ(v[1].available, 10);
	EXPECT_EQ(v[0].spec, 0);
	EXPECT_GE(20, steps);
}

TEST(a_rollout_that_never_gets_ready_keeps_the_old_pods)
{
	struct dep_want w = { .replicas = 4, .surge = 1, .unavailable = 1 };
	struct dep_rs v[2] = { { .spec = 4,
				 .have = 4,
				 .available = 4,
				 .desired = 4,
				 .max = 5 },
			       { .is_new = true, .desired = 4, .max = 5 } };

	limits(&w);
	for (int i = 0; i < 20; i++) {
		dep_plan(&w, v, 2);
		v[0].spec = v[0].available = v[0].to;
		v[1].spec = v[1].to;
	}
	EXPECT_EQ(v[0].spec, 3);
	EXPECT_EQ(v[1].spec, 2);
}

TEST(recreate_waits_for_the_last_old_pod)
{
	struct dep_want w = { .replicas = 3,
			      .recreate = true,
			      .old_pods_left = true };
	struct dep_rs v[2] = { { .spec = 3, .desired = 3 },
			       { .is_new = true, .desired = 3 } };

	limits(&w);
	dep_plan(&w, v, 2);
	EXPECT_EQ(v[0].to, 0);
	EXPECT_EQ(v[1].to, 0);
	v[0].spec = 0;
	w.old_pods_left = false;
	dep_plan(&w, v, 2);
	EXPECT_EQ(v[1].to, 3);
}

TEST(scaling_during_a_rollout_is_in_proportion)
{
	struct dep_want w = { .replicas = 20, .surge = 5, .unavailable = 5 };
	struct dep_rs v[2] = {
		{ .spec = 8, .desired = 10, .max = 13 },
		{ .spec = 5, .desired = 10, .max = 13, .is_new = true }
	};

	limits(&w);
	dep_plan(&w, v, 2);
	EXPECT_EQ(v[0].to + v[1].to, 25);
	EXPECT_GE(v[0].to, 15);
	EXPECT_GE(v[1].to, 9);
}

TEST(a_paused_one_only_scales)
{
	struct dep_want w = {
		.replicas = 5, .surge = 1, .unavailable = 1, .paused = true
	};
	struct dep_rs v[1] = { { .spec = 3, .desired = 3, .is_new = true } };

	limits(&w);
	dep_plan(&w, v, 1);
	EXPECT_EQ(v[0].to, 5);
	v[0].spec = v[0].desired = 5;
	dep_plan(&w, v, 1);
	EXPECT_EQ(v[0].to, 5);
}

TEST(nothing_may_surge_and_nothing_be_away_is_one_away)
{
	struct dep_want w = { .replicas = 3 };

	dep_limits(&w);
	EXPECT_EQ(w.unavailable, 1);
}

/* --- jobs --- */

TEST(a_job_makes_what_is_missing)
{
	struct job_want w = { .parallelism = 3,
			      .completions = 5,
			      .backoff_limit = 6 };
	struct job_have h = { .succeeded = 3, .active = 1 };
	struct job_plan p;

	job_plan(&w, &h, &p);
	EXPECT_EQ(p.end, JOB_RUNS);
	EXPECT_EQ(p.create, 1);
	h.succeeded = 5;
	h.active = 0;
	job_plan(&w, &h, &p);
	EXPECT_EQ(p.end, JOB_COMPLETE);
}

TEST(a_job_gives_up)
{
	struct job_want w = { .parallelism = 1,
			      .completions = 1,
			      .backoff_limit = 2,
			      .start_s = 100,
			      .deadline_s = 50,
			      .now_s = 120 };
	struct job_have h = { .failed = 3, .active = 1 };
	struct job_plan p;

	job_plan(&w, &h, &p);
	EXPECT_EQ(p.end, JOB_BACKOFF);
	EXPECT_EQ(p.remove, 1);
	h.failed = 0;
	job_plan(&w, &h, &p);
	EXPECT_EQ(p.end, JOB_RUNS);
	EXPECT_EQ(p.again_s, 150);
	w.now_s = 150;
	job_plan(&w, &h, &p);
	EXPECT_EQ(p.end, JOB_DEADLINE);
}

TEST(a_job_that_replaces_what_is_over_waits_for_it)
{
	struct job_want w = { .parallelism = 2,
			      .completions = 4,
			      .backoff_limit = 6,
			      .index_limit = -1,
			      .max_failed_indexes = -1,
			      .replace_failed = true };
	struct job_have h = { .active = 1, .terminating = 1 };
	struct job_plan p;

	job_plan(&w, &h, &p);
	EXPECT_EQ(p.create, 0);
	w.replace_failed = false;
	job_plan(&w, &h, &p);
	EXPECT_EQ(p.create, 1);
	w.on_failure = true;
	h.restarts = 6;
	job_plan(&w, &h, &p);
	EXPECT_EQ(p.end, JOB_BACKOFF);
	/* What was decided stays so. */
	h.decided = JOB_COMPLETE;
	job_plan(&w, &h, &p);
	EXPECT_EQ(p.end, JOB_COMPLETE);
}

TEST(a_job_whose_indexes_fail)
{
	struct job_want w = { .parallelism = 5,
			      .completions = 5,
			      .backoff_limit = INT32_MAX,
			      .index_limit = 0,
			      .max_failed_indexes = -1,
			      .indexed = true };
	struct job_have h = { .succeeded = 2,
			      .failed = 2,
			      .failed_indexes = 2 };
	struct job_plan p;

	job_plan(&w, &h, &p);
	EXPECT_EQ(p.end, JOB_RUNS);
	EXPECT_EQ(p.create, 1);
	h.succeeded = 3;
	job_plan(&w, &h, &p);
	EXPECT_EQ(p.end, JOB_FAILED_INDEXES);
	w.max_failed_indexes = 1;
	job_plan(&w, &h, &p);
	EXPECT_EQ(p.end, JOB_MAX_FAILED_INDEXES);
}

static enum job_failure failure(const char *policy, const char *status,
				char *why)
{
	char text[1024];
	yyjson_doc *p = yyjson_read(policy, strlen(policy), 0), *pod;
	enum job_failure how;

	snprintf(text, sizeof(text),
		 "{\"metadata\":{\"name\":\"p\",\"namespace\":\"n\"},"
		 "\"status\":%s}",
		 status);
	pod = yyjson_read(text, strlen(text), 0);
	why[0] = '\0';
	how = job_failure(yyjson_doc_get_root(p), yyjson_doc_get_root(pod), why,
			  512);
	yyjson_doc_free(p);
	yyjson_doc_free(pod);
	return how;
}

TEST(the_first_rule_that_fits_says_what_a_failure_means)
{
	static const char policy[] =
		"{\"rules\":[{\"action\":\"Ignore\",\"onPodConditions\":[{"
		"\"type\":\"DisruptionTarget\",\"status\":\"True\"}]},"
		"{\"action\":\"FailIndex\",\"onExitCodes\":{\"operator\":"
		"\"In\",\"values\":[1,2],\"containerName\":\"b\"}},"
		"{\"action\":\"FailJob\",\"onExitCodes\":{\"operator\":"
		"\"NotIn\",\"values\":[1,2]}}]}";
	char why[512];

#define ENDED(name, code)   \
	"{\"name\":\"" name \
	"\",\"state\":{\"terminated\":{\"exitCode\":" #code "}}}"
	EXPECT_EQ(failure(policy, "{\"containerStatuses\":[" ENDED("b", 2) "]}",
			  why),
		  JOB_FAILURE_OF_INDEX);
	EXPECT_EQ(failure(policy, "{\"containerStatuses\":[" ENDED("a", 2) "]}",
			  why),
		  JOB_FAILURE_COUNTS);
	/* Success is no failure, whatever the operator. */
	EXPECT_EQ(failure(policy, "{\"containerStatuses\":[" ENDED("a", 0) "]}",
			  why),
		  JOB_FAILURE_COUNTS);
	EXPECT_EQ(failure(policy,
			  "{\"initContainerStatuses\":[" ENDED("i", 9) "]}",
			  why),
		  JOB_FAILURE_OF_JOB);
	EXPECT_STREQ(why, "Container i for pod n/p failed with exit code 9 "
			  "matching FailJob rule at index 2");
	EXPECT_EQ(failure(policy,
			  "{\"conditions\":[{\"type\":\"DisruptionTarget\","
			  "\"status\":\"True\"}],\"containerStatuses\":[" ENDED(
				  "i", 9) "]}",
			  why),
		  JOB_FAILURE_IGNORED);
#undef ENDED
	EXPECT_EQ(failure("{}", "{}", why), JOB_FAILURE_COUNTS);
}

static int success(const char *policy, const char *done)
{
	yyjson_doc *p = yyjson_read(policy, strlen(policy), 0);
	struct index_set s;
	int r = -2;

	if (index_set_init(&s, 10) == 0 && index_set_parse(&s, done) == 0)
		r = job_success_rule(yyjson_doc_get_root(p), &s);
	index_set_clear(&s);
	yyjson_doc_free(p);
	return r;
}

TEST(enough_indexes)
{
	static const char policy[] =
		"{\"rules\":[{\"succeededIndexes\":\"0,2-3\"},"
		"{\"succeededIndexes\":\"4-9\",\"succeededCount\":2},"
		"{\"succeededCount\":4}]}";

	EXPECT_EQ(success(policy, "0,2"), -1);
	EXPECT_EQ(success(policy, "0,2-3"), 0);
	EXPECT_EQ(success(policy, "1,5,9"), 1);
	EXPECT_EQ(success(policy, "0-2,9"), 2);
	EXPECT_EQ(success("{\"rules\":[]}", "0-9"), -1);
}

TEST(a_suspended_job_has_no_pods)
{
	struct job_want w = { .parallelism = 2,
			      .completions = 4,
			      .backoff_limit = 6,
			      .suspended = true };
	struct job_have h = { .active = 2 };
	struct job_plan p;

	job_plan(&w, &h, &p);
	EXPECT_EQ(p.end, JOB_RUNS);
	EXPECT_EQ(p.remove, 2);
	EXPECT_EQ(p.create, 0);
}

TEST(indexes_are_written_as_ranges)
{
	auto_buf struct buf b = BUF_INIT;
	struct index_set s;

	ASSERT_EQ(index_set_init(&s, 20), 0);
	EXPECT_EQ(index_set_parse(&s, "1,3-5,7,8,19"), 0);
	EXPECT_EQ(s.count, 7);
	index_set_format(&s, &b);
	EXPECT_STREQ(buf_str(&b), "1,3-5,7,8,19");
	EXPECT_EQ(index_set_parse(&s, "x"), -EINVAL);
	EXPECT_EQ(index_set_parse(&s, "3-"), -EINVAL);
	index_set_clear(&s);
	EXPECT_EQ(index_set_init(&s, JOB_INDEXES_MAX + 1), -ERANGE);
}

/* --- taints --- */

static yyjson_doc *doc(const char *text)
{
	return yyjson_read(text, strlen(text), 0);
}

TEST(conditions_become_taints)
{
	yyjson_doc *d = doc("{\"spec\":{\"unschedulable\":true,\"taints\":["
			    "{\"key\":\"mine\",\"effect\":\"NoSchedule\"},"
			    "{\"key\":\"node.kubernetes.io/unreachable\","
			    "\"effect\":\"NoExecute\"}]},"
			    "\"status\":{\"conditions\":[{\"type\":\"Ready\","
			    "\"status\":\"False\"}]}}");
	auto_buf struct buf b = BUF_INIT;

	EXPECT_EQ(taints_plan(yyjson_doc_get_root(d), 0, &b), 1);
	EXPECT_STREQ(buf_str(&b),
		     "[{\"key\":\"mine\",\"effect\":\"NoSchedule\"},"
		     "{\"key\":\"node.kubernetes.io/not-ready\",\"effect\":"
		     "\"NoSchedule\"},{\"key\":\"node.kubernetes.io/not-ready\""
		     ",\"effect\":\"NoExecute\",\"timeAdded\":"
		     "\"1970-01-01T00:00:00Z\"},{\"key\":"
		     "\"node.kubernetes.io/unschedulable\",\"effect\":"
		     "\"NoSchedule\"}]");
	yyjson_doc_free(d);
}

TEST(a_pod_stays_as_long_as_it_tolerates)
{
	yyjson_doc *n =
		doc("{\"spec\":{\"taints\":[{\"key\":\"k\",\"value\":\"v\","
		    "\"effect\":\"NoExecute\",\"timeAdded\":"
		    "\"1970-01-01T00:01:40Z\"}]}}");
	yyjson_doc *plain = doc("{\"spec\":{}}");
	yyjson_doc *ever = doc("{\"spec\":{\"tolerations\":[{\"operator\":"
			       "\"Exists\"}]}}");
	yyjson_doc *some = doc("{\"spec\":{\"tolerations\":[{\"key\":\"k\","
			       "\"value\":\"v\",\"tolerationSeconds\":30}]}}");
	yyjson_val *node = yyjson_doc_get_root(n);

	EXPECT_EQ(taints_leave_at(node, yyjson_doc_get_root(plain), 200), 0);
	EXPECT_EQ(taints_leave_at(node, yyjson_doc_get_root(ever), 200),
		  INT64_MAX);
	EXPECT_EQ(taints_leave_at(node, yyjson_doc_get_root(some), 200), 130);
	yyjson_doc_free(n);
	yyjson_doc_free(plain);
	yyjson_doc_free(ever);
	yyjson_doc_free(some);
}

/* --- schedules --- */

static void next_is(const char *schedule, const char *after, const char *want)
{
	char text[OBJ_TIME_SIZE];
	struct cron c;
	struct err e = { 0 };
	int64_t t;

	if (cron_parse(schedule, &c, &e) < 0) {
		printf("# %s\n", e.msg);
		abort();
	}
	t = cron_next(&c, time_parse(after), 0);
	if (strcmp(t ? time_format(t, text) : "never", want) != 0) {
		printf("# '%s' after %s is %s, want %s\n", schedule, after,
		       t ? text : "never", want);
		abort();
	}
}

TEST(schedules_are_those_of_crontab)
{
	struct cron c;

	next_is("* * * * *", "2026-11-22T03:04:05Z", "2026-11-22T03:05:00Z");
	next_is("*/15 * * * *", "2026-11-22T03:45:00Z", "2026-11-22T04:00:00Z");
	next_is("30 9-17/4 * * mon-fri", "2026-11-22T03:00:00Z",
		"2026-11-23T09:30:00Z");
	next_is("@monthly", "2026-12-02T00:00:00Z", "2027-01-01T00:00:00Z");
	next_is("0 0 29 2 *", "2026-11-22T03:00:00Z", "2028-02-29T00:00:00Z");
	next_is("0 0 30 2 *", "2026-11-22T03:00:00Z", "never");
	/* Day or weekday, when both are given. */
	next_is("0 0 1 * 3", "2026-11-22T03:00:00Z", "2026-11-25T00:00:00Z");
	next_is("0 0 * * 7", "2026-11-22T03:00:00Z", "2026-11-29T00:00:00Z");
	EXPECT_EQ(cron_parse("* * * *", &c, NULL), -EINVAL);
	EXPECT_EQ(cron_parse("60 * * * *", &c, NULL), -EINVAL);
	EXPECT_EQ(cron_parse("5-1 * * * *", &c, NULL), -EINVAL);
	EXPECT_EQ(cron_parse("*/0 * * * *", &c, NULL), -EINVAL);
	EXPECT_EQ(cron_parse("a * * * *", &c, NULL), -EINVAL);
}

/* --- one text --- */

TEST(order_of_keys_makes_no_difference)
{
	yyjson_doc *a = doc("{\"b\":[1,{\"y\":2,\"x\":\"q\"}],\"a\":null}");
	yyjson_doc *b = doc("{\"a\":null,\"b\":[1,{\"x\":\"q\",\"y\":2}]}");
	auto_buf struct buf x = BUF_INIT, y = BUF_INIT;

	obj_canonical(yyjson_doc_get_root(a), &x);
	obj_canonical(yyjson_doc_get_root(b), &y);
	EXPECT_STREQ(buf_str(&x), buf_str(&y));
	yyjson_doc_free(a);
	yyjson_doc_free(b);
}

TEST(times_are_read_and_written)
{
	char text[OBJ_TIME_SIZE];

	EXPECT_EQ(time_parse("2026-11-22T02:55:59Z"), 1795316159);
	EXPECT_EQ(time_parse("2026-11-22T03:55:59.123456+01:00"), 1795316159);
	EXPECT_EQ(time_parse("yesterday"), 0);
	EXPECT_STREQ(time_format(1795316159, text), "2026-11-22T02:55:59Z");
}

TEST_MAIN()
