# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034
# Where 'make up' and 'make down' keep things, and how processes are started and
# ended, by systemd where it rules; sourced by both.
node=${O:-$BUILD}/bin/arktos-node
control=${O:-$BUILD}/bin/arktos-control
ctl=${O:-$BUILD}/bin/arktosctl
state_dir=${ARKTOS_ROOT-}/var/lib/arktos
run_dir=${ARKTOS_ROOT-}/run/arktos
log_dir=${ARKTOS_ROOT-}/var/log/arktos
etc_dir=${ARKTOS_ROOT-}/etc/arktos
data_dir=$state_dir/control
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

# One 'make up' or 'make down' at a time: until this script ends. The folder is
# locked, and not a file, since 'down' leaves none.
alone()
{
	mkdir -p "${run_dir%/*}"
	exec 9<"${run_dir%/*}"
	flock -n 9
}

has_systemd() { [ -z "${ARKTOS_ROOT-}" ] && [ -d /run/systemd/system ]; }

# --- processes: 'agent' and 'control' -----------------------------------------

unit_of() { echo "arktos-${1/agent/node}"; }

# A daemon of its own, in a session of its own. The start time tells it from a
# later one with the same number.
start_process() # NAME COMMAND...
{
	local name=$1 pid
	shift
	setsid "$@" </dev/null >>"$log_dir/$name.log" 2>&1 9>&- &
	pid=$!
	echo "$pid $(cut -d ' ' -f 22 "/proc/$pid/stat" 2>/dev/null)" \
		>"$run_dir/$name.pid"
}

# The process, if it is still the one that was started.
pid_of() # NAME
{
	local pid=0 started
	if has_systemd; then
		pid=$(systemctl show -P MainPID "$(unit_of "$1")" 2>/dev/null)
	fi
	if [ "${pid:-0}" = 0 ]; then
		read -r pid started 2>/dev/null <"$run_dir/$1.pid" || return 1
		[ "$(cut -d ' ' -f 22 "/proc/$pid/stat" 2>/dev/null)" = \
			"$started" ] || return 1
	fi
	echo "$pid"
}

stop_process() # NAME
{
	local pid i
	if has_systemd; then
		systemctl stop --quiet "$(unit_of "$1")" 2>/dev/null || true
	fi
	pid=$(pid_of "$1") || return 0
	kill "$pid" 2>/dev/null || true
	for ((i = 0; i < 200; i++)); do
		pid_of "$1" >/dev/null || return 0
		[ $i -ne 150 ] || kill -9 "$pid" 2>/dev/null || true
		sleep 0.05
	done
	die "$1 (pid $pid) does not end, not even by kill -9"
}

# Installed ('make install'), not one of ours that is gone at the next boot.
is_installed() # UNIT
{
	case $(systemctl show -P FragmentPath "$1" 2>/dev/null) in
	'' | /run/*) return 1 ;;
	esac
}

# The same units as 'make install' brings: tools/arktos-*.service say why.
start_units() # OPTION OF THE AGENT...
{
	local parent=/system.slice/arktos-pods.service
	echo $parent >"$run_dir/cgroup"
	systemctl start arktos-pods 2>/dev/null || # there, or installed
		systemd-run --quiet --unit=arktos-pods \
			--property=Type=oneshot \
			--property=RemainAfterExit=yes \
			--property=Delegate=yes --property=TasksMax=infinity \
			"$(realpath tools/hold.sh)"
	if is_installed arktos-node; then
		systemctl restart arktos-node
		return
	fi
	systemd-run --quiet --collect --unit=arktos-node \
		--property=TasksMax=infinity --property=Restart=on-failure \
		--property=RestartSec=1 "$(realpath "$node")" run \
		--cgroup-parent $parent "${agent_options[@]}" "$@"
}

start_control_unit() # OPTION...
{
	if is_installed arktos-control; then
		systemctl restart arktos-control
		return
	fi
	systemd-run --quiet --collect --unit=arktos-control \
		--property=Restart=on-failure --property=RestartSec=1 \
		--property=NoNewPrivileges=yes \
		--property=LimitNOFILE=1048576 \
		"$(realpath "$control")" run "$@"
}

# --- kubeconfigs in /etc/arktos -----------------------------------------------

# The first line of what 'make up' puts there: nothing else is ever replaced.
mark="# Made by 'make up' of Arktos, which replaces it; 'make down PURGE=1' removes it."
is_ours() { [ "$(head -1 "$1" 2>/dev/null)" = "$mark" ]; }
is_there() { [ -e "$1" ] || [ -L "$1" ]; }

field() # KUBECONFIG NAME
{
	sed -n "s/^ *$2: *//p" "$1" 2>/dev/null | head -1
}

# Where the control plane of this host is, once it has been started.
server_here() { field "$data_dir/admin.kubeconfig" server; }
# Of that control plane, even if it was served elsewhere then.
has_ca_here() # KUBECONFIG
{
	local name=certificate-authority-data
	[ -s "$data_dir/admin.kubeconfig" ] && [ "$(field "$1" $name)" = \
		"$(field "$data_dir/admin.kubeconfig" $name)" ]
}
leads_here() # KUBECONFIG
{
	has_ca_here "$1" && [ "$(field "$1" server)" = "$(server_here)" ]
}
