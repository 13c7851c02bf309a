# SPDX-License-Identifier: Apache-2.0
# Sourced by the test_kubectl_*.sh: one server, both kubectls, a scorecard.
#
#	t VERB NAME PATTERN COMMAND	the output of COMMAND must match PATTERN
#	k ARGS...			kubectl as the system's admin
#	as TENANT ARGS...		kubectl as a tenant's admin
#	both FUNCTION			run FUNCTION once per version ($v)
#	use VERSION			the kubectl of k and as from now on
#	nodes N				simulated nodes, on which pods "run"
#	program COMMAND...		a client that prints TAP; see below
#	finish_tap			scorecard, plan, exit status
set -u
cd "$(dirname "$0")/../.."
O=$(realpath "${O:-build}") deps=$(realpath "${BUILD:-build}/deps")
dir=$(mktemp -d /tmp/arktos-kubectl.XXXXXX)
n=0 rc=0 server= hollow= v=- kubectl=
export GOGC=400 # a client that lives for a moment need not tidy up
declare -A good all

stop_all()
{
	[ -n "$hollow" ] && kill "$hollow" && wait "$hollow" 2>/dev/null
	[ -n "$server" ] && kill "$server" && wait "$server" 2>/dev/null
	rm -rf "$dir"
}
trap stop_all EXIT
. selftests/sanitizer.sh
sanitizers_to "$dir/sanitizer"

start() # [PORT [OPTIONS...]]
{
	local port=${1:-0}
	[ $# -eq 0 ] || shift
	"$O/bin/arktos-control" run --data-dir "$dir/data" \
		--listen "127.0.0.1:$port" "$@" >>"$dir/log" 2>&1 &
	server=$!
	if ! timeout 20 tail -n +1 -F "$dir/log" 2>/dev/null |
		grep -q -m1 "serving on port"; then
		sed 's,^,# ,' "$dir/log"
		echo "not ok 1 arktos-control starts"
		echo 1..1
		exit 1
	fi
	export KUBECONFIG=$dir/data/admin.kubeconfig HOME=$dir
	export PATH=$O/bin:$PATH
}

nodes()
{
	"$O/bin/arktos-hollow" --kubeconfig "$KUBECONFIG" --nodes "$1" \
		>"$dir/hollow.log" 2>&1 &
	hollow=$!
}

k() { timeout 30 "$kubectl" --cache-dir="$dir/cache-$v" "$@" </dev/null; }
kin() { timeout 30 "$kubectl" --cache-dir="$dir/cache-$v" "$@"; }
as()
{
	local t=$1
	shift
	timeout 30 "$kubectl" --cache-dir="$dir/cache-$v-$t" \
		--kubeconfig="$dir/$t.kubeconfig" "$@"
}

t()
{
	local verb=$1 name=$2 pattern=$3 out
	out=$(eval "$4" 2>&1)
	n=$((n + 1))
	all[$v/$verb]=$((${all[$v/$verb]:-0} + 1))
	if grep -qE -- "$pattern" <<<"$out"; then
		good[$v/$verb]=$((${good[$v/$verb]:-0} + 1))
		echo "ok $n $v $verb: $name"
		return
	fi
	rc=1
	echo "# want /$pattern/ from: $4"
	head -20 <<<"$out" | sed 's,^,# ,'
	echo "not ok $n $v $verb: $name"
}

# False, and a skip, when it is not there.
use()
{
	v=$1
	case $v in
	1.20) kubectl=$deps/kubectl-1.20/usr/bin/kubectl ;;
	*) kubectl=$deps/kubectl-$v/kubectl ;;
	esac
	needs "$kubectl"
}

needs() # PROGRAM
{
	[ -x "$1" ] && return
	n=$((n + 1))
	echo "ok $n # SKIP $1 is missing (make deps)"
	return 1
}

both()
{
	for v in 1.20 1.32; do
		use $v && "$1"
	done
}

# Killed without warning; clients see it come back at the same port.
restart()
{
	local port
	port=$(sed -nE 's/.*server: .*:([0-9]+)$/\1/p' "$KUBECONFIG" | head -1)
	kill -9 "$server"
	wait "$server" 2>/dev/null
	: >"$dir/log"
	start "$port"
}

# Its "ok VERB: NAME" and "not ok VERB: NAME" are counted; on "restart" the
# server is killed and started again, which it is told by a line.
program()
{
	local line out in pid verb
	coproc timeout 150 "$@" 2>"$dir/program.log"
	out=${COPROC[0]} in=${COPROC[1]} pid=$COPROC_PID
	exec {out}<&"$out" {in}>&"$in"
	while IFS= read -r -u "$out" line; do
		verb=${line#*ok }
		verb=${verb%%:*}
		case $line in
		restart)
			restart
			echo restarted >&"$in"
			continue
			;;
		ok\ *) good[$v/$verb]=$((${good[$v/$verb]:-0} + 1)) ;;
		not\ ok\ *) rc=1 ;;
		*)
			echo "# $line"
			continue
			;;
		esac
		n=$((n + 1))
		all[$v/$verb]=$((${all[$v/$verb]:-0} + 1))
		echo "${line%%ok *}ok $n $v ${line#*ok }"
	done
	exec {out}<&- {in}>&-
	wait "$pid"
	line=$?
	n=$((n + 1))
	[ "$line" = 0 ] && { echo "ok $n $v: comes to its end"; return; }
	rc=1
	tail -20 "$dir/program.log" | sed 's,^,# ,'
	echo "not ok $n $v: comes to its end (status $line)"
}

# How many behaviours hold, a row a verb, a column a version; "x/y" where not
# all of y do. scorecard.sh adds these lines up.
scorecard()
{
	local key version versions verb line
	[ ${#all[@]} -gt 0 ] || return
	versions=$(printf '%s\n' "${!all[@]}" | cut -d/ -f1 | sort -u)
	for version in $versions; do
		for key in $(printf '%s\n' "${!all[@]}" | grep "^$version/" | sort); do
			echo "# scorecard $key ${good[$key]:-0}/${all[$key]}"
		done
	done
	line=$(printf '%-16s' verb)
	for version in $versions; do
		line+=$(printf ' %20s' "$version")
	done
	echo "# $line"
	for verb in $(printf '%s\n' "${!all[@]}" | cut -d/ -f2 | sort -u); do
		line=$(printf '%-16s' "$verb")
		for version in $versions; do
			key=$version/$verb
			if [ -z "${all[$key]:-}" ]; then
				line+=$(printf ' %20s' -)
			elif [ "${good[$key]:-0}" = "${all[$key]}" ]; then
				line+=$(printf ' %20s' "${all[$key]}")
			else
				line+=$(printf ' %20s' "${good[$key]:-0}/${all[$key]}")
			fi
		done
		echo "# $line"
	done
}

finish_tap()
{
	local out
	scorecard
	if is_sanitized "$O/bin/arktos-control"; then
		[ -z "$hollow" ] || { kill "$hollow" && wait "$hollow"; }
		[ -z "$server" ] || { kill "$server" && wait "$server"; }
		hollow= server=
		n=$((n + 1))
		if out=$(sanitizers_silent "$dir"); then
			echo "ok $n no sanitizer has complained"
		else
			sed 's,^,# ,' <<<"$out"
			echo "not ok $n no sanitizer has complained"
			rc=1
		fi
	fi
	echo "1..$n"
	exit $rc
}
