#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Bring Arktos and the demo up on this host ('make up'): the control plane, this
# host's agent joined to it, a container pod and a VM pod of tenant 'demo', both
# resized in place. Says so when all of it runs already.
#
# STANDALONE=1 leaves the control plane out: the agent works alone.
# LISTEN=ADDRESS:PORT is where the API is served (127.0.0.1:6443; remembered).
# ARKTOS_ROOT=DIR keeps all of it below that folder, and in a cgroup named after
# it, apart from any other agent: what the test of this script does.
set -euo pipefail
cd "$(dirname "$0")/.."
BUILD=${BUILD:-build}
. tools/demo/paths.sh
inputs=$state_dir/demo-images
blame= # agent or control, when its log tells more
if [ "${STANDALONE-}" = 1 ]; then
	prefix=
else
	prefix=demo/default/
fi

say() { printf '\033[1m%s\033[0m\n' "$*" | strip; }
strip() { if [ -t 1 ]; then cat; else sed $'s/\033\\[[0-9;]*m//g'; fi; }
die()
{
	local log=$log_dir/$blame.log
	echo "up: $*" >&2
	if [ -n "$blame" ] && [ -s "$log" ]; then
		echo "up: the end of $log:" >&2
		tail -10 "$log" >&2
	elif [ -n "$blame" ] && has_systemd; then
		echo "up: the end of its journal:" >&2
		journalctl -q -n 10 --no-pager -o cat \
			-u "$(unit_of "$blame")" >&2 || true
	fi
	exit 1
}
now_ms() { echo $((${EPOCHREALTIME/[.,]/} / 1000)); }

node() { ARKTOS_NODE_SOCKET=$run_dir/node.sock "$node" "$@"; }
answers() { node ps -o json >/dev/null 2>&1; }

. tools/demo/join.sh

joined_to() { node node -o json | jq -r '.status.apiServer.url // ""'; }

start_agent() # OPTION...
{
	local i
	blame=agent
	if has_systemd; then
		start_units "$@"
	else
		[ "$(wc -l </proc/self/cgroup)" -gt 1 ] ||
			sed 's/^0:://' /proc/self/cgroup >"$run_dir/cgroup"
		start_process agent "$(realpath "$node")" run \
			"${agent_options[@]}" "$@"
	fi
	for ((i = 0; i < 600; i++)); do
		! answers || return 0
		has_systemd || pid_of agent >/dev/null ||
			die "the agent has ended"
		sleep 0.05
	done
	die "the agent does not answer after 30 s"
}

# The agent that runs here is the one wanted: alone, or of this control plane.
ensure_agent()
{
	local is= want= options=()
	if [ -n "$prefix" ]; then
		want=$(server_here)
		options=(--kubeconfig "$etc_dir/node.kubeconfig"
			--admin-kubeconfig "$etc_dir/admin.kubeconfig")
	fi
	if answers; then
		is=$(joined_to)
		if [ "$is" = "$want" ]; then
			say "The agent is running"
			return
		fi
		[ -z "$is" ] || die "the agent is joined to $is: 'make down' first"
		pid_of agent >/dev/null ||
			die "an agent that 'make up' did not start works alone" \
				"here: stop it, and run 'make up' again"
		say "The agent worked alone: starting it again, joined"
		echo "its pods run on; 'arktos-node delete' is for those" \
			"that are not wanted any more"
		stop_process agent
	else
		say "Starting the agent"
	fi
	start_agent "${options[@]}"
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
	if [ -n "$prefix" ]; then
		api_state_of "$1"
		return
	fi
	node ps -o json | jq -r --arg n "$1" '.items[]
		| select(.metadata.name == $n)
		| [.status.phase // "Pending",
		   ([.status.conditions[]? | select(.type == "Ready")
		    | .status] | first // "False")] | join(" ")'
}

wait_ready() # POD SECONDS
{
	local end=$(($(now_ms) + $2 * 1000)) state last=
	blame=agent
	while state=$(state_of "$1"); [ "$state" != "Running True" ]; do
		if [ "$state" != "$last" ]; then
			echo "$1: ${state:-not there}" |
				sed 's/ True/, ready/; s/ False/, not ready yet/'
			last=$state
		fi
		[ "$(now_ms)" -lt $end ] || {
			node describe "$prefix$1" >&2 || true
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
	until why=$(node exec "${prefix}vm" -- /bin/true 2>&1); do
		[ "$(now_ms)" -lt $end ] || die "vm: $why"
		sleep 0.2
	done
}

# CPU and memory as seen inside: of a container its own cgroup, whichever
# hierarchy; of a machine what its kernel has.
inside() # POD
{
	if [ "$1" = web ]; then
		node exec "${prefix}web" -- /bin/sh -c 'cd /sys/fs/cgroup
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
		node exec "${prefix}vm" -- /bin/sh -c 'set -- $(grep MemTotal \
			/proc/meminfo); echo "$(nproc) CPUs, $(($2 >> 10)) Mi"'
	fi
}

fresh= # pods that were made just now
is_fresh() { [[ " $fresh " == *" $1 "* ]]; }
rows=()
resize() # POD CPU MEMORY
{
	local before after begin text
	before=$(inside "$1")
	begin=$(now_ms)
	text=$(node resize "$prefix$1" --cpu "$2" --memory "$3" --timeout 60s) ||
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

address_of() # POD
{
	node describe "$prefix$1" -o json | jq -r .status.podIP
}

hints()
{
	local ip kubectl pod
	ip=$(address_of vm)
	echo
	echo "What to try next:"
	if [ -z "$prefix" ]; then
		cat <<-END
		  $node exec web -- wget -qO- http://$ip/cgi-bin/info
		  $node exec vm -- uname -a
		  $node resize vm --cpu 2 --memory 1Gi && $node describe vm
		END
		return
	fi
	kubectl="kubectl --kubeconfig $etc_dir/demo.kubeconfig"
	if command -v kubectl >/dev/null; then
		cat <<-END
		  $kubectl get pods -o wide
		  $kubectl exec web -- wget -qO- http://$ip/cgi-bin/info
		  $node resize vm --cpu 2 --memory 1Gi && $kubectl describe pod vm
		END
	else
		cat <<-END
		  apt-get install kubernetes-client && $kubectl get pods -o wide
		  $node exec web -- wget -qO- http://$ip/cgi-bin/info
		  $node resize vm --cpu 2 --memory 1Gi && $node describe vm
		END
	fi
}

# Resident memory; together what both have of a file (libraries) counts once.
memory()
{
	local name pid smaps=() text=
	for name in control agent; do
		pid=$(pid_of $name) || continue
		smaps+=("/proc/$pid/smaps")
		text+="${name/control/control plane} $(awk '/^VmRSS/ {
			printf "%.1f", $2 / 1024 }' "/proc/$pid/status") MiB, "
	done
	# A mapping of a file has a path; its size there is the larger one.
	echo "Memory: $text$(awk '
		FNR == 1 { program++ }
		/^[0-9a-f]+-[0-9a-f]+ / { name = $6 ~ /^\// ? $6 : "" }
		/^Rss:/ { if (name) file[program, name] += $2; else own += $2 }
		/^Anonymous:/ { if (name) {
			own += $2; file[program, name] -= $2 } }
		END {
			for (k in file) {
				split(k, at, SUBSEP)
				if (file[k] > most[at[2]]) most[at[2]] = file[k]
			}
			for (name in most) own += most[name]
			printf "together %.1f MiB", own / 1024
		}' "${smaps[@]}") resident (what both share counts once)"
}

show_pods()
{
	if [ -n "$prefix" ]; then
		node ps --tenant demo "$@"
	else
		node ps "$@"
	fi
}

both_run()
{
	[ "$(state_of web)" = "Running True" ] &&
		[ "$(state_of vm)" = "Running True" ]
}
all_runs()
{
	if [ -n "$prefix" ]; then
		control_runs && leads_here "$etc_dir/admin.kubeconfig" &&
			leads_here "$etc_dir/demo.kubeconfig" || return
	fi
	answers && [ "$(joined_to)" = "$([ -z "$prefix" ] || server_here)" ] &&
		both_run
}

[ "$(id -u)" = 0 ] || die "must be root: it makes cgroups, links and machines"
umask 022
mkdir -p "$run_dir"
alone || die "another 'make up' or 'make down' is under way"
begin=$(now_ms)

[ -z "$prefix" ] || check_listen
if all_runs; then
	say "All is running already"
	show_pods
	hints
	exit 0
fi
tools/mkimage/mkimage.sh web vm
mkdir -p "$log_dir" "$state_dir"
if [ -n "$prefix" ]; then
	start_control
	make_configs
	join_node
fi
ensure_agent
say "Importing the images"
import_images
say "Starting the pods"
for pod in web vm; do
	if [ -n "$prefix" ]; then
		create_pod $pod
	elif [ -n "$(state_of $pod)" ]; then
		echo "pod/$pod is there"
	else
		node apply -f tools/demo/$pod.yaml
		fresh+=" $pod"
	fi
done
wait_ready web 60
wait_ready vm 120
wait_agent 60
# What ran before keeps the size it was given.
if [ -n "$fresh" ]; then
	say "Resizing in place, up and down again:$fresh"
	! is_fresh web || resize web 1 128Mi
	! is_fresh vm || resize vm 2 512Mi
	! is_fresh web || resize web 500m 64Mi
	! is_fresh vm || resize vm 1 256Mi
	echo
	{
		echo "POD|RESIZED TO|SEEN INSIDE BEFORE|AFTER|TOOK"
		printf '%s\n' "${rows[@]}"
	} | table
fi
echo
show_pods -o wide
memory
say "Up after $((($(now_ms) - begin) / 1000)) s"
hints
