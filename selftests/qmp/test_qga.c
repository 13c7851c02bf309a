// SPDX-License-Identifier: Apache-2.0
/*
 * The guest agent's protocol against a scripted guest that lies.
 *
 * LANE: native
 * SECONDS: 120
 */
#include "selftests/harness.h"
#include "selftests/qmp/peer.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "qmp/qga.h"

#define SCRIPT(name) static void name(struct peer *p)

static struct qga *connect_to(struct peer *p)
{
	struct qga *g = NULL;
	struct err e = { 0 };

	if (qga_open_fd(p->ours, &g, &e) < 0)
		exit(1);
	return g;
}

/* Hear a sync and answer it as the agent does. */
static void sync_up(struct peer *p)
{
	char text[128];

	peer_hear(p);
	snprintf(text, sizeof(text), "\xff{\"return\": %llu}\n", peer_id(p));
	peer_say(p, text);
}

static void answer(struct peer *p, const char *value)
{
	peer_hear(p);
	peer_say(p, "{\"return\": ");
	peer_say(p, value);
	peer_say(p, "}\n");
}

SCRIPT(has_two_cpus)
{
	sync_up(p);
	answer(p, "{}");
	answer(p, "[{\"logical-id\": 0, \"online\": true, \"can-offline\": "
		  "false}, {\"logical-id\": 1, \"online\": false, "
		  "\"can-offline\": true}]");
	answer(p, "1");
	peer_hear(p);
	peer_say(p, "{\"error\": {\"class\": \"GenericError\", \"desc\": "
		    "\"write failed: Device or resource busy\"}}\n");
	peer_hear(p);
}

TEST(talks_about_cpus)
{
	struct peer *p = peer_start(has_two_cpus);
	struct qga *g = connect_to(p);
	struct qga_vcpu *cpus = NULL;
	struct err e = { 0 };
	size_t nr = 0;

	EXPECT_EQ(qga_ping(g, 5000, &e), 0);
	EXPECT_EQ(qga_get_vcpus(g, 5000, &cpus, &nr, &e), 0);
	ASSERT_EQ(nr, 2);
	EXPECT_EQ(cpus[0].online, true);
	EXPECT_EQ(cpus[1].online, false);
	EXPECT_EQ(cpus[1].can_offline, true);
	cpus[1].online = true;
	EXPECT_EQ(qga_set_vcpus(g, cpus, nr, 5000, &e), 1);
	EXPECT_EQ(qga_set_vcpus(g, cpus, nr, 5000, &e), -EREMOTEIO);
	EXPECT_STREQ(e.msg,
		     "guest-set-vcpus: write failed: Device or resource busy");
	free(cpus);
	qga_free(g);
	peer_join(p);
}

/* An earlier client's leftovers come first, some of them half a message. */
SCRIPT(has_stale_bytes)
{
	peer_say(p, "{\"return\": {\"version\": \"stale\"}}\n{\"retu");
	peer_say(p, "\xff{\"return\": 7}\n");
	sync_up(p);
	answer(p, "{\"version\": \"1.2\", \"supported_commands\": "
		  "[{\"name\": \"guest-exec\", \"enabled\": false}, "
		  "{\"name\": \"guest-get-vcpus\", \"enabled\": true}]}");
	peer_hear(p);
}

TEST(stale_bytes_are_no_answer)
{
	struct peer *p = peer_start(has_stale_bytes);
	struct qga *g = connect_to(p);
	struct qga_info info;
	struct err e = { 0 };

	EXPECT_EQ(qga_info(g, 5000, &info, &e), 0);
	EXPECT_STREQ(info.version, "1.2");
	EXPECT_EQ(info.exec, false);
	EXPECT_EQ(info.get_vcpus, true);
	EXPECT_EQ(info.set_vcpus, false);
	memset(&info, 0, sizeof(info));
	EXPECT_EQ(qga_info(g, 0, &info, &e), 0); /* kept */
	EXPECT_STREQ(info.version, "1.2");
	qga_free(g);
	peer_join(p);
}

SCRIPT(hangs_once)
{
	unsigned long long nr;

	sync_up(p);
	answer(p, "\"thawed\"");
	peer_hear(p); /* never answered in time */
	peer_hear(p); /* the next sync */
	nr = peer_id(p);
	peer_say(p, "{\"return\": \"too late\"}\n");
	peer_say(p, "\xff{\"return\": 1}\n");
	snprintf(p->line, sizeof(p->line), "\xff{\"return\": %llu}\n", nr);
	peer_say(p, p->line);
	answer(p, "\"thawed\"");
	peer_hear(p);
}

TEST(after_a_timeout_it_synchronises_again)
{
	struct peer *p = peer_start(hangs_once);
	struct qga *g = connect_to(p);
	struct err e = { 0 };
	bool frozen = true;

	/* In step first, however slow the machine is. */
	EXPECT_EQ(qga_fs_is_frozen(g, 5000, &frozen, &e), 0);
	frozen = true;
	EXPECT_EQ(qga_call(g, "guest-info", NULL, 50, NULL, &e), -ETIMEDOUT);
	EXPECT_STREQ(e.msg,
		     "guest-info: the guest agent has not answered in time");
	EXPECT_EQ(qga_fs_is_frozen(g, 5000, &frozen, &e), 0);
	EXPECT_EQ(frozen, false);
	qga_free(g);
	peer_join(p);
}

SCRIPT(says_nothing)
{
	while (peer_hear(p)[0])
		;
}

TEST(no_agent_is_explained)
{
	struct peer *p = peer_start(says_nothing);
	struct qga *g = connect_to(p);
	struct err e = { 0 };

	EXPECT_EQ(qga_ping(g, 50, &e), -ETIMEDOUT);
	EXPECT_STREQ(e.msg, "guest-ping: no guest agent answers");
	qga_free(g);
	peer_join(p);
}

/* The agent starts after the first sync was thrown away. */
SCRIPT(comes_up_late)
{
	peer_hear(p);
	sync_up(p);
	answer(p, "{}");
	peer_hear(p);
}

TEST(sync_is_sent_again)
{
	struct peer *p = peer_start(comes_up_late);
	struct qga *g = connect_to(p);
	struct err e = { 0 };

	EXPECT_EQ(qga_ping(g, 9000, &e), 0);
	qga_free(g);
	peer_join(p);
}

/* The agent starts with two syncs in its buffer, and answers both. */
SCRIPT(wakes_up_to_two_syncs)
{
	static const char stray[] =
		"{\"error\": {\"class\": \"GenericError\", \"desc\": "
		"\"JSON parse error, stray '\xef\xbf\xbd'\"}}\n";
	unsigned long long first;
	char text[128];

	peer_hear(p);
	first = peer_id(p);
	peer_hear(p);
	peer_say(p, stray);
	snprintf(text, sizeof(text), "\xff{\"return\": %llu}\n", first);
	peer_say(p, text);
	snprintf(text, sizeof(text), "\xff{\"return\": %llu}\n", peer_id(p));
	peer_hear(p); /* the ping */
	peer_say(p, stray);
	peer_say(p, text);
	peer_say(p, "{\"return\": {}}\n");
	peer_hear(p);
}

TEST(the_answer_to_an_older_sync_is_no_answer_to_a_request)
{
	struct peer *p = peer_start(wakes_up_to_two_syncs);
	struct qga *g = connect_to(p);
	struct err e = { 0 };

	EXPECT_EQ(qga_ping(g, 9000, &e), 0);
	EXPECT_STREQ(e.msg, "");
	qga_free(g);
	peer_join(p);
}

SCRIPT(floods)
{
	static char junk[1 << 16];

	memset(junk, 'x', sizeof(junk));
	sync_up(p);
	peer_hear(p);
	for (int i = 0; i < 200; i++)
		peer_send(p, junk, sizeof(junk));
	peer_say(p, "\n");
	peer_hear(p);
	peer_say(p, "garbage\n\n\xff\xff\n{}\n");
	snprintf(p->line, sizeof(p->line), "\xff{\"return\": %llu}\n",
		 peer_id(p));
	peer_say(p, p->line);
	peer_hear(p);
	peer_say(p, "{\"neither\": 1}\n");
	sync_up(p);
	answer(p, "{}");
	peer_hear(p);
}

TEST(flood_ends_the_request_not_the_channel)
{
	struct peer *p = peer_start(floods);
	struct qga *g = connect_to(p);
	struct err e = { 0 };

	EXPECT_EQ(qga_ping(g, 9000, &e), -EMSGSIZE);
	EXPECT_STREQ(
		e.msg,
		"guest-ping: the guest agent's answer is over 8388608 bytes");
	EXPECT_EQ(qga_ping(g, 9000, &e), -EBADMSG);
	EXPECT_STREQ(e.msg,
		     "guest-ping: the guest agent's answer makes no sense");
	EXPECT_EQ(qga_ping(g, 9000, &e), 0);
	qga_free(g);
	peer_join(p);
}

SCRIPT(runs_a_program)
{
	sync_up(p);
	answer(p, "{\"pid\": 42}");
	answer(p, "{\"exited\": false}");
	answer(p, "{\"exited\": true, \"exitcode\": 3, \"out-data\": "
		  "\"aGVsbG8K\", \"err-data\": \"AAE=\", \"out-truncated\": "
		  "true}");
	answer(p, "{\"pid\": 43}");
	answer(p, "{\"exited\": true, \"signal\": 9}");
	answer(p, "{\"pid\": 44}");
	answer(p, "{\"exited\": true, \"exitcode\": 0, \"out-data\": \"a=b\"}");
	peer_hear(p);
}

TEST(program_output_and_status)
{
	struct peer *p = peer_start(runs_a_program);
	struct qga *g = connect_to(p);
	const char *const argv[] = { "/bin/x", "-v", NULL };
	struct qga_exec_result res = { 0 };
	struct err e = { 0 };

	EXPECT_EQ(qga_exec(g, argv, NULL, "in", 2, 5000, &res, &e), 0);
	EXPECT_EQ(res.exited, true);
	EXPECT_EQ(res.code, 3);
	EXPECT_STREQ(res.out, "hello\n");
	EXPECT_EQ(res.err_len, 2);
	EXPECT_EQ(memcmp(res.err_out, "\0\1", 3), 0);
	EXPECT_EQ(res.truncated, true);
	qga_exec_result_clear(&res);
	EXPECT_EQ(qga_exec(g, argv, NULL, NULL, 0, 5000, &res, &e), 0);
	EXPECT_EQ(res.exited, false);
	EXPECT_EQ(res.signal, 9);
	EXPECT_STREQ(res.out, "");
	qga_exec_result_clear(&res);
	EXPECT_EQ(qga_exec(g, argv, NULL, NULL, 0, 5000, &res, &e), -EBADMSG);
	EXPECT_STREQ(e.msg, "guest-exec-status: output is not base64");
	qga_free(g);
	peer_join(p);
}

static atomic_bool nobody_waits, killed;

SCRIPT(runs_for_ever)
{
	sync_up(p);
	answer(p, "{\"pid\": 42}");
	answer(p, "{\"exited\": false}");
	atomic_store(&nobody_waits, true);
	do {
		peer_hear(p);
		if (strstr(p->line, "guest-exec-status"))
			peer_say(p, "{\"return\": {\"exited\": false}}\n");
	} while (strstr(p->line, "guest-exec-status"));
	atomic_store(&killed, strstr(p->line, "\"guest-exec\"") &&
				      strstr(p->line, "kill -9") &&
				      strstr(p->line, "\"42\""));
	peer_say(p, "{\"return\": {\"pid\": 99}}\n");
	peer_hear(p);
}

TEST(a_program_nobody_waits_for_is_killed)
{
	struct peer *p = peer_start(runs_for_ever);
	struct qga *g = connect_to(p);
	const char *const argv[] = { "sleep", "100", NULL };
	struct qga_exec_result res = { 0 };
	struct err e = { 0 };

	EXPECT_EQ(qga_exec_until(g, argv, NULL, NULL, 0, 5000, &nobody_waits,
				 &res, &e),
		  -ECANCELED);
	EXPECT_EQ(atomic_load(&killed), true);
	/* And one that nobody waits for to begin with is not even started. */
	EXPECT_EQ(qga_exec_until(g, argv, NULL, NULL, 0, 5000, &nobody_waits,
				 &res, &e),
		  -ECANCELED);
	qga_free(g);
	peer_join(p);
}

SCRIPT(serves_a_file)
{
	sync_up(p);
	answer(p, "1000");
	answer(p, "{\"count\": 3, \"buf-b64\": \"YWJj\", \"eof\": false}");
	answer(p, "{\"count\": 2, \"buf-b64\": \"ZGU=\", \"eof\": true}");
	answer(p, "{}");
	answer(p, "1001");
	for (int i = 0; i < 100; i++) {
		peer_hear(p);
		if (strstr(p->line, "guest-file-close"))
			break;
		peer_say(p, "{\"return\": {\"count\": 3, \"buf-b64\": "
			    "\"YWJj\", \"eof\": false}}\n");
	}
	peer_say(p, "{\"return\": {}}\n");
	peer_hear(p);
}

TEST(file_is_read_up_to_the_limit)
{
	struct peer *p = peer_start(serves_a_file);
	struct qga *g = connect_to(p);
	struct buf b = BUF_INIT;
	struct err e = { 0 };

	EXPECT_EQ(qga_file_read(g, "/proc/x", 100, 5000, &b, &e), 0);
	EXPECT_STREQ(buf_str(&b), "abcde");
	buf_reset(&b);
	EXPECT_EQ(qga_file_read(g, "/endless", 10, 5000, &b, &e), -EFBIG);
	EXPECT_STREQ(e.msg, "'/endless' in the guest is over 10 bytes");
	buf_clear(&b);
	qga_free(g);
	peer_join(p);
}

SCRIPT(has_odd_interfaces)
{
	sync_up(p);
	answer(p, "[{\"name\": \"lo\", \"ip-addresses\": [{\"ip-address\": "
		  "\"127.0.0.1\", \"prefix\": 8}]}, {\"name\": \"eth0\", "
		  "\"hardware-address\": \"02:00:00:00:00:0z\", "
		  "\"ip-addresses\": [{\"ip-address\": \"10.0.0.7\", "
		  "\"prefix\": 24}, {\"ip-address\": \"$(reboot)\", "
		  "\"prefix\": 24}, {\"ip-address\": \"fe80::1\", \"prefix\": "
		  "64}]}]");
	peer_hear(p);
}

TEST(only_addresses_are_addresses)
{
	struct peer *p = peer_start(has_odd_interfaces);
	struct qga *g = connect_to(p);
	struct qga_iface *ifs = NULL;
	struct err e = { 0 };
	size_t nr = 0;

	EXPECT_EQ(qga_get_interfaces(g, 5000, &ifs, &nr, &e), 0);
	ASSERT_EQ(nr, 2);
	EXPECT_STREQ(ifs[1].mac, "");
	ASSERT_EQ(ifs[1].nr_addrs, 2);
	EXPECT_STREQ(ifs[1].addrs[0], "10.0.0.7/24");
	EXPECT_STREQ(ifs[1].addrs[1], "fe80::1/64");
	qga_ifaces_free(ifs, nr);
	qga_free(g);
	peer_join(p);
}

SCRIPT(dies)
{
	sync_up(p);
	peer_hear(p);
	peer_say(p, "{\"ret");
}

TEST(end_of_qemu_ends_all_requests)
{
	struct peer *p = peer_start(dies);
	struct qga *g = connect_to(p);
	struct qga_request *a = NULL, *b = NULL;
	struct err e = { 0 };

	ASSERT_EQ(qga_submit(g, "guest-ping", NULL, 9000, &a, &e), 0);
	ASSERT_EQ(qga_submit(g, "guest-ping", NULL, 9000, &b, &e), 0);
	EXPECT_EQ(qga_poll(b, 9000, NULL, &e), -EPIPE);
	EXPECT_STREQ(e.msg, "QEMU has closed the connection");
	EXPECT_EQ(qga_poll(a, 0, NULL, &e), -EPIPE);
	qga_request_free(a);
	qga_request_free(b);
	qga_free(g);
	peer_join(p);
}

SCRIPT(is_slow)
{
	sync_up(p);
	peer_hear(p);
	/* "late" is asked for only after the first poll came back empty */
	peer_hear(p);
}

/* A request that was dropped must not leave its answer to the next one. */
SCRIPT(answers_the_dropped)
{
	sync_up(p);
	peer_hear(p);
	peer_hear(p); /* sync, since the first was dropped */
	peer_say(p, "{\"return\": \"dropped\"}\n");
	snprintf(p->line, sizeof(p->line), "\xff{\"return\": %llu}\n",
		 peer_id(p));
	peer_say(p, p->line);
	answer(p, "\"frozen\"");
	peer_hear(p);
}

TEST(polling_does_not_wait)
{
	struct peer *p = peer_start(is_slow);
	struct qga *g = connect_to(p);
	struct qga_request *rq = NULL;
	long long begin = peer_now_ms();
	struct err e = { 0 };

	ASSERT_EQ(qga_submit(g, "guest-set-vcpus", NULL, 60000, &rq, &e), 0);
	EXPECT_EQ(qga_poll(rq, 0, NULL, &e), -EAGAIN);
	EXPECT_EQ(qga_poll(rq, 20, NULL, &e), -EAGAIN);
	EXPECT_GE(1000, peer_now_ms() - begin);
	qga_request_free(rq);
	qga_free(g);
	peer_join(p);
}

TEST(dropped_request_is_forgotten)
{
	struct peer *p = peer_start(answers_the_dropped);
	struct qga *g = connect_to(p);
	struct qga_request *rq = NULL;
	struct err e = { 0 };
	bool frozen = false;

	ASSERT_EQ(qga_submit(g, "guest-info", NULL, 60000, &rq, &e), 0);
	EXPECT_EQ(qga_poll(rq, 100, NULL, &e), -EAGAIN);
	qga_request_free(rq);
	EXPECT_EQ(qga_fs_is_frozen(g, 9000, &frozen, &e), 0);
	EXPECT_EQ(frozen, true);
	qga_free(g);
	peer_join(p);
}

TEST_MAIN()
