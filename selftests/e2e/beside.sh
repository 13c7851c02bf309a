# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# A machine on the host's network: 192.0.2.2, and the host is 192.0.2.1.
# It ends with the process $beside. Sourced behind lib.sh.
unshare -n sleep 3600 &
beside=$!
mine=$(readlink /proc/self/ns/net)
apart() { [ "$(readlink /proc/$beside/ns/net)" != "$mine" ]; }
wait_for 10 apart
ip link add uplink type veth peer name uplink netns $beside
ip addr add 192.0.2.1/24 dev uplink
ip link set uplink up
nsenter -t $beside -n ip addr add 192.0.2.2/24 dev uplink
nsenter -t $beside -n ip link set uplink up
