#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: native
# SECONDS: 300
# logs, exec, cp, attach and port-forward through the API server, with an old
# and a new kubectl; in a container. (VMs: test_joined_actions.sh.)
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/joined.sh"

control_start && node_join && image_web || exit 1
cat <<-'END' | sed "s,NODE,$NAME," | k create -f - >/dev/null
	apiVersion: v1
	kind: Pod
	metadata: {name: talk}
	spec:
	  nodeName: NODE
	  terminationGracePeriodSeconds: 1
	  containers:
	  - name: c
	    image: web
	    imagePullPolicy: Never
	    command: [/bin/sh, -c, "for a in 127.0.0.1:8081 '[::1]:8082' $(hostname -i):8083; do httpd -p $a -h /tmp; done; echo one; echo two; echo three; touch /tmp/on; while [ -e /tmp/on ]; do [ -e /tmp/speak ] && echo four; sleep 0.1; done; exit 7"]
	    resources: {limits: {cpu: 500m, memory: 64Mi}}
END
web_manifest web | bound | k create -f - >/dev/null
ok "pods run" wait_for 30 k_ready web
k label pod web serves=web >/dev/null
k create -f - >/dev/null <<-END
	apiVersion: v1
	kind: Service
	metadata: {name: web}
	spec: {selector: {serves: web}, ports: [{port: 80, targetPort: 8080}]}
END
ok "and talk" wait_for 20 k_ready talk
signed() { grep -q 'its server has a certificate' "$LOG/agent.log"; }
ok "the node's server has a certificate of the CA" wait_for 30 signed

# In the background: what is killed is kubectl, and its ports are free again.
forwards() # POD PORTS...
{
	exec timeout 60 "$kubectl" --cache-dir="$E2E/cache" port-forward "$@" \
		>"$E2E/forward" 2>&1
}
for kubectl in "${KUBECTLS[@]}"; do
	v=$(basename "$(dirname "$kubectl")")
	[[ $kubectl == *1.20* ]] && v=1.20 || v=1.32
	ok "$v: logs" prints '^one$' k logs talk
	ok "$v: logs --tail" prints '^three$' k logs talk --tail=1
	lines() { [ "$(k logs talk "$@" | wc -l)" = "$WANT" ]; }
	WANT=1 ok "$v: only so many" lines --tail=1
	WANT=3 ok "$v: --since" lines --since=1h
	ok "$v: --timestamps" prints '^20[0-9-]*T.*Z one$' k logs talk --timestamps
	ok "$v: --limit-bytes" prints '^one$' k logs talk --limit-bytes=4
	ok "$v: a container that is not there" prints 'container nope is not valid' \
		k logs talk -c nope
	ok "$v: exec" prints '^hello$' k exec talk -- echo hello
	code() { k exec talk -- sh -c 'exit 5'; [ $? = 5 ]; }
	ok "$v: its exit code" code
	err() { k exec talk -- sh -c 'echo no >&2' 2>&1 >/dev/null; }
	ok "$v: its standard error" prints '^no$' err
	in_() { echo through | k exec -i talk -- cat; }
	ok "$v: its standard input" prints '^through$' in_
	big() { head -c 3000000 /dev/zero | k exec -i talk -- wc -c; }
	ok "$v: much of it" prints '3000000' big
	tty() { script -qec "$kubectl --cache-dir=$E2E/cache exec -it talk -- sh -c 'tty && stty size'" /dev/null </dev/null; }
	ok "$v: a terminal" prints '/dev/(pts/|console)' tty
	head -c 100000 /dev/urandom >"$E2E/file"
	round_trip()
	{
		k exec -i talk -- sh -c 'cat >/tmp/file' <"$E2E/file" &&
			k exec talk -- cat /tmp/file | cmp - "$E2E/file"
	}
	ok "$v: bytes there and back" round_trip
	forwards web 18080:8080 &
	forward=$!
	ok "$v: port-forward" wait_for 15 curl -sf -o /dev/null -m 5 \
		http://127.0.0.1:18080/
	many() { for _ in 1 2 3 4 5 6 7 8; do curl -sf -o /dev/null -m 5 \
		http://127.0.0.1:18080/ || return; done; }
	ok "$v: again and again" many
	kill $forward 2>/dev/null
	wait $forward 2>/dev/null
	forwards talk 18081:8081 18082:8082 18083:8083 18084:8084 &
	forward=$!
	for port in 18081 18082 18083; do
		ok "$v: port-forward to 127.0.0.1, ::1, the pod's address ($port)" \
			wait_for 15 curl -sf -o /dev/null -m 5 \
			http://127.0.0.1:$port/on
	done
	curl -s -m 5 http://127.0.0.1:18084/ >"$E2E/out"
	raw() { k get --raw "/api/v1/namespaces/default/$1"; }
	ok "$v: a pod's own server, by the proxy" prints 'cpu' raw pods/web:8080/proxy/cgi-bin/info
	ok "$v: and a service's" prints 'cpu' raw services/web:80/proxy/cgi-bin/info
	ok "$v: what is not there is the pod's 404" prints 'could not find|404|not found' raw pods/web:8080/proxy/nope 2>&1
	ok "$v: where nobody listens it says so" wait_for 10 grep -q \
		'port 8084: Connection refused' "$E2E/forward" ||
		sed 's,^,# forward: ,' "$E2E/forward"
	kill $forward 2>/dev/null
	wait $forward 2>/dev/null
	[ $v = 1.32 ] || note_descriptors $AGENT_PID $CONTROL_PID
done
# --- other clients -----------------------------------------------------------------
# Seven things each, by WebSocket: log, exec and what belongs to it, port-forward.
streams() # PROGRAM...
{
	timeout 60 "$@" "$KUBECONFIG" talk web 8080 >"$E2E/streams" 2>&1
	cat "$E2E/streams"
	[ "$(grep -c ': ok$' "$E2E/streams")" = 7 ]
}
clients=$PWD/selftests/controlplane
ok "python3-kubernetes" streams /usr/bin/python3 -B "$clients/client-python/streams.py"
export CLIENT_NODE=$PWD/$BUILD/deps/client-node
nodejs=$(type -P node) # not the function of that name
if [ -n "$nodejs" ] && [ -d "$CLIENT_NODE" ]; then
	ok "@kubernetes/client-node" streams "$nodejs" "$clients/client-node/streams.mjs"
fi
for pid in $AGENT_PID $CONTROL_PID; do
	ok "all of that left no descriptor open: $(cat /proc/$pid/comm)" \
		wait_for 20 holds_no_more $pid
done

# --- standard input ------------------------------------------------------------------
listener() # NAME ONCE TTY COMMAND
{
	cat <<-END | k create -f - >/dev/null
	apiVersion: v1
	kind: Pod
	metadata: {name: $1}
	spec:
	  nodeName: $NAME
	  restartPolicy: Never
	  terminationGracePeriodSeconds: 1
	  containers:
	  - {name: c, image: web, imagePullPolicy: Never, stdin: true, stdinOnce: $2,
	     tty: $3, command: [/bin/sh, -c, '$4']}
	END
}
for kubectl in "${KUBECTLS[@]}"; do
	[[ $kubectl == *1.20* ]] && v=1.20 || v=1.32
	x=${v#*.}
	run()
	{
		printf 'one\ntwo\n' | k run "run$x" -i --rm --quiet --restart=Never \
			--image=web --image-pull-policy=Never --command \
			--overrides="{\"apiVersion\":\"v1\",\"spec\":{\"nodeName\":\"$NAME\"}}" \
			-- sh -c "$1"
	}
	ok "$v: run -i --rm" prints '^got one two$' run 'read a; read b; echo got $a $b'
	ok "$v: it is removed" wait_for 20 k_gone "run$x"
	ok "$v: its input ends" prints '^2$' run 'wc -l'
	wait_for 20 k_gone "run$x" >/dev/null
	code() { run 'read a; exit 7'; [ $? = 7 ]; }
	ok "$v: its exit code" code
	wait_for 20 k_gone "run$x" >/dev/null

	listener "stay$x" false false 'while read l; do echo heard $l; done; echo over'
	listener "tty$x" false true 'while read l; do echo heard $l; [ $l = size ] && stty size; done'
	listener "once$x" true false 'cat >/dev/null; echo over'
	ok "$v: pods that listen run" wait_for 30 k_ready "once$x"
	wait_for 30 k_ready "tty$x" >/dev/null
	say() # POD TEXT: and what it says to that
	{
		local attached
		rm -f "$E2E/enough"
		(echo "$2"; wait_for 30 [ -e "$E2E/enough" ]) |
			k attach -i "$1" -c c >"$E2E/heard" 2>&1 &
		attached=$!
		wait_for 20 grep -q "heard $2" "$E2E/heard"
		touch "$E2E/enough"
		kill $attached
		cat "$E2E/heard"
	}
	ok "$v: attach -i" prints '^heard hello$' say "stay$x" hello
	ok "$v: and again: its input stays open" prints '^heard again$' say "stay$x" again
	ok "$v: it runs on" k_is "stay$x" .status.phase Running
	attach_tty()
	{
		rm -f "$E2E/enough" "$E2E/typed"
		(pause 0.5; echo size; wait_for 30 [ -e "$E2E/enough" ]) |
			script -qefc "stty rows 33 cols 77; timeout 30 $kubectl \
				--cache-dir=$E2E/cache attach -it tty$x -c c" "$E2E/typed" >/dev/null &
		wait_for 20 grep -q '33 77' "$E2E/typed"
		touch "$E2E/enough"
		k delete pod "tty$x" --force --grace-period=0 >/dev/null 2>&1
		cat "$E2E/typed"
	}
	ok "$v: attach -it, with the window's size" prints '33 77' attach_tty
	once() { echo x | k attach -i "once$x" -c c; }
	ok "$v: stdinOnce: the end of the input is its end" prints '^over$' once
	ok "$v: it has ended" wait_for 20 k_is "once$x" .status.phase Succeeded
	for p in stay once; do k delete pod $p$x --wait=false >/dev/null; done
done
for kubectl in "${KUBECTLS[@]}"; do
	[[ $kubectl == *1.20* ]] && v=1.20 || v=1.32
	cp_()
	{
		rm -f "$E2E/back"
		k cp "$E2E/file" "talk:/tmp/copied-$v" &&
			k cp "talk:/tmp/copied-$v" "$E2E/back" &&
			cmp "$E2E/back" "$E2E/file"
	}
	ok "$v: cp, there and back" cp_
	ok "$v: logs -p of what was never restarted" prints \
		"BadRequest.*previous terminated container 'web'" k logs web -p
	k logs -f talk >"$E2E/follow-$v" 2>&1 &
	ok "$v: logs -f begins" wait_for 10 grep -q three "$E2E/follow-$v"
done
k attach talk >"$E2E/attached" 2>&1 &
node exec talk -- touch /tmp/speak
ok "attach shows what comes" wait_for 15 grep -q four "$E2E/attached"
for v in 1.20 1.32; do
	ok "$v: logs -f, too" wait_for 15 grep -q four "$E2E/follow-$v"
done
node exec talk -- rm /tmp/on /tmp/speak
ok "and ends with the container" wait_for 15 sh -c "! kill -0 $! 2>/dev/null"
restarted() { k_is talk '.status.containerStatuses[0].restartCount > 0' true; }
ok "the container starts again" wait_for 30 restarted
for kubectl in "${KUBECTLS[@]}"; do
	ok "logs -p" prints '^two$' k logs talk -p
done
ok "its last state is told" k_is talk \
	'.status.containerStatuses[0].lastState.terminated.exitCode' 7

# --- who may ---------------------------------------------------------------------------
port=$(k get node $NAME -o jsonpath='{.status.daemonEndpoints.kubeletEndpoint.Port}')
stranger() { curl -sk -m 5 "https://127.0.0.1:$port/containerLogs/system/default/talk/c"; }
ok "nobody else may ask the node" prints 'for the API server' stranger
field() { sed -n "s/.*$2: //p" "$E2E/$1.kubeconfig" | base64 -d; }
user() # KUBECONFIG'S NAME
{
	curl -sk -m 5 --cert <(field "$1" client-certificate-data) \
		--key <(field "$1" client-key-data) \
		"https://127.0.0.1:$port/containerLogs/system/default/talk/c"
}
ok "not even a node" prints 'for the API server' user node
tenant_create acme
# A tenant names its users as it likes.
"$CTL" tenant kubeconfig acme --user arktos-apiserver --group system:apiservers \
	--out "$E2E/forged.kubeconfig" >"$E2E/said" 2>&1
ok "nor a tenant's user of the API server's name" prints 'for the API server' \
	user forged
ok "a tenant does not reach another's" prints 'not found' kt acme logs talk

for p in talk web; do k delete pod $p --wait=false >/dev/null; done
ok "they go" wait_for 30 k_gone talk
control_stop
e2e_end
