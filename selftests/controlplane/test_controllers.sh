#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: native
# SECONDS: 420
# Scheduler and controllers as kubectl users meet them, on simulated nodes:
# deployments, rollouts, jobs, garbage collection, drain and taints, two
# tenants, and a control plane that is killed in the middle of it.
set -u
cd "$(dirname "$0")/../.."
O=$(realpath "${O:-build}") deps=$(realpath "${BUILD:-build}/deps")
dir=$(mktemp -d /tmp/arktos-controllers.XXXXXX)
n=0 rc=0
server= nodes= port=0

start()
{
	: >"$dir/log"
	"$O/bin/arktos-control" run --data-dir "$dir/data" \
		--listen "127.0.0.1:$port" >>"$dir/log" 2>&1 &
	server=$!
	timeout 20 tail -n +1 -F "$dir/log" 2>/dev/null |
		grep -q -m1 "serving on port"
	port=$(sed -n 's/.*serving on port \([0-9]*\).*/\1/p' "$dir/log" |
		head -1)
}
stop() # PID [SIGNAL]
{
	[ -n "$1" ] || return
	kill ${2:-} "$1" 2>/dev/null
	wait "$1" 2>/dev/null
}
finish()
{
	stop "$nodes"
	stop "$server"
	rm -rf "$dir"
}
trap finish EXIT

ok() # NAME RESULT OUTPUT
{
	n=$((n + 1))
	[ "$2" = 0 ] && { echo "ok $n $1"; return; }
	rc=1
	echo "$3" | head -20 | sed 's,^,# ,'
	echo "not ok $n $1"
}
# The output of a command matches an extended regular expression; within 20 s.
says() # NAME PATTERN COMMAND...
{
	local name=$1 pattern=$2 out i
	shift 2
	for i in $(seq 100); do
		out=$("$@" 2>&1)
		if grep -qE -- "$pattern" <<<"$out"; then
			ok "$v: $name" 0
			return
		fi
		read -rt 0.2 <> <(:) || :
	done
	ok "$v: $name" 1 "want /$pattern/ from $*: $out"
}
k() { "$kubectl" --cache-dir="$dir/cache-$v" --request-timeout=30s "$@"; }
# Counts lines, so that "none" is a number as well.
count() { k get "$@" -o name 2>/dev/null | wc -l; }

job() # NAME EXIT-CODE SPEC...
{
	local name=$1 code=$2
	shift 2
	cat <<-EOF2
	apiVersion: batch/v1
	kind: Job
	metadata: {name: $name}
	spec:
	$(printf '  %s\n' "$@")
	  template:
	    metadata:
	      annotations: {arktos.futurewei.com/hollow-exit: "$code"}
	    spec:
	      restartPolicy: Never
	      containers: [{name: c, image: x}]
	EOF2
}

deployments()
{
	says "a deployment is created" created \
		k create deployment w --image=nginx:1 --replicas=5
	says "and rolled out" "successfully rolled out" \
		k rollout status deployment w --timeout=20s
	says "its pods run on nodes" '^5$' \
		bash -c "$(declare -f k count); count pods -l app=w --field-selector=status.phase=Running"
	says "scaled down" scaled k scale deployment w --replicas=2
	says "two are left" '^2$' \
		bash -c "$(declare -f k count); count pods -l app=w"
	says "scaled up" scaled k scale deployment w --replicas=4
	says "four are available" '4/4' k get deployment w
	says "a new image" "image updated" k set image deployment w nginx=nginx:2
	says "is rolled out" "successfully rolled out" \
		k rollout status deployment w --timeout=20s
	says "history has both" '^2 ' k rollout history deployment w
	says "a revision is shown" 'nginx:1' \
		k rollout history deployment w --revision=1
	says "undone" "rolled back" k rollout undo deployment w
	says "and rolled out again" "successfully rolled out" \
		k rollout status deployment w --timeout=20s
	says "the old image is back" '^nginx:1$' \
		k get deployment w -o 'jsonpath={.spec.template.spec.containers[0].image}'
	says "undo is a new revision" '^3 ' k rollout history deployment w
	says "paused" paused k rollout pause deployment w
	says "an image meanwhile" "image updated" \
		k set image deployment w nginx=nginx:3
	says "starts nothing" '^0$' bash -c \
		"$(declare -f k); k get pods -l app=w -o yaml | grep -c 'image: nginx:3'"
	says "resumed" resumed k rollout resume deployment w
	says "the image comes" "successfully rolled out" \
		k rollout status deployment w --timeout=20s
	says "restarted" restarted k rollout restart deployment w
	says "all pods are new" "successfully rolled out" \
		k rollout status deployment w --timeout=20s
	says "conditions tell" 'NewReplicaSetAvailable' k describe deployment w
	says "resources are set" "resource requirements updated" \
		k set resources deployment w --requests=cpu=10m
	says "env is set" "env updated" k set env deployment w A=b
	says "rolled out" "successfully rolled out" \
		k rollout status deployment w --timeout=20s
	says "deleted" deleted k delete deployment w
	says "its pods go" '^0$' \
		bash -c "$(declare -f k count); count pods,rs -l app=w"
}

collection()
{
	says "deployment f" created k create deployment f --image=x --replicas=3
	says "runs" "successfully" k rollout status deployment f --timeout=20s
	k delete deployment f --cascade=foreground >/dev/null
	says "foreground: nothing is left behind it" '^0$' \
		bash -c "$(declare -f k count); count pods,rs,deployments -l app=f"
	says "deployment o" created k create deployment o --image=x --replicas=2
	says "runs" "successfully" k rollout status deployment o --timeout=20s
	k delete deployment o --cascade=orphan >/dev/null
	says "orphans stay" '^3$' \
		bash -c "$(declare -f k count); count pods,rs -l app=o"
	says "without an owner" '^$' \
		k get rs -l app=o -o 'jsonpath={.items[0].metadata.ownerReferences}'
	says "and are taken in again" created \
		k create deployment o --image=x --replicas=2
	says "by a deployment of the same name" '^Deployment 2$' bash -c \
		"$(declare -f k); k get rs -l app=o -o 'jsonpath={.items[*].metadata.ownerReferences[0].kind} {.items[*].status.replicas}'"
	k delete deployment o >/dev/null
}

jobs_()
{
	job good 0 'completions: 5' 'parallelism: 2' >"$dir/job"
	job even 0 'completions: 3' 'parallelism: 3' \
		'completionMode: Indexed' >"$dir/even"
	job bad 1 'backoffLimit: 0' >"$dir/bad"
	says "a job" created k create -f "$dir/job"
	says "completes" "condition met" \
		k wait --for=condition=complete job/good --timeout=20s
	says "with all successes" '^5$' k get job good -o 'jsonpath={.status.succeeded}'
	says "indexed" created k create -f "$dir/even"
	says "every index once" '^0-2$' \
		k get job even -o 'jsonpath={.status.completedIndexes}'
	says "a failing one" created k create -f "$dir/bad"
	says "gives up" BackoffLimitExceeded \
		k get job bad -o 'jsonpath={.status.conditions[*].reason}'
	says "kubectl create job" created k create job j --image=x
	k delete job good even bad j >/dev/null
	says "pods go with them" '^0$' \
		bash -c "$(declare -f k count); count pods,jobs"
}

places()
{
	says "too big a pod" created k run big --image=x --restart=Never \
		--overrides='{"spec":{"containers":[{"name":"big","image":"x","resources":{"requests":{"cpu":"99"}}}]}}'
	says "is told why" '0/3 nodes are available: 3 Insufficient cpu' \
		k get pod big -o 'jsonpath={.status.conditions[0].message}'
	says "by an event, too" 'FailedScheduling.*3 Insufficient cpu' \
		k describe pod big
	k delete pod big >/dev/null
	says "six pods" created k create deployment d --image=x --replicas=6
	says "spread over three nodes" '^ *2 hollow-0 *2 hollow-1 *2 hollow-2 $' \
		bash -c "$(declare -f k); k get pods -l app=d -o 'jsonpath={range .items[*]}{.spec.nodeName}{\"\\n\"}{end}' | sort | uniq -c | tr '\\n' ' '"
	says "cordoned" cordoned k cordon hollow-0
	says "drained" 'node/hollow-0 (evicted|drained)' k drain hollow-0 --ignore-daemonsets --timeout=20s
	says "the pods are elsewhere" '6/6' k get deployment d
	says "none is left there" '^0$' bash -c \
		"$(declare -f k count); count pods -l app=d --field-selector=spec.nodeName=hollow-0"
	says "uncordoned" uncordoned k uncordon hollow-0
	says "tainted" tainted k taint node hollow-1 gone=yes:NoExecute
	says "pods leave it" '^0$' bash -c \
		"$(declare -f k count); count pods -l app=d --field-selector=spec.nodeName=hollow-1"
	says "and are made elsewhere" '6/6' k get deployment d
	says "untainted" untainted k taint node hollow-1 gone-
	k delete deployment d >/dev/null
}

sets()
{
	local spec='selector: {matchLabels: {app: s}}, template: {metadata: {labels: {app: s}}, spec: {containers: [{name: c, image: "x:1"}]}}'
	cat >"$dir/ds" <<-EOF2
	apiVersion: apps/v1
	kind: DaemonSet
	metadata: {name: s}
	spec: {$spec}
	EOF2
	says "a daemon" created k create -f "$dir/ds"
	says "runs on every node" "successfully" \
		k rollout status daemonset s --timeout=20s
	says "once" '^3$' bash -c "$(declare -f k count); count pods -l app=s"
	says "a new image" updated k set image daemonset s c=x:2
	says "comes node by node" "successfully" \
		k rollout status daemonset s --timeout=20s
	says "and is undone" "rolled back" k rollout undo daemonset s
	says "to the old one" '^x:1$' \
		k get daemonset s -o 'jsonpath={.spec.template.spec.containers[0].image}'
	k delete daemonset s >/dev/null
	says "its pods go" '^0$' bash -c "$(declare -f k count); count pods"
	cat >"$dir/ss" <<-EOF2
	apiVersion: apps/v1
	kind: StatefulSet
	metadata: {name: s}
	spec: {replicas: 3, serviceName: s, $spec}
	EOF2
	says "a stateful set" created k create -f "$dir/ss"
	says "has pods with names" '^pod/s-0 pod/s-1 pod/s-2 $' bash -c \
		"$(declare -f k); k get pods -l app=s -o name | tr '\\n' ' '"
	says "is updated from the top" "partitioned roll out complete|rolling update complete" \
		bash -c "$(declare -f k); k set image statefulset s c=x:2 >/dev/null; k rollout status statefulset s --timeout=20s"
	says "shrinks from the top" '^pod/s-0 $' bash -c \
		"$(declare -f k); k scale statefulset s --replicas=1 >/dev/null; k get pods -l app=s -o name | tr '\\n' ' '"
	k delete statefulset s >/dev/null
	says "and goes" '^0$' bash -c "$(declare -f k count); count pods"
}

services()
{
	says "a deployment behind" created \
		k create deployment e --image=x --replicas=2
	says "a service" exposed k expose deployment e --port=80 --target-port=8080
	says "has both addresses" ':8080,[0-9.]*:8080' k get endpoints e
	says "in a slice, too" '[0-9.]+,[0-9.]+' \
		k get endpointslices -l kubernetes.io/service-name=e
	# What kubectl 1.20 would create is of a version that is no more.
	cat >"$dir/pdb" <<-EOF2
	apiVersion: policy/v1
	kind: PodDisruptionBudget
	metadata: {name: e}
	spec: {minAvailable: 2, selector: {matchLabels: {app: e}}}
	EOF2
	says "a budget" created k create -f "$dir/pdb"
	says "allows none" '^0$' k get pdb e -o 'jsonpath={.status.disruptionsAllowed}'
	says "and holds a drain" 'disruption budget' \
		k drain hollow-0 hollow-1 hollow-2 --timeout=2s
	k uncordon hollow-0 hollow-1 hollow-2 >/dev/null
	says "with one more" scaled k scale deployment e --replicas=3
	says "one may go" '^1$' k get pdb e -o 'jsonpath={.status.disruptionsAllowed}'
	k delete pdb,service,deployment e >/dev/null
	says "the endpoints go, but for those of the API itself" '^2$' \
		bash -c "$(declare -f k count); count endpoints,endpointslices"
	says "and the pods" '^0$' bash -c "$(declare -f k count); count pods"
}

tenants()
{
	local t
	for t in acme bolt; do
		[ -f "$dir/$t" ] || "$O/bin/arktosctl" tenant create "$t" \
			--out "$dir/$t" >/dev/null
		KUBECONFIG="$dir/$t" k create deployment same --image=x \
			--replicas=2 >/dev/null
	done
	says "two tenants run the same name" '2/2' \
		env KUBECONFIG="$dir/acme" "$kubectl" get deployment same
	says "both of them" '2/2' \
		env KUBECONFIG="$dir/bolt" "$kubectl" get deployment same
	KUBECONFIG="$dir/acme" k delete deployment same >/dev/null
	says "one goes" 'No resources' \
		env KUBECONFIG="$dir/acme" "$kubectl" get pods,rs
	says "the other stays" '2/2' \
		env KUBECONFIG="$dir/bolt" "$kubectl" get deployment same
	KUBECONFIG="$dir/bolt" k delete deployment same >/dev/null
}

# Whatever was going on: it comes to the end that was wanted, exactly.
killed()
{
	local i size
	for i in 1 2 3; do
		k create deployment "x$i" --image=x --replicas=20 >/dev/null
		k set image deployment "x$i" x="y$i" >/dev/null
		# Somewhere in the middle, by chance.
		read -rt "0.0$((RANDOM % 10))" <> <(:) || :
		stop "$server" -9
		start
		size=$((RANDOM % 15 + 1))
		k scale deployment "x$i" --replicas=$size >/dev/null
		says "killed $i: rolled out" "successfully" \
			k rollout status deployment "x$i" --timeout=30s
		says "killed $i: exactly $size pods" "^$size\$" bash -c \
			"$(declare -f k count); count pods -l app=x$i"
		k delete deployment "x$i" >/dev/null
	done
	says "nothing is left" '^0$' \
		bash -c "$(declare -f k count); count pods,rs,deployments"
}

# What a quota refuses is tried again ever more rarely, and said.
over_quota()
{
	k create namespace tight >/dev/null
	k -n tight create quota q --hard=pods=1 >/dev/null
	k -n tight create deployment d --image=x --replicas=3 >/dev/null
	k -n tight create -f - >/dev/null <<-EOF2
	apiVersion: apps/v1
	kind: StatefulSet
	metadata: {name: ss}
	spec:
	  serviceName: ss
	  replicas: 1
	  selector: {matchLabels: {app: ss}}
	  template:
	    metadata: {labels: {app: ss}}
	    spec: {containers: [{name: c, image: x}]}
	EOF2
}
tries() { k -n tight get events --field-selector=reason=FailedCreate -o json | jq "[.items[] | select(.involvedObject.kind == \"$1\") | .count // 1] | add // 0"; }
over_quota_ends()
{
	local nr
	says "a quota's refusal is told" 'Error creating: pods "d-[a-z0-9-]*" is forbidden: exceeded quota' \
		bash -c "$(declare -f k); k -n tight describe rs"
	says "a stateful set's, too" 'create Pod ss-0 in StatefulSet ss failed error: pods "ss-0" is forbidden' \
		bash -c "$(declare -f k); k -n tight describe sts ss"
	nr=$(tries ReplicaSet)
	ok "a replica set has asked some times, not all the time ($nr)" \
		"$([ "$nr" -ge 2 ] && [ "$nr" -le 100 ] && echo 0 || echo 1)" "$nr tries"
	k -n tight delete quota q >/dev/null
	says "without the quota the rest comes" 'successfully rolled out' \
		k -n tight rollout status deployment d --timeout=60s
	k delete namespace tight >/dev/null
}

start || { echo "not ok 1 the control plane starts"; cat "$dir/log"; exit 1; }
export KUBECONFIG=$dir/data/admin.kubeconfig dir v kubectl
"$O/bin/arktos-hollow" --kubeconfig "$KUBECONFIG" --nodes 3 \
	>"$dir/hollow" 2>&1 &
nodes=$!
timeout 20 tail -n +1 -F "$dir/hollow" 2>/dev/null | grep -q -m1 ready
for v in 1.20 1.32; do
	case $v in
	1.20) kubectl=$deps/kubectl-1.20/usr/bin/kubectl ;;
	*) kubectl=$deps/kubectl-$v/kubectl ;;
	esac
	if [ ! -x "$kubectl" ]; then
		n=$((n + 1))
		echo "ok $n kubectl $v # SKIP $kubectl is missing (make deps)"
		continue
	fi
	[ $v = 1.20 ] && over_quota
	deployments
	collection
	jobs_
	places
	sets
	services
	tenants
	[ $v = 1.20 ] && over_quota_ends
done
killed
[ $rc = 0 ] || sed 's,^,# server: ,' "$dir/log" | tail -20
echo "1..$n"
exit $rc
