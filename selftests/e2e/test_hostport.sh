#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: native
# SECONDS: 90
# Ports of the host that lead to pods, as a user asks for them: from a machine
# beside the host, from the host itself; two tenants that want the same one;
# through kills of the agent; gone with the pod.
. "$(dirname "$0")/lib.sh"

. "$(dirname "$0")/beside.sh"

pod() # of any tenant
{
	node ps -A -o json | jq -r --arg n "$1" \
		".items[] | select(.metadata.name == \$n) | $2"
}
page() { curl -sS -m 5 -o /dev/null -w '%{http_code}\n' "http://$1/"; }
from_beside()
{
	nsenter -t $beside -n curl -sS -m 5 -o /dev/null \
		-w '%{http_code}\n' "http://$1/"
}
refused() { prints 'Connection refused|Failed to connect' "$@"; }
pod_with() # TENANT NAME PORT...
{
	web_manifest "$2" | sed "s|{name: $2}|{name: $2, tenant: $1}|
		/imagePullPolicy/a\\    ports: [$3]" | apply
}
unscheduled()
{
	pod "$1" '.status.conditions[] | select(.type == "PodScheduled" and
		.status == "False") | .message'
}
no_rules() { ! nft list tables | grep arktos; }

ok "the agent starts" agent_start
ok "the image is imported" image_web

ok "without anybody a port is closed" refused from_beside 192.0.2.1:8088
ok "a pod asks for a port of the host" pod_with red web \
	'{containerPort: 8080, hostPort: 8088}'
ok "it is ready" wait_for 30 pod_ready web
ok "a machine beside the host reaches it" prints 200 from_beside 192.0.2.1:8088
ok "so does the host by its address" prints 200 page 192.0.2.1:8088
ok "and by its loopback" prints 200 page 127.0.0.1:8088

ok "another tenant asks for the same" pod_with blue late \
	'{containerPort: 8080, hostPort: 8088, protocol: TCP}'
ok "it waits, and is told why, and not whose" wait_for 10 prints \
	'^hostPort 8088/TCP is in use by a pod of another tenant on this node; it starts when that is gone$' \
	unscheduled late
ok "a pod of the first tenant as well" pod_with red later \
	'{containerPort: 8080, hostPort: 8088, hostIP: 192.0.2.1}'
ok "is told whose" wait_for 10 prints \
	'^hostPort 8088/TCP of 192.0.2.1 is in use by pod default/web on this node' \
	unscheduled later
node delete later --tenant red >/dev/null
ok "a pod asks for a port of the loopback alone" pod_with blue local \
	'{containerPort: 8080, hostPort: 8089, hostIP: 127.0.0.1}'
ok "it is ready, too" wait_for 30 pod_ready local
ok "the host reaches it" prints 200 page 127.0.0.1:8089
ok "others do not" refused from_beside 192.0.2.1:8089

ok "the agent is killed" agent_kill
ok "the port goes on" prints 200 from_beside 192.0.2.1:8088
ok "it comes again" agent_start
ok "the port is still the first pod's" prints 200 from_beside 192.0.2.1:8088
ok "and the second pod still waits" wait_for 10 prints 'hostPort 8088' \
	unscheduled late
ok "the first pod goes" node delete web --tenant red
ok "then the other has the port" wait_for 40 pod_ready late
ok "and answers" prints 200 from_beside 192.0.2.1:8088

ok "SCTP is refused" prints \
	'containers\[0\].ports\[0\].hostPort: is for TCP and UDP here, not for SCTP' \
	pod_with red never '{containerPort: 1, hostPort: 1, protocol: SCTP}'
ok "an IPv6 address is refused" prints \
	"ports\[0\].hostIP: '::1' is not an IPv4 address of the host" \
	pod_with red never '{containerPort: 1, hostPort: 1, hostIP: "::1"}'
ok "twice in a pod is refused" prints \
	'hostPort 1/TCP of 127.0.0.1 is used twice in the pod' \
	pod_with red never '{containerPort: 1, hostPort: 1}, {containerPort: 2, hostPort: 1, hostIP: 127.0.0.1}'

kill $beside
ip link del uplink 2>/dev/null
agent_stop
ok "down takes the rules away" eval 'node_down && no_rules'
e2e_end
