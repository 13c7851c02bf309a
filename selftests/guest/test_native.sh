#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: both
# SECONDS: 120
# 'run.sh --native' takes this machine for the guest lane: it boots no guest,
# says what is missing, and gives each test a cgroup of its own where cgroup v2
# is alone. In the guest lane nothing is missing.
set -u
cd "$(dirname "$0")/../.."
export O=${O:-build} BUILD=${BUILD:-build}
n=0 rc=0
dir=$(mktemp -d /tmp/arktos-native.XXXXXX)
trap 'rm -rf "$dir"' EXIT

ok() # NAME CONDITION...
{
	local name=$1
	shift
	n=$((n + 1))
	if "$@"; then
		echo "ok $n $name"
	else
		echo "not ok $n $name"
		sed 's,^,# ,' "$dir/out" | tail -30
		rc=1
	fi
}
said() { grep -qE -- "$1" "$dir/out"; }
is_silent_on() { ! said "$1"; }

# Its logs and lists are its own: another run may be under way.
mkdir -p "$dir/o/selftests"
for d in bin selftests/guest selftests/cgroups; do
	ln -s "$PWD/$O/$d" "$dir/o/$d"
done
where=
if [ "$(cut -c -3 /proc/self/cgroup)" = 0:: ]; then
	# A session, as it were: what is in there must be run.sh alone.
	own=/sys/fs/cgroup$(sed 's/^0:://; s,^/$,,' /proc/self/cgroup)
	mkdir "$own/test"
	echo $$ >"$own/test/cgroup.procs"
	for c in $(cat "$own/cgroup.controllers"); do
		echo "+$c" >"$own/cgroup.subtree_control"
	done 2>/dev/null
	where=$own/session
	mkdir "$where"
fi
(
	[ -z "$where" ] || echo $BASHPID >"$where/cgroup.procs"
	unset ARKTOS_LANE
	O=$dir/o ARKTOS_SCOPE=1 exec selftests/run.sh --native \
		guest/test_lane cgroups/test_root
) >"$dir/out" 2>&1
status=$?
ok "it passes" [ $status -eq 0 ]
ok "with one line that counts" said '^[0-9]+ passed, 0 failed, [0-9]+ skipped$'
ok "tests of the guest lane run here" said '^ok .*overlays_can_be_made'
ok "no guest is booted" is_silent_on '^# guest lane'
if [ -n "$where" ]; then
	ok "each test has a cgroup of its own" \
		said '^ok [0-9]+ own_cgroup_is_delegated$'
	ok "and controllers" said '^ok [0-9]+ cgroup_v2_alone_with_all_contr.*s$'
	ok "no process is left" eval \
		'[ -z "$(find "$where" -name cgroup.procs -exec cat {} +)" ]'
	find "$where" -depth -type d -exec rmdir {} +
else
	ok "it says that cgroup v2 is not alone" \
		said '^# missing here: cgroup v2 alone .*hierarchy=1'
	ok "and what needs that is skipped" \
		said '^ok [0-9]+ own_cgroup_is_delegated # SKIP'
fi
[ "${ARKTOS_LANE-}" != guest ] ||
	ok "the guest lane lacks nothing" is_silent_on '^# missing'
echo "1..$n"
exit $rc
