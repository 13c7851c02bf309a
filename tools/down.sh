#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Take down what 'make up' started: the agent, all pods, and everything of ours
# in the kernel. State and logs stay, unless PURGE=1.
set -euo pipefail
cd "$(dirname "$0")/.."
BUILD=${BUILD:-build}
. tools/demo/paths.sh

die() { echo "down: $*" >&2; exit 1; }

# The process of the pid file, if it is still the one that was started.
agent_pid()
{
	local pid started
	read -r pid started <"$run_dir/agent.pid" 2>/dev/null || return 1
	[ "$(cut -d ' ' -f 22 "/proc/$pid/stat" 2>/dev/null)" = "$started" ] ||
		return 1
	echo "$pid"
}

stop_agent()
{
	local pid i
	if has_systemd; then
		systemctl stop --quiet arktos-node.service 2>/dev/null || true
	fi
	pid=$(agent_pid) || return 0
	kill "$pid"
	for ((i = 0; i < 200; i++)); do
		agent_pid >/dev/null || return 0
		[ $i -eq 150 ] && kill -9 "$pid"
		sleep 0.05
	done
	die "the agent (pid $pid) does not end"
}

[ "$(id -u)" = 0 ] || die "must be root"
[ -x "$node" ] || die "no $node: run 'make' first"
stop_agent
if [ "${PURGE-}" = 1 ]; then
	place+=(--purge)
fi
"$node" down "${place[@]}"
if has_systemd; then
	systemctl stop --quiet arktos-pods.service 2>/dev/null || true
fi
if grep -qF " $run_dir" /proc/self/mountinfo; then
	die "something is still mounted below $run_dir"
fi
rm -rf --one-file-system "$run_dir"
[ "${PURGE-}" != 1 ] || rm -rf --one-file-system "$state_dir" "$log_dir"
echo "all is down$([ "${PURGE-}" != 1 ] || echo ', and its state gone')"
