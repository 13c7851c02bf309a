#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: native
# SECONDS: 240
# The unmodified @kubernetes/client-node: typed and untyped objects, patches,
# server-side apply, watches, an informer through a crash of the server and 410,
# a pod's configuration, tenants.
. "$(dirname "$0")/kubectl.sh"

export CLIENT_NODE=$deps/client-node
v=node-$(sed -nE 's/.*"@kubernetes\/client-node": "([^"]*)".*/\1/p' \
	"$CLIENT_NODE/package.json" 2>/dev/null)
if [ "$v" = node- ] || ! command -v node >/dev/null; then
	echo "1..0 # SKIP node or $CLIENT_NODE is missing (make deps)"
	exit 4
fi
start
nodes 2
for t in acme beta; do
	"$O/bin/arktosctl" tenant create $t --out "$dir/$t.kubeconfig" >/dev/null
done
program node selftests/controlplane/client-node/client.mjs "$KUBECONFIG" \
	"$dir/acme.kubeconfig" "$dir/beta.kubeconfig"
finish_tap
