#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: native
# SECONDS: 300
# The unmodified kubectl, an old one and a new one, against arktos-control: as
# the system's admin, and as the admins of two tenants who use the same names.
. "$(dirname "$0")/kubectl.sh"

start()
{
	"$O/bin/arktos-control" run --roles api --data-dir "$dir/data" \
		--listen "127.0.0.1:${1:-0}" >>"$dir/log" 2>&1 &
	server=$!
	# The log's line comes once it serves.
	timeout 20 tail -n +1 -F "$dir/log" 2>/dev/null |
		grep -q -m1 "serving on port ${2-}"
}
# The output of a command must match an extended regular expression.
says() # NAME PATTERN run COMMAND
{
	local command=$4 verb
	verb=$(grep -oE '\b(k|as [$a-z]+|arktosctl) (-n [a-z]+ )?[a-z-]+' <<<"$4" |
		head -1 | sed 's,.* ,,')
	t "${verb:-other}" "$1" "$2" 'run "$command"'
}

k() { "$kubectl" --cache-dir="$dir/cache-$v" "$@"; }
as() # TENANT ARGS...
{
	local t=$1
	shift
	"$kubectl" --cache-dir="$dir/cache-$v-$t" \
		--kubeconfig="$dir/$t.kubeconfig" "$@"
}
# A line of the present watch.
seen() { timeout 20 tail -F -n +1 "$dir/watch-$v" 2>/dev/null | grep -qm1 "$1"; }
export -f k as seen
export dir v kubectl

run() { timeout 30 bash -c "$1" </dev/null; }

manifest()
{
	cat >"$dir/web.yaml" <<-EOF
	apiVersion: apps/v1
	kind: Deployment
	metadata: {name: web, labels: {app: web}}
	spec:
	  replicas: $1
	  selector: {matchLabels: {app: web}}
	  template:
	    metadata: {labels: {app: web}}
	    spec:
	      containers:
	      - {name: c, image: "nginx:1.25", ports: [{containerPort: 80}]}
	---
	apiVersion: v1
	kind: Pod
	metadata: {name: vm}
	spec:
	  virtualMachine:
	    name: vm
	    image: disk.qcow2
	    resources: {limits: {cpu: "1", memory: 1Gi}}
	EOF
}

admin_path()
{
	says "version" 'v1\.32\.0\+arktos' run "k version"
	says "namespaces are there" 'kube-system +Active' run "k get ns"
	says "api-resources" 'pods +po +.*true +Pod' run "k api-resources"
	says "run" 'pod/p1 created' run "k run p1 --image=busybox"
	says "get is a table" '^p1 +0/1 +Pending +0' run "k get pods"
	says "get -o wide" 'NOMINATED NODE' run "k get pods -o wide"
	says "get -o yaml" 'imagePullPolicy: Always' run "k get pod p1 -o yaml"
	says "get -o jsonpath" '^BestEffort$' \
		run "k get pod p1 -o jsonpath='{.status.qosClass}'"
	says "describe" 'Service Account|^Name: +p1' run "k describe pod p1"
	says "label" 'pod/p1 labeled' run "k label pod p1 tier=a"
	says "select by label" 'p1' run "k get pods -l 'tier in (a,b)' -o name"
	says "select by label, nothing" 'No resources found' \
		run "k get pods -l '!tier,run=p1'"
	says "select by field" 'p1' run \
		"k get pods --field-selector status.phase=Pending -o name"
	says "field that is not selectable" 'field label not supported: spec.x' \
		run "k get pods --field-selector spec.x=1"
	says "annotate" 'annotated' run "k annotate pod p1 note=hello"
	says "patch strategic" 'patched' \
		run "k patch pod p1 -p '{\"metadata\":{\"labels\":{\"s\":\"1\"}}}'"
	says "patch merge" 'patched' run \
		"k patch pod p1 --type=merge -p '{\"metadata\":{\"labels\":{\"s\":null}}}'"
	says "patch json of what is not there" 'request is invalid: patch: .*missing path: "/data/none"' \
		run "k patch cm kube-root-ca.crt --type json -p '[{\"op\":\"remove\",\"path\":\"/data/none\"}]'"
	says "patch json" 'patched' run \
		"k patch pod p1 --type=json -p '[{\"op\":\"add\",\"path\":\"/metadata/labels/j\",\"value\":\"1\"}]'"
	says "pod spec is immutable" 'Forbidden: pod updates may not change' \
		run "k patch pod p1 -p '{\"spec\":{\"hostname\":\"x\"}}'"
	says "image may change" 'patched' run \
		"k patch pod p1 -p '{\"spec\":{\"containers\":[{\"name\":\"p1\",\"image\":\"busybox:2\"}]}}'"
	manifest 2
	says "apply creates" 'deployment.apps/web created' \
		run "k apply -f $dir/web.yaml"
	says "apply again changes nothing" 'deployment.apps/web unchanged' \
		run "k apply -f $dir/web.yaml"
	manifest 3
	says "diff shows the change" '^\+  replicas: 3' run \
		"k diff -f $dir/web.yaml"
	says "apply changes" 'deployment.apps/web configured' \
		run "k apply -f $dir/web.yaml"
	says "VM pod is a pod" '^vm +0/1 +Pending' run "k get pod vm"
	says "scale" 'scaled' run "k scale deploy web --replicas=5"
	says "scaled" '^web +0/5' run "k get deploy"
	says "set image" 'image updated' run "k set image deploy/web c=nginx:2"
	says "expose" 'service/web exposed' run "k expose deploy web --port=80"
	says "create namespace" 'created' run "k create ns extra"
	says "create configmap" 'created' \
		run "k -n extra create configmap cm --from-literal=a=b"
	says "create secret" '^eQ==$' run \
		"k -n extra create secret generic s --from-literal=x=y >/dev/null; k -n extra get secret s -o jsonpath='{.data.x}'"
	says "create role and binding" 'rolebinding.* created' run \
		"k -n extra create role r --verb=get --resource=pods; k -n extra create rolebinding b --role=r --user=joe"
	says "can-i" '^yes' run "k auth can-i create pods"
	says "can-i --list" '\*\.\*|\*' run "k auth can-i --list"
	[ "$v" = 1.20 ] ||
		says "whoami" 'system-admin' run "k auth whoami"
	says "explain" 'virtual machine' \
		run "k explain pod.spec.virtualMachine"
	says "explain, once" '^1$' run \
		"k explain pod.spec.virtualMachine | grep -c 'Its virtual machine'"
	says "explain a type by its own words" 'A QEMU guest: what it boots' run \
		"k explain pod.spec.virtualMachine"
	says "explain a field" 'powerSpec' \
		run "k explain pod.spec.virtualMachine"
	says "dry run stores nothing" 'NotFound' run \
		"k run dry --image=x --dry-run=server >/dev/null; k get pod dry"
	says "invalid is explained" 'Required value|missing required field' run \
		"echo '{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"bad\"},\"spec\":{\"containers\":[{\"name\":\"c\"}]}}' | k create --validate=false -f -"
	says "unknown field is refused" 'unknown field' run \
		"echo '{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"bad\"},\"spec\":{\"contianers\":[]}}' | k create -f -"
	says "exists already" 'AlreadyExists' run "k run p1 --image=busybox"
	says "pages of a list" '^5$' run \
		"for i in 1 2 3; do k -n extra create cm page\$i >/dev/null; done; k -n extra get cm --chunk-size=2 -o name | grep -cE 'page|/cm$|ca.crt'"
	says "watch" 'p2' run \
		"$kubectl get pods -w -o name >$dir/watch-$v 2>&1 & w=\$!; seen p1; k run p2 --image=busybox >/dev/null; seen p2 && echo saw p2; kill \$w"
	says "a finalizer holds, delete waits for it" 'pod "p2" deleted' run \
		"k patch pod p2 -p '{\"metadata\":{\"finalizers\":[\"a.b/c\"]}}' >/dev/null; k delete pod p2 2>&1 & until k get pod p2 -o yaml | grep -q deletionTimestamp; do read -rt 0.1 <> <(:); done; k patch pod p2 --type=merge -p '{\"metadata\":{\"finalizers\":null}}'; wait"
	says "delete" 'pod "p1" deleted' run "k delete pod p1"
	says "deleted" 'NotFound' run "k get pod p1"
	says "delete from a file" 'deployment.apps "web" deleted' \
		run "k delete -f $dir/web.yaml"
	says "delete a namespace with its content" 'namespace "extra" deleted' \
		run "k delete svc web; k delete ns extra"
	says "its content is gone" 'No resources found' run "k -n extra get cm"
	says "raw path" '"gitVersion"' run "k get --raw /version"
}

tenant_path()
{
	local t
	for t in acme beta; do
		says "tenant $t" "written to $dir/$t.kubeconfig" \
			run "$O/bin/arktosctl tenant create $t --out $dir/$t.kubeconfig"
	done
	says "kubeconfig is private" '^600$' run "stat -c %a $dir/acme.kubeconfig"
	for t in acme beta; do
		says "$t: same name" 'pod/same created' \
			run "as $t run same --image=image-of-$t"
	done
	for t in acme beta; do
		says "$t sees its own" "^image-of-$t$" run \
			"as $t get pods -A -o jsonpath='{.items[*].spec.containers[0].image}'"
	done
	says "acme may not read beta" 'Forbidden.*in the tenant "beta"' \
		run "as acme get --raw /api/v1/tenants/beta/pods"
	says "acme may not read all" 'Forbidden' \
		run "as acme get --raw /api/v1/tenants/all/pods"
	says "acme may not write beta" 'Forbidden' run \
		"echo '{}' | as acme create --raw /api/v1/tenants/beta/namespaces -f -"
	says "acme may not read nodes" 'Forbidden' \
		run "as acme get --raw /api/v1/nodes"
	says "acme may not make tenants" 'Forbidden' run \
		"echo '{\"metadata\":{\"name\":\"x\"}}' | as acme create --raw /api/v1/tenants -f -"
	says "acme may not be another tenant in a body" 'does not match' run \
		"echo '{\"metadata\":{\"name\":\"x\",\"tenant\":\"beta\"}}' | as acme create --raw /api/v1/namespaces -f -"
	says "default namespaces stay" 'acme/default.*may not be deleted' \
		run "as acme delete ns default"
	says "the system sees all" 'image-of-beta' \
		run "k get --raw /api/v1/tenants/all/pods"
	says "tenant delete leaves nothing" '^0$' run \
		"$O/bin/arktosctl tenant delete acme >/dev/null; $O/bin/arktosctl tenant delete beta >/dev/null; for r in /api/v1/tenants/all/pods /api/v1/tenants/all/namespaces /apis/rbac.authorization.k8s.io/v1/tenants/all/clusterroles; do k get --raw \$r; done | grep -cE '\"tenant\":\"(acme|beta)\"'"
	says "a tenant made anew is another one: the old certificate is worth nothing" \
		'Unauthorized|earlier tenant' run "$O/bin/arktosctl tenant create acme \
		--out $dir/anew.kubeconfig >/dev/null; as acme get configmaps 2>&1"
	says "the new one is" 'kube-root-ca' run "as anew get configmaps; as anew get namespaces"
	run "$O/bin/arktosctl tenant delete acme" >/dev/null
}

if ! start; then
	cat "$dir/log"
	echo "not ok 1 arktos-control starts"
	echo 1..1
	exit 1
fi
export KUBECONFIG=$dir/data/admin.kubeconfig HOME=$dir O
export PATH=$O/bin:$PATH
v=-
says "admin.kubeconfig is private" '^600$' run "stat -c %a $KUBECONFIG"
for v in 1.20 1.32; do
	use $v || continue
	admin_path
	tenant_path
done

# Killed without warning, it comes back with everything.
port=$(sed -nE 's/.*:([0-9]+)$/\1/p' "$KUBECONFIG" | head -1)
run "k create cm survivor --from-literal=a=b" >/dev/null
kill -9 "$server"
wait "$server" 2>/dev/null
: >"$dir/log"
start "$port"
says "an object survives kill -9" 'survivor' run "k get cm survivor -o name"
finish_tap
