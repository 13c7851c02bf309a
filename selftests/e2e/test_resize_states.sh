#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: both
# SECONDS: 300
# The states of a resize, on a node that is nearly full: deferred and granted
# when something is freed, infeasible, refused below use, with and without
# restart, only the request, no limits at all. Complaints about other systems
# (kubernetes#123441 #125559 #126033 #126388 #128977, arktos#975) are among them.
. "$(dirname "$0")/lib.sh"

# A container that asks for @2 CPU and has the limit @3; more lines as @4.
sized() # NAME REQUEST LIMIT [CONTAINER LINES]
{
	apply <<-END
	apiVersion: v1
	kind: Pod
	metadata: {name: $1}
	spec:
	  terminationGracePeriodSeconds: 0
	  containers:
	  - name: c
	    image: web
	    imagePullPolicy: Never
	    command: [/bin/sh, -c, "exec sleep 100000"]
	    resources: {requests: {cpu: $2, memory: 32Mi}, limits: {cpu: $3, memory: 64Mi}}
	$(sed 's,^,    ,' <<<"${4-}")
	END
}
condition() # POD TYPE
{
	pod "$1" ".status.conditions[] | select(.type == \"$2\") |
		.reason + \": \" + .message"
}
running() { wait_for 20 pod_is "$1" .status.phase Running; }
restarts_are() { pod_is "$1" '.status.containerStatuses[0].restartCount' "$2"; }
patch() # POD RESOURCES (JSON)
{
	curl -sf --unix-socket "$RUN/node.sock" -X PATCH -d \
		"{\"spec\":{\"containers\":[{\"name\":\"c\",\"resources\":$2}]}}" \
		-H 'content-type: application/strategic-merge-patch+json' \
		"http://n/api/v1/namespaces/default/pods/$1/resize?timeoutSeconds=${3-5}"
}

# One CPU for pods, whatever this machine has.
cpus=$(nproc)
ok "the agent starts" agent_start --reserved-cpu $((cpus * 1000 - 1000))m \
	--restart-backoff 100ms
ok "the image is imported" image_web
ok "a large pod" sized large 600m 700m
ok "and a small one" sized small 300m 300m
ok "run" eval 'running large && running small'

# --- deferred, and granted when there is room
ok "growing beyond what is free is deferred" prints '(D|d)eferred' \
	node resize small --cpu 500m --timeout 5s
ok "with the numbers" prints \
	'^Deferred: cpu: 500m requested, the node has 400m free for it$' \
	condition small PodResizePending
ok "and nothing was given" prints '^300m 64$' container_size small
ok "a pod that does not fit waits, and says for what" eval \
	'sized third 300m 300m; wait_for 10 prints "cpu: 300m requested" \
	condition third PodScheduled'
ok "when the large one goes" node delete large
ok "what was deferred is given" wait_for 20 prints '^500m 64$' \
	container_size small
ok "and the one that waited runs" running third
ok "nothing is pending any more" prints '^$' condition small PodResizePending

# --- infeasible
ok "more than the node has is infeasible" prints '(I|i)nfeasible' \
	node resize small --cpu 5 --timeout 5s
ok "with the numbers, too" prints \
	'^Infeasible: cpu: 5 requested, the node has 1 in all$' \
	condition small PodResizePending
ok "and what was asked for" prints 'cpu 500m → 6, infeasible|cpu 500m → 6' \
	node resize small --cpu 6 --timeout 5s
ok "the next resize answers for itself, and names what it takes back" \
	prints 'memory 64Mi → 80Mi, kernel.*; the wish before.*cpu: 6 requested.*taken back' \
	node resize small --memory 80Mi --timeout 5s
ok "nothing is wished for in vain any more" prints '^$' \
	condition small PodResizePending
ok "back to where it was" node resize small --memory 64Mi --timeout 5s
ok "asked for again, it takes no time, and not the last one's" \
	prints 'kernel confirmed, 0 ms$' node resize small --memory 64Mi --timeout 5s
ok "infeasible once more" prints 'cpu 500m → 5.*infeasible' \
	node resize small --cpu 5 --timeout 5s
for p in $(our_processes); do
	[ "$(cat /proc/$p/comm)" = sleep ] && grep -q small /proc/$p/environ &&
		kill -9 "$p"
done
ok "a restart does not sneak it in" eval \
	'wait_for 20 restarts_are small 1 && running small &&
	wait_for 10 prints "^500m 64$" container_size small'
ok "taking it back is done at once" node resize small --cpu 400m --timeout 5s
ok "and what is pending is gone" prints '^$' condition small PodResizePending

# --- below what is in use
ok "a container that uses memory" apply <<-END
	apiVersion: v1
	kind: Pod
	metadata: {name: user}
	spec:
	  terminationGracePeriodSeconds: 0
	  volumes: [{name: m, emptyDir: {medium: Memory}}]
	  containers:
	  - name: c
	    image: web
	    imagePullPolicy: Never
	    command: [/bin/sh, -c, "dd if=/dev/zero of=/m/f bs=1M count=40; echo full; exec sleep 100000"]
	    volumeMounts: [{name: m, mountPath: /m}]
	    resources: {requests: {cpu: 10m, memory: 32Mi}, limits: {cpu: 100m, memory: 96Mi}}
	END
ok "is full" wait_for 30 prints '^full$' node logs user
ok "a limit below its use is not given" prints 'uses|Error|error' \
	node resize user --memory 16Mi --timeout 5s
ok "the message has both figures" prints \
	'Error: memory limit of 16Mi is below what container .c. uses: 4[0-9]' \
	condition user PodResizeInProgress
ok "nobody was killed for it" eval 'restarts_are user 0 &&
	prints "^100m 96$" container_size user'
node exec user -- rm /m/f
ok "it is given when the memory is free" wait_for 20 prints '^100m 16$' \
	container_size user

# --- restart where the policy wants it, and only there
ok "a pod whose memory wants a restart" sized strict 50m 100m \
	'resizePolicy: [{resourceName: memory, restartPolicy: RestartContainer}]'
ok "runs" running strict
ok "is not restarted for CPU" eval \
	'node resize strict --cpu 150m --timeout 5s && restarts_are strict 0'
ok "but for memory" eval 'node resize strict --memory 80Mi --timeout 20s;
	wait_for 20 restarts_are strict 1'
ok "and has it afterwards" wait_for 10 prints '^150m 80$' container_size strict

# --- only the request; no limits at all
ok "a request alone is resized" prints '"Done"' patch small \
	'{"requests":{"memory":"40Mi"}}'
ok "and reported" pod_is small \
	'.status.containerStatuses[0].allocatedResources.memory' 40Mi
ok "a pod without limits" apply <<-END
	apiVersion: v1
	kind: Pod
	metadata: {name: free}
	spec:
	  terminationGracePeriodSeconds: 0
	  containers:
	  - name: c
	    image: web
	    imagePullPolicy: Never
	    command: [/bin/sh, -c, "exec sleep 100000"]
	    resources: {requests: {cpu: 20m, memory: 16Mi}}
	END
ok "runs" running free
ok "is resized as well" prints '"Done"' patch free \
	'{"requests":{"cpu":"30m","memory":"24Mi"}}'
ok "a limit that no kernel can count is infeasible" prints \
	'infeasible: cpu: a limit of .*, this node can set .* at most' \
	node resize free --cpu 1e9 --timeout 5s
ok "one above the node's CPUs is taken, as in Kubernetes" \
	prints 'kernel confirmed' node resize free --cpu 100 --timeout 5s
ok "the class of a pod may not change" prints 'QoS is immutable' eval \
	'curl -s --unix-socket "$RUN/node.sock" -X PATCH -d \
	"{\"spec\":{\"containers\":[{\"name\":\"c\",\"resources\":{\"requests\":{\"cpu\":\"400m\",\"memory\":\"64Mi\"},\"limits\":{\"memory\":\"64Mi\"}}}]}}" \
	-H "content-type: application/merge-patch+json" \
	http://n/api/v1/namespaces/default/pods/small/resize'

ok "a limit of 0, which would be none, is refused" \
	prints '^error: a limit of 0 would be no limit at all' \
	node resize third --cpu 0

# --- below the request, where the other requests are tied to their limits
ok "a pod that is Guaranteed but for its CPU" apply <<-END
	apiVersion: v1
	kind: Pod
	metadata: {name: half}
	spec:
	  terminationGracePeriodSeconds: 0
	  containers:
	  - name: c
	    image: web
	    imagePullPolicy: Never
	    command: [/bin/sh, -c, "exec sleep 100000"]
	    resources: {requests: {cpu: 40m, memory: 64Mi}, limits: {cpu: 80m, memory: 64Mi}}
	END
ok "runs" running half
ok "shrinks below its request" prints '80m → 20m, kernel confirmed' \
	node resize half --cpu 20m
ok "the request keeps its share" pod_is half \
	'.spec.containers[0].resources.requests.cpu' 10m
ok "and the pod its class" pod_is half .status.qosClass Burstable
node delete half >/dev/null 2>&1

# --- many in a row: the last one counts
for i in 1 2 3 4 5 6 7 8; do
	node resize third --cpu $((100 + i * 10))m --timeout 0s >/dev/null 2>&1 &
done
wait
ok "after many at once the last word holds" eval \
	'node resize third --cpu 250m --timeout 5s &&
	prints "^250m 64$" container_size third'
e2e_end
