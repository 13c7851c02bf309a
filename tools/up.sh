#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Bring the node and the demo up on this host ('make up'): the agent, a container
# pod and a VM pod, both resized in place. Says so when all of it runs already.
#
# ARKTOS_ROOT=DIR keeps all of it below that folder, and in a cgroup named after
# it, apart from any other agent: what the test of this script does.
set -euo pipefail
cd "$(dirname "$0")/.."
BUILD=${BUILD:-build}
. tools/demo/paths.sh
log=$log_dir/agent.log
inputs=$state_dir/demo-images

say() { printf '\033[1m%s\033[0m\n' "$*" | strip; }
strip() { if [ -t 1 ]; then cat; else sed $'s/\033\\[[0-9;]*m//g'; fi; }
die()
{
	echo "up: $*" >&2
	[ -s "$log" ] && {
		echo "up: the end of $log:" >&2
		tail -10 "$log" >&2
	}
	exit 1
}
now_ms() { echo $((${EPOCHREALTIME/[.,]/} / 1000)); }

node() { ARKTOS_NODE_SOCKET=$run_dir/node.sock "$node" "$@"; }
answers() { node ps -o json >/dev/null 2>&1; }

# A daemon of its own: a unit where systemd rules, else a session.
start_agent()
{
	local pid i
	mkdir -p "$run_dir" "$log_dir" "$state_dir"
	if has_systemd; then
		start_units
	else
		[ "$(wc -l </proc/self/cgroup)" -gt 1 ] ||
			sed 's/^0:://' /proc/self/cgroup >"$run_dir/cgroup"
		setsid "$(realpath "$node")" run "${agent_options[@]}" \
			</dev/null >>"$log" 2>&1 9>&- &
		pid=$!
		# The start time tells this process from a later one with the
		# same number.
		echo "$pid $(cut -d ' ' -f 22 "/proc/$pid/stat")" \
			>"$run_dir/agent.pid"
	fi
	for ((i = 0; i < 300; i++)); do
		answers && return
		[ -n "${pid-}" ] && ! [ -d "/proc/$pid" ] &&
			die "the agent has ended"
		sleep 0.05
	done
	die "the agent does not answer after 15 s"
}

import_images()
{
	local have want image source
	want=$(cat "$BUILD"/images/.web.inputs "$BUILD"/images/.vm.inputs)
	have=$(node image ls -o json | jq -r '.items[].ref')
	if [ "$want" = "$(cat "$inputs" 2>/dev/null)" ] &&
		grep -qE '(^|/)web(:latest)?$' <<<"$have" &&
		grep -qE '(^|/)vm(:latest)?$' <<<"$have"; then
		return
	fi
	for image in web vm; do
		source=$BUILD/images/$image
		[ $image = web ] && source=oci:$BUILD/images/web:latest
		echo "importing $source"
		node image import "$source" --name $image
	done
	echo "$want" >"$inputs"
}

# phase and readiness of a pod: 'Running True'
state_of() # POD
{
	node ps -o json | jq -r --arg n "$1" '.items[]
		| select(.metadata.name == $n)
		| [.status.phase // "Pending",
		   ([.status.conditions[]? | select(.type == "Ready")
		    | .status] | first // "False")] | join(" ")'
}

wait_ready() # POD SECONDS
{
	local end=$(($(now_ms) + $2 * 1000)) state last=
	while state=$(state_of "$1"); [ "$state" != "Running True" ]; do
		if [ "$state" != "$last" ]; then
			echo "$1: ${state:-not there}" |
				sed 's/ True/, ready/; s/ False/, not ready yet/'
			last=$state
		fi
		[ "$(now_ms)" -lt $end ] || {
			node describe "$1" >&2
			die "$1 is not ready after $2 s"
		}
		sleep 0.1
	done
	echo "$1: Running, ready"
}

# A machine may serve before its agent is up.
wait_agent() # SECONDS
{
	local end=$(($(now_ms) + $1 * 1000)) why
	until why=$(node exec vm -- /bin/true 2>&1); do
		[ "$(now_ms)" -lt $end ] || die "vm: $why"
		sleep 0.2
	done
}

# CPU and memory as seen inside: of a container its own cgroup, whichever
# hierarchy; of a machine what its kernel has.
inside() # POD
{
	if [ "$1" = web ]; then
		node exec web -- /bin/sh -c 'cd /sys/fs/cgroup
			if [ -e cpu.max ]; then
				read -r q p <cpu.max; read -r m <memory.max
			else
				read -r q <cpu/cpu.cfs_quota_us
				read -r p <cpu/cpu.cfs_period_us
				read -r m <memory/memory.limit_in_bytes
			fi
			case $q in
			max | -1) echo "no limit, $((m >> 20)) Mi" ;;
			*) echo "$((q * 1000 / p))m, $((m >> 20)) Mi" ;;
			esac'
	else
		node exec vm -- /bin/sh -c 'set -- $(grep MemTotal \
			/proc/meminfo); echo "$(nproc) CPUs, $(($2 >> 10)) Mi"'
	fi
}

rows=()
resize() # POD CPU MEMORY
{
	local before after begin text
	before=$(inside "$1")
	begin=$(now_ms)
	text=$(node resize "$1" --cpu "$2" --memory "$3" --timeout 60s) ||
		die "resize of $1 to $2 CPU, $3: $text"
	begin=$(($(now_ms) - begin))
	after=$(inside "$1")
	echo "$1: $text"
	rows+=("$1|$2, $3|$before|$after|$begin ms")
}

table() # lines of fields parted by |
{
	awk -F '|' '{ for (i = 1; i <= NF; i++) {
			c[NR, i] = $i
			if (length($i) > w[i]) w[i] = length($i) }
			n = NF }
		END { for (r = 1; r <= NR; r++) {
			line = ""
			for (i = 1; i <= n; i++)
				line = line sprintf("%-" w[i] + 2 "s", c[r, i])
			sub(/ +$/, "", line); print line } }'
}

hints()
{
	local ip
	ip=$(node ps -o json | jq -r '.items[]
		| select(.metadata.name == "vm") | .status.podIP')
	cat <<-END

	What to try next:
	  $node exec web -- wget -qO- http://$ip/cgi-bin/info
	  $node exec -it vm -- /bin/sh
	  $node resize vm --cpu 2 --memory 1Gi && $node describe vm
	END
}

[ "$(id -u)" = 0 ] || die "must be root: it makes cgroups, links and machines"
mkdir -p "$run_dir"
exec 9>"$run_dir/up.lock"
flock -n 9 || die "another 'make up' is under way"
begin=$(now_ms)

if answers && [ "$(state_of web)" = "Running True" ] &&
	[ "$(state_of vm)" = "Running True" ]; then
	say "All is running already"
	node ps
	hints
	exit 0
fi
tools/mkimage/mkimage.sh web vm
if answers; then
	say "The agent is running"
else
	say "Starting the agent"
	start_agent
fi
say "Importing the images"
import_images
say "Starting the pods"
for pod in web vm; do
	node apply -f tools/demo/$pod.yaml
done
wait_ready web 60
wait_ready vm 120
wait_agent 60
say "Resizing both in place, up and down again"
resize web 1 128Mi
resize vm 2 512Mi
resize web 500m 64Mi
resize vm 1 256Mi

echo
{
	echo "POD|RESIZED TO|SEEN INSIDE BEFORE|AFTER|TOOK"
	printf '%s\n' "${rows[@]}"
} | table
echo
node ps -o wide
say "Up after $((($(now_ms) - begin) / 1000)) s"
hints
