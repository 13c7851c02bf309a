// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/internal.h"
#include "agent/pod_files.h"
#include "agent/resolv.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "lib/str.h"

#define RESOLV_MAX (64 * 1024)
#define HOSTS_MAX  (1024 * 1024)

/* ".sub.ns.svc.cluster.local", or "" */
static int domain(const struct pod *pod, char *buf, size_t size)
{
	const struct pod_spec *s = pod->spec;

	buf[0] = '\0';
	if (!s->subdomain || !*s->subdomain)
		return 0;
	return snprintf(buf, size, ".%s.%s.svc.%s", s->subdomain, s->namespace,
			pod->agent->opts.cluster_domain);
}

int pod_host_name(const struct pod *pod, char ret[POD_HOST_NAME_MAX + 1],
		  struct err *e)
{
	const struct pod_spec *s = pod->spec;
	char end[512] = "";
	int n;

	if (s->host_network) {
		if (gethostname(ret, POD_HOST_NAME_MAX) < 0)
			return err_sys(e, "read the host's name");
		ret[POD_HOST_NAME_MAX] = '\0';
		return 0;
	}
	if (s->fqdn)
		(void)domain(pod, end, sizeof(end));
	n = snprintf(NULL, 0, "%s%s", s->hostname, end);
	if (n > POD_HOST_NAME_MAX)
		return err_set(e, -EINVAL,
			       "failed to construct FQDN from pod hostname and "
			       "cluster domain, FQDN %s%s is too long (%d "
			       "characters is the max, %d characters "
			       "requested): shorten it, or leave "
			       "setHostnameAsFQDN out",
			       s->hostname, end, POD_HOST_NAME_MAX, n);
	snprintf(ret, POD_HOST_NAME_MAX + 1, "%s%.*s", s->hostname,
		 POD_HOST_NAME_MAX, end);
	return 0;
}

static int own_hosts(const struct pod *pod, struct buf *b)
{
	char ip[INET_ADDRSTRLEN], end[512];

	buf_puts(b, "# Written by arktos-node.\n"
		    "127.0.0.1\tlocalhost\n"
		    "::1\tlocalhost ip6-localhost ip6-loopback\n");
	if (!pod->network_up ||
	    !inet_ntop(AF_INET, &pod->endpoint.ip, ip, sizeof(ip)))
		return buf_error(b);
	if (domain(pod, end, sizeof(end)) > 0)
		buf_printf(b, "%s\t%s%s\t%s\n", ip, pod->spec->hostname, end,
			   pod->spec->hostname);
	else
		buf_printf(b, "%s\t%s\n", ip, pod->spec->hostname);
	return buf_error(b);
}

/* On the host's network the host's names are the pod's. */
static int hosts(const struct pod *pod, struct buf *b)
{
	int r = pod->spec->host_network
			? fs_read(AT_FDCWD, "/etc/hosts", HOSTS_MAX, b, NULL)
			: -ENOENT;

	if (r < 0) {
		buf_reset(b);
		r = own_hosts(pod, b);
		if (r < 0)
			return r;
	}
	if (b->len && b->data[b->len - 1] != '\n')
		buf_puts(b, "\n");
	if (pod->spec->host_aliases.nr)
		buf_puts(b, "\n# Entries added by HostAliases.\n");
	for (size_t i = 0; i < pod->spec->host_aliases.nr; i++)
		buf_printf(b, "%s\t%s\n", pod->spec->host_aliases.v[i].key,
			   pod->spec->host_aliases.v[i].value);
	return buf_error(b);
}

static int put(int dirfd, const char *name, const struct buf *b, struct err *e)
{
	auto_close int fd =
		openat(dirfd, name,
		       O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
		       0644);

	if (fd < 0)
		return err_sys(e, "create '%s'", name);
	if (write(fd, buf_str(b), b->len) != (ssize_t)b->len)
		return err_sys(e, "write '%s'", name);
	return 0;
}

int pod_files_write(const struct pod *pod, struct err *e)
{
	auto_buf struct buf b = BUF_INIT, host = BUF_INIT;
	auto_close int dirfd = -EBADF;
	char path[PATH_MAX], name[POD_HOST_NAME_MAX + 1];
	int r = pod_host_name(pod, name, e);

	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "%s/etc", pod->state_dir);
	r = fs_mkdirs(path, 0755, e);
	if (r < 0)
		return r;
	dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dirfd < 0)
		return err_sys(e, "open '%s'", path);
	if (fs_exists(dirfd, "resolv.conf"))
		return 0; /* it is written last */
	r = hosts(pod, &b);
	r = r < 0 ? err_wrap(e, r, "hosts") : put(dirfd, "hosts", &b, e);
	if (r < 0)
		return r;
	buf_reset(&b);
	buf_printf(&b, "%s\n", name);
	r = put(dirfd, "hostname", &b, e);
	if (r < 0)
		return r;
	buf_reset(&b);
	/* A host without one gives its pods an empty one. */
	r = fs_read(AT_FDCWD, "/etc/resolv.conf", RESOLV_MAX, &host, NULL);
	if (r < 0)
		buf_reset(&host);
	r = resolv_conf(&pod->spec->dns, buf_str(&host), &b);
	return r < 0 ? err_wrap(e, r, "resolv.conf")
		     : put(dirfd, "resolv.conf", &b, e);
}

static int termination_path(const struct pod *pod, const struct ctr *c,
			    char *path, size_t size)
{
	return snprintf(path, size, "%s/etc/termination-%s-%u", pod->state_dir,
			c->name, c->attempt) < (int)size
		       ? 0
		       : -ENAMETOOLONG;
}

int pod_files_termination_log(const struct pod *pod, const struct ctr *c,
			      char *path, size_t size, struct err *e)
{
	auto_close int fd = -EBADF;
	int r = termination_path(pod, c, path, size);

	if (r < 0)
		return err_wrap(e, r, "termination log");
	/* Any user of the container may write its last words. */
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
		  0666);
	if (fd < 0)
		return err_sys(e, "create '%s'", path);
	if (fchmod(fd, 0666) < 0)
		return err_sys(e, "chmod '%s'", path);
	return 0;
}

void pod_files_termination_message(const struct pod *pod, const struct ctr *c,
				   char *ret, size_t size)
{
	auto_close int fd = -EBADF;
	char path[PATH_MAX];
	ssize_t n;

	ret[0] = '\0';
	if (termination_path(pod, c, path, sizeof(path)) < 0)
		return;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return;
	n = read(fd, ret, size - 1);
	ret[n > 0 ? n : 0] = '\0';
	/* Foreign bytes: they go into JSON and onto terminals. */
	for (char *s = ret; *s; s++)
		if ((unsigned char)*s < ' ' && *s != '\n' && *s != '\t')
			*s = '?';
}
