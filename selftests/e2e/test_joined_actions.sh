#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: native
# SECONDS: 300
# One VM pod through kubectl: exec, logs and attach with an old and a new one;
# reboot, snapshot and restore as Actions, done once whoever is killed; power
# off and on, which frees the node meanwhile.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/joined.sh"

guest() { node exec vm -- /bin/sh -c "$1"; }
agent_answers() { guest true; }
boot_id() { guest 'cat /proc/sys/kernel/random/boot_id'; }
ctl() { timeout 120 "$CTL" "$@"; }
# A jq expression over the agent's checkpoint of the pod.
journal() { jq -r "$1" "$STATE"/pods/*/pod.json; }
journal_is()
{
	local got
	got=$(journal "$1")
	[ "$got" = "$2" ] || {
		echo "journal: $1 is '$got', want '$2'"
		return 1
	}
}
DONE=2
# POST an action; its name.
post() # OPERATION PARAMS
{
	k create --raw /api/v1/namespaces/default/pods/vm/action -f - <<-END |
		{"apiVersion":"v1","kind":"CustomAction","operation":"$1"${2:+,$2}}
	END
		jq -r .metadata.selfLink | sed 's,.*/,,'
}
snapshot() { post snapshot "\"snapshotParams\":{\"snapshotName\":\"$1\"}"; }
action_is() # NAME EXPRESSION VALUE
{
	local got
	got=$(k get action "$1" -o json | jq -r "$2")
	[ "$got" = "$3" ] || {
		echo "action $1: $2 is '$got', want '$3'"
		return 1
	}
}
snapshots() { k_get vm '[.status.virtualMachineStatus.snapshots[]?.name] | join(" ")'; }
power() { k patch pod vm --type merge -p "{\"spec\":{\"virtualMachine\":{\"powerSpec\":\"$1\"}}}"; }

control_start && node_join && image_vm || exit 1
wait_for 30 node_ready
cpus=$(k get node $NAME -o json | jq -r '.status.allocatable.cpu
	| if endswith("m") then .[:-1] | tonumber else tonumber * 1000 end')
vm_manifest vm | sed 's/cpu: 100m/cpu: 600m/' | k create -f - >/dev/null
ok "a VM is scheduled and runs" wait_for 90 k_ready vm
ok "its agent answers" wait_for 60 agent_answers

# --- kubectl looks for a container -------------------------------------------------
for kubectl in "${KUBECTLS[@]}"; do
	[[ $kubectl == *1.20* ]] && v=1.20 || v=1.32
	ok "$v: exec in the guest" prints '^1$' k exec vm -- nproc
	ok "$v: with the VM's name" prints '^1$' k exec vm -c vm -- nproc
	code() { k exec vm -- sh -c 'exit 3'; [ $? = 3 ]; }
	ok "$v: and its exit code" code
	ok "$v: another name is refused" prints 'nope' k exec vm -c nope -- nproc
	ok "$v: logs are the console" prints 'BusyBox' k logs vm
	ok "$v: of all containers" prints 'BusyBox' k logs vm --all-containers
	# What is written to a console that echoes: not what comes of it.
	mkfifo "$E2E/keys-$v"
	timeout 60 "$kubectl" --cache-dir="$E2E/cache" attach -i vm \
		<"$E2E/keys-$v" >"$E2E/console-$v" 2>&1 &
	attached=$!
	exec 9>"$E2E/keys-$v"
	printed()
	{
		echo "expr 1000 + ${v#1.}" >&9
		grep -q "^10${v#1.}" "$E2E/console-$v"
	}
	ok "$v: attach is the console" wait_for 20 printed
	exec 9>&-
	kill $attached 2>/dev/null
	ok "$v: nobody else sees a container" prints '^\[]$' \
		eval "k get pod vm -o json | jq .spec.containers"
	refused() { post snapshot '"snapshotParams":{"snapshotName":"Not Good"}'; }
	ok "$v: what is refused is told, and why" prints 'is invalid: .*snapshotName: must be letters' refused
	ok "$v: a patch is taken" k label pod vm --overwrite seen-by=$v
done

# --- actions ------------------------------------------------------------------------
guest 'echo old >/file'
before=$(boot_id)
ok "arktosctl snapshot" prints '^pod/vm took snapshot s1, [0-9]+ ms$' \
	ctl snapshot vm --name s1
ok "the pod's status has it" [ "$(snapshots)" = s1 ]
guest 'echo new >/file'
a=$(post restore '"restoreParams":{"snapshotID":"s1"}')
ok "a restore is posted" [ -n "$a" ]
ok "its Action ends well" wait_for 60 action_is "$a" \
	'.status | "\(.complete) \(.restoreStatus.restoreSuccessful) \(.error)"' \
	"true true null"
ok "the agent answers again" wait_for 30 agent_answers
ok "the guest has what it had" prints '^old$' guest 'cat /file'
ok "without having booted" [ "$(boot_id)" = "$before" ]
ok "kubectl get actions" prints \
	"^$a +restore +vm +$NAME +true +Done +[0-9]+s" k get actions
ok "what is not there is told at once" prints 'no snapshot "s9", only: s1' \
	ctl restore vm --snapshot s9
ok "and is no crash of arktosctl" prints 'has a snapshot "s1" already' \
	ctl snapshot vm -n default -t system --name s1
ok "arktosctl reboot" prints '^pod/vm rebooted, [0-9]+ ms$' ctl reboot vm
rebooted() { local id; id=$(boot_id) && [ -n "$id" ] && [ "$id" != "$before" ]; }
ok "the guest boots" wait_for 90 rebooted
restarts() { k_is vm .status.virtualMachineStatus.restartCount "$1"; }
ok "which is a restart" wait_for 10 restarts 1

# --- once, whoever is killed ----------------------------------------------------------
ended() { journal_is '.actions[-1].state' $DONE; }
# The agent again, and to be killed at that point.
agent_dying() # POINT
{
	agent_stop
	SHIM_DIE=$1 LD_PRELOAD=$(shim die) node_join
}
dead() { gone "$AGENT_PID"; }
point=rename:'"state":1'
for s in s2 s3; do
	ok "an agent that dies at $point" agent_dying "$point"
	a=$(snapshot $s)
	ok "is dead" wait_for 30 dead
	ok "the Action has not ended" action_is "$a" .status.complete false
	ok "the next agent" node_join
	ok "brings it to its end" wait_for 60 action_is "$a" \
		'.status | "\(.complete) \(.snapshotStatus.snapshotID) \(.error)"' \
		"true $s null"
	point=send:snapshot-save
done
all_three() { [ "$(snapshots)" = "s1 s2 s3" ]; }
ok "there is one of each" wait_for 10 all_three
ok "also in the image" [ "$(qemu-img info -U --output json \
	"$STATE"/pods/*/vm/memory.qcow2 | jq -r '[.snapshots[].name] | join(" ")')" \
	= "s1 s2 s3" ]

before=$(boot_id)
ok "an agent that dies when it has told QEMU to reboot" \
	agent_dying send:system_reset
a=$(post reboot)
ok "is dead" wait_for 30 dead
# QEMU may have read that, or only seen that its client had gone.
ok "the next agent" node_join
ok "cannot tell, and says so" wait_for 60 action_is "$a" \
	'"\(.status.complete) \(.status.error // "" | test("is not known"))"' \
	"true true"
ok "the guest runs, or boots" wait_for 90 agent_answers

before=$(boot_id)
a=$(post reboot '"rebootParams":{"delayInSeconds":2}')
ok "the control plane is killed with a reboot to come" control_kill
ok "which is done all the same" wait_for 90 rebooted
ok "and noted" wait_for 20 ended
before=$(boot_id)
ok "the agent is killed before it could tell" agent_kill
ok "both come back" eval 'control_start && node_join'
ok "the Action is told" wait_for 60 action_is "$a" \
	'.status | "\(.complete) \(.rebootStatus.rebootSuccessful) \(.error)"' \
	"true true null"
ok "the agent answers" wait_for 60 agent_answers
ok "and there was no other boot" [ "$(boot_id)" = "$before" ]
ok "and it is one restart more" wait_for 10 restarts 2

ok "kubectl exec -t says what to use instead" prints \
	'BadRequest.*kubectl attach -it.*arktos-node console' \
	timeout 30 script -qec "$kubectl --cache-dir=$E2E/cache exec -it vm -- sh" /dev/null
ok "and so does the node's" prints 'kubectl attach -it.*arktos-node console' \
	timeout 30 script -qec "$NODE exec -it --socket $RUN/node.sock vm -- sh" /dev/null

# --- power ----------------------------------------------------------------------------
web_manifest filler | sed "s/cpu: 50m/cpu: $((cpus - 400))m/; s/cpu: 500m/cpu: $((cpus - 400))m/" |
	k create -f - >/dev/null
no_room() { k_is filler '[.status.conditions[]? | select(.type == "PodScheduled") | .reason][0]' Unschedulable; }
ok "another pod has no room beside it" wait_for 20 no_room
ok "powerSpec Paused" power Paused
ok "pauses it" wait_for 30 k_is vm .status.virtualMachineStatus.powerState paused
ok "exec does not wait for who cannot answer" prints 'the VM is paused' k exec vm -- nproc
ok "powerSpec Running goes on" power Running
ok "from where it was" wait_for 30 guest 'echo fine'
ok "powerSpec Shutdown" power Shutdown
ok "shuts it down" wait_for 60 k_is vm '.status
	| "\(.phase) \(.virtualMachineStatus.state) \(.virtualMachineStatus.powerState) \(.podIP)"' \
	"NoSchedule stopped shutdown null"
ok "a resize of who is off is taken, and nobody has confirmed it" \
	eval 'got=$(node resize vm --cpu 900m) && echo "$got" &&
		[ "$got" = "cpu 1 → 900m, accepted, takes effect when the VM is powered on" ]'
scheduled() { k_is filler .spec.nodeName $NAME; }
ok "which frees the node for the other" wait_for 30 scheduled
ok "nothing is done to a VM that is off" prints 'set powerSpec to Running first' \
	ctl reboot vm
ok "its snapshots are kept" [ "$(snapshots)" = "s1 s2 s3" ]
ok "the other goes" k delete pod filler --grace-period 1
ok "powerSpec Running" power Running
ok "boots it again" wait_for 90 k_ready vm
ok "its agent answers" wait_for 60 agent_answers
ok "with nothing of before in its memory" guest '! [ -e /file ]'
ok "a snapshot brings that back" prints '^pod/vm restored s1, [0-9]+ ms$' \
	ctl restore vm --snapshot s1
ok "in another QEMU" wait_for 30 prints '^old$' guest 'cat /file'
ok "a snapshot is deleted" prints 'deleted snapshot s1' \
	ctl snapshot vm --delete s1
ok "and gone" wait_for 10 eval '[ "$(snapshots)" = "s2 s3" ]'
k delete pod vm --wait=false >/dev/null
ok "the VM is deleted" wait_for 30 k_gone vm
ok "with its snapshots" [ -z "$(find "$STATE/pods" -name '*.qcow2')" ]
control_stop
e2e_end
