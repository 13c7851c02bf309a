#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: native
# SECONDS: 600
# The two commands of the user's path, as in the README: up, up again, down, alone
# and with the control plane. What is there before and after is the same:
# processes, cgroups, links, BPF objects, mounts, pinned files.
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
	echo "namespaces:" # others' are nobody's business
	ls /run/netns 2>/dev/null | grep -F "${E2E##*.}"
	echo "mounts:"
	cut -d ' ' -f 4- /proc/self/mountinfo
	echo "pins:"
	find "$E2E" -path '*/bpf/*' 2>/dev/null
	echo "bpf objects:"
	our_bpf
	echo "packet filter:"
	nft list ruleset 2>/dev/null
}
up() { timeout 300 tools/up.sh 2>&1 | tee "$E2E/up.out"; return "${PIPESTATUS[0]}"; }
said() { grep -qE -- "$1" "$E2E/up.out" || { cat "$E2E/up.out"; return 1; }; }
fails() { ! "$@"; }
show() { sed 's,^,# ,' "$E2E/up.out"; }
table_is_right()
{
	ok "the container grew in its own cgroup" said \
		'^web .*500m, 64 Mi +1000m, 128 Mi'
	ok "and shrank" said '^web .*1000m, 128 Mi +500m, 64 Mi'
	ok "the guest got a CPU and memory" said '^vm .*1 CPUs, .*2 CPUs'
	ok "and gave them back" said '^vm .*2 CPUs, .*1 CPUs'
}
finds_all()
{
	local begin
	begin=$(now_ms)
	ok "a second up" up
	ok "finds all running" said 'All is running already'
	echo "# took $(($(now_ms) - begin)) ms"
}

# --- alone ---------------------------------------------------------------------
export STANDALONE=1
world >"$E2E/before"
begin=$(now_ms)
ok "up without a control plane" up
echo "# took $((($(now_ms) - begin) / 1000)) s"
note_bpf
show
table_is_right
ok "it tells what to try next" said 'wget -qO- http://'
ok "nobody serves an API" [ ! -e "$RUN/control.pid" ]
finds_all

# --- joined --------------------------------------------------------------------
unset STANDALONE
etc=$E2E/etc/arktos
mkdir -p "$etc"
echo "mine" >"$etc/admin.kubeconfig"
ok "a file of somebody else in /etc/arktos stops it" fails up
ok "and it says so" said "$etc/admin.kubeconfig is there, is not of 'make up'"
ok "the file is as it was" [ "$(<"$etc/admin.kubeconfig")" = mine ]
rm "$etc/admin.kubeconfig"
alone=$(pod vm .metadata.uid)
ok "up joins what worked alone" up
show
ok "the agent was started again" said 'worked alone: starting it again, joined'
table_is_right
ok "it tells what to try next, with kubectl" said \
	"kubectl --kubeconfig $etc/demo.kubeconfig get pods"
ok "and how much memory it takes" said \
	'^Memory: control plane [0-9.]+ MiB, agent [0-9.]+ MiB, together [0-9.]+'
ok "the pods from before run on" [ "$(pod vm .metadata.uid)" = "$alone" ]
ok "a bare name is the one's of the host, if it has it" eval \
	'[ "$(node describe web -o json | jq -r .metadata.tenant)" = system ]'
ok "they can go" node delete --grace-period 1s --timeout 120s web vm
for f in admin demo node; do
	ok "$f.kubeconfig is for root alone" [ \
		"$(stat -c %a:%U "$etc/$f.kubeconfig")" = 600:root ]
done

KUBECTLS=("$PWD/$BUILD/deps/kubectl-1.20/usr/bin/kubectl"
	"$PWD/$BUILD/deps/kubectl-1.32/kubectl")
kubectl=
k() # admin|demo ...
{
	local who=$1
	shift
	timeout 60 "$kubectl" --cache-dir="$E2E/cache" \
		--kubeconfig "$etc/$who.kubeconfig" "$@"
}
for kubectl in "${KUBECTLS[@]}"; do
	[ -x "$kubectl" ] || continue
	ok "the tenant sees web" prints \
		'^web +1/1 +Running +0 .* 10\.88\.[0-9.]+ ' k demo get pods -o wide
	ok "and vm" prints \
		'^vm +1/1 +Running +0 .* 10\.88\.[0-9.]+ ' k demo get pods -o wide
	ok "but no node" prints 'orbidden|have a resource type' k demo get nodes
	ok "the admin sees the node Ready" prints ' Ready ' k admin get nodes
done
api() # EXPRESSION
{
	build/bin/arktosctl --kubeconfig "$etc/demo.kubeconfig" raw GET \
		/api/v1/namespaces/default/pods | jq -c "$1"
}
api_is() # EXPRESSION VALUE
{
	local got
	got=$(api "$1")
	[ "$got" = "$2" ] || { echo "$1 is '$got', want '$2'"; return 1; }
}
of() { echo ".items[] | select(.metadata.name == \"$1\") | $2"; }

# --- resize through the API ------------------------------------------------------
ok "arktos-node resize web --cpu 2" node resize web --cpu 2 --timeout 60s
ok "goes through the API" api_is \
	"$(of web '.spec.containers[0].resources.limits.cpu')" '"2"'
ok "to the container's cgroup" prints '^2000m 64$' container_size web
ok "and back to the status" wait_for 20 api_is \
	"$(of web '.status.containerStatuses[0].resources.limits.cpu')" '"2"'
# More than once: what the guest had before it grows is not what it had then.
for i in 1 2; do
	ok "arktos-node resize vm, up" node resize vm --cpu 2 --memory 512Mi \
		--timeout 120s
	ok "the guest has the CPUs" prints '^2$' vm_cpus vm
	ok "and the memory" eval '[ "$(vm_mib vm)" -gt 420 ]'
	ok "down" node resize vm --cpu 1 --memory 256Mi --timeout 120s
	ok "the guest gave the CPU back" prints '^1$' vm_cpus vm
	ok "and the memory" eval '[ "$(vm_mib vm)" -lt 260 ]'
done
ok "what is so already is done at once" prints '(guest|kernel) confirmed' \
	node resize vm --cpu 1 --memory 256Mi
ok "the API has the same" api_is \
	"$(of vm '.spec.virtualMachine.resources.limits')" \
	'{"cpu":"1","memory":"256Mi"}'
finds_all

ok "LISTEN has to be one" prints 'want ADDRESS:PORT' env LISTEN=garbage tools/up.sh
exec 8<"${RUN%/*}"
flock 8
ok "up waits for no other up" prints 'is under way' tools/up.sh
ok "nor does down" prints 'is under way' tools/down.sh
exec 8<&-
ok "another LISTEN is not dropped silently" prints \
	"serves at 127.0.0.1:6443: 'make down' first" env \
	LISTEN=127.0.0.1:7443 tools/up.sh

# --- both die ----------------------------------------------------------------------
pid() { cut -d ' ' -f 1 "$RUN/$1.pid"; }
lives() # what a restart of any pod would change
{
	api '[.items[] | [.metadata.uid, .status.startTime, .status.podIP,
		.status.containerStatuses, .status.virtualMachineStatus
		| if type == "array" then map(del(.resources, .allocatedResources))
		  else . end]]' | jq -c 'del(.. | .resources?, .allocatedResources?)'
	node exec vm -- cat /proc/sys/kernel/random/boot_id
}
ok "a pod gets another size" node resize web --cpu 700m --timeout 60s
before=$(lives)
agent=$(pid agent) control=$(pid control)
kill -9 "$agent" "$control"
wait_for 10 gone "$agent"
wait_for 10 gone "$control"
ok "up after both were killed" up
after=$(lives)
ok "no pod was resized" prints '^700m 64$' container_size web
ok "no pod was restarted" diff <(echo "$before") <(echo "$after")
control=$(pid control)
kill -STOP "$control"
ok "a control plane that does not answer stops up" fails env \
	ARKTOS_CONTROL_WAIT=2 tools/up.sh
up=$(ARKTOS_CONTROL_WAIT=2 tools/up.sh 2>&1)
ok "which says so, and what to do" grep -q \
	"runs, but does not answer within 2 s.*'make down'" <<<"$up"
ok "the node's CLI says so, too" prints \
	'belongs to the API server, .*no answer within' \
	node resize web --cpu 1 --timeout 5s
kill -CONT "$control"
ok "when it answers again all is well" up
ok "and nothing was done" said 'All is running already'
note_bpf

# --- down ----------------------------------------------------------------------------
ok "down" tools/down.sh
world >"$E2E/after"
ok "leaves nothing behind" diff "$E2E/before" "$E2E/after"
ok "but the state" [ -d "$E2E/var/lib/arktos/control" ]
ok "and the kubeconfigs" [ -e "$etc/demo.kubeconfig" ]
ok "up finds its way from that state, at another address" eval 'LISTEN=127.0.0.1:7443 up'
ok "of which all three kubeconfigs know" [ \
	"$(cat "$etc"/{admin,demo,node}.kubeconfig | grep -c 'server: https://127.0.0.1:7443$')" = 3 ]
ok "with the same pods" said 'pod/vm is there'
note_bpf
agent=$(pid agent)
kill -9 "$agent"
wait_for 10 gone "$agent"
ok "down with PURGE=1, after the agent was killed" \
	env PURGE=1 tools/down.sh
world >"$E2E/after"
ok "leaves nothing behind again" diff "$E2E/before" "$E2E/after"
ok "not even the state" [ ! -e "$E2E/var/lib/arktos" ]
ok "nor the kubeconfigs" [ ! -e "$etc" ]
ok "down with nothing there" tools/down.sh
echo "1..$tests"
[ $failures -eq 0 ]
