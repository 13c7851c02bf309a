#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: native
# SECONDS: 150
# Tenants in etcd clusters of their own, by StorageCluster objects: kubectl as
# their users and as the admin, and etcdctl to see where things are; clusters
# that are added, moved, stopped, killed and gone, and a server that starts
# while one is.
. "$(dirname "$0")/kubectl.sh"

use 1.32 || use 1.20
for p in etcd etcdctl; do
	needs "/usr/bin/$p" || finish_tap
done
declare -A etcd_pid etcd_port

port() { # one that nobody has
	python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0))
print(s.getsockname()[1])'
}

etcd() # NAME [PORT]
{
	local c=${2:-$(port)} p
	p=$(port)
	etcd_port[$1]=$c
	/usr/bin/etcd --name m --data-dir "$dir/etcd-$1" \
		--listen-client-urls "http://127.0.0.1:$c" \
		--advertise-client-urls "http://127.0.0.1:$c" \
		--listen-peer-urls "http://127.0.0.1:$p" \
		--initial-advertise-peer-urls "http://127.0.0.1:$p" \
		--initial-cluster "m=http://127.0.0.1:$p" \
		>>"$dir/etcd-$1.log" 2>&1 &
	etcd_pid[$1]=$!
	until_ok ctl "$1" get x
}
ctl()
{
	local at=${etcd_port[$1]}
	shift
	ETCDCTL_API=3 timeout 5 etcdctl --endpoints "127.0.0.1:$at" "$@"
}
kill_etcd()
{
	kill -KILL "${etcd_pid[$1]}" && wait "${etcd_pid[$1]}" 2>/dev/null
}
stop_etcds()
{
	local name
	for name in "${!etcd_pid[@]}"; do
		kill -CONT "${etcd_pid[$name]}" 2>/dev/null
		kill_etcd "$name" 2>/dev/null
	done
	stop_all
}
trap stop_etcds EXIT

until_ok() # COMMAND...: an event that has no descriptor to wait on
{
	local until=$((SECONDS + 40))
	until "$@" >"$dir/until" 2>&1; do
		if [ $SECONDS -ge $until ]; then
			cat "$dir/until"
			return 1
		fi
		read -rt 0.1 <> <(:)
	done
	echo "at last"
}
restart() # OPTION...
{
	if [ -n "$server" ]; then
		kill "$server"
		wait "$server" 2>/dev/null
	fi
	: >"$dir/log"
	start 0 --store "etcd=http://127.0.0.1:${etcd_port[0]}" "$@"
	readdress
}
readdress() # what tenants have: the server has another port now
{
	sed -i "s,https://127.0.0.1:[0-9]*,$(sed -n 's/.*server: //p' "$KUBECONFIG")," \
		"$dir"/{acme,bolt,core}.kubeconfig 2>/dev/null
}
cluster() # NAME ID ADDRESS
{
	k apply -f - <<-END
	{"apiVersion": "v1", "kind": "StorageCluster",
	 "metadata": {"name": "$1"}, "storageClusterId": "$2",
	 "serviceAddress": "$3"}
	END
}
k() { kin "$@"; }
tenant() { arktosctl tenant create "$1" --storagecluster "$2" \
	--out "$dir/$1.kubeconfig"; }
# Of the other tenant of a pair.
works() { as "$1" create configmap "w$RANDOM$RANDOM" --from-literal=a=b; }
in_time() # SECONDS COMMAND...
{
	local limit=$1 from=$EPOCHREALTIME
	shift
	"$@"
	awk -v a="$from" -v b="$EPOCHREALTIME" -v l="$limit" \
		'BEGIN { print (b - a < l ? "in time" : "late") }'
}
segments() { ctl "$1" get /arktos/ --prefix --keys-only | grep -c "$2"; }
no_segments() { [ "$(segments "$1" /log/)" = 0 ]; }

for name in 0 1 2; do
	etcd $name >/dev/null || echo "# etcd $name does not start"
done
restart

# --- objects ---
t create "an id that is none" 'storageClusterId: Invalid value: "64": must be integer 1-63' \
	'cluster c0 64 127.0.0.1:1'
t create "an address that is none" 'serviceAddress: Invalid value: "nowhere": must be host:port' \
	'cluster c0 3 nowhere'
t create "a tenant of no cluster" 'there is no StorageCluster whose storageClusterId is 1' \
	'tenant acme 1'
t create "a StorageCluster" created 'cluster c1 1 127.0.0.1:${etcd_port[1]}'
t create "another, with a scheme" created 'cluster c2 2 http://127.0.0.1:${etcd_port[2]}'
t create "a number that is taken" 'StorageCluster ".*" is invalid: storageClusterId: Forbidden: storageClusterId 1 is that of StorageCluster c1' \
	'cluster again 1 127.0.0.1:1'
t get "StorageClusters" 'c1 +1 +127.0.0.1:' 'k get storageclusters'
t create "a tenant in one" 'tenant acme created' 'tenant acme 1'
t create "a tenant in the other" 'tenant bolt created' 'tenant bolt 2'
t create "a tenant that names none" 'tenant core created' \
	'arktosctl tenant create core --out "$dir/core.kubeconfig"'
t get "which is in the system's" '^0$' \
	'k get tenant core -o jsonpath={.spec.storageClusterId}'
t patch "it stays where it is" 'spec.storageClusterId: Invalid value: "2": field is immutable' \
	'k patch tenant acme --type merge -p "{\"spec\":{\"storageClusterId\":\"2\"}}"'
t delete "a StorageCluster that is in use" 'tenant acme is stored there; delete it first' \
	'k delete storagecluster c1'
t patch "its number" 'storageClusterId: Invalid value: "9": field is immutable' \
	'k patch storagecluster c1 --type merge -p "{\"storageClusterId\":\"9\"}"'

# --- where things are ---
for tenant in acme bolt core; do
	t create "the same name in $tenant" created \
		'as $tenant create configmap same --from-literal=whose=$tenant'
	t get "each has its own" "^$tenant\$" \
		'as $tenant get configmap same -o jsonpath={.data.whose}'
done
t etcd "acme's are in cluster 1" '^[1-9]' 'segments 1 /arktos/cluster-1/log/'
t etcd "bolt's are in cluster 2" '^[1-9]' 'segments 2 /arktos/cluster-2/log/'
t etcd "none is in two" '^0$' 'segments 1 /arktos/cluster-2/'
t etcd "a cluster says whose it is" 'store [0-9a-f]{32} cluster 1' \
	'ctl 1 get /arktos/cluster-1/ident'

# --- all tenants ---
all() { k get --raw "/api/v1/tenants/all/configmaps?fieldSelector=metadata.name%3Dsame${1:-}"; }
t list "the admin sees all" '^acme bolt core $' \
	'all | python3 -c "import json, sys
for o in json.load(sys.stdin)[\"items\"]: print(o[\"metadata\"][\"tenant\"], end=\" \")"'
cat >"$dir/pages.py" <<'END'
import json, subprocess, sys
seen, token, pages, revisions = [], "", 0, set()
while True:
    path = "/api/v1/tenants/all/configmaps?limit=2" + token
    page = json.loads(subprocess.check_output([sys.argv[1], "get", "--raw", path]))
    seen += [(o["metadata"]["tenant"], o["metadata"]["namespace"],
              o["metadata"]["name"]) for o in page["items"]]
    revisions.add(page["metadata"]["resourceVersion"])
    pages += 1
    if "continue" not in page["metadata"]:
        break
    token = "&continue=" + page["metadata"]["continue"]
assert len(seen) == len(set(seen)) and seen == sorted(seen), seen
assert len(revisions) == 1 and pages > 2
print("whole:", " ".join(sorted({s[0] for s in seen})))
END
t list "in pages of one snapshot, over clusters" '^whole: acme bolt core system' \
	'python3 "$dir/pages.py" "$kubectl"'
rv=$(k get --raw '/api/v1/tenants/all/configmaps?limit=1' |
	python3 -c 'import json, sys; print(json.load(sys.stdin)["metadata"]["resourceVersion"])')
t list "the revision is a number for all of them" '^[0-9]+$' 'echo $rv'
for i in 1 2 3; do
	for tenant in bolt acme core; do
		as $tenant create configmap "n$i" --from-literal=a=b >/dev/null
	done
done
events() # everything since $rv
{
	k get --raw "/api/v1/tenants/all/configmaps?watch=1&resourceVersion=$rv&timeoutSeconds=2" |
		python3 -c 'import json, sys
out, last = [], 0
for line in sys.stdin:
    o = json.loads(line)["object"]["metadata"]
    assert int(o["resourceVersion"]) > last
    last = int(o["resourceVersion"])
    if o["name"] in ("n1", "n2", "n3"):
        out.append(o["tenant"] + "/" + o["name"])
print(" ".join(out))'
}
want='bolt/n1 acme/n1 core/n1 bolt/n2 acme/n2 core/n2 bolt/n3 acme/n3 core/n3'
t watch "all tenants, in order, from a revision" "^$want\$" events

# --- a server that starts again ---
restart
for tenant in acme bolt core; do
	t get "after a restart $tenant has what it had" "^$tenant\$" \
		'as $tenant get configmap same -o jsonpath={.data.whose}'
done

backup() # DIR
{
	"$O/bin/arktos-control" backup --data-dir "$dir/data" --to "$dir/$1" \
		--store "etcd=http://127.0.0.1:${etcd_port[0]}" 2>&1
}
backed_up() # as many objects as there are records
{
	local has
	has=$(backup copy | sed -nE 's,.*: ([0-9]+) objects.*,\1,p')
	wants=$(k get --raw /metrics | awk '/^apiserver_storage_objects\{/ { n += $2 } END { print n }')
	echo "$has of $wants$([ "$has" -ge "$wants" ] && echo ': all')"
}
t backup "all clusters are in one backup" '^[0-9]+ of [0-9]+: all$' 'backed_up'

# --- one is killed ---
kill_etcd 1
t create "a tenant whose cluster is gone is told" \
	'ServiceUnavailable.*storage cluster 1 \(c1\).*nothing was changed|storage cluster 1 \(c1\).*nothing was changed' \
	'as acme create configmap no --from-literal=a=b'
t create "soon" '^in time$' 'in_time 5 as acme create configmap no --from-literal=a=b'
t create "the others do not notice" created 'works bolt'
t create "the system neither" created 'works core'
t get "what it has is read all the same" '^acme$' \
	'as acme get configmap same -o jsonpath={.data.whose}'
t get "/readyz says so by name" '\[-\]storage-cluster-1 failed' 'until_ok grep -q "\[-\]storage-cluster-1 failed" <(k get --raw /readyz); k get --raw /readyz'
t get "and that the other is there" '\[\+\]storage-cluster-2 ok' 'k get --raw /readyz?verbose'
t create "no tenant is put there" 'storage cluster 1 \(c1\) cannot take a tenant' \
	'tenant late 1'

# --- a server that starts meanwhile ---
restart
t get "what it cannot know it does not show" 'storage cluster 1 \(c1\): what is in it is not known here' \
	'as acme get configmap same'
t list "nor leaves out in silence" 'storage cluster 1 \(c1\): what is in it is not known here' \
	'k get --raw /api/v1/tenants/all/configmaps'
t watch "nor are all watched as if it were not there" 'storage cluster 1 \(c1\): what is in it is not known here' \
	'k get --raw "/api/v1/tenants/all/configmaps?watch=1&timeoutSeconds=2"'
t watch "others' are" '"bolt"' \
	'k get --raw "/api/v1/tenants/bolt/configmaps?watch=1&timeoutSeconds=1"'
t keys "a new key" 'has a new first key' \
	'"$O/bin/arktos-control" rotate-key --data-dir "$dir/data"'
kill -HUP "$server"
t keys "not all is sealed with it" 'keep the old keys and try again: storage cluster 1 \(c1\)' \
	'until_ok grep "keep the old keys" "$dir/log"; cat "$dir/log"'
t backup "a backup would lack it" 'storage cluster 1 \(c1\): what is in it is not known here' 'backup copy2'
t get "others are whole" '^bolt$' 'as bolt get configmap same -o jsonpath={.data.whose}'
t create "and can write" created 'works bolt'

# --- it comes back, elsewhere ---
etcd 1 >/dev/null
t patch "the address of a cluster that moved" 'configured' 'cluster c1 1 127.0.0.1:${etcd_port[1]}'
t get "it is used without a restart" 'at last' \
	'until_ok as acme get configmap same'
t create "for writing, too" 'at last' 'until_ok works acme'
t list "and all are whole again" '^acme bolt core $' \
	'all | python3 -c "import json, sys
for o in json.load(sys.stdin)[\"items\"]: print(o[\"metadata\"][\"tenant\"], end=\" \")"'
kill -HUP "$server"
t keys "now all is" 'at last' \
	'until_ok grep "keys read, [1-9][0-9]* records rewritten" "$dir/log"'
# Whatever is sealed with the old one cannot be read from now on.
cp "$dir/data/encryption.keys" "$dir/all.keys"
grep -v "^#" "$dir/all.keys" | head -1 >"$dir/data/encryption.keys"
t patch "an address of another cluster" 'configured' 'cluster c2 2 127.0.0.1:${etcd_port[1]}'
t create "is not written to" "there is nothing of this cluster: the address is wrong" \
	'until_ok grep -q "nothing of this cluster" <(as bolt create configmap no --from-literal=a=b 2>&1); as bolt create configmap no --from-literal=a=b'
cluster c2 2 "127.0.0.1:${etcd_port[2]}" >/dev/null
t create "and forgotten once it is right" 'at last' 'until_ok works bolt'

# --- one is stopped ---
kill -STOP "${etcd_pid[1]}"
t create "a stopped one is told of" 'storage cluster 1 \(c1\).*nothing was changed' \
	'as acme create configmap no --from-literal=a=b'
t create "and then at once" '^in time$' 'in_time 2 as acme create configmap no --from-literal=a=b'
t create "the others do not notice" '^in time$' 'in_time 2 works bolt'
kill -CONT "${etcd_pid[1]}"
t create "it goes on" 'at last' 'until_ok works acme'

# --- a tenant goes ---
restart --etcd-compaction-interval 1s
t delete "a tenant" 'tenant bolt deleted' 'arktosctl tenant delete bolt'
t etcd "leaves nothing in its etcd" 'at last' 'until_ok no_segments 2'
t etcd "but whose it is" '^/arktos/cluster-2/ident$' 'ctl 2 get /arktos/ --prefix --keys-only'
t delete "its cluster can go, too" deleted 'k delete storagecluster c2'
t etcd "and leaves nothing at all" 'at last' \
	'until_ok bash -c "! ETCDCTL_API=3 etcdctl --endpoints 127.0.0.1:${etcd_port[2]} get / --prefix --keys-only | grep ."'
t get "acme is as it was" '^acme$' 'as acme get configmap same -o jsonpath={.data.whose}'

# --- a copy of all of them becomes an embedded store ---
kill "$server" && wait "$server" 2>/dev/null
: >"$dir/log"
rm -rf "$dir/data/store"
cp "$dir/all.keys" "$dir/data/encryption.keys" # the copy has the old one
t restore "what all clusters had" '[0-9]+ objects, revision' \
	'"$O/bin/arktos-control" restore --data-dir "$dir/data" --from "$dir/copy"'
start 0
readdress
t list "the tenants of all clusters are there" '^acme bolt core $' \
	'all | python3 -c "import json, sys
for o in json.load(sys.stdin)[\"items\"]: print(o[\"metadata\"][\"tenant\"], end=\" \")"'
t create "who was in another cluster writes" created \
	'works acme && works bolt'
t create "a StorageCluster in an embedded store is kept" created 'cluster c3 3 127.0.0.1:1'
t create "and cannot be used" 'the store is embedded, there is only 0' 'tenant late 3'
finish_tap
