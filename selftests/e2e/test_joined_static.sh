#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: native
# SECONDS: 120
# Pods given to a joined node itself, by file and by hand, and their mirrors in
# the API.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/joined.sh"

mkdir -p "$E2E/manifests"
control_start && node_join --manifests "$E2E/manifests" && image_web || exit 1
static() # NAME LABEL
{
	web_manifest "$1" | sed "s/metadata: .*/metadata: {name: $1, labels: {app: $2}, annotations: {note: own}}/"
}
static web one >"$E2E/manifests/web.yaml"
static hand two | apply >/dev/null
M=web-$NAME
ok "a pod of a file has a mirror, which is Ready" wait_for 30 k_ready "$M"
ok "one given by hand has" wait_for 30 k_ready "hand-$NAME"
mirror() { k_is "$M" "$1" "$2"; }
ok "it says what it is" mirror '.metadata.annotations
	| [(."kubernetes.io/config.mirror" | length > 8),
	(."kubernetes.io/config.hash" | length > 8),
	."kubernetes.io/config.source", .note] | map(tostring) | join(" ")' \
	"true true file own"
ok "it is the Node's" mirror '.metadata.ownerReferences[0]
	| [.kind, .name, .controller] | map(tostring) | join(" ")' "Node $NAME true"
ok "with the node's uid" mirror .metadata.ownerReferences[0].uid \
	"$(k get node $NAME -o jsonpath='{.metadata.uid}')"
ok "its labels" mirror .metadata.labels.app one
ok "no taint ends it" mirror '.spec.tolerations | map(select(.effect ==
	"NoExecute" and .key == null and .operator == "Exists")) | length' 1
ok "its address is the pod's" mirror .status.podIP "$(pod web .status.podIP)"
for kubectl in "${KUBECTLS[@]}"; do
	ok "exec" prints '^hello$' k exec "$M" -- echo hello
	ok "logs" k logs "$M"
	ok "describe, with the pod's events" wait_for 10 prints Started \
		k describe pod "$M"
done

ok "top" wait_for 40 prints "^$M +[0-9]+m +[0-9]+Mi" k top pod "$M" --no-headers

# --- deleted, it is made again ------------------------------------------------------
uid() { k_get "$M" .metadata.uid; }
before=$(uid) was=$(pod web .metadata.uid)
started() { pod web '.status.containerStatuses[0].state.running.startedAt'; }
since=$(started)
another() { [ -n "$(uid)" ] && [ "$(uid)" != null ] && [ "$(uid)" != "$before" ]; }
k delete pod "$M" --wait=false >/dev/null
ok "a deleted mirror is made again" wait_for 20 another
ok "and is Ready" wait_for 10 k_ready "$M"
before=$(uid)
k delete pod "$M" --force --grace-period=0 >/dev/null 2>&1
ok "also after a forced end" wait_for 20 another
ok "the pod has not noticed" [ "$(pod web .metadata.uid) $(started)" = "$was $since" ]
before=$(uid)
ok "the node can be drained" k drain $NAME --force --ignore-daemonsets \
	--timeout=20s
ok "which leaves mirrors alone" [ "$(uid)" = "$before" ]
k uncordon $NAME >/dev/null

# --- it follows ---------------------------------------------------------------------
before=$(uid)
node resize web --cpu 400m >/dev/null
cpu() { k_is "$M" '.spec.containers[0].resources.limits.cpu' 400m; }
ok "resized on the node: the mirror says it" wait_for 20 cpu
ok "and is Ready" wait_for 20 k_ready "$M"
sed -i 's/cpu: 500m/cpu: 400m/' "$E2E/manifests/web.yaml"
agent_kill
before=$(uid)
node_join --manifests "$E2E/manifests"
ok "with a new agent the Node is Ready" wait_for 20 node_ready
ok "the pod was not restarted" [ "$(started)" = "$since" ]
ok "nor its mirror made anew" [ "$(uid)" = "$before" ]
rm "$E2E/manifests/web.yaml"
ok "without its file the pod goes, and the mirror" wait_for 20 k_gone "$M"
ok "from the node, too" wait_for 10 pod_gone web

# --- what has no mirror -------------------------------------------------------------
static taken three | apply >/dev/null
web_manifest "other-$NAME" | bound | k create -f - >/dev/null
ok "a real pod may end like a mirror" wait_for 30 k_ready "other-$NAME"
ok "mirrors of others go on" wait_for 20 k_ready "taken-$NAME"
forged()
{
	cat <<-END
	apiVersion: v1
	kind: Pod
	metadata: {name: $1, annotations: {kubernetes.io/config.mirror: x}}
	spec: {nodeName: $2, containers: [{name: c, image: web}]}
	END
}
as_node() { k --kubeconfig "$E2E/node.kubeconfig" "$@"; }
k create namespace spare >/dev/null
ok "a node makes no mirrors of another node" prints 'nodeName set to itself' \
	as_node create -f <(forged bad other)
ok "nor pods that are none" prints 'can only create mirror pods' as_node \
	create -f <(forged bad $NAME | sed 's/, annotations.*/}/')
forged "ghost-$NAME" $NAME | k create -f - >/dev/null
ok "a mirror of nothing goes" wait_for 20 k_gone "ghost-$NAME"
forged ghost $NAME | k create -f - >/dev/null
ok "whatever its name" wait_for 20 k_gone ghost
tenant_create acme
static own four | sed 's/{name: own,/{name: own, tenant: acme,/' | apply
own_ready() { node ps --tenant acme -o json | jq -e ".items[0] | $READY == \"True\""; }
ok "a tenant's pod given to the node runs" wait_for 30 own_ready
none() { [ -z "$(kt acme get pods -o name; k get pods -o name | grep own)" ]; }
ok "and has none" none

k delete pod "other-$NAME" >/dev/null
for p in hand taken acme/default/own; do node delete $p >/dev/null; done
ok "they go" wait_for 20 k_gone "hand-$NAME"
control_stop
e2e_end
