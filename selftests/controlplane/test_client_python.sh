#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: native
# SECONDS: 240
# The unmodified python3-kubernetes: typed, dynamic and custom objects, patches,
# apply, watches, an informer through a crash of the server and 410, tokens,
# tenants; and every list of every API against the client's strict models.
. "$(dirname "$0")/kubectl.sh"

v=python-$(dpkg-query -W -f '${Version}' python3-kubernetes 2>/dev/null)
if [ "$v" = python- ]; then
	echo "1..0 # SKIP python3-kubernetes is missing (make deps)"
	exit 4
fi
start
nodes 2
for t in acme beta; do
	"$O/bin/arktosctl" tenant create $t --out "$dir/$t.kubeconfig" >/dev/null
done
program /usr/bin/python3 -B selftests/controlplane/client-python/client.py \
	"$KUBECONFIG" "$dir/acme.kubeconfig" "$dir/beta.kubeconfig"
finish_tap
