#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Take down what 'make up' started: the agent, the control plane, all pods, and
# everything of ours in the kernel. State and logs stay, unless PURGE=1, which
# also removes what 'make up' put into /etc/arktos.
set -euo pipefail
cd "$(dirname "$0")/.."
BUILD=${BUILD:-build}
. tools/demo/paths.sh

die() { echo "down: $*" >&2; exit 1; }

# Before the state goes: it tells which of the files lead here.
purge_etc()
{
	local f
	for f in admin demo; do
		f=$etc_dir/$f.kubeconfig
		! is_ours "$f" || rm -f "$f"
	done
	f=$etc_dir/node.kubeconfig
	if [ -e "$f" ] && has_ca_here "$f"; then
		rm -f "$f"
	fi
	[ ! -d "$etc_dir" ] || rmdir --ignore-fail-on-non-empty "$etc_dir"
}

[ "$(id -u)" = 0 ] || die "must be root"
[ -x "$node" ] || die "no $node: run 'make' first"
alone || die "a 'make up' or another 'make down' is under way: let it end first"
# The agent goes first: the end of its pods is nobody's business any more.
stop_process agent
stop_process control
if [ "${PURGE-}" = 1 ]; then
	purge_etc
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
if [ "${PURGE-}" = 1 ]; then
	for dir in "$state_dir" "$log_dir"; do
		# A disk of its own is the operator's: only what is on it goes.
		if mountpoint -q "$dir"; then
			find "$dir" -mindepth 1 -xdev -delete
		else
			rm -rf --one-file-system "$dir"
		fi
	done
fi
echo "all is down$([ "${PURGE-}" != 1 ] || echo ', and its state gone')"
