// SPDX-License-Identifier: Apache-2.0
// SECONDS: 240
/* Pulls from a real registry, alone with us in a network namespace. */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>

#include "selftests/harness.h"
#include "selftests/agent/image/make_image.h"

#define REGISTRY "127.0.0.1:5000"
#define APP      REGISTRY "/team/app"

#define REGISTRY_NEEDED()                                            \
	do {                                                         \
		if (geteuid() != 0)                                  \
			SKIP("root, for a network namespace");       \
		if (system("command -v docker-registry >/dev/null")) \
			SKIP("docker-registry");                     \
		if (enter_netns() < 0)                               \
			SKIP("network namespaces");                  \
	} while (0)

static const struct made one[] = { { "v1", 0, 0644, .data = "one" } };
static const struct made two[] = { { "v2", 0, 0644, .data = "two" } };

static pid_t registry;

static int enter_netns(void)
{
	struct ifreq lo = { .ifr_name = "lo",
			    .ifr_flags = IFF_UP | IFF_RUNNING };
	int fd, r;

	if (unshare(CLONE_NEWNET) < 0)
		return -1;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	r = ioctl(fd, SIOCSIFFLAGS, &lo);
	close(fd);
	return r;
}

/* Until it says that it listens. @http: more of that. */
static bool start_registry_at(const char *address, const char *http,
			      const char *more)
{
	char line[4096];
	int out[2];
	FILE *log;
	bool up = false;

	put_text("registry.yml",
		 "version: 0.1\nlog: {level: info}\nstorage: {filesystem: "
		 "{rootdirectory: registry}}\nhttp: {addr: '%s'%s}\n%s",
		 address, http, more);
	if (pipe(out) < 0)
		return false;
	registry = fork();
	if (registry == 0) {
		dup2(out[1], 1);
		dup2(out[1], 2);
		close(out[0]);
		close(out[1]);
		execlp("docker-registry", "docker-registry", "serve",
		       "registry.yml", NULL);
		_exit(127);
	}
	close(out[1]);
	log = fdopen(out[0], "re");
	while (!up && fgets(line, sizeof(line), log))
		up = strstr(line, "listening on") != NULL;
	/* Its log goes on into our pipe, which nobody reads: let it. */
	return up;
}

static bool start_registry(const char *more)
{
	return start_registry_at(REGISTRY, "", more);
}

static void stop_registry(void)
{
	kill(registry, SIGKILL);
	waitpid(registry, NULL, 0);
}

static bool push(const char *dir, const char *to)
{
	char *cmd = str_printf("skopeo copy -q --all --preserve-digests "
			       "--dest-creds user:secret "
			       "--dest-tls-verify=false oci:%s docker://%s",
			       dir, to);
	int r = system(cmd);

	free(cmd);
	return r == 0;
}

static int pull(struct image_store *s, const char *ref, enum pull_policy policy,
		struct image **ret, struct err *e)
{
	struct image_pull_opts o = { .policy = policy, .insecure_tls = true };

	return image_pull(s, ref, &o, ret, e);
}

TEST(an_image_is_pulled_as_its_policy_says)
{
	struct image *img = NULL, *again = NULL;
	struct oci_maker a, b;
	struct image_store *s;
	struct err e = { 0 };
	char ref[256];

	REGISTRY_NEEDED();
	make_oci(&a, "a", PACK_GZIP, one, 1);
	make_oci(&b, "b", PACK_ZSTD, two, 1);
	ASSERT_EQ(start_registry(""), 1);
	ASSERT_EQ(push("a", APP ":1"), 1);
	s = open_store(NULL);

	EXPECT_EQ(pull(s, APP ":1", PULL_NEVER, &img, &e), -ENOENT);
	EXPECT_STREQ(e.msg, "image '" APP ":1' is not here, and may not be "
			    "pulled: import it, or change imagePullPolicy");
	ASSERT_EQ(pull(s, APP ":1", PULL_IF_NOT_PRESENT, &img, &e), 0);
	EXPECT_STREQ(img->id, a.config_digest);
	EXPECT_STREQ(img->manifest_digest, a.manifest_digest);
	ASSERT_EQ(img->layers.nr, 1);
	ASSERT_EQ(chdir(img->layers.v[0]), 0);
	EXPECT_EQ(access("v1", F_OK), 0);
	ASSERT_EQ(chdir("../../../.."), 0);
	ASSERT_EQ(pull(s, "docker://" APP ":1", PULL_NEVER, &again, &e), 0);
	EXPECT_EQ(again == img, 1);
	image_unref(again);

	/* The tag moves. Only Always notices. */
	ASSERT_EQ(push("b", APP ":1"), 1);
	ASSERT_EQ(pull(s, APP ":1", PULL_IF_NOT_PRESENT, &again, &e), 0);
	EXPECT_STREQ(again->id, a.config_digest);
	image_unref(again);
	ASSERT_EQ(pull(s, APP ":1", PULL_ALWAYS, &again, &e), 0);
	EXPECT_STREQ(again->id, b.config_digest);
	image_unref(again);

	/* By digest, also what no tag means any more. */
	snprintf(ref, sizeof(ref), APP "@%s", a.manifest_digest);
	ASSERT_EQ(pull(s, ref, PULL_ALWAYS, &again, &e), 0);
	EXPECT_STREQ(again->id, a.config_digest);
	image_unref(again);

	EXPECT_EQ(pull(s, APP ":9", PULL_ALWAYS, &again, &e), -ENOENT);
	if (!strstr(e.msg, "pull '" APP ":9': skopeo: ") ||
	    !strstr(e.msg, "manifest unknown"))
		FAIL("%s", e.msg);
	EXPECT_STREQ(image_reason(PULL_ALWAYS, -ENOENT), "ErrImagePull");

	stop_registry();
	ASSERT_EQ(pull(s, APP ":1", PULL_IF_NOT_PRESENT, &again, &e), 0);
	image_unref(again);
	EXPECT_EQ(pull(s, APP ":1", PULL_ALWAYS, &again, &e), -ECONNREFUSED);
	EXPECT_EQ(count_dir("state/images/staging"), 0);
	image_unref(img);
	image_store_close(s);
}

TEST(an_import_of_that_name_is_never_asked_for)
{
	struct image *img = NULL;
	struct image_store *s;
	struct oci_maker a;
	struct err e = { 0 };

	if (geteuid() != 0)
		SKIP("root, to make files of any owner");
	make_oci(&a, "web", PACK_GZIP, one, 1);
	s = open_store(NULL);
	ASSERT_EQ(image_import(s, "oci:web", NULL, NULL, &e), 0);
	ASSERT_EQ(pull(s, "web", PULL_ALWAYS, &img, &e), 0);
	image_unref(img);
	image_store_close(s);
}

TEST(reasons_are_kubernetes_own)
{
	struct image_store *s = open_store(NULL);
	struct err e = { 0 };

	EXPECT_EQ(pull(s, "Not A Name", PULL_ALWAYS, NULL, &e), -EINVAL);
	EXPECT_STREQ(image_reason(PULL_ALWAYS, -EINVAL), "InvalidImageName");
	EXPECT_EQ(pull(s, "UPPER", PULL_IF_NOT_PRESENT, NULL, &e), -EINVAL);
	EXPECT_STREQ(image_reason(PULL_NEVER, -ENOENT), "ErrImageNeverPull");
	EXPECT_STREQ(image_reason(PULL_ALWAYS, -EKEYREJECTED),
		     "ErrImageVerify");
	EXPECT_STREQ(image_reason(PULL_ALWAYS, -EIO), "ErrImagePull");
	image_store_close(s);
}

/* An index of one image for us and one for another machine. */
static void make_index(struct oci_maker *a, struct oci_maker *foreign,
		       char digest[DIGEST_TEXT_MAX])
{
	char path[PATH_MAX], text[2048];
	struct stat st1, st2;
	long size;

	make_oci(a, "multi", PACK_GZIP, one, 1);
	oci_begin(foreign, "multi");
	oci_layer_add(foreign, PACK_GZIP, two, 1);
	oci_end(foreign, "{\"Cmd\":[\"other\"]}");
	snprintf(path, sizeof(path), "multi/blobs/sha256/%.64s",
		 digest_hex(a->manifest_digest));
	stat(path, &st1);
	snprintf(path, sizeof(path), "multi/blobs/sha256/%.64s",
		 digest_hex(foreign->manifest_digest));
	stat(path, &st2);
	snprintf(text, sizeof(text),
		 "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci."
		 "image.index.v1+json\",\"manifests\":[{\"mediaType\":"
		 "\"application/vnd.oci.image.manifest.v1+json\",\"digest\":"
		 "\"%s\",\"size\":%ld,\"platform\":{\"os\":\"linux\","
		 "\"architecture\":\"s390x\"}},{\"mediaType\":\"application/"
		 "vnd.oci.image.manifest.v1+json\",\"digest\":\"%s\",\"size\":"
		 "%ld,\"platform\":{\"os\":\"linux\",\"architecture\":\"%s\"}}"
		 "]}",
		 foreign->manifest_digest, (long)st2.st_size,
		 a->manifest_digest, (long)st1.st_size, oci_architecture());
	put_text("index", "%s", text);
	size = oci_blob_add(a, "index", digest);
	put_text("multi/index.json",
		 "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":"
		 "\"application/vnd.oci.image.index.v1+json\",\"digest\":"
		 "\"%s\",\"size\":%ld,\"annotations\":{\"org.opencontainers."
		 "image.ref.name\":\"latest\"}}]}",
		 digest, size);
}

TEST(of_an_index_our_machines_image_is_pulled)
{
	struct image *img = NULL, *again = NULL;
	char index[DIGEST_TEXT_MAX], ref[256];
	struct oci_maker a, foreign;
	struct image_store *s;
	struct err e = { 0 };

	REGISTRY_NEEDED();
	make_index(&a, &foreign, index);
	ASSERT_EQ(start_registry(""), 1);
	ASSERT_EQ(push("multi", APP ":multi"), 1);
	s = open_store(NULL);
	ASSERT_EQ(pull(s, APP ":multi", PULL_ALWAYS, &img, &e), 0);
	EXPECT_STREQ(img->id, a.config_digest);
	stop_registry();
	/* Both digests mean it from now on. */
	snprintf(ref, sizeof(ref), APP "@%s", index);
	ASSERT_EQ(pull(s, ref, PULL_NEVER, &again, &e), 0);
	EXPECT_EQ(again == img, 1);
	image_unref(again);
	snprintf(ref, sizeof(ref), APP "@%s", a.manifest_digest);
	ASSERT_EQ(pull(s, ref, PULL_NEVER, &again, &e), 0);
	image_unref(again);
	image_unref(img);
	/* The same from the folder. */
	ASSERT_EQ(image_import(s, "oci:multi", NULL, &img, &e), 0);
	EXPECT_STREQ(img->id, a.config_digest);
	image_unref(img);
	image_store_close(s);
}

/* As docker does: TLS first, else without. */
TEST(a_registry_of_this_host_needs_no_certificate)
{
	static const char *const near[] = { "127.0.0.1:5000", "localhost:5000",
					    "127.1.2.3:5000" };
	const struct image_pull_opts plain = { .policy = PULL_ALWAYS };
	struct image_store *s;
	struct oci_maker a;
	struct err e = { 0 };
	char ref[64];

	REGISTRY_NEEDED();
	make_oci(&a, "a", PACK_GZIP, one, 1);
	ASSERT_EQ(system("ip addr add 10.9.9.9/32 dev lo"), 0);
	ASSERT_EQ(start_registry_at(":5000", "", ""), 1);
	ASSERT_EQ(push("a", APP ":1"), 1);
	s = open_store(NULL);
	for (size_t i = 0; i < ARRAY_SIZE(near); i++) {
		snprintf(ref, sizeof(ref), "%s/team/app:1", near[i]);
		if (image_pull(s, ref, &plain, NULL, &e) < 0)
			FAIL("%s: %s", ref, e.msg);
	}
	EXPECT_EQ(image_pull(s, "10.9.9.9:5000/team/app:1", &plain, NULL, &e),
		  -EPROTO);
	EXPECT_STREQ(e.msg,
		     "pull '10.9.9.9:5000/team/app:1': registry 10.9.9.9:5000 "
		     "speaks plain HTTP: let it have a certificate, or allow "
		     "that: --insecure of 'image pull', or for pods 'insecure "
		     "= true' of it in /etc/containers/registries.conf");
	stop_registry();

	ASSERT_EQ(system("openssl req -x509 -newkey rsa:2048 -nodes -days 2 "
			 "-subj /CN=r -addext subjectAltName=IP:127.0.0.1,"
			 "IP:10.9.9.9 -keyout k.pem -out c.pem 2>/dev/null"),
		  0);
	ASSERT_EQ(start_registry_at(":5000",
				    ", tls: {certificate: c.pem, key: k.pem}",
				    ""),
		  1);
	if (image_pull(s, APP ":1", &plain, NULL, &e) < 0)
		FAIL("by TLS: %s", e.msg);
	EXPECT_EQ(image_pull(s, "10.9.9.9:5000/team/app:1", &plain, NULL, &e),
		  -ENOKEY);
	EXPECT_STREQ(e.msg,
		     "pull '10.9.9.9:5000/team/app:1': registry 10.9.9.9:5000 "
		     "has a certificate of an authority that this host does "
		     "not know: put that one's into "
		     "/etc/containers/certs.d/10.9.9.9:5000/ca.crt");
	stop_registry();
	image_store_close(s);
}

TEST(credentials_are_used_and_kept_secret)
{
	struct image_pull_opts o = { .username = "user",
				     .password = "secret",
				     .insecure_tls = true };
	struct image_store *s;
	struct oci_maker a;
	struct err e = { 0 };

	REGISTRY_NEEDED();
	make_oci(&a, "a", PACK_GZIP, one, 1);
	put_text("htpasswd", "user:%s\n",
		 "$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a");
	ASSERT_EQ(start_registry("auth: {htpasswd: {realm: test, path: "
				 "htpasswd}}\n"),
		  1);
	ASSERT_EQ(push("a", APP ":1"), 1);
	s = open_store(NULL);
	EXPECT_EQ(pull(s, APP ":1", PULL_ALWAYS, NULL, &e), -EACCES);
	o.password = "wrong";
	EXPECT_EQ(image_pull(s, APP ":1", &o, NULL, &e), -EACCES);
	o.password = "secret";
	ASSERT_EQ(image_pull(s, APP ":1", &o, NULL, &e), 0);
	/* Nothing of them stays. */
	EXPECT_EQ(system("grep -rq dXNlcjpzZWNyZXQ state"), 256);
	stop_registry();
	image_store_close(s);
}

TEST(a_blob_damaged_on_the_way_is_noticed)
{
	struct image_store *s;
	struct oci_maker a;
	struct err e = { 0 };
	char *cmd;

	REGISTRY_NEEDED();
	make_oci(&a, "a", PACK_GZIP, one, 1);
	ASSERT_EQ(start_registry(""), 1);
	ASSERT_EQ(push("a", APP ":1"), 1);
	cmd = str_printf("printf X | dd of=registry/docker/registry/v2/blobs/"
			 "sha256/%.2s/%s/data bs=1 seek=20 conv=notrunc "
			 "2>/dev/null",
			 digest_hex(a.blob[0]), digest_hex(a.blob[0]));
	ASSERT_EQ(system(cmd), 0);
	free(cmd);
	s = open_store(NULL);
	if (pull(s, APP ":1", PULL_ALWAYS, NULL, &e) != -EBADMSG)
		FAIL("%d: %s", e.code, e.msg);
	EXPECT_EQ(count_dir("state/images/staging"), 0);
	EXPECT_EQ(count_dir("state/images/layers"), 0);
	stop_registry();
	image_store_close(s);
}

TEST(the_signature_policy_is_obeyed)
{
	char cwd[PATH_MAX], policy[PATH_MAX + 16];
	struct image_store_opts o = { .policy = policy };
	struct image_store *s;
	struct oci_maker a;
	struct err e = { 0 };

	REGISTRY_NEEDED();
	make_oci(&a, "a", PACK_GZIP, one, 1);
	ASSERT_EQ(start_registry(""), 1);
	ASSERT_EQ(push("a", APP ":1"), 1);
	snprintf(policy, sizeof(policy), "%s/policy.json",
		 getcwd(cwd, sizeof(cwd)));
	put_text("policy.json", "{\"default\":[{\"type\":\"reject\"}]}");
	s = open_store(&o);
	EXPECT_EQ(pull(s, APP ":1", PULL_ALWAYS, NULL, &e), -EKEYREJECTED);
	stop_registry();
	image_store_close(s);
}

/* --- together, cancelled, from archives, by URL
 * --------------------------------- */

static struct image_store *shared;

static void *pull_thread(void *arg)
{
	struct err e = { 0 };
	int r = pull(shared, arg, PULL_ALWAYS, NULL, &e);

	if (r < 0)
		printf("# %s\n", e.msg);
	return (void *)(intptr_t)r;
}

TEST(pulls_of_one_image_are_one)
{
	char ref[] = APP ":1";
	pthread_t threads[4];
	struct oci_maker a;

	REGISTRY_NEEDED();
	make_oci(&a, "a", PACK_GZIP, one, 1);
	ASSERT_EQ(start_registry(""), 1);
	ASSERT_EQ(push("a", APP ":1"), 1);
	shared = open_store(NULL);
	for (int i = 0; i < 4; i++)
		ASSERT_EQ(pthread_create(&threads[i], NULL, pull_thread, ref),
			  0);
	for (int i = 0; i < 4; i++) {
		void *r = NULL;

		pthread_join(threads[i], &r);
		EXPECT_EQ((intptr_t)r, 0);
	}
	EXPECT_EQ(count_dir("state/images/images"), 1);
	EXPECT_EQ(count_dir("state/images/staging"), 0);
	stop_registry();
	image_store_close(shared);
}

static atomic_bool cancel;

static void cancel_soon(const struct image_progress *p, void *arg)
{
	(void)p, (void)arg;
	atomic_store(&cancel, true);
}

TEST(a_pull_from_one_who_never_answers_is_cancelled)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_port = htons(5000) };
	struct image_pull_opts o = { .insecure_tls = true,
				     .cancel = &cancel,
				     .progress = cancel_soon };
	struct image_store *s;
	struct err e = { 0 };
	int fd;

	if (geteuid() != 0)
		SKIP("root, for a network namespace");
	ASSERT_EQ(enter_netns(), 0);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	ASSERT_EQ(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	ASSERT_EQ(listen(fd, 5), 0);
	s = open_store(NULL);
	EXPECT_EQ(image_pull(s, APP, &o, NULL, &e), -ECANCELED);
	EXPECT_EQ(count_dir("state/images/staging"), 0);
	/* And no skopeo goes on behind us. */
	EXPECT_EQ(waitpid(-1, NULL, WNOHANG), -1);
	image_store_close(s);
	close(fd);
}

TEST(archives_of_other_tools_are_imported)
{
	static const char *const sources[] = {
		"docker-archive:d.tar", "docker-archive:d.tar:team/app:1",
		"oci-archive:o.tar", "dir:dir", "o.tar"
	};
	static const char *const names[] = { "d", "team/app:1", "o", "dir",
					     "o" };
	struct image *img = NULL;
	struct image_store *s;
	struct oci_maker a;
	struct err e = { 0 };

	if (geteuid() != 0)
		SKIP("root, to make files of any owner");
	make_oci(&a, "a", PACK_GZIP, one, 1);
	ASSERT_EQ(system("skopeo copy -q oci:a docker-archive:d.tar:team/app:1 "
			 "&& skopeo copy -q oci:a oci-archive:o.tar && "
			 "skopeo copy -q oci:a dir:dir"),
		  0);
	s = open_store(NULL);
	for (size_t i = 0; i < ARRAY_SIZE(sources); i++) {
		char path[PATH_MAX];

		if (image_import(s, sources[i], NULL, NULL, &e) < 0) {
			FAIL("%s", e.msg);
			continue;
		}
		if (image_find(s, names[i], &img, &e) < 0) {
			FAIL("%s", e.msg);
			continue;
		}
		snprintf(path, sizeof(path), "%s/v1", img->layers.v[0]);
		EXPECT_EQ(access(path, F_OK), 0);
		image_unref(img);
	}
	EXPECT_EQ(count_dir("state/images/staging"), 0);
	image_store_close(s);
}

/* Serve one file to one client. */
static void *serve(void *arg)
{
	static const char answer[] = "HTTP/1.0 200 OK\r\nContent-Length: 9\r\n"
				     "\r\nsome disk";
	int fd = accept(*(int *)arg, NULL, NULL);
	char request[4096];

	if (read(fd, request, sizeof(request)) > 0 &&
	    write(fd, answer, sizeof(answer) - 1) < 0)
		printf("# cannot answer\n");
	close(fd);
	return NULL;
}

TEST(a_disk_comes_by_url)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_port = htons(8080) };
	struct image *img = NULL;
	struct image_store *s;
	struct err e = { 0 };
	pthread_t thread;
	int fd;

	if (geteuid() != 0)
		SKIP("root, for a network namespace");
	ASSERT_EQ(enter_netns(), 0);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	ASSERT_EQ(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	ASSERT_EQ(listen(fd, 5), 0);
	ASSERT_EQ(pthread_create(&thread, NULL, serve, &fd), 0);
	s = open_store(NULL);
	ASSERT_EQ(pull(s, "http://127.0.0.1:8080/vm.img", PULL_IF_NOT_PRESENT,
		       &img, &e),
		  0);
	pthread_join(thread, NULL);
	close(fd);
	EXPECT_EQ(img->kind, IMAGE_DISK);
	EXPECT_STREQ(img->vm.format, "raw");
	EXPECT_EQ(img->bytes, 9);
	image_unref(img);
	ASSERT_EQ(pull(s, "http://127.0.0.1:8080/vm.img", PULL_IF_NOT_PRESENT,
		       &img, &e),
		  0);
	image_unref(img);
	EXPECT_EQ(pull(s, "http://127.0.0.1:8080/no.img", PULL_IF_NOT_PRESENT,
		       NULL, &e),
		  -ECONNREFUSED);
	image_store_close(s);
}

TEST_MAIN()
