// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/auto.h"
#include "lib/str.h"
#include "qmp/internal.h"
#include "qmp/qga.h"

void qga_ifaces_free(struct qga_iface *ifaces, size_t nr)
{
	for (size_t i = 0; ifaces && i < nr; i++)
		free(ifaces[i].addrs);
	free(ifaces);
}

/* Only what is an address: this text ends up in the pod's status. */
static bool parse_address(yyjson_val *v, char *to, size_t size)
{
	const char *text = msg_str(v, "ip-address");
	unsigned char raw[sizeof(struct in6_addr)];
	uint64_t prefix = 0;
	int n;

	if (!text || !msg_u64(v, "prefix", &prefix) || prefix > 128)
		return false;
	if (inet_pton(AF_INET, text, raw) != 1 &&
	    inet_pton(AF_INET6, text, raw) != 1)
		return false;
	n = snprintf(to, size, "%s/%u", text, (unsigned int)prefix);
	return n > 0 && (size_t)n < size;
}

static bool is_mac(const char *s)
{
	size_t i = 0;

	for (; s[i]; i++)
		if (i % 3 == 2 ? s[i] != ':'
			       : !strchr("0123456789abcdefABCDEF", s[i]))
			return false;
	return i == 17;
}

static int parse_iface(yyjson_val *v, struct qga_iface *iface)
{
	yyjson_val *list = yyjson_obj_get(v, "ip-addresses");
	size_t nr = yyjson_arr_size(list);
	const char *mac = msg_str(v, "hardware-address");
	yyjson_val *addr;
	size_t i, max;

	if (nr > QGA_ADDRS_MAX)
		nr = QGA_ADDRS_MAX;
	msg_copy(v, "name", iface->name, sizeof(iface->name));
	if (mac && is_mac(mac))
		msg_copy(v, "hardware-address", iface->mac, sizeof(iface->mac));
	iface->addrs = calloc(nr + 1, sizeof(*iface->addrs));
	if (!iface->addrs)
		return -ENOMEM;
	yyjson_arr_foreach(list, i, max, addr)
	{
		if (iface->nr_addrs == nr)
			break;
		if (parse_address(addr, iface->addrs[iface->nr_addrs],
				  sizeof(*iface->addrs)))
			iface->nr_addrs++;
	}
	return 0;
}

int qga_get_interfaces(struct qga *g, int timeout_ms, struct qga_iface **ret,
		       size_t *ret_nr, struct err *e)
{
	static const char command[] = "guest-network-get-interfaces";
	auto_qmp_reply struct qmp_reply reply = { 0 };
	struct qga_iface *ifaces;
	size_t i, max, nr = 0;
	yyjson_val *v;
	int r;

	r = qga_call(g, command, NULL, timeout_ms, &reply, e);
	if (r == 0)
		r = msg_list(&reply, QGA_IFACES_MAX, command, &nr, e);
	if (r < 0)
		return r;
	ifaces = calloc(nr + 1, sizeof(*ifaces));
	if (!ifaces)
		return err_set(e, -ENOMEM, "out of memory");
	yyjson_arr_foreach(reply.value, i, max, v)
	{
		r = parse_iface(v, &ifaces[i]);
		if (r < 0) {
			qga_ifaces_free(ifaces, nr);
			return err_set(e, r, "out of memory");
		}
	}
	*ret_nr = nr;
	*ret = ifaces;
	return 0;
}
