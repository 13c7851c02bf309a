#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: native
# SECONDS: 200
# Jobs with real containers: back-off, indexes, time limits, suspended and resumed,
# drained, pods deleted under them; each end of a pod counts once, with the exit
# code it had. One with a sidecar; a ReplicaSet whose pod is evicted; probes by gRPC.
# The old kubectl and the new one take turns.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/joined.sh"

control_start && node_join && image_web || exit 1
job() # NAME COMMAND [LINE-OF-SPEC]...
{
	local name=$1 command=$2
	shift 2
	cat <<-END
	---
	apiVersion: batch/v1
	kind: Job
	metadata: {name: $name}
	spec:
	$(printf '  %s\n' "$@")
	  template:
	    spec:
	      terminationGracePeriodSeconds: 1
	      restartPolicy: Never
	      containers: [{name: c, image: web, imagePullPolicy: Never, command: [sh, -c, '$command']}]
	END
}
{
	job back 'exit 7' 'backoffLimit: 1'
	job idx 'echo index $JOB_COMPLETION_INDEX' 'completions: 3' 'parallelism: 2' 'completionMode: Indexed' 'ttlSecondsAfterFinished: 15'
	job susp 'sleep 1000' 'suspend: true'
	job dead 'sleep 1000' 'activeDeadlineSeconds: 2'
	job each '[ $JOB_COMPLETION_INDEX != 1 ] || exit 3' 'completions: 3' 'parallelism: 3' 'completionMode: Indexed' 'backoffLimitPerIndex: 1'
	job policy 'exit 42' 'podFailurePolicy: {rules: [{action: Ignore, onExitCodes: {operator: NotIn, values: [42]}}, {action: FailJob, onExitCodes: {operator: In, values: [41, 42]}}]}'
	job enough '[ $JOB_COMPLETION_INDEX = 0 ] || sleep 1000' 'completions: 3' 'parallelism: 3' 'completionMode: Indexed' 'successPolicy: {rules: [{succeededIndexes: "0"}]}'
	job queue 'echo done' 'parallelism: 2'
	job within 'exit 1' 'backoffLimit: 1' | sed 's/restartPolicy: Never/restartPolicy: OnFailure/'
	job lost "trap \"exit 9\" TERM; echo prepared; while :; do sleep 0.1; done" 'backoffLimit: 3' | sed 's/PeriodSeconds: 1/PeriodSeconds: 20/'
} | sed 's/\\"/"/g' | k create -f - >/dev/null
j_is() # JOB EXPRESSION VALUE
{
	local got
	got=$(k get job "$1" -o json | jq -r "$2")
	[ "$got" = "$3" ] || { echo "$1: $2 is '$got', want '$3'"; return 1; }
}
ended() { echo "[.status.conditions[]? | select(.status == \"True\" and .type == \"$1\") | .reason][0]"; }
pods() # JOB EXPRESSION
{
	k get pods -l "job-name=$1" -o json | jq -r ".items | sort_by(.metadata.creationTimestamp) | $2"
}
pods_are() # JOB EXPRESSION VALUE
{
	local got
	got=$(pods "$1" "$2")
	[ "$got" = "$3" ] || { echo "$1: $2 is '$got', want '$3'"; return 1; }
}

kubectl=${KUBECTLS[0]}
ok "an indexed job completes" k wait --for=condition=complete job/idx --timeout=30s
ok "every index once" j_is idx '.status | "\(.succeeded) \(.completedIndexes)"' '3 0-2'
for i in 0 1 2; do
	ok "index $i knows which it is" prints "^index $i\$" k logs -l "batch.kubernetes.io/job-completion-index=$i"
done
ok "a suspended job is told" prints 'Suspended' eval 'j_is susp "[.status.conditions[].type] | join(\" \")" Suspended && echo Suspended'
ok "and has no pods" pods_are susp length 0
kubectl=${KUBECTLS[1]}
ok "resumed" k patch job susp --type merge -p '{"spec":{"suspend":false}}'
ok "it runs" wait_for 30 pods_are susp '.[0].status.phase' Running
ok "suspended again" k patch job susp --type merge -p '{"spec":{"suspend":true}}'
ok "its pod goes" wait_for 30 pods_are susp length 0
ok "and is no success" j_is susp '.status.succeeded // 0' 0
ok "one that takes too long has failed" wait_for 30 j_is dead "$(ended Failed)" DeadlineExceeded
ok "nothing of it runs" wait_for 20 pods_are dead '[.[] | select(.status.phase == "Running")] | length' 0
ok "one that fails is tried again, and given up" wait_for 60 j_is back "$(ended Failed)" BackoffLimitExceeded
ok "after two tries" j_is back .status.failed 2
ok "whose exit codes are told" pods_are back '[.[].status.containerStatuses[0].state.terminated.exitCode] | join(" ")' '7 7'
ok "one whose failure is final by its policy ends at once" wait_for 30 j_is policy "$(ended Failed)" PodFailurePolicy
ok "with the story" prints 'Container c for pod default/policy-.* failed with exit code 42 matching FailJob rule at index 1' \
	k get job policy -o jsonpath='{.status.conditions[?(@.type=="Failed")].message}'
ok "after one try" j_is policy .status.failed 1
ok "one index that is enough by its policy" wait_for 30 j_is enough "$(ended Complete)" SuccessPolicy
ok "the others go" wait_for 20 pods_are enough length 1
ok "a queue of work has no number" j_is queue .spec.completions null
ok "it ends with its workers" wait_for 30 j_is queue '"\(.status.succeeded) \([.status.conditions[]? | .type] | join(" "))"' '2 SuccessCriteriaMet Complete'
ok "an index that fails again is given up" wait_for 60 j_is each "$(ended Failed)" FailedIndexes
ok "the others are not" j_is each '.status | "\(.completedIndexes) \(.failedIndexes) \(.failed)"' '0,2 1 2'
ok "each try knows how many were before" pods_are each '[.[] | select(.metadata.annotations["batch.kubernetes.io/job-completion-index"] == "1") | .metadata.annotations["batch.kubernetes.io/job-index-failure-count"]] | join(" ")' '0 1'
ok "restarts within a pod count, too" wait_for 60 j_is within "$(ended Failed)" BackoffLimitExceeded
refused() { job "$@" | k create -f - 2>&1; }
ok "policies are looked at" prints 'spec.podFailurePolicy.rules\[0\].onExitCodes.values\[0\]: Invalid value: 0: must not be 0 for the In operator' \
	refused bad true 'podFailurePolicy: {rules: [{action: FailJob, onExitCodes: {operator: In, values: [0]}}]}'
ok "and indexes" prints 'spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode' \
	refused bad true 'backoffLimitPerIndex: 1'
gone() { ! k get job idx >/dev/null 2>&1; }
ok "a job that was to go after its end has gone" wait_for 60 gone
ok "with its pods" wait_for 20 pods_are idx length 0

# --- pods deleted under it -----------------------------------------------------------
runs() { pods_are lost '[.[] | select(.status.phase == "Running" and .metadata.deletionTimestamp == null)] | length' 1; }
ok "a job runs" wait_for 30 runs
first=$(pods lost '.[0].metadata.name')
prepared() { k logs "$1" 2>/dev/null | grep -q prepared; }
ok "and listens" wait_for 20 prepared "$first"
# Somebody's finalizer shows what became of it.
k patch pod "$first" --type merge -p '{"metadata":{"finalizers":["arktos.test/hold","batch.kubernetes.io/job-tracking"]}}' >/dev/null
k delete pod "$first" --wait=false >/dev/null
ok "its pod is deleted: another one comes" wait_for 40 eval 'runs && [ "$(pods lost ".[-1].metadata.name")" != $first ]'
ok "the end of the first is told" wait_for 20 k_is "$first" '.status
	| "\(.phase) \(.containerStatuses[0].state.terminated.exitCode) \(.containerStatuses[0].ready)"' \
	'Failed 9 false'
ok "it counted once" j_is lost .status.failed 1
k patch pod "$first" --type json -p '[{"op":"remove","path":"/metadata/finalizers"}]' >/dev/null
ok "it goes" wait_for 10 k_gone "$first"
second=$(pods lost '.[-1].metadata.name')
k patch pod "$second" --type merge -p '{"metadata":{"finalizers":["arktos.test/hold","batch.kubernetes.io/job-tracking"]}}' >/dev/null
k drain $NAME --pod-selector=job-name=lost --force --timeout=50s >/dev/null 2>&1 &
drain=$!
ok "who ended it is told" wait_for 20 k_is "$second" \
	'[.status.conditions[] | select(.type == "DisruptionTarget") | "\(.status) \(.reason)"][0]' 'True EvictionByEvictionAPI'
k patch pod "$second" --type json -p '[{"op":"remove","path":"/metadata/finalizers/0"}]' >/dev/null
wait $drain
drained=$?
ok "drained" [ "$drained" = 0 ]
ok "the job's pod has left" wait_for 20 pods_are lost '[.[] | select(.status.phase == "Running")] | length' 0
k uncordon $NAME >/dev/null
ok "it runs again" wait_for 60 runs
second=$(pods lost '.[-1].metadata.name')
agent_kill
k delete pod "$second" --force --grace-period=0 >/dev/null 2>&1
ok "one that is deleted by force without an agent is not waited for" wait_for 30 k_gone "$second"
node_join
ok "with one it runs again" wait_for 60 runs
ok "and each has counted" wait_for 20 j_is lost .status.failed 3
k delete job back susp dead lost each policy enough queue within --wait=false >/dev/null

# --- a sidecar, a pod that writes too much, a pod asked by gRPC: beside each other --
etcd --data-dir "$E2E/etcd" --logger zap --log-level error \
	--listen-client-urls http://127.0.0.1:23790 \
	--advertise-client-urls http://127.0.0.1:23790 \
	--listen-peer-urls http://127.0.0.1:23791 >"$E2E/etcd.log" 2>&1 &
etcd=$!
k create -f - >/dev/null <<-END
	apiVersion: batch/v1
	kind: Job
	metadata: {name: beside}
	spec:
	  backoffLimit: 0
	  template:
	    spec:
	      restartPolicy: Never
	      volumes: [{name: v, emptyDir: {}}]
	      initContainers:
	      - {name: a, image: web, imagePullPolicy: Never, command: [sh, -c, "echo a >/v/order"],
	         volumeMounts: [{name: v, mountPath: /v}]}
	      - name: side
	        image: web
	        imagePullPolicy: Never
	        restartPolicy: Always
	        command: [sh, -c, "trap 'exit 0' TERM; echo side >>/v/order; sleep 2;
	          echo up >>/v/order; while :; do sleep 0.1; done"]
	        startupProbe: {exec: {command: [grep, -q, up, /v/order]}, periodSeconds: 1, failureThreshold: 60}
	        readinessProbe: {exec: {command: [test, -e, /v/ready]}, periodSeconds: 1}
	        volumeMounts: [{name: v, mountPath: /v}]
	      - {name: b, image: web, imagePullPolicy: Never, command: [sh, -c, "echo b >>/v/order"],
	         volumeMounts: [{name: v, mountPath: /v}]}
	      containers:
	      - name: c
	        image: web
	        imagePullPolicy: Never
	        command: [sh, -c, "echo c >>/v/order; cat /v/order; until test -e /v/done; do sleep 0.1; done"]
	        volumeMounts: [{name: v, mountPath: /v}]
	---
	apiVersion: apps/v1
	kind: ReplicaSet
	metadata: {name: fat}
	spec:
	  replicas: 1
	  selector: {matchLabels: {app: fat}}
	  template:
	    metadata: {labels: {app: fat}}
	    spec:
	      terminationGracePeriodSeconds: 1
	      containers: [{name: c, image: web, imagePullPolicy: Never, command: [sleep, "100000"],
	        resources: {limits: {ephemeral-storage: 2Mi}}}]
	---
	apiVersion: v1
	kind: Pod
	metadata: {name: asked}
	spec:
	  hostNetwork: true
	  terminationGracePeriodSeconds: 1
	  containers: [{name: c, image: web, imagePullPolicy: Never, command: [sleep, "100000"],
	    startupProbe: {grpc: {port: 23790}, periodSeconds: 1, failureThreshold: 60},
	    readinessProbe: {grpc: {port: 23790}, periodSeconds: 1}}]
END
fat() # EXPRESSION: of its pods, oldest first
{
	k get pods -l app=fat -o json |
		jq -r ".items | sort_by(.metadata.creationTimestamp) | $1"
}
fat_is() { [ "$(fat "$1")" = "$2" ] || { fat "$1"; return 1; }; }
ok "a ReplicaSet's pod runs" wait_for 30 fat_is '[.[] | select(.status.phase == "Running")] | length' 1
fat=$(fat '.[0].metadata.name')
ok "it writes more than it may" k exec "$fat" -- dd if=/dev/zero of=/tmp/full bs=1M count=8
for kubectl in "${KUBECTLS[@]}"; do
	ok "a pod says how it starts" wait_for 40 prints '^beside-[^ ]+ +1/2 +Running' k get pods -l job-name=beside
done
beside=$(pods beside '.[0].metadata.name')
ok "each waited for the one before, and for the sidecar to be up" wait_for 20 \
	prints '^a side up b c $' eval "k logs $beside -c c | tr '\\n' ' '"
ok "the pod is not ready before its sidecar" k_is "$beside" '.status
	| "\(.initContainerStatuses[1] | .started, .ready) \(.conditions[] | select(.type == "Ready").status)"' \
	'true False
false False'
k exec "$beside" -c side -- touch /v/ready
ok "and with it" wait_for 20 prints '^beside-[^ ]+ +2/2 +Running' k get pods -l job-name=beside
k exec "$beside" -c c -- touch /v/done
ok "the job completes, whatever its sidecar does" k wait --for=condition=complete job/beside --timeout=40s
ok "the sidecar was ended" k_is "$beside" '.status | "\(.phase) \(.initContainerStatuses[1].state.terminated.exitCode)"' \
	'Succeeded 0'
ok "who wrote too much is evicted" wait_for 40 k_is "$fat" '.status | "\(.phase) \(.reason) \(.message)"' \
	'Failed Evicted Pod ephemeral local storage usage exceeds the total limit of containers 2Mi.'
for kubectl in "${KUBECTLS[@]}"; do
	# By what became of its container, as kubectl does.
	ok "which kubectl shows" prints "^$fat +0/1 +Error" k get pods
done
ok "and describe tells" prints 'Warning +Evicted .*Pod ephemeral local' k describe pod "$fat"
ok "another one runs in its place" wait_for 30 fat_is \
	'[.[] | select(.status.phase == "Running")] | "\(length) \(.[0].metadata.name != "'"$fat"'")"' '1 true'
ok "a pod asked by gRPC has started and is ready" wait_for 30 k_ready asked
kill $etcd; wait $etcd 2>/dev/null
ok "without its server it is not ready any more" wait_for 20 prints '^asked +0/1 +Running' k get pods
k delete --wait=false job/beside rs/fat pod/asked >/dev/null
k delete pod -l app=fat --wait=false >/dev/null 2>&1
empty() { [ "$(node ps -A -o json | jq '.items | length')" = 0 ] && ! k get pods 2>/dev/null | grep .; }
ok "all go" wait_for 60 empty
control_stop
e2e_end
