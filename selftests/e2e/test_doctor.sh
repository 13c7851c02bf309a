#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: native
# SECONDS: 180
# arktosctl doctor: a control plane that is well; and each thing that can be wrong
# with it, said with what to do.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/joined.sh"

# A disk of its own for the store, which can be filled.
mkdir -p "$DATA"
mount -t tmpfs -o size=1536m,mode=700 arktos-doctor "$DATA"

doctor() { timeout 60 "$CTL" "$@" doctor; }
check() # NAME FIELD [OPTION OF ARKTOSCTL...]
{
	local name=$1 field=$2
	shift 2
	timeout 60 "$CTL" "$@" doctor -o json | jq -r --arg n "$name" \
		"[.checks[] | select(.name | startswith(\$n)) | .$field] | join(\"; \")"
}
is() # NAME RESULT REGEX OF DETAIL [REGEX OF REMEDY]
{
	local got
	got=$(timeout 60 "$CTL" doctor -o json | jq -r --arg n "$1" '
		[.checks[] | select(.name | startswith($n))] |
		([.[].result] | join(" ")), ([.[].detail] | join("; ")),
		([.[].remedy] | join("; "))')
	{
		read -r result
		read -r detail
		read -r remedy
	} <<<"$got"
	[[ " $result " == *" $2"* ]] && [[ $detail =~ $3 ]] &&
		[[ $remedy =~ ${4-} ]] || {
		echo "$1: $got"
		return 1
	}
}
fails() { ! "$@"; }

ok "without a kubeconfig it says which to take" prints \
	'kubeconfig: name one with --kubeconfig.*/etc/arktos/admin.kubeconfig' \
	doctor --kubeconfig "$E2E/none"
ok "wherever that option stands" prints "open '$E2E/none'" \
	"$CTL" tenant list --kubeconfig "$E2E/none"
ok "a control plane" control_start
ok "its controllers have told of themselves" wait_for 30 is controllers ok 'in step'
ok "and of what they did" wait_for 60 is controllers ok 'last sync 20[0-9-]+T'
ok "so has the scheduler" wait_for 30 is scheduler ok 'in step'
ok "the API server is ready" is 'api server' ok 'https://.* is ready, [0-9]+ ms'
ok "its certificate is good" is 'certificate: server' ok 'good until 20.* 36[0-9] days'
ok "so is the CA's" is 'certificate: CA' ok 'good until'
ok "the store has room" is store ok '[0-9.]+[KMG]i, .* free'
ok "there is no node, which is told" is nodes warning 'nothing can run' 'node token'
ok "and that alone is no failure" doctor

# --- nodes ---------------------------------------------------------------------
raw() { timeout 30 "$CTL" raw "$@"; }
echo '{"apiVersion":"v1","kind":"Node","metadata":{"name":"lost"}}' |
	raw POST /api/v1/nodes -f - >/dev/null
ok "a node that never came" wait_for 20 is 'node lost' failed 'never told|Unknown' \
	arktos-node
ok "makes it fail" fails doctor
conditions() # TYPE STATUS ...
{
	local list=
	while [ $# -gt 0 ]; do
		list+=${list:+,}"{\"type\":\"$1\",\"status\":\"$2\",\"reason\":\"Tested\",\"message\":\"said so\"}"
		shift 2
	done
	echo "{\"status\":{\"conditions\":[$list]}}" | raw PATCH \
		/api/v1/nodes/lost/status -f - >/dev/null
}
conditions Ready True DiskPressure True VmRuntimeReady False
ok "a node whose disk is full" is 'node lost' warning 'DiskPressure is True: said so' \
	'make room'
ok "and that runs no VMs" is 'node lost' warning 'VmRuntimeReady is False' 'arktos-node doctor'

# --- a drain tells what waits once -----------------------------------------------------
create() { raw POST "$1" -f - >/dev/null; } # PATH
ns=default
create /apis/policy/v1/namespaces/$ns/poddisruptionbudgets <<-END
	{"apiVersion":"policy/v1","kind":"PodDisruptionBudget","metadata":{"name":"stay"},
	 "spec":{"minAvailable":1,"selector":{"matchLabels":{"app":"kept"}}}}
END
create /api/v1/namespaces/$ns/pods <<-END
	{"apiVersion":"v1","kind":"Pod","metadata":{"name":"kept","labels":{"app":"kept"}},
	 "spec":{"nodeName":"lost","containers":[{"name":"c","image":"x"}]}}
END
raw PATCH /api/v1/namespaces/$ns/pods/kept/status -f - >/dev/null <<-END
	{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}
END
timeout 60 "$CTL" node drain lost --force --timeout 4s >"$E2E/drained" 2>&1
ok "drain says once why a pod waits" eval \
	'cat "$E2E/drained"; [ "$(grep -c "pod system/default/kept waits" "$E2E/drained")" = 1 ]'
ok "and that it is still there" grep 'still on node lost' "$E2E/drained"
ok "its help is one" prints '^usage: arktosctl node drain NAME' "$CTL" node drain --help
raw DELETE /api/v1/namespaces/$ns/pods/kept?gracePeriodSeconds=0 >/dev/null
raw DELETE /api/v1/nodes/lost >/dev/null

# --- controllers -----------------------------------------------------------------
cat >"$E2E/stuck.yaml" <<-END
	apiVersion: v1
	kind: List
	items:
	- {apiVersion: v1, kind: ResourceQuota, metadata: {name: none}, spec: {hard: {pods: "0"}}}
	- apiVersion: apps/v1
	  kind: ReplicaSet
	  metadata: {name: stuck}
	  spec:
	    replicas: 1
	    selector: {matchLabels: {a: b}}
	    template:
	      metadata: {labels: {a: b}}
	      spec: {containers: [{name: c, image: web}]}
END
k create -f "$E2E/stuck.yaml" >/dev/null
ok "what a controller cannot do is told, with the reason" wait_for 40 is \
	'controller replicaset' warning 'default/stuck: .*exceeded quota' describe
k delete quota none >/dev/null
k annotate rs stuck look=again >/dev/null # or after its back-off
ok "and no more when it can" wait_for 90 is 'controller replicaset' '' '^$'
lease=/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/arktos-scheduler
echo '{"spec":{"renewTime":"2020-01-01T00:00:00.000000Z"}}' | raw PATCH $lease -f - >/dev/null
ok "who is silent for long is told" is scheduler failed 'not been heard of for' 'start them'
ok "and comes back by itself" wait_for 30 is scheduler ok 'in step'

# --- room, certificates, the server -----------------------------------------------
room() { df --output=avail -B1 "$DATA" | tail -1; }
fallocate -l $(($(room) - (700 << 20))) "$DATA/ballast"
ok "little room is a warning" is store warning '[0-9.]+Mi free' 'make room'
fallocate -l $(($(room) - (64 << 20))) "$DATA/ballast2"
ok "too little is a failure" is store failed '[0-9.]+Mi free' 'make room'
rm "$DATA"/ballast*

# The same user with a certificate of another life.
kubeconfig_of() # DAYS
{
	openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
		-keyout "$E2E/k.pem" -subj "/CN=system-admin/O=tenant:system" \
		-out "$E2E/k.csr" 2>/dev/null &&
		openssl x509 -req -in "$E2E/k.csr" -CA "$DATA/ca.crt" \
			-CAkey "$DATA/ca.key" -CAcreateserial -days "$1" \
			-out "$E2E/k.crt" 2>/dev/null &&
		sed -E "s,(client-certificate-data: ).*,\1$(base64 -w0 "$E2E/k.crt"),
			s,(client-key-data: ).*,\1$(base64 -w0 "$E2E/k.pem")," \
			"$DATA/admin.kubeconfig" >"$E2E/old.kubeconfig"
}
kubeconfig_of 3
ok "a certificate that ends soon" prints 'warning' check 'certificate: this' result \
	--kubeconfig "$E2E/old.kubeconfig"
ok "with what to do" prints 'tenant kubeconfig' check 'certificate: this' remedy \
	--kubeconfig "$E2E/old.kubeconfig"
kubeconfig_of -1
ok "one that has ended" prints 'expired at 20' check 'certificate: this' detail \
	--kubeconfig "$E2E/old.kubeconfig"
ok "is a failure" fails doctor --kubeconfig "$E2E/old.kubeconfig"
ok "a tenant" tenant_create acme
ok "sees that the server is ready" prints '^ok$' check 'api server' result \
	--kubeconfig "$E2E/acme.kubeconfig"
ok "and is told what it may not see" prints 'skipped.*skipped' eval \
	'doctor --kubeconfig "$E2E/acme.kubeconfig" | tr "\n" " "'
ok "the text has what to do" prints 'What to do:|nodes' doctor
kill -STOP "$CONTROL_PID"
ok "a server that does not answer is told, in time" is 'api server' failed \
	'no answer within' 'systemctl status arktos-control'
kill -CONT "$CONTROL_PID"
control_stop
ok "so is one that is away" is 'api server' failed 'onnection refused' \
	'systemctl status arktos-control'
ok "and it fails" fails doctor
umount "$DATA"
ok "nothing is left behind" wait_for 5 nothing_left
echo "1..$tests"
[ $failures -eq 0 ]
