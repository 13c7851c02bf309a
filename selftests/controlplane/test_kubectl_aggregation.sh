#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: native
# SECONDS: 150
# API aggregation with both kubectls and an extension server of our own
# (peer_extension.c): discovery, reads, writes, watches, upgrades, who is told
# to be asking; a server that dies and comes back; what a tenant may not do.
. "$(dirname "$0")/kubectl.sh"

pids=() G=fruit.arktos.test ns=arkx$$ net=10.213.$((RANDOM % 250))
cleanup()
{
	local p
	for p in "${pids[@]}"; do kill "$p" 2>/dev/null; wait "$p" 2>/dev/null; done
	ip netns del "$ns" 2>/dev/null
	stop_all
}
trap cleanup EXIT

peer() # DIR ADDRESS PORT: starts it; $port is where it listens
{
	mkdir -p "$dir/$1"
	: >"$dir/$1/out"
	"$O/selftests/controlplane/peer_extension" "$dir/$1" flavor.fruit.svc \
		"$dir/front.crt" "$2" "$3" >"$dir/$1/out" 2>&1 &
	peer=$!
	pids+=($peer)
	timeout 10 tail -n +1 -F "$dir/$1/out" 2>/dev/null | grep -q -m1 ready
	port=$(sed -n 's/ready //p' "$dir/$1/out")
}
service() # ADDRESS PORT
{
	cat <<-YAML
	apiVersion: v1
	kind: Service
	metadata: {name: flavor, namespace: fruit}
	spec: {ports: [{name: https, port: 443, targetPort: $2}]}
	---
	apiVersion: v1
	kind: Endpoints
	metadata: {name: flavor, namespace: fruit}
	subsets: [{addresses: [{ip: $1}], ports: [{name: https, port: $2}]}]
	YAML
}
apiservice() # [GROUP] [VERSION]
{
	cat <<-YAML
	apiVersion: apiregistration.k8s.io/v1
	kind: APIService
	metadata: {name: ${2:-v1}.${1:-$G}}
	spec:
	  group: ${1:-$G}
	  version: ${2:-v1}
	  groupPriorityMinimum: 1000
	  versionPriority: 15
	  service: {namespace: fruit, name: flavor}
	  caBundle: $(base64 -w0 "$dir/a/ca.crt")
	YAML
}
flavor() # NAME
{
	printf '{"apiVersion":"%s/v1","kind":"Flavor","metadata":{"name":"%s"},"spec":{"taste":"sweet"}}' $G "$1"
}
available() # STATUS [COMMAND...]: wait for the condition
{
	local want=$1
	shift
	"${@:-k}" wait apiservice/v1.$G --for=condition=Available="$want" --timeout=28s
}
raw_tls() # what kubectl's admin would send; waits for a line with $1
{
	local cert
	for cert in client-certificate client-key; do
		sed -n "s/.*$cert-data: //p" "$KUBECONFIG" | base64 -d >"$dir/$cert"
	done
	local to
	to=$(sed -n 's,.*server: https://,,p' "$KUBECONFIG")
	coproc TLS { timeout 20 openssl s_client -quiet -connect "$to" \
		-cert "$dir/client-certificate" -key "$dir/client-key" 2>/dev/null; }
	cat >&"${TLS[1]}"
	timeout 10 grep -m1 "$1" <&"${TLS[0]}"
	kill "$TLS_PID" 2>/dev/null
}

prepare()
{
	v=1.32 kubectl=$deps/kubectl-1.32/kubectl
	k -n kube-system get cm extension-apiserver-authentication \
		-o jsonpath='{.data.requestheader-client-ca-file}' >"$dir/front.crt"
	t get "servers are told our CA and what to look for" \
		'^."X-Remote-User".."X-Remote-Group".."X-Remote-Extra-".."front-proxy-client".$' \
		'k -n kube-system get cm extension-apiserver-authentication -o jsonpath="{.data.requestheader-username-headers}{.data.requestheader-group-headers}{.data.requestheader-extra-headers-prefix}{.data.requestheader-allowed-names}"'
	t get "the role to read it" 'extension-apiserver-authentication-reader' \
		'k -n kube-system get role'
	t patch "what is taken out of it comes back" 'BEGIN CERT' \
		'k -n kube-system patch cm extension-apiserver-authentication --type=json -p "[{\"op\":\"remove\",\"path\":\"/data/requestheader-client-ca-file\"}]" >/dev/null; timeout 10 bash -c "until k -n kube-system get cm extension-apiserver-authentication -o yaml | grep BEGIN; do :; done"'
	peer a 127.0.0.1 0
	k create ns fruit >/dev/null
	t apply "an APIService whose service is not there" 'created' 'apiservice | kin apply -f -'
	t get "says so" 'ServiceNotFound.service/flavor in "fruit" is not present' \
		'available false >/dev/null; k get apiservice v1.$G -o jsonpath="{.status.conditions[0].reason} {.status.conditions[0].message}"'
	t get "and answers 503" 'ServiceUnavailable.*\(ServiceNotFound\)' 'k get --raw /apis/$G/v1/namespaces/fruit/flavors'
	t apply "service and endpoints" 'endpoints/flavor created' 'service 127.0.0.1 $port | kin apply -f -'
	t wait "it becomes available by itself" 'condition met' 'available true'
}

serves()
{
	t get "apiservice" "^v1.$G +fruit/flavor +True" 'k get apiservice'
	t api-resources "discovery is merged" "^flavors +fl +$G/v1 +true +Flavor" 'k api-resources'
	t api-versions "versions" "^$G/v1$" 'k api-versions'
	t get "the group" "\"preferredVersion\":.\"groupVersion\":\"$G/v1\"" 'k get --raw /apis/$G'
	t get "the version, by the server itself" '"kind":"APIResourceList"' 'k get --raw /apis/$G/v1'
	t create "create" 'flavor.*/apple-'$v' created' 'flavor apple-$v | kin -n fruit create --validate=false -f -'
	t create "validated by its own schema" "created" 'flavor pear-$v | kin -n fruit create -f -'
	t create "twice" 'AlreadyExists' 'flavor apple-$v | kin -n fruit create --validate=false -f -'
	t get "list" "^apple-$v " 'k -n fruit get flavors'
	t get "one, by short name" "^sweet$" 'k -n fruit get fl apple-$v -o jsonpath={.spec.taste}'
	t get "none" 'NotFound' 'k -n fruit get fl melon'
	t get "get all" "flavor.$G/apple" 'k -n fruit get all'
	t explain "of its schema" 'Sweet or sour' 'k explain flavor.spec.taste'
	t get "who asks is told" 'system-admin' 'k -n fruit get fl apple-$v -o jsonpath={.metadata.annotations.by}'
	t get "with groups and tenant" '"X-Remote-User":"system-admin".*"X-Remote-Group":"system:masters".*"X-Remote-Extra-arktos-tenant":"system"' 'k get --raw /apis/$G/v1/whoami'
	t get "as whom" '"X-Remote-User":"mia"' 'k get --raw /apis/$G/v1/whoami --as=mia --as-group=system:masters'
	t get "RBAC comes first" 'User "mia" cannot list resource "flavors" in API group' 'k -n fruit get fl --as=mia'
	t get "watch" "^apple2-$v" \
		'timeout 30 $kubectl -n fruit get fl --watch-only >$dir/w 2>&1 & p=$!; timeout 20 bash -c "until k get --raw /metrics | grep -q \"arktos_relayed_requests [1-9]\"; do :; done"; flavor apple2-$v | kin -n fruit create --validate=false -f - >/dev/null; timeout 10 tail -F -n +1 $dir/w 2>/dev/null | grep -m1 apple2; kill $p'
	t delete "delete" 'deleted' 'k -n fruit delete fl apple-$v'
	t get "redirects stay with us" 'attempted to redirect this request' 'k -n fruit get --raw /apis/$G/v1/namespaces/fruit/flavors/elsewhere'
	t get "an answer that breaks off is an error" 'short|EOF|INTERNAL' 'k -n fruit get --raw /apis/$G/v1/namespaces/fruit/flavors/broken; echo'
}

streams()
{
	t get "an upgrade goes through, both ways" 'hello, extension' \
		'printf "PUT /apis/$G/v1/namespaces/fruit/flavors/echo HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\nContent-Length: 0\r\n\r\nhello, extension\n" | raw_tls "^hello"'
	t get "nobody says by a header who asks" '^."X-Remote-User":"system-admin"' \
		'printf "GET /apis/$G/v1/whoami HTTP/1.1\r\nHost: x\r\nX-Remote-User: root\r\nX-Remote-Extra-Arktos-Tenant: acme\r\nX-Remote-Uid: 0\r\nAuthorization: Bearer x\r\n\r\n" | raw_tls "X-Remote-User" | grep -v "root\|acme\|Uid\|Authorization"'
}

dies()
{
	kill "$peer"
	wait "$peer" 2>/dev/null
	t get "a dead server is a 503" 'ServiceUnavailable|unable to handle the request' 'k get --raw /apis/$G/v1/namespaces/fruit/flavors'
	t wait "and its condition false" 'condition met' 'available false'
	t get "with the reason" 'FailedDiscoveryCheck.failing or missing response from https://flavor.fruit.svc/apis/fruit.arktos.test/v1: connect: Connection refused' \
		'k get apiservice v1.$G -o jsonpath="{.status.conditions[0].reason} {.status.conditions[0].message}"'
	t get "which is told" 'not available \(FailedDiscoveryCheck\): see APIService v1.fruit.arktos.test' 'k get --raw /apis/$G/v1/namespaces/fruit/flavors -v=0; k get --raw /apis/$G/v1/namespaces/fruit/flavors -v=8'
	t get "everything else goes on" 'kube-system' 'k get ns'
	t get "its resources are told as stale" '"freshness":"Stale"' \
		'printf "GET /apis HTTP/1.1\r\nHost: x\r\nAccept: application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList\r\nConnection: close\r\n\r\n" | raw_tls "freshness"'
	peer a 127.0.0.1 "$port"
	t wait "it comes back" 'condition met' 'available true'
	t get "and is served" 'FlavorList' 'k get --raw /apis/$G/v1/namespaces/fruit/flavors'
	peer b 127.0.0.1 0
	t wait "a server whose certificate is another CA's" 'condition met' \
		'service 127.0.0.1 $port | kin apply -f - >/dev/null; available false'
	t get "is not believed" 'certificate: (self-signed certificate in certificate chain|unable to get local issuer certificate)' 'k get apiservice v1.$G -o jsonpath="{.status.conditions[0].message}"'
	t patch "but for insecureSkipTLSVerify" 'condition met' \
		'k patch apiservice v1.$G --type=merge -p "{\"spec\":{\"insecureSkipTLSVerify\":true,\"caBundle\":null}}" >/dev/null; available true'
	t apply "a group that is built in" 'BuiltinGroup' \
		'apiservice apps v9 | kin apply -f - >/dev/null; timeout 10 bash -c "until k get apiservice v9.apps -o yaml | grep Builtin; do :; done"; k get --raw /apis/apps/v9/things'
	t get "stays built in" 'DeploymentList' 'k get --raw /apis/apps/v1/deployments'
	t apply "one without a service" '^Local$' \
		'apiservice local.test | grep -v "service:\|caB" | kin apply -f - >/dev/null; k wait apiservice/v1.local.test --for=condition=Available --timeout=10s >/dev/null; k get apiservice v1.local.test -o jsonpath="{.status.conditions[0].reason}"'
}

# With what the operator has opened: a pod of the tenant's, on another "host".
own_server()
{
	if ! ip netns add "$ns" 2>/dev/null; then
		n=$((n + 1))
		echo "ok $n acme: a server of its own # SKIP no network namespaces (root?)"
		return
	fi
	ip link add "$ns" type veth peer name eth0 netns "$ns"
	ip addr add "$net.1/24" dev "$ns"
	ip link set "$ns" up
	ip -n "$ns" addr add "$net.2/24" dev eth0
	ip -n "$ns" link set eth0 up
	mkdir -p "$dir/c"
	ip netns exec "$ns" "$O/selftests/controlplane/peer_extension" "$dir/a" \
		flavor.fruit.svc "$dir/front.crt" "$net.2" 8443 >"$dir/c/out" 2>&1 &
	pids+=($!)
	timeout 10 tail -n +1 -F "$dir/c/out" 2>/dev/null | grep -q -m1 ready
	as acme -n fruit delete svc flavor >/dev/null
	t apply "acme: endpoints that are no pod's" 'AddressNotAllowed' \
		'service $net.2 8443 | as acme apply -f - >/dev/null; timeout 10 bash -c "until as acme get apiservice v1.$G -o yaml | grep AddressNotAllowed; do :; done"'
	printf '{"apiVersion":"v1","kind":"Pod","metadata":{"name":"server"},"spec":{"nodeName":"n1","containers":[{"name":"c","image":"i"}]}}' |
		as acme -n fruit create -f - >/dev/null
	as acme -n fruit patch pod server --subresource=status --type=merge \
		-p "{\"status\":{\"podIP\":\"$net.2\",\"podIPs\":[{\"ip\":\"$net.2\"}]}}" >/dev/null
	t patch "acme: its pod's" 'condition met' \
		'as acme -n fruit patch endpoints flavor --type=merge -p "{\"subsets\":[{\"addresses\":[{\"ip\":\"$net.2\",\"targetRef\":{\"kind\":\"Pod\",\"name\":\"server\"}}],\"ports\":[{\"name\":\"https\",\"port\":8443}]}]}" >/dev/null; available true as acme'
	t get "acme: is served, and told its own user's name" '"X-Remote-User":"admin"' 'as acme get --raw /apis/$G/v1/whoami'
	t get "acme: nobody's certificate but its own is in its ConfigMap" '^none$' 'as acme -n kube-system get cm extension-apiserver-authentication -o jsonpath="{.data.client-ca-file}none"'
	t get "acme: the system may look, under its full name" '"X-Remote-User":"tenant:system:system-admin"' 'k get --raw /apis/$G/v1/tenants/acme/namespaces/fruit/flavors >/dev/null; printf "GET /apis/$G/v1/tenants/acme/whoami HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" | raw_tls "X-Remote-User"'
}

# A tenant's server may not be on this host, nor where a cloud keeps secrets.
tenant()
{
	arktosctl tenant create acme --out "$dir/acme.kubeconfig" >/dev/null
	t get "acme: the system's API is there" '^flavors ' 'as acme api-resources'
	as acme create clusterrolebinding bo --clusterrole=cluster-admin --user=bo >/dev/null
	t get "acme: its users are not the system's" '"X-Remote-User":"tenant:acme:bo".*"X-Remote-Group":"tenant:acme:system:masters".*"X-Remote-Extra-arktos-tenant":"acme"' 'as acme get --raw /apis/$G/v1/whoami --as=bo --as-group=system:masters'
	t delete "acme: without the system's" 'deleted' 'k delete apiservice v1.$G'
	as acme create ns fruit >/dev/null
	local at
	for at in 127.0.0.1 169.254.169.254 10.255.0.1; do
		t apply "acme: a server at $at" 'AddressNotAllowed' \
			"service $at $port | as acme apply -f - >/dev/null; apiservice | as acme apply -f - >/dev/null; available false as acme >/dev/null; timeout 10 bash -c \"until as acme get apiservice v1.$G -o yaml | grep AddressNotAllowed; do :; done\""
	done
	t apply "acme: an external name" 'ExternalNameNotAllowed' \
		'as acme -n fruit delete svc,ep flavor >/dev/null; as acme -n fruit create service externalname flavor --external-name=localhost --tcp=443 >/dev/null; timeout 10 bash -c "until as acme get apiservice v1.$G -o yaml | grep ExternalNameNot; do :; done"'
	t get "acme: is refused" 'ServiceUnavailable|unable to handle' 'as acme get --raw /apis/$G/v1/namespaces/fruit/flavors'
	own_server
	t get "the system has none of it" "NotFound|could not find" 'k get --raw /apis/$G/v1/flavors'
	as acme -n fruit delete pod server --force --grace-period=0 >/dev/null 2>&1
	t delete "acme goes, with its APIService" '^0$' 'arktosctl tenant delete acme >/dev/null; k get --raw /apis/apiregistration.k8s.io/v1/tenants/all/apiservices | grep -c "\"tenant\":\"acme\""'
}

start 0 --tenant-extension-cidrs "$net.0/24,127.0.0.0/8,169.254.0.0/16"
export -f k as
export kubectl dir v G
prepare
both serves
streams
dies
tenant
finish_tap
