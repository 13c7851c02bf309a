#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: native
# SECONDS: 400
# ALONE: yes
# The two commands of the user's path, as in the README: up, up again, down. What
# is there before and after is the same: processes, cgroups, links, BPF objects,
# mounts, pinned files.
. "$(dirname "$0")/lib.sh"
export ARKTOS_ROOT=$E2E
CG=arktos-${E2E##*[./]}
RUN=$E2E/run/arktos LOG=$E2E/var/log/arktos

world()
{
	echo "processes:"
	our_processes
	echo "cgroups:"
	our_cgroups
	echo "links:"
	ip -o link | cut -d ' ' -f 2
	echo "namespaces:"
	ls /run/netns 2>/dev/null
	echo "mounts:"
	cut -d ' ' -f 4- /proc/self/mountinfo
	echo "pins:"
	find "$E2E" -path '*/bpf/*' 2>/dev/null
	echo "bpf objects:"
	our_bpf
	echo "packet filter:"
	nft list ruleset 2>/dev/null
}
up() { tools/up.sh 2>&1 | tee "$E2E/up.out"; return "${PIPESTATUS[0]}"; }
said() { grep -qE -- "$1" "$E2E/up.out" || { cat "$E2E/up.out"; return 1; }; }

world >"$E2E/before"
begin=$(now_ms)
ok "up brings all of it up" up
echo "# took $((($(now_ms) - begin) / 1000)) s"
note_bpf
sed 's,^,# ,' "$E2E/up.out"
ok "the container grew in its own cgroup" said '^web .*500m, 64 Mi +1000m, 128 Mi'
ok "and shrank" said '^web .*1000m, 128 Mi +500m, 64 Mi'
ok "the guest got a CPU and memory" said '^vm .*1 CPUs, .*2 CPUs'
ok "and gave them back" said '^vm .*2 CPUs, .*1 CPUs'
ok "it tells what to try next" said 'wget -qO- http://'
begin=$(now_ms)
ok "a second up" up
took=$(($(now_ms) - begin))
ok "finds all running" said 'All is running already'
ok "in seconds: $took ms" [ $took -lt 5000 ]
ok "down" tools/down.sh
world >"$E2E/after"
ok "leaves nothing behind" diff "$E2E/before" "$E2E/after"
ok "but the state" [ -d "$E2E/var/lib/arktos" ]
ok "up finds its way from that state" up
note_bpf
agent=$(cut -d ' ' -f 1 "$RUN/agent.pid")
kill -9 "$agent"
wait_for 5 gone "$agent"
ok "down with PURGE=1, after the agent was killed" \
	env PURGE=1 tools/down.sh
world >"$E2E/after"
ok "leaves nothing behind again" diff "$E2E/before" "$E2E/after"
ok "not even the state" [ ! -e "$E2E/var/lib/arktos" ]
ok "down with nothing there" tools/down.sh
echo "1..$tests"
[ $failures -eq 0 ]
