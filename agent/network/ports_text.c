// SPDX-License-Identifier: Apache-2.0
/* Ports of the host as text: what is written down of them, and the rules of
 * nftables. Pure. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/network/manifest.h"
#include "agent/network/ports.h"
#include "lib/buf.h"
#include "lib/str.h"

#define TABLE "arktos_ports"

/* The rest of the host's rules is in egress.c. Clients on our networks, and on
 * the loopback, whose address means another host to a pod, come as the host. */
static const char host_chains[] =
	"  chain here {\n"
	"    dnat ip to ip daddr . meta l4proto . th dport map @one\n"
	"    dnat ip to meta l4proto . th dport map @any\n"
	"  }\n"
	"  chain prerouting {\n"
	"    type nat hook prerouting priority dstnat; policy accept;\n"
	"    fib daddr type local jump here\n"
	"  }\n"
	"  chain output {\n"
	"    type nat hook output priority -100; policy accept;\n"
	"    fib daddr type local jump here\n"
	"  }\n"
	"  chain postrouting {\n"
	"    type nat hook postrouting priority srcnat; policy accept;\n"
	"    oifname \"arkx*\" ct status dnat ip saddr "
	"{ 127.0.0.0/8, 169.254.64.0/18 } masquerade\n"
	"  }\n";

/* A client whose address is one of the network's could not be answered: it
 * comes as the gateway. */
static const char gateway_chains[] =
	"  chain prerouting {\n"
	"    type nat hook prerouting priority dstnat; policy accept;\n"
	"    iifname \"egress\" fib daddr type local dnat ip to "
	"meta l4proto . th dport map @ports\n"
	"  }\n"
	"  chain postrouting {\n"
	"    type nat hook postrouting priority srcnat; policy accept;\n"
	"    oifname \"eth0\" ct status dnat ip saddr %s/%u masquerade\n"
	"  }\n";

static const char *protocol_name(uint8_t protocol)
{
	return protocol == IPPROTO_UDP ? "udp" : "tcp";
}

bool network_ports_collide(const struct network_port *a,
			   const struct network_port *b)
{
	return a->protocol == b->protocol && a->host_port == b->host_port &&
	       (!a->host_ip.s_addr || !b->host_ip.s_addr ||
		a->host_ip.s_addr == b->host_ip.s_addr);
}

const char *network_port_format(const struct network_port *p,
				char ret[LEASE_PORT_TEXT])
{
	char ip[INET_ADDRSTRLEN];

	ip_format(ntohl(p->host_ip.s_addr), ip);
	snprintf(ret, LEASE_PORT_TEXT, "%u/%s%s%s", p->host_port,
		 p->protocol == IPPROTO_UDP ? "UDP" : "TCP",
		 p->host_ip.s_addr ? " of " : "", p->host_ip.s_addr ? ip : "");
	return ret;
}

/* --- what is written down ------------------------------------------------- */

static int port_number(const char *text, uint16_t *ret)
{
	uint64_t n;

	if (str_to_u64(text, &n) < 0 || n < 1 || n > UINT16_MAX)
		return -EBADMSG;
	*ret = (uint16_t)n;
	return 0;
}

/* @text is cut into pieces. */
static int parse_one(char *text, struct lease_port *ret)
{
	char *rest = text, *name = strsep(&rest, " ");
	char *host = strsep(&rest, " "), *port = strsep(&rest, " ");
	char *colon = host ? strchr(host, ':') : NULL;
	uint32_t ip;

	if (!colon || !port || !rest)
		return -EBADMSG;
	*colon = '\0';
	if (strcmp(name, "tcp") != 0 && strcmp(name, "udp") != 0)
		return -EBADMSG;
	ret->p.protocol = name[0] == 'u' ? IPPROTO_UDP : IPPROTO_TCP;
	if (ip_parse(host, &ip) < 0 ||
	    port_number(colon + 1, &ret->p.host_port) < 0 ||
	    port_number(port, &ret->p.port) < 0)
		return -EBADMSG;
	ret->p.host_ip.s_addr = htonl(ip);
	return port_number(rest, &ret->via);
}

int lease_ports_parse(const char *text, struct lease_port *ret)
{
	int nr = 0;

	while (*text) {
		size_t len = strcspn(text, ",");
		struct lease_port port = { 0 };
		char one[LEASE_PORT_TEXT];

		if (len >= sizeof(one) || nr == NETWORK_PORTS_MAX)
			return -EBADMSG;
		memcpy(one, text, len);
		one[len] = '\0';
		if (parse_one(one, &port) < 0)
			return -EBADMSG;
		ret[nr++] = port;
		text += len;
		if (*text == ',' && !*++text)
			return -EBADMSG;
	}
	return nr;
}

int lease_ports_format(const struct lease_port *ports, size_t nr, struct buf *b)
{
	char ip[INET_ADDRSTRLEN];

	for (size_t i = 0; i < nr; i++) {
		const struct network_port *p = &ports[i].p;

		ip_format(ntohl(p->host_ip.s_addr), ip);
		buf_printf(b, "%s%s %s:%u %u %u", i ? "," : "",
			   protocol_name(p->protocol), ip, p->host_port,
			   p->port, ports[i].via);
	}
	return buf_error(b);
}

/* --- rules ---------------------------------------------------------------- */

void ports_host_element(const struct lease_port *p, uint32_t gateway,
			struct buf *any, struct buf *one)
{
	struct buf *b = p->p.host_ip.s_addr ? one : any;
	char host[INET_ADDRSTRLEN], to[INET_ADDRSTRLEN];

	ip_format(ntohl(p->p.host_ip.s_addr), host);
	ip_format(gateway, to);
	if (b->len)
		buf_printf(b, ", ");
	if (b == one)
		buf_printf(b, "%s . ", host);
	buf_printf(b, "%s . %u : %s . %u", protocol_name(p->p.protocol),
		   p->p.host_port, to, p->via);
}

void ports_gateway_element(const struct lease_port *p, uint32_t pod,
			   struct buf *b)
{
	char to[INET_ADDRSTRLEN];

	ip_format(pod, to);
	buf_printf(b, "%s%s . %u : %s . %u", b->len ? ", " : "",
		   protocol_name(p->p.protocol), p->via, to, p->p.port);
}

static void put_map(struct buf *b, const char *name, const char *type,
		    const struct buf *elements)
{
	buf_printf(b, "  map %s { type %s : ipv4_addr . inet_service;", name,
		   type);
	if (elements->len)
		buf_printf(b, " elements = { %.*s };", (int)elements->len,
			   elements->data);
	buf_printf(b, " }\n");
}

static void put_table(struct buf *b)
{
	buf_printf(b, "table ip " TABLE " {}\ndelete table ip " TABLE "\n");
}

int ports_host_rules(const struct buf *any, const struct buf *one,
		     struct buf *b)
{
	put_table(b);
	if (!any->len && !one->len)
		return buf_error(b);
	buf_printf(b, "table ip " TABLE " {\n");
	put_map(b, "any", "inet_proto . inet_service", any);
	put_map(b, "one", "ipv4_addr . inet_proto . inet_service", one);
	buf_printf(b, "%s}\n", host_chains);
	return buf_error(b);
}

int ports_gateway_rules(const struct buf *elements, uint32_t base,
			unsigned int prefix, struct buf *b)
{
	char ip[INET_ADDRSTRLEN];

	put_table(b);
	if (!elements->len)
		return buf_error(b);
	ip_format(base, ip);
	buf_printf(b, "table ip " TABLE " {\n");
	put_map(b, "ports", "inet_proto . inet_service", elements);
	buf_printf(b, gateway_chains, ip, prefix);
	buf_printf(b, "}\n");
	return buf_error(b);
}
