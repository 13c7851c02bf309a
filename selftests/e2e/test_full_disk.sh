#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: native
# SECONDS: 60
# A full disk under the state folder: the node says so, images nobody needs go,
# nothing new starts, a pod can still be deleted, which is what frees space, and
# when there is room again all that waited goes on by itself.
. "$(dirname "$0")/lib.sh"

pressure() # STATUS
{
	local got
	got=$(node node -o json |
		jq -r '.status.conditions[] | select(.type == "DiskPressure") | .status')
	[ "$got" = "$1" ] || { echo "DiskPressure is '$got', want '$1'"; false; }
}
has_image() { node image ls -o name | grep -qx "$1"; }
condition() # POD: why it is not scheduled
{
	pod "$1" '.status.conditions[] | select(.type == "PodScheduled") | .message'
}

mount -t tmpfs -o size=24m tmpfs "$STATE"
ok "the agent starts" agent_start --restart-backoff 100ms
ok "the image is imported" image_web
ok "there is no pressure" pressure False
ok "a pod runs" eval 'web_manifest good | apply && wait_for 30 pod_ready good'
printf 'not a pod uses this' >"$E2E/spare.img"
ok "an image that no pod uses" node image import "$E2E/spare.img" --name spare
head -c 64M /dev/zero >"$STATE/fill" 2>/dev/null
truncate -s -1M "$STATE/fill"
ok "with little room the node tells of it" wait_for 20 pressure True
ok "the image went to make room" wait_for 10 eval '! has_image spare'
ok "the one in use stays" has_image web
ok "a new pod is taken" eval 'web_manifest late | apply'
ok "and waits, and says for what" wait_for 20 prints \
	'disk pressure: .*/state: .* of 24.*Mi are free' condition late
head -c 64M /dev/zero >"$STATE/rest" 2>/dev/null
ok "the disk is full" eval '! echo x 2>/dev/null >"$STATE/more"'
images() { find "$STATE/images" | sort; }
before=$(images)
truncate -s 8M "$E2E/large.img"
head -c 8M /dev/urandom >"$E2E/large.img"
ok "an image does not come in, for that reason" prints \
	'No space left on device' eval \
	'! node image import "$E2E/large.img" --format raw --name large'
ok "and leaves nothing of it in the store" diff <(echo "$before") <(images)
ok "another is accepted, but cannot be saved" eval \
	'web_manifest unsaved | prints "not saved yet.*No space" apply'
ok "the pod is deleted all the same" node delete good --timeout 20s
ok "it is gone" pod_gone good
ok "the others wait still" eval 'pod_is late .status.phase Pending &&
	pod_is unsaved .status.phase Pending'
rm "$STATE/fill" "$STATE/rest"
began=$(now_ms)
ok "they go on by themselves" eval \
	'wait_for 10 pod_is late .status.phase Running &&
	wait_for 10 pod_is unsaved .status.phase Running'
echo "# $(($(now_ms) - began)) ms after there was room"
ok "and there is no pressure any more" wait_for 5 pressure False
ok "they are deleted" node delete late unsaved --timeout 20s
note_bpf
ok "and none comes back" eval 'agent_kill && agent_start && pod_gone good &&
	pod_gone late && pod_gone unsaved'
agent_stop
node_down
umount "$STATE"
e2e_end
