// SPDX-License-Identifier: Apache-2.0
/*
 * The QMP protocol against a scripted peer, mostly an ill-behaved one.
 *
 * LANE: native
 * SECONDS: 120
 */
#include <poll.h>

#include "selftests/harness.h"
#include "selftests/qmp/peer.h"
#include "lib/err.h"
#include "qmp/machine.h"
#include "qmp/qmp.h"

#define SCRIPT(name) static void name(struct peer *p)

static struct qmp *connect_to(struct peer *p, struct err *e)
{
	struct qmp *q = NULL;

	if (qmp_open_fd(p->ours, 5000, &q, e) < 0) {
		close(p->ours);
		return NULL;
	}
	return q;
}

SCRIPT(answers_two)
{
	peer_greet(p);
	peer_hear(p);
	peer_reply(p, peer_id(p),
		   "{\"status\": \"paused\", \"running\": false}");
	peer_hear(p);
	peer_reply(p, peer_id(p), "[]");
}

TEST(greets_and_calls)
{
	struct peer *p = peer_start(answers_two);
	enum qmp_run_state state;
	struct err e = { 0 };
	struct qmp *q = connect_to(p, &e);
	struct qmp_cpu *cpus = NULL;
	bool running = true;
	size_t nr = 99;

	EXPECT_STREQ(e.msg, "");
	EXPECT_EQ(qmp_version(q)->major, 7);
	EXPECT_EQ(qmp_version(q)->micro, 22);
	EXPECT_STREQ(qmp_version(q)->package, "fake");
	EXPECT_EQ(qmp_query_status(q, 5000, &state, &running, &e), 0);
	EXPECT_EQ(state, QMP_RUN_PAUSED);
	EXPECT_EQ(running, false);
	EXPECT_EQ(qmp_query_cpus(q, 5000, &cpus, &nr, &e), 0);
	EXPECT_EQ(nr, 0);
	free(cpus);
	qmp_free(q);
	peer_join(p);
}

SCRIPT(says_ssh)
{
	peer_say(p, "SSH-2.0-OpenSSH_9.2\r\n");
}

TEST(something_else_is_no_qmp)
{
	struct peer *p = peer_start(says_ssh);
	struct err e = { 0 };

	EXPECT_EQ(connect_to(p, &e) == NULL, 1);
	EXPECT_EQ(e.code, -EBADMSG);
	EXPECT_STREQ(
		e.msg,
		"QEMU sent a line that is no JSON object, or is nested too deep");
	peer_join(p);
}

SCRIPT(says_nothing)
{
	peer_hear(p);
}

TEST(no_greeting_is_explained)
{
	struct peer *p = peer_start(says_nothing);
	struct qmp *q = NULL;
	struct err e = { 0 };

	EXPECT_EQ(qmp_open_fd(p->ours, 50, &q, &e), -ETIMEDOUT);
	EXPECT_STREQ(
		e.msg,
		"no greeting from QEMU in time: is another client connected?");
	close(p->ours);
	peer_join(p);
}

SCRIPT(refuses)
{
	char text[256];

	peer_greet(p);
	peer_hear(p);
	snprintf(text, sizeof(text),
		 "{\"id\": %llu, \"error\": {\"class\": \"GenericError\", "
		 "\"desc\": \"Bus 'x'\\nnot found\"}}\r\n",
		 peer_id(p));
	peer_say(p, text);
	peer_hear(p);
	snprintf(text, sizeof(text),
		 "{\"id\": %llu, \"error\": {\"class\": \"CommandNotFound\", "
		 "\"desc\": \"The command foo has not been found\"}}\r\n",
		 peer_id(p));
	peer_say(p, text);
}

TEST(refusal_carries_qemus_words)
{
	struct peer *p = peer_start(refuses);
	struct err e = { 0 };
	struct qmp *q = connect_to(p, &e);

	EXPECT_EQ(qmp_call(q, "device_add", NULL, 5000, NULL, &e), -EREMOTEIO);
	EXPECT_STREQ(e.msg, "device_add: Bus 'x' not found");
	EXPECT_EQ(qmp_call(q, "foo", NULL, 5000, NULL, &e), -EOPNOTSUPP);
	EXPECT_STREQ(e.msg, "foo: The command foo has not been found");
	qmp_free(q);
	peer_join(p);
}

/* Every byte a packet of its own, and then two messages in one. */
SCRIPT(splits_and_joins)
{
	const char *event =
		"{\"event\": \"STOP\", \"timestamp\": {\"seconds\": "
		"1, \"microseconds\": 5}}\r\n";
	char both[512];

	peer_greet(p);
	for (const char *c = event; *c; c++)
		peer_send(p, c, 1);
	peer_hear(p);
	snprintf(both, sizeof(both), "%s{\"return\": {\"status\": \"run",
		 event);
	peer_say(p, both);
	snprintf(both, sizeof(both),
		 "ning\", \"running\": true}, \"id\": %llu}\r\n\r\n%s",
		 peer_id(p), event);
	peer_say(p, both);
	peer_hear(p);
}

TEST(message_borders_do_not_matter)
{
	struct peer *p = peer_start(splits_and_joins);
	struct err e = { 0 };
	struct qmp *q = connect_to(p, &e);
	enum qmp_run_state state = QMP_RUN_OTHER;
	struct qmp_event ev = { 0 };
	int nr = 0;

	EXPECT_EQ(qmp_query_status(q, 5000, &state, NULL, &e), 0);
	EXPECT_EQ(state, QMP_RUN_RUNNING);
	while (nr < 3) {
		struct pollfd pfd = { .fd = qmp_fd(q), .events = POLLIN };

		ASSERT_EQ(poll(&pfd, 1, 5000), 1);
		EXPECT_EQ(qmp_dispatch(q, &e), 0);
		while (qmp_event_next(q, &ev) == 0) {
			EXPECT_STREQ(ev.name, "STOP");
			EXPECT_EQ(ev.time_us, 1000005);
			EXPECT_EQ(ev.lost, 0);
			qmp_event_clear(&ev);
			nr++;
		}
	}
	EXPECT_EQ(qmp_event_next(q, &ev), -EAGAIN);
	qmp_free(q);
	peer_join(p);
}

/* Late answer to the first, an answer to nobody, an error without an id, then
 * the right one. */
SCRIPT(answers_late)
{
	unsigned long long first;

	peer_greet(p);
	peer_hear(p);
	first = peer_id(p);
	peer_hear(p);
	peer_reply(p, first, "\"late\"");
	peer_reply(p, 123456789, "\"nobody\"");
	peer_say(p, "{\"error\": {\"class\": \"GenericError\", \"desc\": "
		    "\"who?\"}}\r\n");
	peer_say(p, "{\"return\": {}, \"id\": \"a string\"}\r\n");
	peer_reply(p, peer_id(p), "\"right\"");
	peer_reply(p, peer_id(p), "\"again\"");
	peer_hear(p);
	peer_reply(p, peer_id(p), "\"third\"");
}

TEST(late_and_foreign_answers_are_discarded)
{
	struct peer *p = peer_start(answers_late);
	struct err e = { 0 };
	struct qmp *q = connect_to(p, &e);
	struct qmp_reply reply = { 0 };
	long long begin = peer_now_ms();

	EXPECT_EQ(qmp_call(q, "slow", NULL, 50, NULL, &e), -ETIMEDOUT);
	EXPECT_STREQ(e.msg, "slow: no answer from QEMU in time");
	EXPECT_GE(2000, peer_now_ms() - begin);
	EXPECT_EQ(qmp_call(q, "second", NULL, 5000, &reply, &e), 0);
	EXPECT_STREQ(yyjson_get_str(reply.value), "right");
	qmp_reply_clear(&reply);
	EXPECT_EQ(qmp_call(q, "third", NULL, 5000, &reply, &e), 0);
	EXPECT_STREQ(yyjson_get_str(reply.value), "third");
	qmp_reply_clear(&reply);
	qmp_free(q);
	peer_join(p);
}

SCRIPT(dies_in_answer)
{
	peer_greet(p);
	peer_hear(p);
	peer_say(p, "{\"return\": {\"sta");
}

TEST(disconnect_in_an_answer)
{
	struct peer *p = peer_start(dies_in_answer);
	struct err e = { 0 };
	struct qmp *q = connect_to(p, &e);

	EXPECT_EQ(qmp_call(q, "query-status", NULL, 5000, NULL, &e), -EPIPE);
	EXPECT_STREQ(e.msg, "QEMU has closed the connection");
	e.msg[0] = '\0';
	EXPECT_EQ(qmp_call(q, "query-status", NULL, 5000, NULL, &e), -EPIPE);
	EXPECT_STREQ(e.msg, "QEMU has closed the connection");
	EXPECT_EQ(qmp_error(q, NULL), -EPIPE);
	EXPECT_EQ(qmp_dispatch(q, NULL), -EPIPE);
	EXPECT_EQ(qmp_quit(q, 100, NULL), 0);
	qmp_free(q);
	peer_join(p);
}

SCRIPT(never_ends_a_line)
{
	static char junk[1 << 16];

	memset(junk, 'x', sizeof(junk));
	peer_greet(p);
	peer_hear(p);
	for (int i = 0; i < 128; i++)
		peer_send(p, junk, sizeof(junk));
}

TEST(endless_line_ends_the_connection)
{
	struct peer *p = peer_start(never_ends_a_line);
	struct err e = { 0 };
	struct qmp *q = connect_to(p, &e);

	EXPECT_EQ(qmp_call(q, "query-status", NULL, 9000, NULL, &e), -EMSGSIZE);
	EXPECT_STREQ(e.msg, "QEMU sent a line of over 4194304 bytes");
	qmp_free(q);
	peer_join(p);
}

SCRIPT(nests)
{
	peer_greet(p);
	peer_hear(p);
	peer_say(p, "{\"return\": ");
	for (int i = 0; i < 100; i++)
		peer_say(p, "[");
	for (int i = 0; i < 100; i++)
		peer_say(p, "]");
	peer_say(p, "}\r\n");
}

TEST(deep_nesting_ends_the_connection)
{
	struct peer *p = peer_start(nests);
	struct err e = { 0 };
	struct qmp *q = connect_to(p, &e);

	EXPECT_EQ(qmp_call(q, "query-status", NULL, 5000, NULL, &e), -EBADMSG);
	qmp_free(q);
	peer_join(p);
}

SCRIPT(floods_events)
{
	char text[256];

	peer_greet(p);
	peer_hear(p);
	for (int i = 0; i < 1000; i++) {
		snprintf(
			text, sizeof(text),
			"{\"event\": \"RTC_CHANGE\", \"data\": {\"n\": %d}}\r\n",
			i);
		peer_say(p, text);
	}
	peer_reply(p, peer_id(p), "{}");
	peer_hear(p);
	peer_say(p, "{\"event\": \"STOP\"}\r\n");
	peer_reply(p, peer_id(p), "{}");
}

TEST(event_flood_is_bounded_and_counted)
{
	struct peer *p = peer_start(floods_events);
	struct err e = { 0 };
	struct qmp *q = connect_to(p, &e);
	struct qmp_event ev = { 0 };
	int nr = 0;

	EXPECT_EQ(qmp_call(q, "stop", NULL, 9000, NULL, &e), 0);
	EXPECT_EQ(qmp_event_next(q, &ev), 0);
	EXPECT_EQ(ev.lost, 1000 - QMP_EVENTS_MAX);
	EXPECT_EQ(yyjson_get_int(yyjson_obj_get(ev.data, "n")),
		  1000 - QMP_EVENTS_MAX);
	qmp_event_clear(&ev);
	for (nr = 1; qmp_event_next(q, &ev) == 0; nr++) {
		EXPECT_EQ(ev.lost, 0);
		qmp_event_clear(&ev);
	}
	EXPECT_EQ(nr, QMP_EVENTS_MAX);
	EXPECT_EQ(qmp_call(q, "stop", NULL, 5000, NULL, &e), 0);
	EXPECT_EQ(qmp_event_next(q, &ev), 0);
	EXPECT_EQ(ev.lost, 0);
	qmp_event_clear(&ev);
	qmp_free(q);
	peer_join(p);
}

SCRIPT(unplugs)
{
	peer_greet(p);
	peer_hear(p);
	peer_reply(p, peer_id(p), "{}");
	peer_say(p, "{\"event\": \"DEVICE_DELETED\", \"data\": {\"device\": "
		    "\"other\", \"path\": \"/x\"}}\r\n");
	peer_say(p, "{\"event\": \"DEVICE_DELETED\", \"data\": {\"device\": "
		    "\"dimm0\", \"path\": \"/x\"}}\r\n");
	peer_hear(p);
	peer_reply(p, peer_id(p), "{}");
	peer_say(p, "{\"event\": \"DEVICE_UNPLUG_GUEST_ERROR\", \"data\": "
		    "{\"device\": \"cpu1\", \"path\": \"/y\"}}\r\n");
	peer_hear(p);
	peer_reply(p, peer_id(p), "{}");
	peer_hear(p);
}

TEST(unplug_is_told_from_its_events)
{
	struct peer *p = peer_start(unplugs);
	struct err e = { 0 };
	struct qmp *q = connect_to(p, &e);

	EXPECT_EQ(qmp_device_del(q, "dimm0", 5000, 5000, &e), 0);
	EXPECT_EQ(qmp_device_del(q, "cpu1", 5000, 5000, &e), -EBUSY);
	EXPECT_STREQ(e.msg, "device_del: the guest refused to give up 'cpu1'");
	EXPECT_EQ(qmp_device_del(q, "cpu2", 5000, 40, &e), -ETIMEDOUT);
	EXPECT_STREQ(e.msg, "device_del: the guest has not let go of 'cpu2'");
	qmp_free(q);
	peer_join(p);
}

/* Whenever two commands are there, the second is answered first. */
SCRIPT(reorders)
{
	char text[64];

	peer_greet(p);
	while (peer_hear(p)[0]) {
		unsigned long long first = peer_id(p);

		if (memchr(p->next, '\n', p->have)) {
			peer_hear(p);
			snprintf(text, sizeof(text), "%llu", peer_id(p));
			peer_reply(p, peer_id(p), text);
			peer_say(p, "{\"event\": \"STOP\"}\r\n");
		}
		peer_say(p, "{\"event\": \"STOP\"}\r\n");
		snprintf(text, sizeof(text), "%llu", first);
		peer_reply(p, first, text);
	}
}

#define CALLERS 8
#define CALLS   200

struct caller {
	struct qmp *q;
	int failed;
};

static void *call_often(void *arg)
{
	struct caller *c = arg;

	for (int i = 0; i < CALLS; i++) {
		struct qmp_reply reply = { 0 };

		if (qmp_call(c->q, "x", NULL, 9000, &reply, NULL) < 0 ||
		    !yyjson_is_uint(reply.value))
			c->failed++;
		qmp_reply_clear(&reply);
	}
	return NULL;
}

TEST(many_callers_beside_an_event_loop)
{
	struct peer *p = peer_start(reorders);
	struct err e = { 0 };
	struct qmp *q = connect_to(p, &e);
	struct caller c[CALLERS] = { 0 };
	pthread_t t[CALLERS];
	struct qmp_event ev = { 0 };
	int nr = 0;

	for (int i = 0; i < CALLERS; i++) {
		c[i].q = q;
		ASSERT_EQ(pthread_create(&t[i], NULL, call_often, &c[i]), 0);
	}
	while (nr < CALLERS * CALLS) {
		struct pollfd pfd = { .fd = qmp_fd(q), .events = POLLIN };

		ASSERT_EQ(poll(&pfd, 1, 9000), 1);
		EXPECT_EQ(qmp_dispatch(q, &e), 0);
		while (qmp_event_next(q, &ev) == 0) {
			nr += 1 + (int)ev.lost;
			qmp_event_clear(&ev);
		}
	}
	for (int i = 0; i < CALLERS; i++) {
		pthread_join(t[i], NULL);
		EXPECT_EQ(c[i].failed, 0);
	}
	EXPECT_EQ(nr, CALLERS * CALLS);
	qmp_free(q);
	peer_join(p);
}

static void *say_stop_later(void *arg)
{
	struct peer *p = arg;

	peer_say(p, "{\"event\": \"STOP\"}\r\n");
	return NULL;
}

SCRIPT(only_greets)
{
	peer_greet(p);
	peer_hear(p);
}

TEST(event_loop_wakes_for_what_a_caller_has_read)
{
	struct peer *p = peer_start(only_greets);
	struct err e = { 0 };
	struct qmp *q = connect_to(p, &e);
	struct qmp_event ev = { 0 };
	struct qmp_watch *w = NULL;
	struct pollfd pfd;
	pthread_t t;

	ASSERT_EQ(qmp_watch_add(q, "RESET,STOP", NULL, NULL, &w), 0);
	ASSERT_EQ(pthread_create(&t, NULL, say_stop_later, p), 0);
	EXPECT_EQ(qmp_watch_wait(w, 5000, &ev, &e), 0);
	EXPECT_STREQ(ev.name, "STOP");
	qmp_event_clear(&ev);
	EXPECT_EQ(qmp_watch_wait(w, 0, &ev, &e), -ETIMEDOUT);
	EXPECT_STREQ(e.msg, "no RESET,STOP from QEMU in time");
	pfd = (struct pollfd){ .fd = qmp_fd(q), .events = POLLIN };
	EXPECT_EQ(poll(&pfd, 1, 5000), 1);
	EXPECT_EQ(qmp_event_next(q, &ev), 0);
	EXPECT_STREQ(ev.name, "STOP");
	qmp_event_clear(&ev);
	EXPECT_EQ(poll(&pfd, 1, 0), 0);
	pthread_join(t, NULL);
	qmp_watch_free(w);
	qmp_free(q);
	peer_join(p);
}

SCRIPT(greets_and_stalls)
{
	struct pollfd hung_up = { .fd = p->fd, .events = POLLRDHUP };

	peer_greet(p);
	poll(&hung_up, 1, -1);
}

TEST(peer_that_never_reads_does_not_block_us)
{
	struct peer *p = peer_start(greets_and_stalls);
	struct err e = { 0 };
	struct qmp *q = connect_to(p, &e);
	struct qmp_args args = { 0 };
	char *big = calloc(1, 1 << 20);
	int r = 0;

	memset(big, 'a', (1 << 20) - 1);
	qmp_arg_str(&args, "x", big);
	for (int i = 0; i < 20 && r != -EBUSY; i++) {
		r = qmp_call(q, "x", &args, 10, NULL, &e);
		EXPECT_EQ(r == -ETIMEDOUT || r == -EBUSY, 1);
	}
	EXPECT_EQ(r, -EBUSY);
	EXPECT_STREQ(e.msg, "x: QEMU does not read its commands");
	qmp_args_clear(&args);
	free(big);
	shutdown(p->fd, SHUT_RDWR);
	qmp_free(q);
	peer_join(p);
}

TEST(no_socket_is_explained)
{
	struct qmp *q = NULL;
	struct err e = { 0 };

	EXPECT_EQ(qmp_open("./none.sock", 100, &q, &e), -ENOENT);
	EXPECT_STREQ(e.msg,
		     "connect to './none.sock': No such file or directory");
}

TEST(invalid_utf8_is_not_sent)
{
	struct peer *p = peer_start(only_greets);
	struct err e = { 0 };
	struct qmp *q = connect_to(p, &e);
	struct qmp_args args = { 0 };

	qmp_arg_str(&args, "id", "a\xff");
	EXPECT_EQ(qmp_call(q, "device_del", &args, 100, NULL, &e), -EINVAL);
	qmp_args_clear(&args);
	qmp_free(q);
	peer_join(p);
}

TEST_MAIN()
