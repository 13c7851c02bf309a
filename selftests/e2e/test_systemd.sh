#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: guest
# SECONDS: 700
# The installed units under a real systemd, on cgroup v2: the agent is restarted,
# crashes and is stopped, and its pods do not notice; they end with their unit.
# The control plane's unit, and a node that joins it.
# systemd is the first process of namespaces of its own.
. "$(dirname "$0")/lib.sh"
systemd=/usr/lib/systemd/systemd
[ -x $systemd ] || skip_all "no systemd: apt-get install systemd"
[ "$(wc -l </proc/self/cgroup)" = 1 ] || skip_all "cgroup v2 is not alone here"

# What the units name is ours alone: nothing of this host is touched.
made_etc=
[ -d /etc/arktos ] || { mkdir /etc/arktos && made_etc=1; }
for dir in /run /var/lib /var/log /usr/local /etc/arktos; do
	mount -t tmpfs -o mode=755 arktos-systemd $dir
done
RUN=/run/arktos STATE=/var/lib/arktos LOG=/var/log/arktos CG=arktos
export UNITS=$E2E/units
top=/sys/fs/cgroup$own/systemd
our_cgroups() { find "$top" -type d -name arktos 2>/dev/null; }
our_mounts() { grep -F "$E2E/" /proc/self/mountinfo; }

make_units()
{
	local t
	mkdir -p "$UNITS" "$E2E/root"
	DESTDIR=$E2E/root tools/install.sh &&
		cp "$E2E"/root/usr/lib/systemd/system/* "$UNITS/" &&
		cp -a "$E2E"/root/usr/local/. /usr/local/ || return
	# No journal here: what the agent says goes to a file.
	mkdir "$UNITS/arktos-node.service.d"
	printf '[Service]\n%s\n' "StandardError=append:$LOG/agent.log" \
		>"$UNITS/arktos-node.service.d/log.conf"
	# Of the rest of a system only what units lean on.
	for t in sysinit basic shutdown network-online multi-user; do
		printf '[Unit]\nDefaultDependencies=no\n' >"$UNITS/$t.target"
	done
}

# A cgroup namespace begins where its first process is.
start_systemd()
{
	tr ' ' '\n' <"/sys/fs/cgroup$own/cgroup.controllers" |
		while read -r c; do
			echo "+$c" >"/sys/fs/cgroup$own/cgroup.subtree_control"
		done
	mkdir "$top"
	# Alone in there: it gives controllers on to its units.
	(
		export top
		exec unshare --mount --uts --pid --fork --propagation private \
			bash -c '
			echo 0 >"$top/cgroup.procs" && mount -t proc proc /proc &&
			exec unshare --cgroup bash -c "
				umount -l /sys/fs/cgroup
				mount -t cgroup2 cgroup2 /sys/fs/cgroup &&
				exec env -i container=arktos PATH=\"$PATH\" \
					SYSTEMD_UNIT_PATH=\"$UNITS\" LANG=C \
					SYSTEMD_LOG_TARGET=null $0 --system \
					--unit=multi-user.target"' $systemd
	) >"$LOG/systemd" 2>&1 </dev/null &
	wait_for 120 eval 'init=$(pgrep -f "^$systemd --system --unit=multi" |
		head -1) && [ -S /run/systemd/private ]' &&
		wait_for 120 ctl is-active --quiet multi-user.target
}
inside() { nsenter -t "$init" -m -p -u -C -- "$@"; }
ctl() { inside systemctl "$@"; }
agent_pid() { ctl show -P MainPID arktos-node; }
is() { [ "$(ctl is-active arktos-$1)" = "$2" ]; }
served() { inside nsenter --net="$RUN/netns/$net" curl -sS -m 5 "$url"; }
pids()
{
	find "$top" -path '*/web/cgroup.procs' -exec cat {} + | sort -un |
		tr '\n' ' '
}
both_ready() { pod_ready a && pod_ready b; }
same_pids() { [ "$(pids)" = "$pids" ]; }
undisturbed()
{
	# A server has a child for as long as it answers.
	wait_for 30 same_pids || {
		echo "processes: were $pids, are $(pids)"
		return 1
	}
	pod_is a '.status.containerStatuses[0].restartCount' 0 &&
		prints Hello served
}

mkdir -p $LOG
init=
at_end()
{
	[ -z "$init" ] || kill -9 "$init"
	[ -z "$made_etc" ] || { umount -l /etc/arktos && rmdir /etc/arktos; }
	e2e_cleanup
}
trap at_end EXIT
ok "the units and programs are installed" make_units
ok "systemd starts" start_systemd || {
	sed 's,^,# ,' $LOG/systemd
	exit 1
}
ok "so does the agent" ctl start arktos-node
ok "and answers" wait_for 20 answers || exit 1
ok "the image is imported" image_web
for p in a b; do
	web_manifest $p | apply >/dev/null
done
ok "two pods are ready" wait_for 30 both_ready
pids=$(pids) url="http://$(pod a .status.podIP):8080/"
net=$(inside ls "$RUN/netns" | grep ^net- | head -1)
ok "they are in the cgroup of their unit" eval \
	'[ "$(wc -w <<<"$pids")" -ge 2 ] && [ -d \
	"$top/system.slice/arktos-pods.service/arktos" ]'
ok "with controllers" prints memory cat \
	"$top/system.slice/arktos-pods.service/arktos/cgroup.subtree_control"
names() { local p; while read -r p; do cat "/proc/$p/comm"; done | sort | xargs; }
ok "the agent is alone in its own, but for what supervisors are copies of" \
	prints '^arktos-(forker arktos-node|node arktos-forker)$' eval \
	'names <"$top/system.slice/arktos-node.service/cgroup.procs"'
note_bpf

before=$(agent_pid)
ok "the agent is restarted" ctl restart arktos-node
ok "it is another process" eval '[ "$(agent_pid)" != "$before" ]'
ok "and knows its pods" wait_for 20 both_ready
ok "which are undisturbed" undisturbed
ok "a pod is resized" node resize a --memory 96Mi --timeout 20s
before=$(agent_pid)
inside kill -9 "$before"
again() { [ "$(agent_pid)" != "$before" ] && is node active && both_ready; }
ok "killed, it is started again" wait_for 30 again
ok "its pods are undisturbed" undisturbed
ok "units are read anew" ctl daemon-reload
ok "and the pods still have their limits" prints ' 96$' container_size a

ok "the agent is stopped" ctl stop arktos-node
ok "the pods' unit is not" is pods active
ok "and they run on" eval 'wait_for 5 same_pids && prints Hello served'
ok "it starts again" ctl start arktos-node
ok "with the same pods" wait_for 20 both_ready
ok "undisturbed" undisturbed

# --- the control plane, and the node joined to it -------------------------------
data=/var/lib/arktos/control
raw() { inside arktosctl --kubeconfig $data/admin.kubeconfig raw "$@"; }
node_is_ready()
{
	raw GET /api/v1/nodes | jq -e '.items[0].status.conditions[]
		| select(.type == "Ready" and .status == "True")'
}
ok "the control plane starts" ctl start arktos-control
ok "and is ready" wait_for 60 raw GET /readyz
ok "its folder is its own" [ "$(stat -c %a $data)" = 700 ]
control_pid() { ctl show -P MainPID arktos-control; }
ok "it has no capability" prints '^CapEff:.0+$' inside grep CapEff \
	"/proc/$(control_pid)/status"
read -ra words <<<"$(inside arktosctl --kubeconfig $data/admin.kubeconfig node token)"
ok "the node joins" inside "${words[@]}"
ok "restarted, its unit finds that" ctl restart arktos-node
ok "the node is Ready" wait_for 90 node_is_ready
ok "its own pods are as they were" undisturbed
ok "it is stopped" ctl stop arktos-control
ok "its own pods do not care" both_ready
rm /etc/arktos/node.kubeconfig # alone again from the next start on

ok "the pods' unit is stopped" ctl stop arktos-pods
ok "the agent goes first" is node inactive
ok "and nothing is left" wait_for 10 nothing_left
ok "the unit's cgroup is gone" [ ! -e "$top/system.slice/arktos-pods.service" ]
ok "both start again" ctl start arktos-node
ok "the pods come back" wait_for 40 both_ready
note_bpf
ok "all is stopped" ctl stop arktos-pods
ok "nothing is left" wait_for 10 nothing_left

# What 'make up' and 'make down' do: the same, as transient units.
rm -r "$UNITS"/arktos-*
here() { inside env -C "$PWD" BUILD="$BUILD" "$@"; }
mkdir -p $RUN
ok "make up starts transient units" eval 'ctl daemon-reload &&
	here bash -c ". tools/demo/paths.sh; start_units"'
ok "and one for the control plane" here bash -c '. tools/demo/paths.sh
	start_control_unit --data-dir "$data_dir" --listen 127.0.0.1:6443'
ok "the pods come back there, too" wait_for 40 both_ready
ok "the API is served again" wait_for 60 raw GET /readyz
pids=$(pids)
before=$(agent_pid)
inside kill -9 "$before"
ok "an agent that was killed is started again" wait_for 30 again
ok "its pods are the same" wait_for 5 same_pids
note_bpf
ok "make down" here tools/down.sh
ok "leaves no unit" eval '! is pods active && ! is node active &&
	! is control active'
ok "nothing is left behind" wait_for 10 nothing_left
kill -9 "$init"
wait 2>/dev/null
find "$top" -depth -type d -exec rmdir {} + 2>/dev/null
echo "1..$tests"
[ $failures -eq 0 ]
