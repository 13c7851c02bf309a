#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: native
# SECONDS: 180
# The audit log, by what kubectl does: the default policy, rules, stages,
# bodies, decisions, tenants, rotation, and a disk that takes nothing.
. "$(dirname "$0")/kubectl.sh"

log=$dir/audit.log

restart() # OPTIONS...
{
	if [ -n "$server" ]; then
		kill "$server"
		wait "$server" 2>/dev/null
	fi
	: >"$dir/log"
	start 0 "$@"
}
logged() # PATTERN...: the first line with all of them, once it is written
{
	timeout 30 bash -c '
		exec 3<> <(:)
		while :; do
			out=$(cat "$0")
			for p; do out=$(grep -E -- "$p" <<<"$out"); done
			[ -n "$out" ] && { head -1 <<<"$out"; exit; }
			read -rt 0.05 -u 3
		done' "$log" "$@" || echo "no such event"
}
raw() # METHOD PATH [FIELD...]: the answer's head
{
	local cert f to
	for cert in client-certificate client-key; do
		sed -n "s/.*$cert-data: //p" "$KUBECONFIG" | base64 -d >"$dir/$cert"
	done
	to=$(sed -n 's,.*server: https://,,p' "$KUBECONFIG")
	{
		printf '%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n' "$1" "$2"
		shift 2
		for f; do printf '%s\r\n' "$f"; done
		printf '\r\n'
	} | timeout 10 openssl s_client -quiet -connect "$to" \
		${certs--cert "$dir/client-certificate" -key "$dir/client-key"} 2>/dev/null
}

defaults()
{
	t create "a secret" 'created' 'k create secret generic hush --from-literal=word=xyzzy'
	t get "is logged without its body" '^.."kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"[0-9a-f-]{36}","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/default/secrets[^"]*","verb":"create","user":."username":"system-admin","groups":.[^]]*"system:masters"[^]]*.,"tenant":"system".,"sourceIPs":."127.0.0.1".,"userAgent":"kubectl[^"]*","objectRef":."resource":"secrets","tenant":"system","namespace":"default","name":"hush","apiVersion":"v1".,"responseStatus":."metadata":..,"code":201.,"requestReceivedTimestamp":"20[0-9T:.-]*Z","stageTimestamp":"20[0-9T:.-]*Z","annotations":."authorization.k8s.io/decision":"allow","authorization.k8s.io/reason":""..$' \
		'echo " $(logged "\"name\":\"hush\"")"'
	t get "nor is what it says anywhere" '^0$' 'grep -c "xyzzy\|$(printf xyzzy | base64)" $log'
	t get "every answer has an ID" '^Audit-ID: [0-9a-f-]{36}' 'raw GET /version'
	t get "or the client's own" '^Audit-ID: my-own.1' 'raw GET /api/v1/namespaces "Audit-ID: my-own.1"'
	t get "which is logged" '"auditID":"my-own.1"' 'logged my-own.1'
	t get "but nothing that is no ID" '^Audit-ID: [0-9a-f-]{36}' 'raw GET /version "Audit-ID: a b\"c"'
	t get "a failure" '"responseStatus":."metadata":..,"status":"Failure","message":"pods ."none." not found","reason":"NotFound","code":404.' 'k get pod none >/dev/null 2>&1; logged "\"name\":\"none\""'
	t get "a refusal" '"impersonatedUser":."username":"mia".*"code":403.*decision":"forbid"' 'k get pods --as=mia >/dev/null 2>&1; logged "\"mia\""'
	k create rolebinding see --clusterrole=view --user=mia >/dev/null
	t get "why something is allowed" 'RBAC: allowed by RoleBinding ."see/default." of ClusterRole ."view." to User ."mia."' 'k get pods --as=mia >/dev/null; logged "\"mia\"" "\"allow\""'
	arktosctl tenant create acme --out "$dir/acme.kubeconfig" >/dev/null
	t get "a tenant" '"tenant":"acme".*"objectRef":."resource":"configmaps","tenant":"acme"' 'as acme create cm deeds >/dev/null; logged "\"name\":\"deeds\""'
	t get "nobody" '"stage":"ResponseStarted|"code":401' 'certs= raw GET /api/v1/pods "Authorization: Bearer x" >/dev/null; logged "\"code\":401"'
	t get "kubectl's watch, when it is over" '"stage":"ResponseComplete".*"verb":"watch"' 'k get cm --watch-only --request-timeout=2s >/dev/null 2>&1; logged "\"verb\":\"watch\"" "ResponseComplete" kubectl'
	t get "counted" '^apiserver_audit_event_total [1-9]' 'k get --raw /metrics'
}

cat >"$dir/policy.yaml" <<'YAML'
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [Panic]
rules:
- {level: None, users: ["system:arktos-control"]}
- {level: None, nonResourceURLs: ["/healthz*", "/version"]}
- {level: None, tenants: [quiet]}
- level: RequestResponse
  omitManagedFields: true
  namespaces: [loud]
  verbs: [create, update, patch, delete]
  resources: [{group: "", resources: [configmaps]}, {group: apps, resources: ["*/scale"]}]
- level: Request
  omitStages: [RequestReceived]
  resources: [{group: "", resources: [configmaps], resourceNames: [named]}, {group: "", resources: [pods]}]
- level: Metadata
  userGroups: ["system:masters"]
  resources: [{group: "", resources: [secrets, configmaps, namespaces]}]
- {level: Metadata, nonResourceURLs: ["/openapi*"]}
YAML

rules()
{
	: >"$log"
	k create ns loud >/dev/null
	t create "RequestResponse has both bodies" '"level":"RequestResponse".*"stage":"ResponseComplete".*"requestObject":.[^|]*"a":"1".*"responseObject":.*"resourceVersion":"[0-9]+".*"kind":"ConfigMap"' \
		'k -n loud create cm one --from-literal=a=1 >/dev/null; logged "\"name\":\"one\"" ResponseComplete'
	t get "without managedFields" '^0$' 'grep -c managedFields $log'
	t get "and both stages" '"stage":"RequestReceived"' 'logged RequestResponse RequestReceived'
	t patch "a patch is what was sent" '"verb":"patch".*"requestObject":."data":."b":"2".*"responseObject":.*"a":"1"' \
		'k -n loud patch cm one --type=merge -p "{\"data\":{\"b\":\"2\"}}" >/dev/null; logged "\"verb\":\"patch\"" ResponseComplete'
	t create "Request has one" '"level":"Request",.*"requestObject":.*"image":"i"' 'k run p --image=i >/dev/null; logged "\"name\":\"p\"" "\"verb\":\"create\""'
	t get "and no more" '^0$' 'grep "\"name\":\"p\"" $log | grep -c "responseObject\|RequestReceived"'
	t create "Metadata has none" '"level":"Metadata"' 'k create cm two --from-literal=a=1 >/dev/null; logged "\"name\":\"two\"" ResponseComplete | grep -v requestObject'
	t get "None has nothing" '^0$' 'k get --raw /version >/dev/null; k get --raw /openapi/v3 >/dev/null; logged "\"requestURI\":\"/openapi/v3" >/dev/null; grep -c "/version\"" $log'
	t scale "subresources by pattern" '"subresource":"scale".*"requestObject":.*"replicas":3' \
		'k -n loud create deploy d --image=i >/dev/null; k -n loud scale deploy d --replicas=3 >/dev/null; logged "\"subresource\":\"scale\"" ResponseComplete'
	arktosctl tenant create quiet --out "$dir/quiet.kubeconfig" >/dev/null
	t get "a tenant nobody listens to" '^0$' 'as quiet create cm unheard >/dev/null; k create cm heard >/dev/null; logged "\"name\":\"heard\"" >/dev/null; grep -c unheard $log'
	t get "a watch is told when it starts" '"stage":"ResponseStarted".*"verb":"watch".*"code":200' 'timeout 60 $kubectl --cache-dir=$dir/cache-$v get cm --watch-only >/dev/null 2>&1 & logged ResponseStarted "\"verb\":\"watch\""; kill $!'
	t get "every line is JSON of its own" '^0$' 'grep -vc "^.\"kind\":\"Event\",.*}$" $log'
}

# Events of more than the file may have; then a disk that takes nothing.
files()
{
	restart --audit-log-path "$log" --audit-policy-file "$dir/policy.yaml" \
		--audit-log-maxsize 1 --audit-log-maxbackup 2
	head -c 600000 /dev/zero | tr '\0' x >"$dir/big"
	t create "the file is rotated, and old ones go" '^2$' \
		'for i in 1 2 3 4 5; do k -n loud create cm big$i --from-file="$dir/big" >/dev/null; done; logged "\"name\":\"big5\"" ResponseComplete >/dev/null; ls $dir/audit-2*.log | wc -l'
	t get "nobody else reads it" '^600 600 600$' 'stat -c %a $dir/audit*.log | xargs'
	t get "moved away, it is opened anew" '"name":"anew"' \
		'mv $log $dir/moved; kill -HUP $server; timeout 10 bash -c "until [ -e $log ]; do :; done"; k create cm anew >/dev/null; logged "\"name\":\"anew\""'
	restart --audit-log-path /dev/full
	t create "on a full disk the API goes on" 'created' 'k create cm full'
	t get "the loss is counted" '^apiserver_audit_error_total.plugin="log". [1-9]' 'k get --raw /metrics'
	t get "and told once" '^1$' 'k get cm >/dev/null; grep -c "audit log: write ./dev/full.: No space left on device: events are dropped until that is over" $dir/log'
	restart --audit-log-path "$log" --audit-log-mode blocking
	t create "blocking: written before it is answered" '"name":"now"' 'k create cm now >/dev/null; k get ns >/dev/null; grep "\"name\":\"now\"" $log'
	sed 's/level: Request$/level: Everything/' "$dir/policy.yaml" >"$dir/wrong.yaml"
	t get "a wrong policy is explained" "audit policy '.*wrong.yaml': rules.4.: level: Unsupported value: \"Everything\"" \
		'"$O/bin/arktos-control" run --data-dir $dir/other --listen 127.0.0.1:0 --audit-log-path $log --audit-policy-file $dir/wrong.yaml'
}

v=1.32 kubectl=$deps/kubectl-1.32/kubectl
if [ ! -x "$kubectl" ]; then
	echo "ok 1 audit log # SKIP $kubectl is missing (make deps)"
	echo 1..1
	exit
fi
restart --audit-log-path "$log"
defaults
restart --audit-log-path "$log" --audit-policy-file "$dir/policy.yaml"
rules
files
finish_tap
