#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: native
# SECONDS: 240
# What a watch shows of pods while agent and control plane are stopped, killed and
# started, and pods are resized, never goes backwards and never flaps; and the
# node's certificates and its pods' tokens become others in the middle of
# requests, of which none is dropped.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/joined.sh"

export SHIM_LATER=$E2E/later
echo 0 0 >"$SHIM_LATER"
# The node looks at itself, and at its certificates, every 2 s.
options=(--restart-backoff 300ms --restart-backoff-max 300ms --node-lease-duration 8s)
start() { LD_PRELOAD=$(shim later) node_join "${options[@]}"; }
control_start && node_credentials && start && image_web && image_vm || exit 1
wait_for 20 node_ready
for f in certificate-authority client-certificate client-key; do
	sed -n "s/.*$f-data: *//p" "$KUBECONFIG" | tr -d '" ' | base64 -d >"$E2E/$f.pem"
done
tls=(--cacert "$E2E/certificate-authority.pem" --cert "$E2E/client-certificate.pem"
	--key "$E2E/client-key.pem")
api() { curl -sS -m 20 "${tls[@]}" "https://127.0.0.1:$CONTROL_PORT$1" "${@:2}"; }
PODS=/api/v1/namespaces/default/pods

# All events of all pods, from the first one on, over all ends of the server.
watch_all()
{
	local rv=1
	while [ ! -e "$E2E/enough" ]; do
		curl -sN -m 60 "${tls[@]}" "https://127.0.0.1:$CONTROL_PORT$PODS?watch=1&resourceVersion=$rv" |
			jq --unbuffered -c 'select(.type != "BOOKMARK" and .type != "ERROR") | .object' \
				>>"$E2E/seen" 2>/dev/null
		rv=$(tail -1 "$E2E/seen" | jq -r '.metadata.resourceVersion' 2>/dev/null)
		pause 0.1
	done
}
: >"$E2E/seen"
watch_all &
watcher=$!
web_manifest web | k create -f - >/dev/null
vm_manifest vm 1 128Mi | k create -f - >/dev/null
web_manifest crash | sed '/readinessProbe/d; s/imagePullPolicy: Never/&\n    command: [sh, -c, "sleep 1.5; exit 3"]/' |
	k create -f - >/dev/null
web_manifest first | sed '/readinessProbe/d
	s/^  containers:/  restartPolicy: Never\n  initContainers:\n  - {name: before, image: web, imagePullPolicy: Never, command: [sleep, "2"]}\n&/
	s/imagePullPolicy: Never$/&\n    command: [sleep, "4"]/' | k create -f - >/dev/null
ok "pods run" wait_for 40 k_ready web
ok "a VM" wait_for 90 k_ready vm
ok "one fails again and again" wait_for 30 k_is crash '.status.containerStatuses[0].restartCount > 0' true
resize() # MILLI
{
	wait_for 20 api "$PODS/web/resize" -f -X PATCH -H 'Content-Type: application/strategic-merge-patch+json' \
		-d '{"spec":{"containers":[{"name":"web","resources":{"limits":{"cpu":"'$1'm"}}}]}}'
}
has() { k_is web '.status.containerStatuses[0].resources.limits.cpu' "$1"; }

# --- stopped, killed and started -----------------------------------------------------
resize 600 && ok "a resize is in the status" wait_for 20 has 600m
resize 610
agent_stop
resize 620
start
ok "one that came without an agent is done by the next" wait_for 20 has 620m
resize 630
agent_kill
start
ok "one that was under way is" wait_for 20 has 630m
control_kill
control_start
resize 640
ok "with another control plane" wait_for 20 has 640m
control_kill
agent_kill
control_start
start
resize 650
ok "with both" wait_for 30 has 650m
ok "the VM is ready" wait_for 30 k_ready vm
restarts=$(k_get crash '.status.containerStatuses[0].restartCount')
more() { [ "$(k_get crash '.status.containerStatuses[0].restartCount')" -gt "$restarts" ]; }
ok "what fails is started again and again" wait_for 30 more
ok "what ends well has ended" wait_for 30 k_is first .status.phase Succeeded
ok "and says so" k_is first '[.status.conditions[] | "\(.type) \(.status) \(.reason)"] | sort | join(", ")' \
	"ContainersReady False PodCompleted, Initialized True null, PodReadyToStartContainers False null, PodScheduled True null, Ready False PodCompleted"

# --- certificates and tokens -----------------------------------------------------------
# Who asks all the time, on new connections and on one that stays.
(
	i=0 bad=0
	until [ -e "$E2E/asked-enough" ]; do
		api "$PODS/web/log?tailLines=1" --fail-with-body >"$E2E/a" || { bad=$((bad + 1)); cat "$E2E/a" >&2; }
		api "/api/v1/nodes/$NAME/proxy/healthz" --fail-with-body >"$E2E/a" || { bad=$((bad + 1)); cat "$E2E/a" >&2; }
		i=$((i + 2))
		echo "$i $bad" >"$E2E/asked.new" && mv "$E2E/asked.new" "$E2E/asked"
	done
) 2>"$E2E/asked.why" &
asking=$!
asked() { cut -d ' ' -f 1 "$E2E/asked"; }
node exec web -- touch /tmp/on
timeout 120 "$kubectl" --cache-dir="$E2E/cache" exec -i web -- cat >"$E2E/echoed" 2>&1 < <(
	until [ -e "$E2E/asked-enough" ]; do echo tick; pause 0.2; done
	echo last) &
talking=$!
ok "somebody asks" wait_for 20 [ -s "$E2E/asked" ]
ok "and talks" wait_for 20 grep -q tick "$E2E/echoed"
client() { sha256sum <"$E2E/node.kubeconfig"; }
serving() { sha256sum <"$STATE/pki/serving.crt"; }
token() { node exec web -- sha256sum /var/run/secrets/kubernetes.io/serviceaccount/token; }
before="$(client) $(serving)"
both_others()
{
	local now
	now="$(client) $(serving)"
	[ "${now%%  -*}" != "${before%%  -*}" ] && [ "${now##*- }" != "${before##*- }" ]
}
for i in 1 2 3 4; do
	kill -HUP "$AGENT_PID"
	ok "SIGHUP $i: both certificates are others" wait_for 30 both_others
	before="$(client) $(serving)"
done
n=$(asked)
went_on() { [ "$(asked)" -ge $((n + 10)) ]; }
ok "who asks is answered with the new ones" wait_for 30 went_on
touch "$E2E/asked-enough"
ok "the talk went on to its end" wait_for 20 grep -q last "$E2E/echoed"
ok "whoever asked was answered, every time" eval \
	'wait $asking; cat "$E2E/asked" "$E2E/asked.why" | tail -5; [ "$(cut -d " " -f 2 "$E2E/asked")" = 0 ]'
echo "# $(asked) requests"

# Time goes by. (The control plane's clock does not.)
k delete pod crash --grace-period=1 >/dev/null
ok "a year is nearly over" eval 'echo $((300 * 86400)) 0 >"$SHIM_LATER"'
ok "both are made anew, by themselves" wait_for 60 both_others
ok "time is as it was" eval 'echo 0 0 >"$SHIM_LATER"'
before=$(token)
ok "an hour is nearly over" eval 'echo 0 3000 >"$SHIM_LATER"'
renewed() { [ -n "$(token)" ] && [ "$(token)" != "$before" ]; }
ok "the pod has another token" wait_for 60 renewed
works()
{
	api /apis/authentication.k8s.io/v1/tokenreviews -X POST -H 'Content-Type: application/json' -d \
		'{"spec":{"token":"'"$(node exec web -- cat /var/run/secrets/kubernetes.io/serviceaccount/token)"'"}}'
}
ok "which is good" prints '"authenticated":true' works
ok "with the last ones a pod is started" eval 'web_manifest late | k create -f - && wait_for 30 k_ready late'
ok "the Node was Ready all the time" prints '^True$' eval \
	'k get node $NAME -o "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}"'

# --- the end, and what was seen ------------------------------------------------------------
k delete pod web vm first late --wait=false --grace-period=1 >/dev/null
ok "all go" wait_for 60 sh -c "! '$kubectl' get pods 2>/dev/null | grep ."
seen_all()
{
	local now
	now=$(jq -s '[.[].metadata.uid] | unique | length' "$E2E/seen")
	[ "$now" = 5 ]
}
ok "the watch has seen all of them" wait_for 10 seen_all
touch "$E2E/enough"
kill "$watcher" "$talking" 2>/dev/null
backwards() { jq -n -r -f selftests/e2e/steady.jq "$E2E/seen" --args web vm late; }
ok "nothing went backwards, and nothing flapped" eval 'out=$(backwards 2>&1); [ -z "$out" ] || { echo "$out"; false; }'
echo "# $(wc -l <"$E2E/seen") states, $(jq -s '[.[] | select(.metadata.name == "crash").status.containerStatuses[0]?.restartCount] | max' "$E2E/seen") restarts"
# The judge sees what is wrong, too.
judges() # EXPRESSION WORDS
{
	judged=$1 prints "$2" judge
}
judge()
{
	jq -nc "[inputs | select(.metadata.name == \"web\")] | ([.[].metadata.deletionTimestamp == null] | rindex(true)) as \$i
		| .[\$i - 1] |= ($judged) | .[]" "$E2E/seen" |
		jq -n -r -f selftests/e2e/steady.jq --args web
}
ok "a step back would have been seen" judges '.status.phase = "Pending"' 'phase Running became Pending'
ok "and another start" judges '.status.containerStatuses[0].state.running.startedAt = "2020-01-01T00:00:00Z"' \
	'began at another time'
ok "and a flap" judges '(.status.conditions[] | select(.type == "Ready")).status = "False"' 'Ready changed 3 times'
[ -z "${KEEP_SEEN-}" ] || cp "$E2E/seen" "$KEEP_SEEN"
control_stop
e2e_end
