// SPDX-License-Identifier: Apache-2.0
/* LANE: native SECONDS: 60 */
/* Lists in pages of one snapshot, and what a read costs in system calls. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "controlplane/apiserver/listing.h"
#include "controlplane/store/internal.h"
#include "lib/http/tls.h"
#include "selftests/controlplane/apiserver/world.h"

#define OBJECTS 3000
#define VALUE   3000 /* bytes: all of it is more than a socket takes */
#define SHORT   150

/* The server's; OpenSSL's own sockets, the client's, use read() and write(). */
static atomic_long nr_sends, nr_recvs;

ssize_t send(int fd, const void *data, size_t len, int flags)
{
	atomic_fetch_add(&nr_sends, 1);
	return syscall(SYS_sendto, fd, data, len, flags, NULL, 0);
}

ssize_t recv(int fd, void *data, size_t len, int flags)
{
	atomic_fetch_add(&nr_recvs, 1);
	return syscall(SYS_recvfrom, fd, data, len, flags, NULL, NULL);
}

/* --- objects, as many at once as the store takes --- */

static int change_all(struct api *api, int value, bool remove)
{
	static struct store_op ops[OBJECTS];
	static char keys[OBJECTS][64], data[OBJECTS][VALUE + 100];
	static const char *const tags[] = { "l:app\0web", "l:app\0sql" };

	for (size_t i = 0; i < OBJECTS; i++) {
		snprintf(keys[i], sizeof(keys[i]),
			 "core/configmaps/system/default/m-%05zu", i);
		snprintf(data[i], sizeof(data[i]),
			 "{\"metadata\":{\"name\":\"m-%05zu\"},\"data\":{"
			 "\"v\":\"%0*d\"}}",
			 i, value, 0);
		ops[i] = (struct store_op){ .key = keys[i],
					    .remove = remove,
					    .data = data[i],
					    .len = strlen(data[i]),
					    .rv_off = STORE_NO_RV,
					    .tags = tags[i % 2],
					    .tags_len = 10 };
	}
	for (size_t i = 0; i < OBJECTS; i += 1000) {
		struct store_txn txn = { .ops = ops + i, .nr_ops = 1000 };
		int r = store_commit(api->store, &txn, NULL);

		for (size_t k = i; k < i + 1000; k++)
			object_unref(ops[k].ret);
		if (r < 0)
			return r;
	}
	return 0;
}

/* --- a client that reads when it is told to --- */

static SSL *dial(struct world *w, int rcvbuf)
{
	static SSL_CTX *ctx;
	auto_buf struct buf cert = BUF_INIT, key = BUF_INIT;
	struct cert_request req = { .common_name = "tester",
				    .organizations = "system:masters",
				    .days = 1 };
	struct tls_client_opts o = { .server_ca_pem = ca_cert_pem(w->api->ca) };
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_port = htons(api_port(w->api)),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	SSL *ssl;

	if (ca_issue(w->api->ca, &req, &cert, &key, NULL) < 0)
		return NULL;
	o.cert_pem = buf_str(&cert);
	o.key_pem = buf_str(&key);
	if (tls_client_new(&o, &ctx, NULL) < 0)
		return NULL;
	if (rcvbuf)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &rcvbuf, sizeof(rcvbuf));
	ssl = SSL_new(ctx);
	SSL_CTX_free(ctx); /* the session holds it */
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0 ||
	    SSL_set_fd(ssl, fd) != 1 || SSL_connect(ssl) != 1)
		return NULL;
	return ssl;
}

static void hang_up(SSL *ssl)
{
	int fd = SSL_get_fd(ssl);

	SSL_free(ssl);
	close(fd);
}

static bool send_get(SSL *ssl, const char *path)
{
	char text[512];
	int n = snprintf(text, sizeof(text),
			 "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", path);

	return SSL_write(ssl, text, n) == n;
}

/* Until @end has come. */
static bool read_until(SSL *ssl, const char *end, struct buf *got)
{
	char data[16384];
	size_t len = strlen(end);

	while (got->len < len || !memmem(got->data, got->len, end, len)) {
		int n = SSL_read(ssl, data, sizeof(data));

		if (n <= 0)
			return false;
		buf_add(got, data, (size_t)n);
	}
	return true;
}

/* The names m-NNNNN in @b are those from @first on, every @step-th. */
static size_t count_names(const struct buf *b, size_t first, size_t step)
{
	const char *p = buf_str(b);
	size_t nr = 0;
	char want[64];

	for (;; nr++) {
		/* Chunks are cut anywhere: ends are looked for, not starts. */
		snprintf(want, sizeof(want), "\"m-%05zu\"", first + nr * step);
		p = strstr(p, want);
		if (!p)
			return nr;
		p += strlen(want);
	}
}

/* The body without what chunked coding has put between. */
static void unchunk(struct buf *b)
{
	auto_buf struct buf out = BUF_INIT;
	const char *p = strstr(buf_str(b), "\r\n\r\n");
	unsigned long n;

	for (p += 4; (n = strtoul(p, NULL, 16)); p += n + 2) {
		p = strstr(p, "\r\n") + 2;
		buf_add(&out, p, n);
	}
	buf_reset(b);
	buf_add(b, out.data, out.len);
}

static bool is_whole_list(struct buf *b, size_t items)
{
	yyjson_doc *doc;
	size_t nr;

	unchunk(b);
	doc = yyjson_read(b->data, b->len, 0);
	nr = yyjson_arr_size(yyjson_obj_get(yyjson_doc_get_root(doc), "items"));
	yyjson_doc_free(doc);
	if (nr != items)
		printf("# %zu items\n", nr);
	return nr == items;
}

#define MAPS "/api/v1/namespaces/default/configmaps"
#define END  "\r\n0\r\n\r\n"

TEST(pages_are_of_one_snapshot)
{
	auto_buf struct buf got = BUF_INIT;
	struct world w;
	uint64_t newest;
	SSL *ssl;

	ASSERT_EQ(world_start(&w), true);
	ASSERT_EQ(change_all(w.api, VALUE, false), 0);
	ssl = dial(&w, 0);
	ASSERT_EQ(ssl != NULL, true);
	ASSERT_EQ(send_get(ssl, MAPS), true);
	ASSERT_EQ(read_until(ssl, "\"m-00000\"", &got), true);
	/* Meanwhile all of it goes, and its history is to be forgotten. */
	ASSERT_EQ(change_all(w.api, VALUE, true), 0);
	newest = store_revision(w.api->store);
	(void)store_compact(w.api->store, newest, NULL);
	ASSERT_EQ(read_until(ssl, END, &got), true);
	EXPECT_EQ(is_whole_list(&got, OBJECTS + 1), true);
	EXPECT_EQ(count_names(&got, 0, 1), OBJECTS);
	hang_up(ssl);
	world_end(&w);
}

/* Who reads slowly holds no history: what is left is taken out of the store. */
TEST(a_snapshot_is_not_pinned_for_long)
{
	auto_buf struct buf got = BUF_INIT;
	struct world w;
	uint64_t newest;
	SSL *ssl;

	ASSERT_EQ(world_start(&w), true);
	ASSERT_EQ(change_all(w.api, VALUE, false), 0);
	ssl = dial(&w, 0);
	ASSERT_EQ(ssl != NULL, true);
	ASSERT_EQ(send_get(ssl, MAPS), true);
	ASSERT_EQ(read_until(ssl, "\"m-00000\"", &got), true);
	EXPECT_EQ(pin_oldest(w.api->store) != UINT64_MAX, true);
	while (pin_oldest(w.api->store) != UINT64_MAX)
		(void)poll(NULL, 0, 10);
	ASSERT_EQ(change_all(w.api, VALUE, true), 0);
	newest = store_revision(w.api->store);
	ASSERT_EQ(store_compact(w.api->store, newest, NULL), 0);
	ASSERT_EQ(read_until(ssl, END, &got), true);
	EXPECT_EQ(is_whole_list(&got, OBJECTS + 1), true);
	EXPECT_EQ(count_names(&got, 0, 1), OBJECTS);
	hang_up(ssl);
	world_end(&w);
}

TEST(a_selector_holds_on_every_page)
{
	auto_buf struct buf got = BUF_INIT;
	struct world w;
	SSL *ssl;

	ASSERT_EQ(world_start(&w), true);
	ASSERT_EQ(change_all(w.api, SHORT, false), 0);
	ssl = dial(&w, 0);
	ASSERT_EQ(ssl != NULL, true);
	ASSERT_EQ(send_get(ssl, MAPS "?labelSelector=app%3Dsql"), true);
	ASSERT_EQ(read_until(ssl, END, &got), true);
	EXPECT_EQ(is_whole_list(&got, OBJECTS / 2), true);
	EXPECT_EQ(count_names(&got, 1, 2), OBJECTS / 2);
	hang_up(ssl);
	world_end(&w);
}

TEST(a_get_is_one_recv_and_one_send)
{
	struct world w;
	long sends, recvs;
	SSL *ssl;

	ASSERT_EQ(world_start(&w), true);
	ASSERT_EQ(change_all(w.api, SHORT, false), 0);
	ssl = dial(&w, 0);
	ASSERT_EQ(ssl != NULL, true);
	sends = atomic_load(&nr_sends);
	recvs = atomic_load(&nr_recvs);
	for (int i = 0; i < 100; i++) {
		auto_buf struct buf got = BUF_INIT;

		ASSERT_EQ(send_get(ssl, MAPS "/m-00007"), true);
		ASSERT_EQ(read_until(ssl, "00\"}}", &got), true);
	}
	/* Not one for the head, one for the body; some more are not the
	 * requests'. */
	EXPECT_GE(110, atomic_load(&nr_sends) - sends);
	EXPECT_GE(150, atomic_load(&nr_recvs) - recvs);
	hang_up(ssl);
	world_end(&w);
}

TEST(a_list_is_sent_many_records_at_a_time)
{
	auto_buf struct buf got = BUF_INIT;
	struct world w;
	long sends;
	SSL *ssl;

	ASSERT_EQ(world_start(&w), true);
	ASSERT_EQ(change_all(w.api, SHORT, false), 0);
	ssl = dial(&w, 1 << 20);
	ASSERT_EQ(ssl != NULL, true);
	sends = atomic_load(&nr_sends);
	ASSERT_EQ(send_get(ssl, MAPS), true);
	ASSERT_EQ(read_until(ssl, END, &got), true);
	EXPECT_GE((long)got.len / OUT_CHUNK, atomic_load(&nr_sends) - sends);
	hang_up(ssl);
	world_end(&w);
}

TEST_MAIN()
