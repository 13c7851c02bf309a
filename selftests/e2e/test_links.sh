#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: native
# SECONDS: 60
# Links that somebody removes under a running agent come back, with the pod's
# address, and nothing that runs is restarted.
. "$(dirname "$0")/lib.sh"

link_of() # POD: the host's end, found by its alias
{
	ip -j link | jq -r --arg a "arktos pod $(pod "$1" .metadata.uid)" \
		'.[] | select(.ifalias == $a) | .ifname'
}
index_of() { ip -o link show "$1" 2>/dev/null | cut -d : -f 1; }
new_index()
{
	local i
	i=$(index_of "$1")
	[ -n "$i" ] && [ "$i" != "$2" ]
}
pod_answers() { prints . fetch "http://$(pod "$1" .status.podIP):8080/"; }
guest_answers()
{
	nsenter --net="$(find "$RUN/netns" -name 'net-*' | head -1)" \
		ping -c 1 -W 1 "$(pod vm .status.podIP)"
}
event_of() # POD
{
	prints 'NetworkLinkLost.*removed by somebody' node describe "$1"
}

ok "the agent starts" agent_start
ok "images are there" eval 'image_web && image_vm'
ok "pods run" eval 'web_manifest web | apply && vm_manifest vm | apply &&
	wait_for 30 pod_ready web && wait_for 90 pod_ready vm'
ok "the container pod answers" wait_for 5 pod_answers web
ip=$(pod web .status.podIP)
started=$(pod web '.status.containerStatuses[0].state.running.startedAt')

l=$(link_of web)
mac=$(node exec web -- cat /sys/class/net/eth0/address)
i=$(index_of "$l")
ip link del "$l"
ok "a container's link is made again" wait_for 5 new_index "$l" "$i"
ok "the pod answers again" wait_for 5 pod_answers web
ok "with its address" pod_is web .status.podIP "$ip"
ok "and its MAC" prints "^$mac$" node exec web -- cat /sys/class/net/eth0/address
ok "an event tells of it" event_of web
ok "nothing was restarted" pod_is web \
	'.status.containerStatuses[0].state.running.startedAt' "$started"

ip link set "$l" down
ok "one that was set down is set up" wait_for 5 eval \
	'ip -o link show up | grep -q " $l[:@]"'
ok "and the pod answers" wait_for 5 pod_answers web

l=$(ip -o link | sed -n 's/^[0-9]*: \(arkg[^:@]*\).*/\1/p' | head -1)
i=$(index_of "$l")
ip link del "$l"
ok "a network's gateway is made again" wait_for 5 new_index "$l" "$i"
ok "and leads to the pods" wait_for 5 pod_answers web

ok "the guest answers" wait_for 20 guest_answers
l=$(link_of vm)
i=$(index_of "$l")
pid=$(pgrep -f "^/usr/bin/qemu-system.*$(pod vm .metadata.uid)")
ip link del "$l"
ok "a VM's tap is made again" wait_for 5 new_index "$l" "$i"
ok "the guest answers again" wait_for 10 guest_answers
ok "large packets pass, too" nsenter \
	--net="$(find "$RUN/netns" -name 'net-*' | head -1)" \
	ping -c 1 -W 5 -s 1400 "$(pod vm .status.podIP)"
ok "in the same QEMU" eval '! gone "$pid" && pod_is vm \
	.status.virtualMachineStatus.restartCount 0'
ok "an event tells of it, too" event_of vm
l=$(link_of web)
agent_kill
ip link del "$l"
agent_start
ok "a link that went while no agent ran comes back" \
	wait_for 10 pod_answers web
ok "pods are deleted" node delete web vm
e2e_end
