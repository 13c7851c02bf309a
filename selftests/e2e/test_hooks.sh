#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: native
# SECONDS: 60
# lifecycle: postStart before a container is ready, preStop before it is asked
# to end.
. "$(dirname "$0")/lib.sh"

agent_start --restart-backoff 1s && image_web || exit 1
mkdir "$E2E/shared"
chmod 777 "$E2E/shared"
cat >"$E2E/shared/main" <<'END'
trap 'echo term >>/shared/$1; exit 0' TERM
echo up >>/shared/$1
while :; do sleep 0.1; done
END
echo 'echo up >>/shared/$1; exec httpd -f -vv -p 8080 2>>/shared/$1' >"$E2E/shared/httpd"
hooked() # NAME LIFECYCLE [GRACE] [SCRIPT]
{
	cat <<-END
	apiVersion: v1
	kind: Pod
	metadata: {name: $1}
	spec:
	  terminationGracePeriodSeconds: ${3-20}
	  volumes: [{name: shared, hostPath: {path: $E2E/shared}}]
	  containers:
	  - name: web
	    image: web
	    imagePullPolicy: Never
	    volumeMounts: [{name: shared, mountPath: /shared}]
	    command: [/bin/sh, /shared/${4-main}, $1]
	    lifecycle: $2
	END
}
sh_() { echo "{exec: {command: [/bin/sh, -c, '$1']}}"; }
said() { tr '\n' ' ' <"$E2E/shared/$1"; }
is_() { prints "$2" said "$1"; }

# --- exec, both -----------------------------------------------------------------------
hooked both "{postStart: $(sh_ 'while [ ! -e /shared/go ]; do sleep 0.1; done; echo post >>/shared/both'),
	preStop: $(sh_ 'echo pre >>/shared/both')}" | apply >/dev/null
ok "a pod with hooks runs" wait_for 20 pod_is both .status.phase Running
ok "and is not ready while its postStart runs" pod_is both "$READY" False
touch "$E2E/shared/go"
ok "it is ready after it" wait_for 20 pod_ready both
ok "which has run" is_ both 'post'
# A new agent knows that it has been.
agent_kill
agent_start --restart-backoff 1s
ok "with a new agent it stays ready" wait_for 20 pod_ready both
node delete both >/dev/null
ok "it goes" wait_for 20 pod_gone both
ok "first preStop, then the signal" is_ both '^(up post|post up) pre term $'

# --- what fails -------------------------------------------------------------------------
hooked broken "{postStart: $(sh_ 'sleep 0.3; echo because; exit 3')}" 1 | apply >/dev/null
restarted() { pod_is broken '.status.containerStatuses[0].restartCount > 0' true; }
ok "a failing postStart costs the container its life" wait_for 20 restarted
ok "and is told" prints 'FailedPostStartHook.*because' node describe broken
hooked weak "{preStop: $(sh_ 'exit 4')}" | apply >/dev/null
ok "a failing preStop changes nothing" wait_for 20 pod_ready weak
node delete weak >/dev/null
ok "the container is asked to end all the same" wait_for 15 pod_gone weak
ok "and ends" is_ weak 'term'
hooked slow "{preStop: $(sh_ 'sleep 1000')}" 2 | apply >/dev/null
ok "a preStop that does not end" wait_for 20 pod_ready slow
node delete slow >/dev/null
ok "ends with the grace" wait_for 15 pod_gone slow
node delete broken >/dev/null

# --- httpGet, sleep -----------------------------------------------------------------------
hooked calls "{postStart: {sleep: {seconds: 1}}, preStop: {httpGet: {port: 8080, path: /cgi-bin/none}}}" 3 \
	httpd | apply >/dev/null
ok "sleep as a postStart" wait_for 20 pod_ready calls
node delete calls >/dev/null
ok "httpGet as a preStop" wait_for 25 pod_gone calls
ok "has asked" is_ calls '/cgi-bin/none'
hooked forced "{preStop: $(sh_ 'echo pre >>/shared/forced')}" | apply >/dev/null
ok "without any grace" wait_for 20 pod_ready forced
node delete forced --force >/dev/null
ok "it goes at once" wait_for 10 pod_gone forced
ok "and there is no preStop" is_ forced '^up $'

ok "the others have gone" wait_for 20 pod_gone broken
e2e_end
