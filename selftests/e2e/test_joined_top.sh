#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: native
# SECONDS: 150
# metrics.k8s.io: kubectl top of nodes, container pods and a VM, for two tenants,
# compared with what the kernel counts; what Prometheus reads of a node; a node
# that is away.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/joined.sh"

control_start && node_join && image_web && image_vm && tenant_create acme || exit 1
busy_manifest()
{
	cat <<-END
	apiVersion: v1
	kind: Pod
	metadata: {name: busy, labels: {work: $1}}
	spec:
	  terminationGracePeriodSeconds: 1
	  containers:
	  - name: spin
	    image: web
	    imagePullPolicy: Never
	    command: [/bin/sh, -c, "head -c 20000000 /dev/zero >/dev/shm/x; while :; do :; done"]
	    resources: {limits: {cpu: 200m, memory: 64Mi}}
	  - name: idle
	    image: web
	    imagePullPolicy: Never
	    command: [sleep, "1000000"]
	    resources: {limits: {cpu: 100m, memory: 64Mi}}
END
}
busy_manifest hard | k create -f - >/dev/null
busy_manifest acme | kt acme create -f - >/dev/null
vm_manifest vm | k create -f - >/dev/null
ok "a busy pod runs" wait_for 30 k_is busy .status.phase Running
ok "and one of a tenant" wait_for 30 prints '^Running$' \
	kt acme get pod busy -o 'jsonpath={.status.phase}'
ok "and a VM" wait_for 60 k_is vm .status.phase Running

# --- what the kernel says -------------------------------------------------------
cgroup_of() # UID FILE: of the pod
{
	our_cgroups | while read -r c; do
		find "$c" -type d -name "*$1*" -prune
	done | while read -r d; do
		[ -e "$d/$2" ] && echo "$d/$2"
	done | head -1
}
cpu_us() # UID
{
	local f
	f=$(cgroup_of "$1" cpuacct.usage)
	if [ -n "$f" ]; then
		echo $(($(cat "$f") / 1000))
	else
		sed -n 's/^usage_usec //p' "$(cgroup_of "$1" cpu.stat)"
	fi
}
uid=$(k_get busy .metadata.uid)
T0=$(now_ms) U0=$(cpu_us "$uid")

# --- kubectl top ----------------------------------------------------------------
top_milli() # the pod's CPU, as kubectl prints it
{
	k top pod busy --no-headers "$@" | awk '{ print $2 + 0 }'
}
# Over the whole life of the container, as both say; the window is another one.
plausible()
{
	local want got
	want=$((($(cpu_us "$uid") - U0) / ($(now_ms) - T0)))
	got=$(top_milli)
	echo "top: $got, the kernel: $want"
	[ "$got" -gt 0 ] && [ "$got" -ge $((want / 2)) ] &&
		[ "$got" -le $((want * 2)) ]
}
for kubectl in "${KUBECTLS[@]}"; do
	[[ $kubectl == *1.20* ]] && v=1.20 || v=1.32
	ok "$v: top pod is what the kernel counts" wait_for 40 plausible
	ok "$v: the VM has CPU and memory" wait_for 20 prints \
		'^vm +[0-9]+m +[1-9][0-9]+Mi' k top pod vm
	ok "$v: --containers" wait_for 20 prints '^busy +spin +[0-9]+m +(1[89]|2[0-9])Mi' \
		k top pod busy --containers
	ok "$v: the idle one is idle, once its start is past" wait_for 40 prints '^busy +idle +[0-9]m ' \
		k top pod busy --containers
	ok "$v: -l" prints '^busy ' k top pod -l work=hard
	none() { ! k top pod -l work=soft 2>&1 | grep busy; }
	ok "$v: -l of nothing" none
	# The VM has more memory, the container more CPU.
	ok "$v: --sort-by=memory" prints '^vm' sh -c \
		"'$kubectl' --cache-dir='$E2E/cache' top pod --no-headers --sort-by=memory | head -1"
	ok "$v: -A names namespaces" prints '^default +busy +[0-9]+m' k top pod -A
	ok "$v: top node" wait_for 20 prints \
		"^$NAME +[1-9][0-9]*m +[0-9]+% +[0-9]+Mi +[0-9]+%" k top node
	ok "$v: top node NAME" prints "^$NAME +[1-9]" k top node $NAME
	ok "$v: a pod that is not there" prints 'not found' k top pod nope
	ok "$v: a tenant has its own pod" wait_for 20 prints '^busy +[1-9][0-9]+m' \
		kt acme top pod
	only() { [ "$(kt acme top pod -A --no-headers | wc -l)" = 1 ]; }
	ok "$v: and no other" only
	ok "$v: and no nodes" prints 'forbidden|Forbidden|not available' kt acme top node
done
ok "the group is found" prints '^metrics.k8s.io/v1beta1$' k api-versions
ok "get podmetrics" prints '^busy +[0-9]+m +[0-9]+Ki +[0-9.]+s$' k get pods.metrics.k8s.io busy
raw() { k get --raw "$@"; }
ok "one object" prints '"kind":"PodMetrics".*"window":"[0-9]+.[0-9]+s"' \
	raw /apis/metrics.k8s.io/v1beta1/namespaces/default/pods/busy
ok "the system's admin sees a tenant's" prints '"work":"acme"' \
	raw /apis/metrics.k8s.io/v1beta1/tenants/acme/namespaces/default/pods
ok "a tenant does not see the system's" prints 'orbidden' kt acme get --raw \
	/apis/metrics.k8s.io/v1beta1/tenants/system/namespaces/default/pods
kt acme create serviceaccount viewer >/dev/null
kt acme create rolebinding viewer --clusterrole=view \
	--serviceaccount=default:viewer >/dev/null
ok "who may view may view that" prints '^yes' kt acme auth can-i get \
	pods.metrics.k8s.io --as=system:serviceaccount:default:viewer

# --- what Prometheus reads of a node -----------------------------------------------
proxy() { k get --raw "/api/v1/nodes/$NAME/proxy/$1"; }
ok "/metrics/resource" prints \
	'^container_cpu_usage_seconds_total\{container="spin",namespace="default",pod="busy",tenant="system"\} [0-9.]+ [0-9]+' \
	proxy metrics/resource
ok "of the node" prints '^node_memory_working_set_bytes [0-9]+' proxy metrics/resource
ok "/metrics/cadvisor" prints '^container_memory_working_set_bytes\{container="spin",.*pod="busy"' \
	proxy metrics/cadvisor
ok "/stats/summary" prints '"usageNanoCores":[1-9]' proxy stats/summary
ok "no more than that" prints 'not found|NotFound' proxy metrics/nope
kt_proxy() { kt acme get --raw "/api/v1/nodes/$NAME/proxy/metrics/resource"; }
ok "not for a tenant" prints 'orbidden' kt_proxy

# --- a node that is away ------------------------------------------------------------
agent_kill
gone_() { ! k top pod busy >/dev/null 2>&1; }
ok "of a node that is away nothing is told" wait_for 40 gone_
ok "nor of itself" prints 'not available|not found' k top node $NAME
node_join
ok "it is told again" wait_for 60 plausible

kt acme delete pod busy --wait=false >/dev/null
k delete pod busy vm --wait=false >/dev/null
ok "all pods go" wait_for 40 sh -c "! '$kubectl' get pod busy vm 2>/dev/null | grep ."
control_stop
e2e_end
