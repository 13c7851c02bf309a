# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034
# Where 'make up' and 'make down' keep things, and how systemd is told to start
# the agent; sourced by both.
node=$BUILD/bin/arktos-node
state_dir=${ARKTOS_ROOT-}/var/lib/arktos
run_dir=${ARKTOS_ROOT-}/run/arktos
log_dir=${ARKTOS_ROOT-}/var/log/arktos
agent_options=(--default-snat)
place=(--state-dir "$state_dir" --run-dir "$run_dir" --log-dir "$log_dir")
if [ -n "${ARKTOS_ROOT-}" ]; then
	place+=(--cgroup-name "arktos-${ARKTOS_ROOT##*[./]}")
fi
agent_options+=("${place[@]}")
# The agent stays in the cgroup it was started in; 'down', which may be called
# from another one, has to be told. (On cgroup v1 it is the session's in both.)
if [ -e "$run_dir/cgroup" ] && { [ -d "/sys/fs/cgroup$(<"$run_dir/cgroup")" ] ||
	[ -d "/sys/fs/cgroup/unified$(<"$run_dir/cgroup")" ]; }; then
	place+=(--cgroup-parent "$(<"$run_dir/cgroup")")
fi

has_systemd() { [ -z "${ARKTOS_ROOT-}" ] && [ -d /run/systemd/system ]; }

# The same two units as 'make install' brings: tools/arktos-*.service say why.
start_units()
{
	local parent=/system.slice/arktos-pods.service
	echo $parent >"$run_dir/cgroup"
	systemctl start arktos-pods 2>/dev/null || # there, or installed
		systemd-run --quiet --unit=arktos-pods \
			--property=Type=oneshot \
			--property=RemainAfterExit=yes \
			--property=Delegate=yes --property=TasksMax=infinity \
			"$(realpath tools/hold.sh)"
	systemd-run --quiet --collect --unit=arktos-node \
		--property=TasksMax=infinity --property=Restart=on-failure \
		--property=RestartSec=1 "$(realpath "$node")" run \
		--cgroup-parent $parent "${agent_options[@]}"
}
