#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: native
# SECONDS: 60
# A full disk under the state folder: nothing new starts, but a pod can still be
# deleted, which is what frees space.
. "$(dirname "$0")/lib.sh"

mount -t tmpfs -o size=24m tmpfs "$STATE"
ok "the agent starts" agent_start --restart-backoff 100ms
ok "the image is imported" image_web
ok "a pod runs" eval 'web_manifest good | apply && wait_for 30 pod_ready good'
head -c 64M /dev/zero >"$STATE/fill" 2>/dev/null
ok "the disk is full" eval '! echo x 2>/dev/null >"$STATE/more"'
ok "the pod is deleted all the same" node delete good --timeout 20s
ok "it is gone" pod_gone good
rm "$STATE/fill"
note_bpf
ok "and does not come back" eval 'agent_kill && agent_start && pod_gone good'
agent_stop
node_down
umount "$STATE"
e2e_end
