#!/bin/bash
. "$(dirname "$0")/lib.sh"
ok "agent" agent_start
ok "image" image_web
web_manifest a | apply
kill -STOP $AGENT_PID
for c in "ps" "resize a --memory 70Mi --timeout 5s" "exec a -- true" "logs a" "describe a"; do
s=$SECONDS; ARKTOS_NODE_SOCKET=$RUN/node.sock timeout 100 $NODE $c 2>&1 | head -3; echo "$c: $((SECONDS-s)) s"; done
kill -CONT $AGENT_PID
e2e_end
