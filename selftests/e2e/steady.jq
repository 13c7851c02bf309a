# SPDX-License-Identifier: Apache-2.0
# Input: pods as a watch has shown them, in its order. Output: a line for all that
# went backwards, or flapped. With --args: pods whose Ready may change but once.
def rank: {"Pending": 0, "Running": 1, "Succeeded": 2, "Failed": 2}[.] // -1;
def secs: if . == null then 0 else sub("\\.[0-9]+Z$"; "Z") | fromdateiso8601 end;
def cond($t): [.status.conditions[]? | select(.type == $t)][0];
def ctrs: [.status.initContainerStatuses[]?, .status.containerStatuses[]?];
def pair($a; $b):
	def kept($name; f):
		if ($a | f) != null and ($a | f) != ($b | f)
		then "\($name) was \($a | f), is \($b | f)" else empty end;
	(if ($b.status.phase // "Pending" | rank) < ($a.status.phase // "Pending" | rank)
	 then "phase \($a.status.phase) became \($b.status.phase)" else empty end),
	kept("a final phase"; .status.phase | select(. == "Succeeded" or . == "Failed")),
	kept("startTime"; .status.startTime),
	kept("hostIP"; .status.hostIP),
	kept("nodeName"; .spec.nodeName),
	(if $b.status.phase | IN("Succeeded", "Failed") | not
	 then kept("podIP"; .status.podIP) else empty end),
	kept("deletionTimestamp"; .metadata.deletionTimestamp),
	($a.status.conditions[]? as $c | ($b | cond($c.type)) as $d |
	 if $d == null then
		if $c.type | startswith("PodResize") then empty
		else "condition \($c.type) is gone" end
	 elif $c.status == $d.status and $c.lastTransitionTime != $d.lastTransitionTime
		and ($c.type | startswith("PodResize") | not)
	 then "\($c.type) is \($d.status) as before, but since \($d.lastTransitionTime), not \($c.lastTransitionTime)"
	 elif ($d.lastTransitionTime | secs) < ($c.lastTransitionTime | secs)
	 then "\($c.type): a transition before the last one"
	 elif $c.status == "True" and $d.status != "True" and
		($c.type | IN("PodScheduled", "Initialized"))
	 then "\($c.type) is not True any more" else empty end),
	($a | ctrs)[] as $c |
	([($b | ctrs)[] | select(.name == $c.name)][0]) as $d |
	if $d == null then "the status of container \($c.name) is gone"
	else
		(if $d.restartCount < $c.restartCount
		 then "\($c.name): \($d.restartCount) restarts after \($c.restartCount)" else empty end),
		(if $d.restartCount == $c.restartCount and $c.state.running and $d.state.running
			and $c.state.running.startedAt != $d.state.running.startedAt
		 then "\($c.name) began at another time" else empty end),
		(if $d.restartCount == $c.restartCount and $c.state.terminated and $d.state.running
		 then "\($c.name) runs again without a restart" else empty end),
		(if $d.restartCount == $c.restartCount and $c.state.running and $d.state.waiting
			and $d.lastState.terminated.startedAt != $c.state.running.startedAt
		 then "\($c.name) waits without having ended" else empty end),
		(if $d.restartCount > 0 and $d.lastState == {} or
			$d.restartCount > 0 and $d.lastState == null
		 then "\($c.name) has no last state after \($d.restartCount) restarts" else empty end)
	end;
[inputs] | group_by(.metadata.uid)[] | .[0].metadata.name as $name |
(range(1; length) as $i | pair(.[$i - 1]; .[$i]) |
	"\($name): \(.)"),
($ARGS.positional | index($name)) as $steady |
(if $steady then
	[.[] | select(.metadata.deletionTimestamp == null) |
		cond("Ready").status // "False"] as $r |
	[range(1; $r | length) | select($r[.] != $r[. - 1])] | length |
	select(. > 1) | "\($name): Ready changed \(.) times"
 else empty end)
