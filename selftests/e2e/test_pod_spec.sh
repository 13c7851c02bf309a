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

ok "the agent starts" agent_start --restart-backoff 200ms \
	--restart-backoff-max 1s --network acme/default=10.88.0.0/16
ok "the image is imported" image_web

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
ok "a memory volume has its size" prints ' 1024 ' \
	node exec init -- df -k /v
ok "a read-only mount is read-only" eval '! node exec init -- touch /v/x'

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
ok "is a member of it, too" wait_for 20 prints '^Groups:.2000 3000' \
	node exec grouped -- grep Groups /proc/1/status
ok "whatever is run in it" prints '^Groups:.2000 3000' \
	node exec grouped -- grep Groups /proc/self/status
ok "root that must not be root is refused" eval 'run root "true" "
securityContext: {runAsNonRoot: true, runAsUser: 0}" 2>&1 |
	grep -q "contradicts"'

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
