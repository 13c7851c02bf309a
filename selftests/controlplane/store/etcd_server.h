/* SPDX-License-Identifier: Apache-2.0 */
/* Real etcd servers (Debian's etcd-server) in the test's own scratch folder. */
#ifndef SELFTESTS_CONTROLPLANE_STORE_ETCD_SERVER_H
#define SELFTESTS_CONTROLPLANE_STORE_ETCD_SERVER_H

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define ETCD_MEMBERS 3

struct etcd_servers {
	int nr;
	const char *tls;   /* folder with ca.pem, cert.pem, key.pem; or NULL */
	const char *extra; /* one more argument, or NULL */
	char dir[64];
	int client_port[ETCD_MEMBERS], peer_port[ETCD_MEMBERS];
	pid_t pid[ETCD_MEMBERS];
	char endpoints[256];
};

static inline bool etcd_present(void)
{
	return access("/usr/bin/etcd", X_OK) == 0;
}

/* A port that nobody has; reserved by number only, so it may be taken before
 * the server binds it: then the server ends and the start fails. */
static inline int etcd_free_port(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (bind(fd, (struct sockaddr *)&a, len) ||
	    getsockname(fd, (struct sockaddr *)&a, &len))
		a.sin_port = 0;
	close(fd);
	return ntohs(a.sin_port);
}

static inline void etcd_start_member(struct etcd_servers *s, int i)
{
	const char *scheme = s->tls ? "https" : "http";
	char name[16], dir[96], client[64], peer[64], cluster[256] = "";
	char ca[128], cert[128], key[128], log[96];
	const char *argv[40];
	int n = 0, fd;

	for (int k = 0; k < s->nr; k++)
		snprintf(cluster + strlen(cluster),
			 sizeof(cluster) - strlen(cluster),
			 "%sm%d=http://127.0.0.1:%d", k ? "," : "", k,
			 s->peer_port[k]);
	snprintf(name, sizeof(name), "m%d", i);
	snprintf(dir, sizeof(dir), "%s/m%d", s->dir, i);
	snprintf(log, sizeof(log), "%s/m%d.log", s->dir, i);
	snprintf(client, sizeof(client), "%s://127.0.0.1:%d", scheme,
		 s->client_port[i]);
	snprintf(peer, sizeof(peer), "http://127.0.0.1:%d", s->peer_port[i]);
	argv[n++] = "etcd";
	argv[n++] = "--name", argv[n++] = name;
	argv[n++] = "--data-dir", argv[n++] = dir;
	argv[n++] = "--listen-client-urls", argv[n++] = client;
	argv[n++] = "--advertise-client-urls", argv[n++] = client;
	argv[n++] = "--listen-peer-urls", argv[n++] = peer;
	argv[n++] = "--initial-advertise-peer-urls", argv[n++] = peer;
	argv[n++] = "--initial-cluster", argv[n++] = cluster;
	argv[n++] = "--heartbeat-interval", argv[n++] = "50";
	argv[n++] = "--election-timeout", argv[n++] = "500";
	if (s->tls) {
		snprintf(ca, sizeof(ca), "%s/ca.pem", s->tls);
		snprintf(cert, sizeof(cert), "%s/cert.pem", s->tls);
		snprintf(key, sizeof(key), "%s/key.pem", s->tls);
		argv[n++] = "--trusted-ca-file", argv[n++] = ca;
		argv[n++] = "--cert-file", argv[n++] = cert;
		argv[n++] = "--key-file", argv[n++] = key;
		argv[n++] = "--client-cert-auth";
	}
	if (s->extra)
		argv[n++] = s->extra;
	argv[n] = NULL;
	fflush(stdout);
	s->pid[i] = fork();
	if (s->pid[i])
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
	dup2(fd, 1);
	dup2(fd, 2);
	for (int k = 3; k < 256; k++)
		close(k);
	unsetenv("LD_PRELOAD");
	execv("/usr/bin/etcd", (char **)argv);
	_exit(127);
}

/* Wait until a member accepts connections. */
static inline bool etcd_wait_member(struct etcd_servers *s, int i)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				 .sin_port = htons(s->client_port[i]) };

	for (int tries = 0; tries < 400; tries++) {
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		int r = connect(fd, (struct sockaddr *)&a, sizeof(a));

		close(fd);
		if (r == 0)
			return true;
		if (waitpid(s->pid[i], NULL, WNOHANG) == s->pid[i])
			return false;
		poll(NULL, 0, 25);
	}
	return false;
}

static inline bool etcd_start(struct etcd_servers *s, const char *dir, int nr,
			      const char *tls)
{
	s->nr = nr;
	s->tls = tls;
	if (snprintf(s->dir, sizeof(s->dir), "%s", dir) >= (int)sizeof(s->dir))
		return false;
	mkdir(dir, 0700);
	s->endpoints[0] = '\0';
	for (int i = 0; i < nr; i++) {
		s->client_port[i] = etcd_free_port();
		s->peer_port[i] = etcd_free_port();
		snprintf(s->endpoints + strlen(s->endpoints),
			 sizeof(s->endpoints) - strlen(s->endpoints),
			 "%s%s://127.0.0.1:%d", i ? "," : "",
			 tls ? "https" : "http", s->client_port[i]);
	}
	for (int i = 0; i < nr; i++)
		etcd_start_member(s, i);
	for (int i = 0; i < nr; i++)
		if (!etcd_wait_member(s, i))
			return false;
	return true;
}

static inline void etcd_kill_member(struct etcd_servers *s, int i)
{
	if (s->pid[i] <= 0)
		return;
	kill(s->pid[i], SIGKILL);
	waitpid(s->pid[i], NULL, 0);
	s->pid[i] = 0;
}

/* Back when all of its threads have stopped: until then it may still answer. */
static inline void etcd_pause_member(const struct etcd_servers *s, int i)
{
	kill(s->pid[i], SIGSTOP);
	waitpid(s->pid[i], NULL, WUNTRACED);
}

static inline void etcd_stop(struct etcd_servers *s)
{
	for (int i = 0; i < s->nr; i++)
		etcd_kill_member(s, i);
}

/* A CA of its own in @dir, and a certificate for both ends. */
static inline int etcd_make_certs(const char *dir)
{
	char cmd[1024];

	snprintf(cmd, sizeof(cmd),
		 "mkdir -p %s && cd %s && "
		 "openssl req -x509 -newkey ec -pkeyopt "
		 "ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=ca "
		 "-keyout ca.key -out ca.pem 2>/dev/null && "
		 "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 "
		 "-nodes -subj /CN=etcd -keyout key.pem -out c.csr "
		 "2>/dev/null && "
		 "printf 'subjectAltName=IP:127.0.0.1\\n' >ext && "
		 "openssl x509 -req -in c.csr -CA ca.pem -CAkey ca.key "
		 "-CAcreateserial -days 2 -extfile ext -out cert.pem "
		 "2>/dev/null",
		 dir, dir);
	return system(cmd);
}

#endif /* SELFTESTS_CONTROLPLANE_STORE_ETCD_SERVER_H */
