#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: native
# SECONDS: 400
# The guest lane tells the truth: a pass, a failure, a crash of the guest's
# kernel and a hang are told apart, and a guest cannot write to the host.
set -u
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-build}
n=0 rc=0
dir=$(mktemp -d "$PWD/$BUILD/arktos-verdicts.XXXXXX")
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
		sed 's,^,# ,' "$dir/out" | tail -20
		rc=1
	fi
}

# How long a guest may take to boot and to run next to nothing.
enough=$((90 * ${SECONDS_TIMES:-3}))
lane() # SECONDS [VCPUS], list on stdin: sets $status
{
	cat >"$dir/list"
	LANE_SECONDS=$1 LANE_CPUS=${2:-1} selftests/guest/lane.sh "$dir/list" >"$dir/out" 2>&1
	status=$?
}
said() { grep -q "$1" "$dir/out"; }

script() # NAME, text on stdin
{
	cat >"$dir/$1"
	echo "$1 20 bash $dir/$1"
}

pass=$(script pass <<<'echo "ok 1 fine"')
skip=$(script skip <<<'echo "ok 1 absent # SKIP"; exit 4')
bad=$(script bad <<<'echo "not ok 1 bad"; exit 1')
died=$(script died <<<'echo "ok 1 begun"; kill -9 $$')
write=$(script write <<<"touch $dir/written && echo 'ok 1 wrote'")
stuck=$(script stuck <<<'echo "ok 1 begun"; tail -f /dev/null')
leave=$(script leave <<<'sleep 1000 & echo "ok 1 left a child"')

lane $enough <<<"$pass
$write
$leave"
ok "what passes passes" [ $status -eq 0 ]
ok "the host is not written to" [ ! -e "$dir/written" ]
ok "a process left behind is named" said "leave (guest) left processes"

lane $enough <<<"$skip"
ok "all skipped is a skip" [ $status -eq 4 ]

lane $enough <<<"$pass
$bad
$died
${stuck/ 20 / 5 }"
ok "a failure fails" [ $status -eq 1 ]
ok "a test that dies half-way is a failure" \
	said "^not ok - died (guest) ended with status 137"
ok "so is one at its limit" said "^not ok - stuck (guest) ended with status 124"
ok "and what it waited for is told" said "# pid [0-9]*: tail -f /dev/null"

lane $enough <<<"$(script oops <<<'echo c >/proc/sysrq-trigger; echo "ok 1 no"')"
ok "a kernel crash fails" [ $status -eq 1 ]
ok "and is told with the console's end" said "Kernel panic"

half=$(script half <<<'[ $LANE_BOOT -gt 1 ] || {
echo "Oops: int3" >/dev/kmsg; echo c >/proc/sysrq-trigger; }
echo "ok 1 booted anew"')
lane $enough 2 <<<"$pass
$half"
ok "code half patched by QEMU is run again" [ $status -eq 0 ]
ok "in a guest booted anew" said "ok 1 booted anew"
ok "which runs only what was not done" [ "$(grep -c "fine" "$dir/out")" = 1 ]

lane 12 <<<"$(script hang <<<'sleep 1000')"
ok "a hang ends at the lane's limit" [ $status -eq 1 ]
ok "and is called one" said "time limit of 12 s"
echo "1..$n"
exit $rc
