#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: native
# SECONDS: 30
# A pod that fills its emptyDir beyond the limit loses its place, also when
# nothing else ever happens to it, and what became of it can be seen.
. "$(dirname "$0")/lib.sh"

ok "the agent starts" agent_start
ok "the image is imported" image_web
apply >/dev/null <<END
apiVersion: v1
kind: Pod
metadata: {name: greedy}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: web
    image: web
    imagePullPolicy: Never
    command: [/bin/sh, -c, "head -c 5000000 /dev/zero >/data/x; exec sleep 100000"]
    securityContext: {runAsUser: 0}
    volumeMounts: [{name: d, mountPath: /data}]
  volumes: [{name: d, emptyDir: {sizeLimit: 1Mi}}]
END
ok "it is evicted" wait_for 40 pod_is greedy .status.phase Failed
ok "for that reason" pod_is greedy .status.reason Evicted
ok "it was scheduled" pod_is greedy '.status.conditions[] |
	select(.type == "PodScheduled") | .status' True
ok "its container has ended" wait_for 10 prints \
	'^ +State: +terminated, Error, exit code 137' node describe greedy
ok "and is shown with its image" prints '^ +Image: +web$' node describe greedy
ok "it is deleted" node delete greedy

# --- a state folder that is a disk of its own is emptied, and stays ---------------------
agent_stop
mkdir "$E2E/disk" "$E2E/logs"
mount -t tmpfs arktos-evict "$E2E/disk"
touch "$E2E/disk/x" "$E2E/logs/y"
purged()
{
	"$NODE" down --purge --state-dir "$E2E/disk" --run-dir "$E2E/r2" \
		--log-dir "$E2E/logs" --cgroup-name "$CG-2" "${AGENT_ARGS[@]}" &&
		[ -z "$(ls -A "$E2E/disk")" ] && [ ! -e "$E2E/logs" ] &&
		mountpoint -q "$E2E/disk"
}
ok "down --purge empties a state folder that is a mount, and goes on" purged
umount "$E2E/disk"
e2e_end
