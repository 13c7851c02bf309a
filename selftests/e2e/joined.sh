# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# For tests of a joined node: an API server of the test's own beside the agent.
# Source it behind lib.sh:
#
#	. selftests/e2e/lib.sh; . selftests/e2e/joined.sh
#	control_start; node_join; image_web
#	k create -f ...; ok "it runs" wait_for 20 k_is web .status.phase Running
#	control_stop; e2e_end
CONTROL=$PWD/$O/bin/arktos-control CTL=$PWD/$O/bin/arktosctl
CONTROL_PID= CONTROL_PORT=0
NAME=n1
DATA=$E2E/control
KUBECTLS=("$PWD/$BUILD/deps/kubectl-1.20/usr/bin/kubectl"
	"$PWD/$BUILD/deps/kubectl-1.32/kubectl")
[ -x "${KUBECTLS[0]}" ] && [ -x "${KUBECTLS[1]}" ] ||
	skip_all "no kubectl 1.20 and 1.32: make deps"
kubectl=${KUBECTLS[1]}
export KUBECONFIG=$DATA/admin.kubeconfig
export kubectl E2E RUN

control_start() # OPTION...
{
	: >"$LOG/control.log"
	"$CONTROL" run --data-dir "$DATA" \
		--listen "127.0.0.1:$CONTROL_PORT" "$@" \
		>>"$LOG/control.log" 2>&1 </dev/null &
	CONTROL_PID=$!
	disown "$CONTROL_PID"
	wait_for 20 grep -q 'serving on port' "$LOG/control.log" || {
		tail -20 "$LOG/control.log" | sed 's,^,# ,'
		return 1
	}
	# It comes back where it was.
	CONTROL_PORT=$(sed -n 's/.*serving on port \([0-9]*\).*/\1/p' \
		"$LOG/control.log")
}
control_stop() { kill "$CONTROL_PID" && wait_for 15 gone "$CONTROL_PID"; }
control_kill() { kill -9 "$CONTROL_PID" && wait_for 5 gone "$CONTROL_PID"; }

# Nothing waits for ever.
k() { timeout 60 "$kubectl" --cache-dir="$E2E/cache" "$@"; }
# The same as the admin of a tenant.
kt() # TENANT ...
{
	local t=$1
	shift
	k --kubeconfig "$E2E/$t.kubeconfig" "$@"
}
tenant_create() # TENANT
{
	"$CTL" tenant create "$1" >/dev/null &&
		mv "$1.kubeconfig" "$E2E/$1.kubeconfig"
}

# Credentials of this node, and an agent with them.
node_credentials()
{
	local words
	[ -e "$E2E/node.kubeconfig" ] && return
	# What it says is the command to be run on the node.
	words=$("$CTL" node token) || return
	read -ra words <<<"$words"
	"$NODE" "${words[@]:1}" --node-name "$NAME" \
		--out "$E2E/node.kubeconfig" >/dev/null
}
# What an administrator can make by hand.
node_credentials_signed()
{
	"$CTL" tenant kubeconfig system --user "system:node:$NAME" \
		--group system:nodes --out "$E2E/node.kubeconfig" >/dev/null
}
node_join() # OPTION...
{
	node_credentials &&
		agent_start --node-name "$NAME" \
			--kubeconfig "$E2E/node.kubeconfig" \
			--admin-kubeconfig "$KUBECONFIG" "$@"
}
node_ready()
{
	[ "$(raw_get "nodes/$NAME" | "$AT" "$READY_AT")" = True ]
}

# As kubectl does, at a thirtieth of its CPU: for what is looked at until it comes.
raw_get() { timeout 60 "$CTL" raw GET "/api/v1/$1" 2>/dev/null; }
# A jq expression over a pod, raw.
k_get() # POD EXPRESSION
{
	case $2 in
	"$READY") raw_get "namespaces/default/pods/$1" |
		"$AT" -d False "$READY_AT" ;;
	*[!A-Za-z0-9_.[\]]*) raw_get "namespaces/default/pods/$1" | jq -r "$2" ;;
	*) raw_get "namespaces/default/pods/$1" | "$AT" "$2" ;;
	esac
}
k_is() # POD EXPRESSION VALUE
{
	local got
	got=$(k_get "$1" "$2")
	[ "$got" = "$3" ] || {
		echo "$1: $2 is '$got', want '$3'"
		return 1
	}
}
k_ready() { k_is "$1" "$READY" True; }
k_gone() { ! k get pod "$1" >/dev/null 2>&1; }

# A client that lives for a moment need not tidy up.
export GOGC=400

# Manifests of lib.sh, bound to this node.
bound() { sed "s,^spec:,&\n  nodeName: $NAME,"; }
