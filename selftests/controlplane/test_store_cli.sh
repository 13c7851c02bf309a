#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: native
# SECONDS: 120
# arktos-control backup, restore, rotate-key and reencrypt, on a server that
# runs, with kubectl to see what became of it; then the same server on etcd.
set -u
cd "$(dirname "$0")/../.."
O=${O:-build}
BUILD=${BUILD:-build}
control=$PWD/$O/bin/arktos-control
kubectl=$PWD/$BUILD/deps/kubectl-1.32/kubectl
[ -x "$kubectl" ] || kubectl=$(command -v kubectl)
dir=$(mktemp -d)
pid= etcd=
n=0 rc=0

finish()
{
	[ -n "$pid" ] && kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null
	[ -n "$etcd" ] && kill -9 "$etcd" 2>/dev/null && wait "$etcd" 2>/dev/null
	rm -rf "$dir"
}
trap finish EXIT

check() # NAME COMMAND...
{
	local name=$1
	shift
	n=$((n + 1))
	if "$@" >"$dir/out" 2>&1; then
		echo "ok $n $name"
	else
		sed "s,^,# ," "$dir/out"
		echo "not ok $n $name"
		rc=1
	fi
}

wait_for() # SECONDS COMMAND...: an event that has no descriptor to wait on
{
	local until=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $until ] || return 1
		read -rt 0.05 <> <(:)
	done
	return 0
}

start() # DATA-DIR OPTION...
{
	local data=$1
	shift
	"$control" run --data-dir "$data" --roles api --listen 127.0.0.1:0 \
		"$@" >>"$dir/log" 2>&1 &
	pid=$!
	export KUBECONFIG=$data/admin.kubeconfig
	wait_for 20 "$kubectl" get --raw /readyz
}

stop()
{
	kill "$pid" && wait "$pid"
	pid=
}

k()
{
	"$kubectl" --request-timeout=20s "$@"
}

gone() { ! k get configmap "$1"; }
plaintext() { grep -rqa "$1" "$2"; }

check "a server starts" start "$dir/a"
check "its key file is there, for its owner only" \
	test "$(stat -c %a "$dir/a/encryption.keys")" = 600
k create secret generic s --from-literal=password=vErYsEcReT >/dev/null
# What kubectl sends is base64 of that.
enc=$(printf %s vErYsEcReT | base64)
check "the secret reads back" test "$(k get secret s -o 'jsonpath={.data.password}')" = "$enc"
check "it is not in the files" eval "! plaintext $enc $dir/a/store"
k create configmap before --from-literal=x=1 >/dev/null
check "backup while it serves" "$control" backup --data-dir "$dir/a" --to "$dir/copy"
check "the copy is encrypted, too" eval "! plaintext $enc $dir/copy"
check "a second one is refused" \
	eval "! $control backup --data-dir $dir/a --to $dir/copy 2>$dir/err && grep -q 'holds a store already; name a folder that is empty or missing' $dir/err"
k create configmap after --from-literal=x=1 >/dev/null
rv=$(k get configmap after -o 'jsonpath={.metadata.resourceVersion}')

check "a new key, while it serves" "$control" rotate-key --data-dir "$dir/a"
kill -HUP "$pid"
rewritten() { grep -q 'records rewritten' "$dir/log"; }
check "SIGHUP rewrites everything with it" wait_for 20 rewritten
check "the secret still reads" k get secret s
check "reencrypt says who serves" eval "! $control reencrypt --data-dir $dir/a 2>$dir/err && grep -q 'send that process SIGHUP' $dir/err"
stop
sed -i 2d "$dir/a/encryption.keys"
check "the old key is needed no more" start "$dir/a"
check "the secret reads with the new key alone" k get secret s
stop

# The disaster: the store is gone; the copy was made with the old key.
mkdir -p "$dir/b"
cp "$dir"/a/*.pem "$dir"/a/*.crt "$dir"/a/*.key "$dir/b/" 2>/dev/null
check "a restore without the key says so" eval "! $control restore --data-dir $dir/b --from $dir/copy 2>$dir/err && grep -q 'not in the key file\|encrypted with a key' $dir/err"
rm -rf "$dir/b/store" "$dir/c"

check "a server starts anew" start "$dir/c"
k create configmap kept --from-literal=x=1 >/dev/null
"$control" backup --data-dir "$dir/c" --to "$dir/copy2" >/dev/null
k create configmap lost --from-literal=x=1 >/dev/null
rv=$(k get configmap lost -o 'jsonpath={.metadata.resourceVersion}')
stop
rm -rf "$dir/c/store"
check "restore" "$control" restore --data-dir "$dir/c" --from "$dir/copy2"
check "it serves what was restored" start "$dir/c"
check "what the copy had is there" k get configmap kept
check "what came after is not" gone lost
now=$(k get --raw /api/v1/namespaces/default/configmaps |
	jq -r .metadata.resourceVersion)
check "revisions went on beyond all that was given out" test "$now" -gt "$rv"
stop

if [ -x /usr/bin/etcd ]; then
	port=$((20000 + RANDOM % 20000))
	(cd "$dir" && exec etcd --data-dir "$dir/etcd" \
		--listen-client-urls "http://127.0.0.1:$port" \
		--advertise-client-urls "http://127.0.0.1:$port" \
		--listen-peer-urls http://127.0.0.1:0 >"$dir/etcd.log" 2>&1) &
	etcd=$!
	up() { (exec 3<>"/dev/tcp/127.0.0.1/$port"); }
	wait_for 20 up
	store=etcd=http://127.0.0.1:$port
	check "a server starts on etcd" start "$dir/e" --store "$store"
	k create secret generic s --from-literal=password=vErYsEcReT >/dev/null
	check "etcd has no plaintext" eval "! plaintext $enc $dir/etcd"
	stop
	check "and starts again on it" start "$dir/e" --store "$store"
	check "the secret is there" k get secret s
	check "backup of an etcd store" "$control" backup --data-dir "$dir/e" \
		--store "$store" --to "$dir/copy3"
	mkdir "$dir/f" && cp "$dir/e/encryption.keys" "$dir/f/"
	stop
	check "restored, it is an embedded one" \
		"$control" restore --data-dir "$dir/f" --from "$dir/copy3"
	check "which serves" start "$dir/f"
	check "the same secret" k get secret s
	stop
fi
echo "1..$n"
exit $rc
