// SPDX-License-Identifier: Apache-2.0
/*
 * What a guest is told about itself, and by whom: the kernel's arguments first,
 * then a NoCloud seed (a volume labelled "cidata"): meta-data, network-config,
 * and user-data, whose script runs once per instance-id.
 *
 * Seeds are YAML or JSON. Of both, only what names an address, a host or a key
 * is looked for, in one pass over "key: value" words; anything else is skipped.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/route.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/mkimage/guest_init.h"

#define SEED         "/run/seed"
#define SEED_STATE   "/var/lib/cloud/instance-id"
#define SEED_SCRIPT  "/run/user-data"
#define TEXT_MAX     (128 * 1024)
#define EXT4_UUID_AT (1024 + 0x68)
#define ISO_MAGIC_AT 32769
#define ISO_LABEL_AT 32808
#define FAT16_LABEL  43
#define FAT32_LABEL  71

struct told {
	char ip[32]; /* ADDRESS/PREFIX */
	char gw[32];
	char mtu[8];
	char hostname[65];
	char dns[128]; /* comma or blank apart */
	char instance[65];
};

static void write_file(const char *path, const char *text, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		fprintf(stderr, "init: %s: %m\n", path);
	if (fd >= 0)
		close(fd);
}

/* A text file, NUL-terminated; NULL when there is none. Caller frees. */
static char *read_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *text = fd < 0 ? NULL : malloc(TEXT_MAX);
	ssize_t n = 0, got = 0;

	while (text && got < TEXT_MAX - 1 &&
	       (n = read(fd, text + got, TEXT_MAX - 1 - got)) > 0)
		got += n;
	if (text)
		text[got] = '\0';
	if (fd >= 0)
		close(fd);
	return text;
}

bool guest_arg(const char *name, char *value, size_t size)
{
	char *line = read_file("/proc/cmdline");
	size_t len = strlen(name);
	char *save = NULL, *word;
	bool found = false;

	for (word = line ? strtok_r(line, " \n", &save) : NULL; word && !found;
	     word = strtok_r(NULL, " \n", &save)) {
		if (strncmp(word, name, len) || word[len] != '=')
			continue;
		snprintf(value, size, "%s", word + len + 1);
		found = true;
	}
	free(line);
	return found;
}

/* --- devices ---------------------------------------------------------------
 */

void guest_cpu_online(const char *digits)
{
	char path[64], *end;
	long cpu = strtol(digits, &end, 10);
	int fd;

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%ld/online",
		 cpu);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return; /* the first CPU has no switch */
	if (write(fd, "1", 1) < 0)
		fprintf(stderr, "init: cpu%ld online: %m\n", cpu);
	close(fd);
}

void guest_cpus_online(void)
{
	DIR *d = opendir("/sys/devices/system/cpu");
	struct dirent *e;

	while (d && (e = readdir(d)))
		if (strncmp(e->d_name, "cpu", 3) == 0 && isdigit(e->d_name[3]))
			guest_cpu_online(e->d_name + 3);
	if (d)
		closedir(d);
}

void guest_ports_link(void)
{
	DIR *d = opendir("/sys/class/virtio-ports");
	char path[320], link[320], *name;
	struct dirent *e;

	mkdir("/dev/virtio-ports", 0755);
	while (d && (e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/sys/class/virtio-ports/%s/name",
			 e->d_name);
		name = read_file(path);
		if (name) {
			name[strcspn(name, "\n")] = '\0';
			snprintf(link, sizeof(link), "/dev/virtio-ports/%.200s",
				 name);
			snprintf(path, sizeof(path), "../%s", e->d_name);
			if (*name && symlink(path, link) && errno != EEXIST)
				fprintf(stderr, "init: %s: %m\n", link);
		}
		free(name);
	}
	if (d)
		closedir(d);
}

/* The ext4 file system with this UUID: which disk is vda depends on the host.
 */
static bool has_uuid(const char *dev, const char *uuid)
{
	int fd = open(dev, O_RDONLY | O_CLOEXEC);
	unsigned char id[16];
	char text[40], *p = text;
	bool ok = fd >= 0 && pread(fd, id, sizeof(id), EXT4_UUID_AT) ==
				     (ssize_t)sizeof(id);

	if (fd >= 0)
		close(fd);
	for (int i = 0; ok && i < 16; i++)
		p += snprintf(p, 4, "%s%02x",
			      i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "",
			      id[i]);
	return ok && strcmp(text, uuid) == 0;
}

bool guest_disk_by_uuid(const char *uuid, char *ret_dev, size_t size)
{
	DIR *d = opendir("/sys/class/block");
	bool found = false;
	struct dirent *e;

	while (d && !found && (e = readdir(d))) {
		snprintf(ret_dev, size, "/dev/%.30s", e->d_name);
		found = e->d_name[0] != '.' && has_uuid(ret_dev, uuid);
	}
	if (d)
		closedir(d);
	return found;
}

/* --- the seed ----------------------------------------------------------------
 */

/* File system of a volume labelled cidata; NULL for any other. */
static const char *seed_type(const char *dev)
{
	int fd = open(dev, O_RDONLY | O_CLOEXEC);
	char head[90], iso[64];
	const char *type = NULL;

	if (fd < 0)
		return NULL;
	if (pread(fd, iso, sizeof(iso), ISO_MAGIC_AT) == sizeof(iso) &&
	    memcmp(iso, "CD001", 5) == 0 &&
	    strncasecmp(iso + ISO_LABEL_AT - ISO_MAGIC_AT, "cidata", 6) == 0)
		type = "iso9660";
	else if (pread(fd, head, sizeof(head), 0) == sizeof(head) &&
		 (strncasecmp(head + FAT16_LABEL, "cidata", 6) == 0 ||
		  strncasecmp(head + FAT32_LABEL, "cidata", 6) == 0))
		type = "vfat";
	close(fd);
	return type;
}

static bool seed_mount(void)
{
	DIR *d = opendir("/sys/class/block");
	char dev[280], list[64];
	const char *type = NULL;
	struct dirent *e;

	while (d && !type && (e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(dev, sizeof(dev), "/dev/%s", e->d_name);
		type = seed_type(dev);
	}
	if (d)
		closedir(d);
	if (!type)
		return false;
	snprintf(list, sizeof(list), "/lib/modules/%s.list", type);
	guest_load_modules(list);
	mkdir(SEED, 0700);
	if (mount(dev, SEED, type, MS_RDONLY | MS_NOSUID | MS_NODEV, NULL)) {
		fprintf(stderr, "init: seed '%s': %m\n", dev);
		return false;
	}
	return true;
}

/* Keep a value that was not told by somebody more important before. */
static void keep(char *to, size_t size, const char *value)
{
	if (!*to)
		snprintf(to, size, "%s", value);
}

static void key_value(struct told *t, const char *key, const char *value)
{
	struct in_addr a;
	bool address = inet_aton(value, &a) && strchr(value, '.');
	size_t used = strlen(t->dns);

	if (strcmp(key, "hostname") == 0 || strcmp(key, "local-hostname") == 0)
		keep(t->hostname, sizeof(t->hostname), value);
	else if (strcmp(key, "instance-id") == 0)
		keep(t->instance, sizeof(t->instance), value);
	else if (strncmp(key, "gateway", 7) == 0 || strcmp(key, "via") == 0)
		keep(t->gw, sizeof(t->gw), value);
	else if (strcmp(key, "mtu") == 0)
		keep(t->mtu, sizeof(t->mtu), value);
	else if (strncmp(key, "address", 7) == 0 && strchr(value, '.') &&
		 strchr(value, '/'))
		keep(t->ip, sizeof(t->ip), value);
	else if (strcmp(key, "addresses") == 0 && address)
		snprintf(t->dns + used, sizeof(t->dns) - used, "%s ", value);
}

/* Walk the words of YAML or JSON; a word with a colon after it is a key. */
static void words(struct told *t, char *text)
{
	static const char apart[] = " \t\r\n,[]{}\"'";
	char key[32] = "";

	for (char *p = text + strspn(text, apart); *p;) {
		size_t len = strcspn(p, apart);
		bool is_key = false;
		char *next = p + len;

		if (p[len - 1] == ':' && len > 1) {
			len--;
			is_key = true;
		} else if (*next == '"' || *next == '\'') {
			is_key = next[1] == ':';
			next += 1 + is_key;
		}
		if (*next)
			*next++ = '\0';
		p[len] = '\0';
		if (is_key)
			snprintf(key, sizeof(key), "%s", p);
		else if (strcmp(p, "-") && *p != '#' && strcmp(p, ":"))
			key_value(t, key, p);
		p = next + strspn(next, apart);
	}
}

/* Every ssh key in a text, wherever in the YAML or JSON it stands. */
static void ssh_keys(const char *text)
{
	FILE *f = NULL;

	for (const char *p = text; *p; p++) {
		size_t len = strcspn(p, "\"'\n,]");

		if ((p > text && !strchr(" \"'[\t", p[-1])) ||
		    (strncmp(p, "ssh-", 4) && strncmp(p, "ecdsa-sha2-", 11)) ||
		    !memchr(p, ' ', len))
			continue;
		mkdir("/root/.ssh", 0700);
		if (!f)
			f = fopen("/root/.ssh/authorized_keys", "we");
		if (f)
			fprintf(f, "%.*s\n", (int)len, p);
		p += len ? len - 1 : 0;
	}
	if (f) {
		fclose(f);
		chmod("/root/.ssh/authorized_keys", 0600);
	}
}

/* A script runs once per instance, in the background, on the console. */
static void run_script(const struct told *t, const char *script)
{
	char *before = read_file(SEED_STATE);
	bool ran = before && *t->instance && strcmp(before, t->instance) == 0;

	free(before);
	if (ran || strncmp(script, "#!", 2))
		return;
	write_file(SEED_SCRIPT, script, 0700);
	mkdir("/var", 0755), mkdir("/var/lib", 0755);
	mkdir("/var/lib/cloud", 0755);
	write_file(SEED_STATE, t->instance, 0644);
	if (fork() == 0) {
		execl(SEED_SCRIPT, SEED_SCRIPT, NULL);
		fprintf(stderr, "init: user-data: %m\n");
		_exit(127);
	}
}

/* --- the network -------------------------------------------------------------
 */

static void set_addr(struct sockaddr *sa, in_addr_t addr)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
				  .sin_addr.s_addr = addr };

	memcpy(sa, &in, sizeof(in));
}

static void link_up(int s, const char *name)
{
	struct ifreq r = { .ifr_flags = 0 };

	snprintf(r.ifr_name, IFNAMSIZ, "%s", name);
	if (ioctl(s, SIOCGIFFLAGS, &r))
		return;
	r.ifr_flags |= IFF_UP;
	if (ioctl(s, SIOCSIFFLAGS, &r))
		fprintf(stderr, "init: %s up: %m\n", name);
}

/* A gateway may lie outside the address's own prefix (a /32): name its way. */
static void route_add(int s, char *dev, in_addr_t to, in_addr_t gw)
{
	struct rtentry r = { .rt_flags = RTF_UP, .rt_dev = dev };

	set_addr(&r.rt_dst, to);
	set_addr(&r.rt_genmask, 0);
	if (gw) {
		r.rt_flags |= RTF_GATEWAY;
		set_addr(&r.rt_gateway, gw);
	} else {
		r.rt_flags |= RTF_HOST;
		set_addr(&r.rt_genmask, INADDR_NONE);
	}
	if (ioctl(s, SIOCADDRT, &r) && errno != EEXIST)
		fprintf(stderr, "init: route: %m\n");
}

static bool first_link(char *name)
{
	struct if_nameindex *list = if_nameindex();
	bool found = false;

	for (size_t i = 0; list && list[i].if_index && !found; i++) {
		found = strcmp(list[i].if_name, "lo") != 0;
		if (found)
			snprintf(name, IFNAMSIZ, "%s", list[i].if_name);
	}
	if (list)
		if_freenameindex(list);
	return found;
}

static void network_up(struct told *t)
{
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq r = { .ifr_flags = 0 };
	in_addr_t ip, mask, gw = INADDR_NONE;
	char *slash, *end;
	int prefix;

	link_up(s, "lo");
	slash = strchr(t->ip, '/');
	if (!first_link(r.ifr_name) || !slash)
		goto out;
	*slash = '\0';
	prefix = (int)strtol(slash + 1, &end, 10);
	ip = inet_addr(t->ip);
	mask = prefix > 0 ? htonl(~0U << (32 - prefix)) : 0;
	set_addr(&r.ifr_addr, ip);
	if (ioctl(s, SIOCSIFADDR, &r))
		fprintf(stderr, "init: address '%s': %m\n", t->ip);
	set_addr(&r.ifr_netmask, mask);
	if (ioctl(s, SIOCSIFNETMASK, &r))
		fprintf(stderr, "init: netmask /%d: %m\n", prefix);
	if (*t->mtu) {
		r.ifr_mtu = (int)strtol(t->mtu, &end, 10);
		if (ioctl(s, SIOCSIFMTU, &r))
			fprintf(stderr, "init: mtu '%s': %m\n", t->mtu);
	}
	link_up(s, r.ifr_name);
	if (*t->gw)
		gw = inet_addr(t->gw);
	if (gw != INADDR_NONE && (gw & mask) != (ip & mask))
		route_add(s, r.ifr_name, gw, 0);
	if (gw != INADDR_NONE)
		route_add(s, r.ifr_name, 0, gw);
out:
	close(s);
}

static void resolver(const char *dns)
{
	FILE *f = *dns ? fopen("/etc/resolv.conf", "we") : NULL;
	size_t len;

	for (const char *p = dns; f && *p; p += len) {
		p += strspn(p, ", ");
		len = strcspn(p, ", ");
		if (len)
			fprintf(f, "nameserver %.*s\n", (int)len, p);
	}
	if (f)
		fclose(f);
}

static void names(const char *hostname)
{
	char hosts[256];

	if (!*hostname || sethostname(hostname, strlen(hostname)))
		return;
	snprintf(hosts, sizeof(hosts), "127.0.0.1 localhost\n127.0.1.1 %s\n",
		 hostname);
	write_file("/etc/hosts", hosts, 0644);
	write_file("/etc/hostname", hostname, 0644);
}

void guest_configure(void)
{
	struct told t = { .ip = "" };
	char *meta = NULL, *net = NULL, *user = NULL;

	guest_arg("arktos.ip", t.ip, sizeof(t.ip));
	guest_arg("arktos.gw", t.gw, sizeof(t.gw));
	guest_arg("arktos.mtu", t.mtu, sizeof(t.mtu));
	guest_arg("arktos.dns", t.dns, sizeof(t.dns));
	guest_arg("arktos.hostname", t.hostname, sizeof(t.hostname));
	if (seed_mount()) {
		meta = read_file(SEED "/meta-data");
		net = read_file(SEED "/network-config");
		user = read_file(SEED "/user-data");
		umount2(SEED, MNT_DETACH);
	}
	if (meta) {
		ssh_keys(meta);
		words(&t, meta);
	}
	if (net)
		words(&t, net);
	if (user && strncmp(user, "#cloud-config", 13) == 0) {
		ssh_keys(user);
		words(&t, user);
	}
	names(t.hostname);
	network_up(&t);
	resolver(t.dns);
	if (user)
		run_script(&t, user);
	free(meta);
	free(net);
	free(user);
}
