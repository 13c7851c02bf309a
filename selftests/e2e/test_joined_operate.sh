#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: native
# SECONDS: 240
# The operator's guide, as it is written (Documentation/operating.md): installed
# programs are replaced by newer ones under running pods; the store is copied
# while it serves, lost, and restored, here and in another folder.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/joined.sh"

install_() { DESTDIR=$E2E/root tools/install.sh; }
ok "make install" install_
bin=$E2E/root/usr/local/bin
NODE=$bin/arktos-node CONTROL=$bin/arktos-control CTL=$bin/arktosctl
for name in arktos-control arktos-node; do
	ok "$name has a manual" grep -q "SH SYNOPSIS" "$E2E/root/usr/local/share/man/man8/$name.8"
done
control_start && node_join && image_web && image_vm || exit 1
wait_for 20 node_ready
tenant_create acme
web_manifest web | k create -f - >/dev/null
web_manifest web | kt acme create -f - >/dev/null
vm_manifest vm 1 128Mi | k create -f - >/dev/null
k create secret generic s --from-literal=word=xyzzy >/dev/null
t_ready() { kt acme get pod web -o json | jq -e "$READY == \"True\""; }
ok "pods run" wait_for 30 k_ready web
ok "a tenant's" wait_for 30 t_ready
ok "and a VM" wait_for 90 k_ready vm
boot_id() { node exec vm -- cat /proc/sys/kernel/random/boot_id; }
ok "its guest answers" wait_for 60 boot_id
lives() # what a restart of any of them would change
{
	node ps -A -o json | jq -c '[.items[] | select(.metadata.name != "gone")
		| [.metadata.uid, .status.startTime, .status.podIP,
		(.status.containerStatuses[0] | .restartCount, .state.running.startedAt)]] | sort'
	boot_id
}
same_lives() { diff <(echo "$before") <(lives); }
before=$(lives)
backup() { "$CONTROL" backup --data-dir "$DATA" --to "$1"; }

# --- upgrade --------------------------------------------------------------------------
ok "a copy before the upgrade" backup "$E2E/before"
was=$(stat -c %i "$bin/arktos-node" "$bin/arktos-pod" "$bin/arktos-control")
ok "make install, over what runs" install_
ok "all are other files" eval '[ "$(stat -c %i "$bin/arktos-node" "$bin/arktos-pod" "$bin/arktos-control")" != "$was" ]'
ok "the control plane is restarted" eval 'control_stop && control_start'
ok "and the agent" eval 'agent_stop && node_join'
ok "the Node is Ready" wait_for 30 node_ready
ok "pods went on" wait_for 20 same_lives
ok "exec goes through the older supervisor" prints '^hello$' k exec web -- echo hello
ok "logs" k logs web
ok "so does a resize" node resize web --cpu 700m --timeout 20s
ok "in the container" prints '^700m 64$' container_size web
ok "and new pods are the newer one's" eval 'web_manifest gone | k create -f - && wait_for 30 k_ready gone'
doctor() { "$CTL" doctor; }
ok "arktosctl doctor finds nothing" doctor
# --- backup and restore -------------------------------------------------------------------
ok "a copy while it serves" backup "$E2E/copy"
ok "nothing is readable in it" eval '! grep -rqa "$(printf xyzzy | base64)" "$E2E/copy"'
k delete pod gone --grace-period=1 >/dev/null
web_manifest later | k create -f - >/dev/null
ok "a pod that the copy does not know runs" wait_for 30 k_ready later
ok "one that it knows has gone" pod_gone gone
ok "over one that serves nothing is restored" prints 'holds a store already' \
	"$CONTROL" restore --data-dir "$DATA" --from "$E2E/copy"
control_stop
mv "$DATA/store" "$E2E/broken"
ok "restore" "$CONTROL" restore --data-dir "$DATA" --from "$E2E/copy"
ok "it serves" control_start
ok "the Node is Ready again" wait_for 30 node_ready
ok "what the copy does not know is ended" wait_for 30 pod_gone later
ok "what it knows and runs was left running" wait_for 30 same_lives
ok "what it knows and does not run is started" wait_for 40 k_ready gone
ok "the tenant's kubeconfig is good" t_ready
ok "so is what was encrypted" prints '^xyzzy$' eval \
	'k get secret s -o "jsonpath={.data.word}" | base64 -d'
ok "and the pods are controlled" eval 'k delete pod gone --grace-period=1 && wait_for 20 pod_gone gone'

# --- on another host: the keys come from elsewhere -------------------------------------------
control_stop
mv "$DATA" "$E2E/lost"
mkdir "$DATA"
ok "without the keys it is told" prints 'encryption.keys|not in the key file|encrypted with a key' \
	"$CONTROL" restore --data-dir "$DATA" --from "$E2E/copy"
rm -rf "$DATA"
install -d -m 700 "$DATA"
cp -a "$E2E"/lost/{encryption.keys,ca.crt,ca.key,sa-keys} "$DATA/"
ok "with them it is restored" "$CONTROL" restore --data-dir "$DATA" --from "$E2E/copy"
ok "and serves" control_start
ok "an admin's kubeconfig is made" [ -s "$DATA/admin.kubeconfig" ]
ok "the old ones are good, too" env KUBECONFIG="$E2E/lost/admin.kubeconfig" \
	"$kubectl" get pod web
ok "the Node is Ready again" wait_for 30 node_ready
ok "nothing was restarted" wait_for 30 same_lives

k delete pod web vm gone --wait=false --grace-period=1 >/dev/null
kt acme delete pod web --grace-period=1 >/dev/null
empty() { [ "$(node ps -A -o json | jq '.items | length')" = 0 ]; }
ok "all go" wait_for 60 empty
control_stop
e2e_end
