// SPDX-License-Identifier: Apache-2.0
/* Connections the kernel tracks, and has to forget: over ctnetlink. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netlink/attr.h>
#include <netlink/errno.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <stdlib.h>
#include <string.h>

#include "lib/auto.h"
#include "lib/err.h"
#include "netns/internal.h"
#include "netns/netns.h"

#define CT_TYPE(t)  (NFNL_SUBSYS_CTNETLINK << 8 | (t))
#define TUPLE_MAX   128       /* bytes of a tuple's attribute; IPv6 has 72 */
#define FLOWS_BATCH (1 << 16) /* forgotten at once */

/* How the kernel calls one. */
struct name {
	uint8_t tuple[TUPLE_MAX];
	int len;
};

struct walk {
	bool (*fn)(const struct ns_flow *flow, void *arg);
	void *arg;
	struct name *names;
	size_t nr, size;
	bool no_memory;
};

static bool end_of(struct nlattr *tuple, struct ns_flow_end *ret,
		   uint8_t *ret_protocol)
{
	struct nlattr *a[CTA_TUPLE_MAX + 1], *ip[CTA_IP_MAX + 1];
	struct nlattr *proto[CTA_PROTO_MAX + 1];

	if (!tuple || nla_parse_nested(a, CTA_TUPLE_MAX, tuple, NULL) < 0 ||
	    !a[CTA_TUPLE_IP] || !a[CTA_TUPLE_PROTO] ||
	    nla_parse_nested(ip, CTA_IP_MAX, a[CTA_TUPLE_IP], NULL) < 0 ||
	    nla_parse_nested(proto, CTA_PROTO_MAX, a[CTA_TUPLE_PROTO], NULL) <
		    0 ||
	    !ip[CTA_IP_V4_SRC] || !ip[CTA_IP_V4_DST] || !proto[CTA_PROTO_NUM] ||
	    !proto[CTA_PROTO_SRC_PORT] || !proto[CTA_PROTO_DST_PORT])
		return false;
	*ret_protocol = nla_get_u8(proto[CTA_PROTO_NUM]);
	ret->src.s_addr = nla_get_u32(ip[CTA_IP_V4_SRC]);
	ret->dst.s_addr = nla_get_u32(ip[CTA_IP_V4_DST]);
	ret->src_port = ntohs(nla_get_u16(proto[CTA_PROTO_SRC_PORT]));
	ret->dst_port = ntohs(nla_get_u16(proto[CTA_PROTO_DST_PORT]));
	return true;
}

static bool note(struct walk *w, const struct nlattr *tuple)
{
	size_t size = w->size ? w->size * 2 : 64;
	struct name *more;

	if (nla_len(tuple) > TUPLE_MAX || w->nr >= FLOWS_BATCH)
		return true;
	if (w->nr == w->size) {
		more = reallocarray(w->names, size, sizeof(*more));
		if (!more)
			return false;
		w->names = more;
		w->size = size;
	}
	memcpy(w->names[w->nr].tuple, nla_data(tuple), (size_t)nla_len(tuple));
	w->names[w->nr++].len = nla_len(tuple);
	return true;
}

static int on_flow(struct nl_msg *msg, void *arg)
{
	struct nlattr *a[CTA_MAX + 1];
	struct ns_flow flow = { 0 };
	struct walk *w = arg;
	uint8_t protocol;

	if (nlmsg_parse(nlmsg_hdr(msg), sizeof(struct nfgenmsg), a, CTA_MAX,
			NULL) < 0 ||
	    !end_of(a[CTA_TUPLE_ORIG], &flow.asked, &flow.protocol) ||
	    !end_of(a[CTA_TUPLE_REPLY], &flow.answered, &protocol))
		return NL_OK;
	if (w->fn(&flow, w->arg) && !note(w, a[CTA_TUPLE_ORIG]))
		w->no_memory = true;
	return NL_OK;
}

static struct nl_msg *message(int type, int flags)
{
	const struct nfgenmsg head = { .nfgen_family = AF_INET,
				       .version = NFNETLINK_V0 };
	struct nl_msg *msg = nlmsg_alloc_simple(CT_TYPE(type), flags);

	if (msg &&
	    nlmsg_append(msg, (void *)&head, sizeof(head), NLMSG_ALIGNTO) < 0) {
		nlmsg_free(msg);
		return NULL;
	}
	return msg;
}

static int look(struct nl_sock *sk, struct walk *w, struct err *e)
{
	struct nl_msg *msg = message(IPCTNL_MSG_CT_GET, NLM_F_DUMP);
	int r;

	if (!msg)
		return err_set(e, -ENOMEM, "out of memory");
	nl_socket_modify_cb(sk, NL_CB_VALID, NL_CB_CUSTOM, on_flow, w);
	r = nl_send_auto(sk, msg);
	nlmsg_free(msg);
	if (r >= 0)
		r = nl_recvmsgs_default(sk);
	if (r < 0)
		return rt_fail(e, r, "list the connections tracked");
	return w->no_memory ? err_set(e, -ENOMEM, "out of memory") : 0;
}

/* One that has just ended is as good. */
static int forget(struct nl_sock *sk, const struct name *name, struct err *e)
{
	struct nl_msg *msg = message(IPCTNL_MSG_CT_DELETE, NLM_F_ACK);
	int r = -NLE_NOMEM;

	if (msg && nla_put(msg, CTA_TUPLE_ORIG | NLA_F_NESTED, name->len,
			   name->tuple) == 0)
		r = nl_send_auto(sk, msg);
	nlmsg_free(msg);
	if (r >= 0)
		r = nl_wait_for_ack(sk);
	if (r < 0 && r != -NLE_OBJ_NOTFOUND)
		return rt_fail(e, r, "forget a connection");
	return 0;
}

static int connect_here(void *arg, struct err *e)
{
	int r = nl_connect(arg, NETLINK_NETFILTER);

	return r < 0 ? rt_fail(e, r, "open a netlink socket") : 0;
}

int ns_flows_forget(int nsfd, bool (*fn)(const struct ns_flow *flow, void *arg),
		    void *arg, struct err *e)
{
	struct walk w = { .fn = fn, .arg = arg };
	struct nl_sock *sk = nl_socket_alloc();
	int r = sk ? ns_call(nsfd, connect_here, sk, e)
		   : err_set(e, -ENOMEM, "out of memory");

	if (r == 0)
		r = look(sk, &w, e);
	for (size_t i = 0; r == 0 && i < w.nr; i++)
		r = forget(sk, &w.names[i], e);
	free(w.names);
	if (sk)
		nl_socket_free(sk);
	return r;
}
