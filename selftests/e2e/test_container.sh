#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: both
# SECONDS: 300
# The life of a container pod, from outside: run, reach, look inside, resize,
# restart, delete.
. "$(dirname "$0")/lib.sh"

main_pid() # POD: of its container, on the host
{
	our_cgroups | while read -r c; do
		find "$c" -path '*/web/cgroup.procs' -exec cat {} +
	done | sort -un | head -1
}
second_agent()
{
	AGENT_ARGS+=() prints 'state-dir|already' "$NODE" run \
		--state-dir "$STATE" --run-dir "$RUN" --log-dir "$LOG" \
		--cgroup-name "$CG-2" "${AGENT_ARGS[@]}"
}
apply_web() { web_manifest web "$@" | apply; }
reach() { fetch "http://$(pod web .status.podIP):8080/"; }

ok "the agent starts" agent_start --restart-backoff 100ms
ok "a second agent on the same state is refused" second_agent
ok "the image is imported" image_web
ok "and is listed" prints web node image ls
ok "a pod is applied" apply_web
ok "and gets ready" wait_for 30 pod_ready web
ok "applying it again changes nothing" prints unchanged apply_web
ok "it is reached at its address" prints 'Hello from a container pod' reach
ok "its process is the image's user" \
	prints '^10001$' node exec web -- id -u
ok "its name is the pod's" prints '^web$' node exec web -- hostname
ok "its limits are in its own cgroup" prints '^500m 64$' container_size web
ok "exit codes come back" eval '! node exec web -- false'

note_descriptors $AGENT_PID
before=$(main_pid)
ok "CPU and memory grow in place" \
	node resize web --cpu 1 --memory 128Mi --timeout 20s
ok "the kernel has it" prints '^1000m 128$' container_size web
ok "they shrink in place" node resize web --cpu 250m --memory 48Mi --timeout 20s
ok "the kernel has that too" prints '^250m 48$' container_size web
ok "the container was not restarted" [ "$before" = "$(main_pid)" ]

# A limit may be beyond the node; what is asked for (here: the limit) may not.
sure_manifest() { web_manifest sure | sed '/requests:/d'; }
ok "a guaranteed pod runs" eval \
	'sure_manifest | apply; wait_for 30 pod_ready sure'
ok "more than the node has is refused" eval \
	'! node resize sure --memory 900Gi --timeout 5s'
ok "and said to be infeasible, with numbers" \
	prints 'Infeasible' node describe sure
ok "the container goes on as it was" prints '^500m 64$' container_size sure
node delete sure >/dev/null

note_bpf
kill -9 "$(main_pid)"
ok "a container that died is started again" \
	wait_for 20 pod_is web '.status.containerStatuses[0].restartCount' 1
ok "and gets ready again" wait_for 20 pod_ready web
ok "all of that left no descriptor open" wait_for 20 holds_no_more $AGENT_PID
ok "why it ended is told" pod_is web \
	'.status.containerStatuses[0].lastState.terminated.exitCode' 137
ok "a pod is deleted" node delete web
ok "and is gone" wait_for 20 pod_gone web
ok "with its processes" wait_for 5 eval '[ -z "$(main_pid)" ]'
e2e_end
