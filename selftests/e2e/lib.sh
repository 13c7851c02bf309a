# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# For end-to-end tests: an agent of the test's own. Source it as the first thing:
#
#	. selftests/e2e/lib.sh
#	agent_start; image_web; node apply -f ...; ok "it runs" wait_for 20 ...
#	e2e_end
#
# The test runs again in network and mount namespaces of its own; directories and
# the cgroup have names of their own, so no other agent is ever met. At the end
# everything must be gone: processes, cgroups, mounts, BPF objects.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
export O=${O:-build} BUILD=${BUILD:-build}

skip_all() { echo "1..0 # SKIP $1"; echo "# SKIP $1"; exit 4; }
[ "$(id -u)" = 0 ] || skip_all "must be root"
if [ -z "${E2E_INSIDE-}" ]; then
	export E2E_INSIDE=1
	exec unshare -n -m --propagation private -- "$0" "$@"
fi

E2E=$(mktemp -d /tmp/arktos-e2e.XXXXXX)
CG=arktos-${E2E##*.}
STATE=$E2E/state RUN=$E2E/run LOG=$E2E/log
NODE=$PWD/$O/bin/arktos-node AT=$PWD/$O/selftests/e2e/peer_at
AGENT_PID= tests=0 failures=0
AGENT_ARGS=()
mkdir -p "$STATE" "$RUN" "$LOG"
exec 3>&1
ip link set lo up

# cgroup v2 alone: controllers are given on only by a cgroup that holds no
# process, so the test itself goes to a leaf.
if [ "$(wc -l </proc/self/cgroup)" = 1 ]; then
	own=$(sed 's/^0:://; s,/e2e$,,; s,^/$,,' /proc/self/cgroup)
	mkdir -p "/sys/fs/cgroup$own/e2e"
	echo $$ >"/sys/fs/cgroup$own/e2e/cgroup.procs"
	AGENT_ARGS+=(--cgroup-parent "${own:-/}")
fi
# With SAN=: agent, supervisor and control plane.
. selftests/sanitizer.sh
sanitizers_to "$E2E/sanitizer"
trap e2e_cleanup EXIT
trap 'exit 1' INT TERM

node() { ARKTOS_NODE_SOCKET=$RUN/node.sock "$NODE" "$@"; }
exec {nothing}<> <(:)
pause() { read -rt "${1:-0.05}" -u "$nothing" || :; }
now_ms() { echo $((${EPOCHREALTIME/[.,]/} / 1000)); }

# Repeat a command until it succeeds: 20 times in the first second, then less often,
# as others could do with the CPU. Who waits says how long it may take on a quiet
# machine; an emulated one beside others was seen to take five times as long.
patience=${SECONDS_TIMES:-3}
[ "${ARKTOS_LANE-}" = guest ] && patience=6
wait_for() # SECONDS COMMAND...
{
	local now=${EPOCHREALTIME/[.,]/} begin end
	begin=$now end=$((now + $1 * 1000000 * patience))
	shift
	until "$@" >"$E2E/why" 2>&1; do
		now=${EPOCHREALTIME/[.,]/}
		[ "$now" -lt $end ] || {
			echo "# gave up waiting for: $*"
			return 1
		}
		if [ $((now - begin)) -lt 1000000 ]; then pause; else pause 0.2; fi
	done
}

ok() # NAME COMMAND...
{
	local name=$1
	shift
	tests=$((tests + 1))
	: >"$E2E/why"
	if "$@" >"$E2E/said" 2>&1; then
		echo "ok $tests $name"
		return 0
	fi
	failures=$((failures + 1))
	{
		echo "$*"
		cat "$E2E/said" "$E2E/why" 2>/dev/null | tail -10
		node ps 2>&1
		tail -15 "$LOG/agent.log"
	} | sed 's,^,# ,'
	echo "not ok $tests $name"
	return 1
}

# What a command prints matches an extended regular expression.
prints() # REGEX COMMAND...
{
	local re=$1 out
	shift
	out=$("$@" 2>&1)
	grep -qE -- "$re" <<<"$out" || {
		echo "want /$re/, got: $out"
		return 1
	}
}

# A jq expression over the pod's JSON, raw; nothing when there is no such pod. The
# usual ones are not worth a start of jq (selftests/e2e/peer_at.c).
pod() # NAME EXPRESSION
{
	case $2 in
	"$READY") node ps -o json | "$AT" -n "$1" -d False "$READY_AT" ;;
	*[!A-Za-z0-9_.[\]]*) node ps -o json | jq -r --arg n "$1" \
		".items[] | select(.metadata.name == \$n) | $2" ;;
	*) node ps -o json | "$AT" -n "$1" "$2" ;;
	esac
}
pod_is() # NAME EXPRESSION VALUE
{
	local got
	got=$(pod "$1" "$2")
	[ "$got" = "$3" ] || {
		echo "$1: $2 is '$got', want '$3'"
		return 1
	}
}
# In brackets: '//' binds less than '==' does.
READY='([.status.conditions[]? | select(.type == "Ready") | .status][0] // "False")'
READY_AT='.status.conditions[type=Ready].status'
pod_ready() { pod_is "$1" "$READY" True; }
pod_gone() { [ -z "$(pod "$1" .metadata.name)" ]; }
answers() { node ps -o json; }

agent_start() # OPTION...
{
	[ -x "$NODE" ] || {
		echo "not ok - no $NODE: build it first" >&3
		exit 1
	}
	# As a service it has another current directory than its users; and it must
	# not matter how careful the shell is that it was started from.
	(umask 077 && exec env -C / "$NODE" run --state-dir "$STATE" --run-dir "$RUN" --log-dir "$LOG" \
		--cgroup-name "$CG" "${AGENT_ARGS[@]}" "$@") \
		>>"$LOG/agent.log" 2>&1 </dev/null &
	AGENT_PID=$!
	disown "$AGENT_PID"
	wait_for 20 answers || {
		tail -20 "$LOG/agent.log" | sed 's,^,# ,'
		return 1
	}
}

# For LD_PRELOAD: a fault of selftests/shims; behind the sanitizer, if there is one.
shim() # NAME
{
	ldd "$NODE" | awk '/lib[at]san/ { printf "%s ", $3 }'
	echo "$PWD/$O/selftests/shims/$1.so"
}

gone() { ! [ -d "/proc/$1" ] || grep -q '^State:.*Z' "/proc/$1/status"; }
agent_stop() { kill "$AGENT_PID" && wait_for 15 gone "$AGENT_PID"; }
agent_kill() { kill -9 "$AGENT_PID" && wait_for 5 gone "$AGENT_PID"; }

# What a daemon holds open, by kind: to be noted when it has done everything once,
# and found again when all of that has gone. Prints what is more. The control plane's
# Unix sockets are left out: its parts talk by them with each other.
descriptors() # PID
{
	find "/proc/$1/fd" -type l -printf '%l\n' 2>/dev/null |
		awk -v pid="$1" 'BEGIN {
			getline name <("/proc/" pid "/comm")
			unix = "/proc/" pid "/net/unix"
			while (name == "arktos-control" && (getline line <unix) > 0) {
				split(line, word, " ")
				is_unix["socket:[" word[7] "]"] = 1
			}
		}
		!is_unix[$0] {
			sub(/:\[.*| \(deleted\)/, "")
			print
		}' | sort
}
note_descriptors() # PID...
{
	local p
	for p in "$@"; do
		descriptors "$p" >"$E2E/descriptors.$p"
	done
}
holds_no_more() # PID
{
	[ -s "$E2E/descriptors.$1" ] &&
		! comm -13 "$E2E/descriptors.$1" <(descriptors "$1") | grep .
}

image_web()
{
	tools/mkimage/mkimage.sh web >/dev/null &&
		node image import "oci:$BUILD/images/web:latest" --name web
}
image_vm()
{
	tools/mkimage/mkimage.sh vm >/dev/null &&
		node image import "$BUILD/images/vm" --name vm
}

# --- what is ours on this machine ---------------------------------------------

our_cgroups() { find /sys/fs/cgroup -type d -name "$CG" 2>/dev/null; }
our_processes()
{
	local p
	{
		our_cgroups | while read -r c; do
			find "$c" -name cgroup.procs -exec cat {} +
		done
		for p in /proc/[0-9]*; do
			tr '\0' ' ' 2>/dev/null <"$p/cmdline" |
				grep -qF "$E2E" && echo "${p#/proc/}"
		done
	} | sort -un | grep -vx "$$\|$BASHPID"
}
our_mounts() { grep -F "$E2E" /proc/self/mountinfo; }
our_links() { ip -o link | grep -v ' lo:'; }
our_bpf_ids() # prog|map
{
	find "$RUN/bpf" -type f 2>/dev/null | while read -r f; do
		bpftool -j "$1" show pinned "$f" 2>/dev/null | jq -r '.id // empty'
	done | sort -un
}
BPF_PROGS= BPF_MAPS=
note_bpf()
{
	BPF_PROGS+=" $(our_bpf_ids prog | tr '\n' ' ')"
	BPF_MAPS+=" $(our_bpf_ids map | tr '\n' ' ')"
}
our_bpf()
{
	local i
	for i in $(printf '%s\n' $BPF_PROGS | sort -un); do
		bpftool prog show id "$i" 2>/dev/null
	done
	for i in $(printf '%s\n' $BPF_MAPS | sort -un); do
		bpftool map show id "$i" 2>/dev/null
	done
}

leftovers()
{
	our_processes | while read -r p; do
		echo "process $p: $(tr '\0' ' ' 2>/dev/null <"/proc/$p/cmdline")"
	done
	our_cgroups | sed 's,^,cgroup ,'
	our_mounts | sed 's,^,mount ,'
	our_links | sed 's,^,link ,'
	our_bpf | grep . | sed 's,^,bpf ,'
}
nothing_left() { ! leftovers | grep .; }

e2e_cleanup()
{
	local p
	touch "$E2E/enough" # ends what a test does in the background
	[ -n "${E2E_KEEP-}" ] && return
	for p in $(jobs -p); do
		kill "$p" 2>/dev/null
	done
	[ -z "$AGENT_PID" ] || kill -9 "$AGENT_PID" 2>/dev/null
	for p in $(our_processes); do
		kill -9 "$p" 2>/dev/null
	done
	our_cgroups | while read -r c; do
		find "$c" -depth -type d -exec rmdir {} + 2>/dev/null
	done
	our_mounts | cut -d ' ' -f 5 | sort -r | while read -r m; do
		umount -l "$m" 2>/dev/null
	done
	rm -rf --one-file-system "$E2E"
}

# Take all down, find nothing of it, say the verdict.
e2e_end()
{
	note_bpf
	agent_stop 2>/dev/null
	ok "down takes everything down" node_down
	ok "nothing is left behind" wait_for 5 nothing_left
	! is_sanitized "$NODE" ||
		ok "no sanitizer has complained" sanitizers_silent "$LOG"
	echo "1..$tests"
	[ $failures -eq 0 ]
	exit
}
node_down()
{
	"$NODE" down --state-dir "$STATE" --run-dir "$RUN" --log-dir "$LOG" \
		--cgroup-name "$CG" "${AGENT_ARGS[@]}"
}

# A container pod of the demo image; more of the spec as extra lines.
web_manifest() # NAME [CPU] [MEMORY]
{
	cat <<-END
	apiVersion: v1
	kind: Pod
	metadata: {name: $1}
	spec:
	  terminationGracePeriodSeconds: 2
	  containers:
	  - name: web
	    image: web
	    imagePullPolicy: Never
	    readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
	    resources:
	      requests: {cpu: 50m, memory: 32Mi}
	      limits: {cpu: ${2-500m}, memory: ${3-64Mi}}
	END
}
vm_manifest() # NAME [CPU] [MEMORY]
{
	cat <<-END
	apiVersion: v1
	kind: Pod
	metadata: {name: $1}
	spec:
	  terminationGracePeriodSeconds: 5
	  virtualMachine:
	    name: vm
	    image: vm
	    imagePullPolicy: Never
	    resources:
	      requests: {cpu: 100m, memory: 128Mi}
	      limits: {cpu: ${2-1}, memory: ${3-256Mi}}
	END
}
apply() { node apply -f /dev/stdin; }

# Networks may overlap, so the host has no route into them: ask from a network's
# own gateway namespace, where the agent's probes come from, too.
fetch() # URL
{
	nsenter --net="$(find "$RUN/netns" -name 'net-*' | head -1)" curl -sS -m 5 "$1"
}

# Inside a container, whichever hierarchy: '500m 64'.
container_size() # POD
{
	node exec "$1" -- /bin/sh -c 'cd /sys/fs/cgroup
		if [ -e cpu.max ]; then
			read -r q p <cpu.max; read -r m <memory.max
		else
			read -r q <cpu/cpu.cfs_quota_us
			read -r p <cpu/cpu.cfs_period_us
			read -r m <memory/memory.limit_in_bytes
		fi
		echo "$((q * 1000 / p))m $((m >> 20))"'
}
# Several resizes at once: each that says it is done has what it asked for, at least
# one is, and the others hear that they were replaced.
resize_race() # POD SECONDS MEMORY...
{
	local pod=$1 limit=$2 m all=() won=0
	shift 2
	for m; do
		(
			node resize "$pod" --memory "$m" --timeout "${limit}s" \
				>"$E2E/race-$m" 2>&1
			echo "exit $?" >>"$E2E/race-$m"
		) &
		all+=($!)
	done
	wait "${all[@]}"
	for m; do
		if grep -q '^exit 0$' "$E2E/race-$m"; then
			won=$((won + 1))
			grep -q "→ $m, .* confirmed" "$E2E/race-$m" && continue
		else
			grep -qE "→ $m, superseded: another resize.* memory [0-9]+Mi;" \
				"$E2E/race-$m" && continue
		fi
		echo "$m: $(tr '\n' ' ' <"$E2E/race-$m")"
		return 1
	done
	[ $won -gt 0 ] && cat "$E2E"/race-*
}
# Inside a guest: '2 CPUs, 480'.
vm_cpus() { node exec "$1" -- nproc; }
vm_mib()
{
	node exec "$1" -- /bin/sh -c \
		'set -- $(grep MemTotal /proc/meminfo); echo $(($2 >> 10))'
}
