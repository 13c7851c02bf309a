#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: native
# SECONDS: 240
# What a manifest can say, seen from outside: init containers, environment,
# volumes, security, probes, restart policies, logs, exec, static pods, tenants.
. "$(dirname "$0")/lib.sh"

# A pod of one busybox shell; @2: more lines of the container, @3: of the spec.
sh_manifest() # NAME SCRIPT [CONTAINER LINES] [SPEC LINES] [METADATA]
{
	cat <<-END
	apiVersion: v1
	kind: Pod
	metadata: {name: $1${5+, $5}}
	spec:
	  terminationGracePeriodSeconds: ${GRACE-1}
	END
	[ -n "${4-}" ] && sed 's,^,  ,' <<<"$4"
	cat <<-END
	  containers:
	  - name: c
	    image: web
	    imagePullPolicy: Never
	    command: [${COMMAND-/bin/sh, -c}]
	    args: [$(jq -Rsc . <<<"$2")]
	END
	[ -n "${3-}" ] && sed 's,^,    ,' <<<"$3"
	:
}
status() { pod "$1" ".status.containerStatuses[0].$2"; }
phase_is() { pod_is "$1" .status.phase "$2"; }
run() { sh_manifest "$@" | apply; }

pod_weight()
{
	find $(our_cgroups) -regex ".*/pod$(pod "$1" .metadata.uid)/cpu.\(shares\|weight\)" \
		-exec cat {} +
}

ok "the agent starts" agent_start --restart-backoff 200ms \
	--restart-backoff-max 1s --network acme/default=10.88.0.0/16
ok "the image is imported" image_web

# --- the disk: these are looked at every 10 s, so they begin here
disk() { echo "resources: {limits: {ephemeral-storage: $1}}"; }
fill() { echo "dd if=/dev/zero of=$1 bs=64k count=$2 2>/dev/null; exec sleep 1000"; }
ok "pods write to their disk" eval '
	run talkative "head -c 3000000 /dev/zero | tr \\\\0 a | fold; exec sleep 1000" \
		"$(disk 2Mi)" &&
	run lean "$(fill /tmp/x 16)" "$(disk 2Mi)" &&
	run sized "$(fill /v/x 48)" "volumeMounts: [{name: v, mountPath: /v}]" \
		"volumes: [{name: v, emptyDir: {sizeLimit: 2Mi}}]"'
ok "ones with two containers, one beyond its own limit and neither" apply <<-END
	apiVersion: v1
	kind: Pod
	metadata: {name: fat}
	spec:
	  containers:
	  - {name: a, image: web, imagePullPolicy: Never, command: [/bin/sh, -c],
	     args: ["$(fill /tmp/x 48)"], $(disk 1Mi)}
	  - {name: b, image: web, imagePullPolicy: Never, command: [sleep, "1000"],
	     $(disk 8Mi)}
	---
	apiVersion: v1
	kind: Pod
	metadata: {name: both}
	spec:
	  volumes: [{name: v, emptyDir: {}}]
	  containers:
	  - {name: a, image: web, imagePullPolicy: Never, command: [/bin/sh, -c],
	     args: ["$(fill /v/x 48)"], $(disk 2Mi),
	     volumeMounts: [{name: v, mountPath: /v}]}
	  - {name: b, image: web, imagePullPolicy: Never, command: [sleep, "1000"],
	     resources: {limits: {ephemeral-storage: 512Ki}}}
	END
ok "one that wants more than there is waits, and says for what" eval \
	'run huge true "resources: {requests: {ephemeral-storage: 1Pi}}" && wait_for 10 \
	prints "ephemeral-storage: 1Pi requested, the node has .* in all" \
	node describe huge'
node delete huge >/dev/null 2>&1
ok "the node tells what there is and what is claimed" prints '^3 15872Ki$' eval \
	'curl -s --unix-socket "$RUN/node.sock" http://n/node | jq -r "
	.status | [.capacity, .allocatable, .allocated |
	.[\"ephemeral-storage\"] | strings] | \"\(length) \(.[2])\""'
ok "in units for people" prints '^capacity +[0-9]+ +[0-9.]+[GT]i +[0-9.]+[GT]i$' \
	node node

# --- one-shot pods: exit codes, policies, messages, environment
ok "a pod that ends well" run well 'echo "$WHO on $(hostname) in $PWD"' '
env: [{name: WHO, value: me}, {name: ALSO, value: $(WHO)}]
workingDir: /tmp' 'restartPolicy: Never'
ok "has succeeded" wait_for 20 phase_is well Succeeded
ok "and said so" prints '^me on well in /tmp$' node logs well
ok "a pod that fails" run bad 'echo why >/dev/termination-log; exit 3' '' \
	'restartPolicy: Never'
ok "has failed" wait_for 20 phase_is bad Failed
ok "with its exit code" pod_is bad \
	'.status.containerStatuses[0].state.terminated.exitCode' 3
ok "and its last words" pod_is bad \
	'.status.containerStatuses[0].state.terminated.message' why
ok "a pod that fails until it works" run flaky \
	'[ -e /data/ok ] && exit 0; touch /data/ok; exit 1' '
volumeMounts: [{name: data, mountPath: /data}]' 'restartPolicy: OnFailure
volumes: [{name: data, emptyDir: {}}]'
ok "ends well at the second try" wait_for 20 phase_is flaky Succeeded
ok "which is counted" pod_is flaky \
	'.status.containerStatuses[0].restartCount' 1
ok "the log of the first try is kept" node logs flaky --previous
ok "a command that is not there" eval \
	'COMMAND=/no/such/program run nope "" "" "restartPolicy: Never"'
ok "fails the pod with 127 or 128, and names it" wait_for 20 prints \
	'exitCode": 127|no/such/program' status nope state.terminated
ok "and says which" prints no/such/program status nope state.terminated

# --- init containers
ok "an init container runs first" apply <<-END
	apiVersion: v1
	kind: Pod
	metadata: {name: init}
	spec:
	  terminationGracePeriodSeconds: 1
	  volumes: [{name: v, emptyDir: {medium: Memory, sizeLimit: 1Mi}}]
	  initContainers:
	  - name: first
	    image: web
	    imagePullPolicy: Never
	    command: [/bin/sh, -c, "echo from init >/v/f"]
	    resources: {requests: {cpu: 500m}}
	    volumeMounts: [{name: v, mountPath: /v}]
	  containers:
	  - name: c
	    image: web
	    imagePullPolicy: Never
	    command: [/bin/sh, -c, "cat /v/f; exec sleep 1000"]
	    volumeMounts: [{name: v, mountPath: /v, readOnly: true}]
	END
ok "and the others find what it left" wait_for 20 prints '^from init$' \
	node logs init
ok "the pod weighs as much as the largest of them" prints '^(512|20)$' \
	pod_weight init
ok "a memory volume has its size" prints ' 1024 ' \
	node exec init -- df -k /v
ok "a read-only mount is read-only" eval '! node exec init -- touch /v/x'

# --- a sidecar: up before the rest, back when it ends, gone after the work
ok "a sidecar serves a job, and the init container before it" apply <<-END
	apiVersion: v1
	kind: Pod
	metadata: {name: job}
	spec:
	  restartPolicy: Never
	  terminationGracePeriodSeconds: 20
	  volumes: [{name: v, emptyDir: {medium: Memory, sizeLimit: 1Mi}}]
	  initContainers:
	  - name: side
	    image: web
	    imagePullPolicy: Never
	    restartPolicy: Always
	    command: [/bin/sh, -c, "trap 'echo bye; exit 0' TERM; echo x >>/v/side;
	      httpd -p 8081 -h /v; while ! test -e /v/fall; do sleep 0.1; done;
	      rm /v/fall; exit 1"]
	    startupProbe: {tcpSocket: {port: 8081}, periodSeconds: 1}
	    volumeMounts: [{name: v, mountPath: /v}]
	  - name: first
	    image: web
	    imagePullPolicy: Never
	    command: [/bin/sh, -c, "wget -q -O - http://127.0.0.1:8081/side"]
	  containers:
	  - name: c
	    image: web
	    imagePullPolicy: Never
	    command: [/bin/sh, -c, "until test -e /v/done; do sleep 0.1; done"]
	    volumeMounts: [{name: v, mountPath: /v}]
	END
ok "and is ready with it" wait_for 30 pod_ready job
ok "the init container was served" prints '^x$' node logs -c first job
ok "it is started again when it falls" eval 'node exec -c c job -- touch /v/fall &&
	wait_for 20 pod_is job ".status.initContainerStatuses[0].restartCount" 1 &&
	wait_for 20 pod_ready job'
ok "which did not touch the job" pod_is job \
	'.status.containerStatuses[0].restartCount' 0
node exec -c c job -- touch /v/done
ok "when the job is done, so is the pod" wait_for 20 phase_is job Succeeded
ok "and the sidecar had its signal" prints '^bye$' node logs -c side job

# --- security and identity
ok "a restricted container runs" run strict 'exec sleep 1000' '
securityContext:
  runAsUser: 1234
  runAsGroup: 4321
  readOnlyRootFilesystem: true
  allowPrivilegeEscalation: false
  capabilities: {drop: [ALL]}'
ok "and is there" wait_for 20 phase_is strict Running
ok "as its user and group" prints 'uid=1234 gid=4321' \
	node exec strict -- id
ok "its root is read-only" eval '! node exec strict -- touch /x'
ok "without capabilities, and for ever" prints \
	'CapEff:.0000000000000000 .*NoNewPrivs:.1' \
	node exec strict -- sh -c 'echo $(grep -E "CapEff|NoNew" /proc/1/status)'
ok "under a seccomp filter" prints '^2$' node exec strict -- sh -c \
	'set -- $(grep ^Seccomp: /proc/1/status); echo $2'
ok "and so is what is run in it later" prints '^2$' node exec strict -- sh -c \
	'set -- $(grep ^Seccomp: /proc/self/status); echo $2'
ok "an unconfined one and its exec have none" eval 'run loose "exec sleep 1000" "
securityContext: {seccompProfile: {type: Unconfined}}" &&
	wait_for 20 phase_is loose Running && prints "^0 0\$" node exec loose -- sh -c \
	"set -- \$(grep -h ^Seccomp: /proc/1/status /proc/self/status); echo \$2 \$4"'
ok "a pod with an fsGroup" run grouped 'exec sleep 1000' '' \
	'securityContext: {runAsUser: 1234, fsGroup: 2000, supplementalGroups: [3000]}'
as_user() { node exec grouped -- /bin/sh -c 'head -c1 /etc/hosts /etc/resolv.conf /etc/hostname >/dev/null &&
	cat /sys/fs/cgroup/*pids.max /sys/fs/cgroup/pids/pids.max 2>/dev/null | grep .'; }
ok "a user that is not root reads what every pod has" wait_for 20 as_user
ok "is a member of it, too" wait_for 20 prints '^Groups:.2000 3000' \
	node exec grouped -- grep Groups /proc/1/status
ok "whatever is run in it" prints '^Groups:.2000 3000' \
	node exec grouped -- grep Groups /proc/self/status
ok "root that must not be root is refused" eval 'run root "true" "
securityContext: {runAsNonRoot: true, runAsUser: 0}" 2>&1 |
	grep -q "contradicts"'

# --- names
ok "a pod with a name, a domain, and others' names" run named 'exec sleep 1000' '
env: [{name: HOST_IP, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}]' '
hostname: db-0
subdomain: db
setHostnameAsFQDN: true
hostAliases: [{ip: 10.9.8.7, hostnames: [far, far.away]}]
dnsPolicy: None
dnsConfig: {nameservers: [10.9.8.1], searches: [a.example, b.example],
  options: [{name: ndots, value: "5"}, {name: rotate}]}'
ok "is called by all of it" wait_for 20 prints \
	'^db-0.db.default.svc.cluster.local( db-0.db.default.svc.cluster.local){2}$' \
	node exec named -- sh -c 'echo $(hostname) $(cat /etc/hostname) $HOSTNAME'
ok "its hosts are known to it" prints \
	' db-0.db.default.svc.cluster.local db-0 .* 10.9.8.7 far far.away$' \
	node exec named -- sh -c 'echo $(cat /etc/hosts)'
ok "and whom to ask for others" prints \
	'^nameserver 10.9.8.1 search a.example b.example options ndots:5 rotate$' node exec named -- sh -c \
	'echo $(cat /etc/resolv.conf)'
ok "and its host" prints '^[0-9.]+$' node exec named -- sh -c \
	'echo $HOST_IP'
ok "a name the kernel would cut is refused with the reason" eval \
	'run toolong true "" "
hostname: $(printf %040d 0 | tr 0 h)
subdomain: a-long-domain-of-its-own
setHostnameAsFQDN: true" && wait_for 10 prints "FQDN .* is too long" node describe \
	toolong'
node delete toolong >/dev/null 2>&1

# --- gRPC: Debian's etcd answers for its health
etcd --data-dir "$E2E/etcd" --logger zap --log-level error \
	--listen-client-urls http://127.0.0.1:2379 \
	--advertise-client-urls http://127.0.0.1:2379 \
	--listen-peer-urls http://127.0.0.1:2380 >"$E2E/etcd.log" 2>&1 &
etcd=$!
ok "a pod asked by gRPC gets ready" eval 'run asked "exec sleep 1000" "
readinessProbe: {grpc: {port: 2379}, periodSeconds: 1}" "hostNetwork: true" &&
	wait_for 30 pod_ready asked'
ok "a service nobody knows is not healthy" eval 'run unknown "exec sleep 1000" "
readinessProbe: {grpc: {port: 2379, service: no.Such}, periodSeconds: 1}" \
	"hostNetwork: true" && wait_for 20 prints "Readiness probe failed: error: \
health rpc probe failed: rpc error: code = NotFound desc = unknown service" \
	node describe unknown'
kill $etcd; wait $etcd
ok "without its server it is not ready any more" wait_for 20 pod_is asked \
	"$READY" False
node delete asked unknown >/dev/null 2>&1

# --- evicted by now
evicted() # POD MESSAGE
{
	wait_for 30 phase_is "$1" Failed && pod_is "$1" .status.reason Evicted &&
		pod_is "$1" .status.message "$2"
}
ok "a container beyond its limit has lost its place" evicted fat \
	'Container a exceeded its local ephemeral storage limit "1Mi".'
ok "its log counts, too" evicted talkative \
	'Pod ephemeral local storage usage exceeds the total limit of containers 2Mi.'
ok "a pod counts with its volumes" evicted both \
	'Pod ephemeral local storage usage exceeds the total limit of containers 2560Ki.'
ok "a volume has its own limit" evicted sized \
	'Usage of EmptyDir volume "v" exceeds the limit "2Mi".'
ok "which is told" prints 'Warning +Evicted .*EmptyDir' node describe sized
ok "also to who asks why it ended" prints '"DisruptionTarget"' node ps -o json
ok "what is within its limit stays" phase_is lean Running
ok "what cannot be resized is not changed" eval '! run lean "$(fill /tmp/x 16)" \
	"$(disk 4Mi)" 2>"$E2E/lean" && grep -q \
	"limits.ephemeral-storage cannot be changed" "$E2E/lean"'
node delete fat talkative both sized lean named >/dev/null 2>&1

# --- host paths
mkdir -p "$E2E/host"; echo outside >"$E2E/host/f"
ok "a host folder is mounted" run host 'cat /h/f; exec sleep 1000' '
volumeMounts: [{name: h, mountPath: /h, readOnly: true}]' "
volumes: [{name: h, hostPath: {path: $E2E/host, type: Directory}}]"
ok "and read" wait_for 20 prints '^outside$' node logs host
ok "one that is missing is waited for, and named" eval "run hostless true '
volumeMounts: [{name: h, mountPath: /h}]' '
volumes: [{name: h, hostPath: {path: $E2E/missing, type: Directory}}]' &&
	wait_for 10 prints '$E2E/missing' node describe hostless"
mkdir "$E2E/missing"
ok "and found when it comes" wait_for 60 prints 'Completed|Running|restart' \
	node describe hostless

# --- probes
ok "a pod with probes runs" run probed \
	'touch /tmp/live /tmp/ready; exec sleep 1000' '
readinessProbe: {exec: {command: [test, -e, /tmp/ready]}, periodSeconds: 1}
livenessProbe: {exec: {command: [test, -e, /tmp/live]}, periodSeconds: 1,
  failureThreshold: 1}'
ok "and gets ready" wait_for 20 pod_ready probed
node exec probed -- rm /tmp/ready
ok "it is unready when its probe fails" wait_for 20 pod_is probed "$READY" False
node exec probed -- rm /tmp/live
ok "and restarted when it is no longer alive" wait_for 20 pod_is probed \
	'.status.containerStatuses[0].restartCount' 1
ok "which is told" prints 'Liveness probe failed' node describe probed

# --- out of memory
ok "a container that wants too much" run hungry \
	'exec dd if=/dev/zero of=/dev/null bs=200M count=1' '
resources: {limits: {memory: 32Mi}}' 'restartPolicy: Never'
ok "is killed for it" wait_for 30 pod_is hungry \
	'.status.containerStatuses[0].state.terminated.reason' OOMKilled

# --- restart with back-off, and graceful stops
ok "a container that keeps failing" run loop 'exit 1'
ok "is held back" wait_for 20 pod_is loop \
	'.status.containerStatuses[0].state.waiting.reason' CrashLoopBackOff
GRACE=20
ok "one that stops when asked" run polite \
	'trap "echo bye; exit 0" TERM; while :; do sleep 0.1; done'
unset GRACE
ok "is there" wait_for 20 phase_is polite Running
began=$(now_ms)
ok "goes well before its grace is over" eval \
	'node delete polite && wait_for 10 pod_gone polite'
ok "(in less than ten seconds)" [ $(($(now_ms) - began)) -lt 10000 ]

# --- exec and logs
ok "standard input goes in, the exit code comes out" eval \
	'[ "$(echo hi | node exec -i init -- cat)" = hi ]; node exec init -- \
	sh -c "exit 7"; [ $? = 7 ]'
ok "a terminal is one" prints '/dev/pts/0' eval \
	'script -qec "ARKTOS_NODE_SOCKET=$RUN/node.sock $NODE exec -it init -- tty" \
	/dev/null | tr -d "\r"'
ok "a pod that talks" run talk \
	'for i in 1 2 3 4 5; do echo line $i; sleep 0.3; done' '' \
	'restartPolicy: Never'
wait_for 10 node logs talk
ok "logs are followed to the end" eval \
	'[ "$(node logs -f talk | wc -l)" = 5 ]'
ok "or only their tail" prints '^line 5$' node logs talk --tail 1

# --- what cannot be started
begin=$(now_ms)
ok "a command that is not in the image" eval \
	'COMMAND=/no/such sh_manifest nocmd x | apply'
ok "is tried again and again" wait_for 30 eval \
	'[ "$(pod nocmd ".status.containerStatuses[0].restartCount")" -ge 5 ]'
ok "each time later: 200, 400, 800, 1000 ms" \
	[ $(($(now_ms) - begin)) -ge 2400 ]
ok "an event says why" prints "Warning +Failed .*/no/such" node describe nocmd
node delete nocmd >/dev/null 2>&1

# --- the same name and address in another tenant
ok "another tenant has a pod of the same name" run init \
	'exec httpd -f -p 8080 -h /srv/www' '' \
	"nics: [{name: eth0, ipAddress: $(pod init .status.podIP)}]" \
	'tenant: acme'
acme() { node ps -A -o json | jq -r '.items[] | select(.metadata.tenant ==
	"acme") | '"$1"; }
ok "which runs" wait_for 20 eval '[ "$(acme .status.phase)" = Running ]'
ok "with an address that somebody else has, too" eval \
	'ip=$(acme .status.podIP); node ps -A -o json | jq -e --arg i "$ip" \
	"[.items[] | select(.status.podIP == \$i)] | length == 2"'
ok "they do not reach each other" eval '! node exec init -- wget -q -T 2 -O - \
	http://$(acme .status.podIP):8080/'
ok "its root is nobody on the host" eval \
	'(for p in $(our_processes); do
	[ "$(stat -c %u /proc/$p)" -ge 1048576 ] && exit 0; done; exit 1)'

# --- static pods
ok "a file in the manifests folder is a pod" eval \
	'sh_manifest static "exec sleep 1000" >"$STATE/manifests/static.yaml" &&
	wait_for 20 phase_is static Running'
ok "a broken one disturbs nobody" eval \
	'echo "{" >"$STATE/manifests/broken.yaml"; pause 0.5; phase_is static Running'
agent_stop
rm "$STATE/manifests/static.yaml"
ok "removed while no agent runs, it takes its pod with it" eval \
	'agent_start && wait_for 20 pod_gone static'
e2e_end
