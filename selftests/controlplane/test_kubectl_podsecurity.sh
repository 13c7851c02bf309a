#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: native
# SECONDS: 90
# PodSecurity: each check of baseline and restricted in Kubernetes' words,
# enforced on pods, warned of and audited on what makes them, and told when a
# namespace begins to ask for more.
. "$(dirname "$0")/kubectl.sh"

# A pod that restricted lets in, changed by SED.
GOOD='{"apiVersion":"v1","kind":"Pod","metadata":{"name":"NAME","annotations":{}},"spec":{"securityContext":{"runAsNonRoot":true,"seccompProfile":{"type":"RuntimeDefault"}},"containers":[{"name":"c","image":"i","ports":[],"securityContext":{"allowPrivilegeEscalation":false,"capabilities":{"drop":["ALL"]}}}],"volumes":[]}}'
pod() # NAMESPACE NAME SED
{
	sed "s/NAME/$2/;${3:-}" <<<"$GOOD" | kin -n "$1" create --validate=false -f -
}
c() # FIELDS: into the container's security context
{
	echo "s/\"allowPrivilegeEscalation\":false,/&$1,/"
}
p() # FIELDS: into the pod's
{
	echo "s/\"runAsNonRoot\":true,/&$1,/"
}
no() # NAMESPACE WHAT PATTERN SED: refused
{
	local level=$1
	t create "$level: $2" "is forbidden: violates PodSecurity \"$level:latest\": $3\$" "pod $level x '$4'"
}

checks()
{
	local s
	for s in baseline restricted; do
		k create ns $s >/dev/null
		k label ns $s pod-security.kubernetes.io/enforce=$s >/dev/null
		t create "$s: a good pod" 'created' "pod $s good"
	done
	local many='s/"containers":.{/&"name":"b","image":"i","securityContext":{"privileged":true}},{/'
	no baseline "privileged" 'privileged \(container "c" must not set securityContext.privileged=true\)' "$(c '"privileged":true')"
	no baseline "two containers" 'privileged \(containers "b", "c" must not set securityContext.privileged=true\)' "$many;$(c '"privileged":true')"
	no baseline "host namespaces" 'host namespaces \(hostNetwork=true, hostPID=true, hostIPC=true\)' 's/"spec":{/&"hostPID":true,"hostNetwork":true,"hostIPC":true,/'
	no baseline "hostPath" 'hostPath volumes \(volumes "v", "w"\)' 's/"volumes":\[/&{"name":"v","hostPath":{"path":"\/"}},{"name":"w","hostPath":{"path":"\/"}}/'
	no baseline "hostPort" 'hostPort \(container "c" uses hostPort 80\)' 's/"ports":\[/&{"containerPort":80,"hostPort":80}/'
	no baseline "hostPorts" 'hostPorts \(container "c" uses hostPorts 80, 81\)' 's/"ports":\[/&{"containerPort":80,"hostPort":80},{"containerPort":81,"hostPort":81}/'
	no baseline "capabilities" 'non-default capabilities \(container "c" must not include "BPF", "SYS_ADMIN" in securityContext.capabilities.add\)' 's/"drop":/"add":["SYS_ADMIN","CHOWN","BPF"],&/'
	no baseline "AppArmor" 'forbidden AppArmor profile \(container "c" must not set AppArmor profile type to "Unconfined"\)' "$(c '"appArmorProfile":{"type":"Unconfined"}')"
	no baseline "AppArmor by annotation" 'forbidden AppArmor profile \(container.apparmor.security.beta.kubernetes.io/c="unconfined"\)' 's/"annotations":{/&"container.apparmor.security.beta.kubernetes.io\/c":"unconfined"/'
	no baseline "SELinux" 'seLinuxOptions \(pod and container "c" set forbidden securityContext.seLinuxOptions: type "x_t"; user may not be set; role may not be set\)' "$(p '"seLinuxOptions":{"type":"x_t","user":"u"}');$(c '"seLinuxOptions":{"role":"r"}')"
	no baseline "procMount" 'procMount \(container "c" must not set securityContext.procMount to "Unmasked"\)' "s/\"spec\":{/&\"hostUsers\":false,/;$(c '"procMount":"Unmasked"')"
	no baseline "seccomp" 'seccompProfile \(pod must not set securityContext.seccompProfile.type to "Unconfined"\)' 's/RuntimeDefault/Unconfined/'
	no baseline "sysctls" 'forbidden sysctls \(kernel.msgmax, net.core.somaxconn\)' "$(p '"sysctls":[{"name":"kernel.msgmax","value":"1"},{"name":"net.ipv4.tcp_rmem","value":"1"},{"name":"net.core.somaxconn","value":"1"}]')"
	no baseline "several" 'host namespaces \(hostPID=true\), privileged \(container "c" must not set securityContext.privileged=true\)' "s/\"spec\":{/&\"hostPID\":true,/;$(c '"privileged":true')"
	t create "baseline: what only restricted asks for" 'created' "pod baseline free 's/\"runAsNonRoot\":true,//;s/\"allowPrivilegeEscalation\":false,//'"

	no restricted "nothing said" 'allowPrivilegeEscalation != false \(container "c" must set securityContext.allowPrivilegeEscalation=false\), unrestricted capabilities \(container "c" must set securityContext.capabilities.drop=\["ALL"\]\), runAsNonRoot != true \(pod or container "c" must set securityContext.runAsNonRoot=true\), seccompProfile \(pod or container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"\)' 's/"securityContext":{.*}},"cont/"cont/;s/,"securityContext":{"allow.*}}\]/}]/'
	no restricted "capabilities" 'unrestricted capabilities \(container "c" must not include "CHOWN" in securityContext.capabilities.add\)' 's/"drop":/"add":["CHOWN","NET_BIND_SERVICE"],&/'
	no restricted "volumes" 'restricted volume types \(volume "v" uses restricted volume type "hostPath"\)' 's/"volumes":\[/&{"name":"v","hostPath":{"path":"\/"}},{"name":"w","emptyDir":{}}/'
	no restricted "root" 'runAsNonRoot != true \(container "c" must not set securityContext.runAsNonRoot=false\)' "$(c '"runAsNonRoot":false')"
	no restricted "user 0" 'runAsUser=0 \(pod must not set runAsUser=0\)' "$(p '"runAsUser":0')"
	no restricted "baseline first" 'privileged \(container "c" must not set securityContext.privileged=true\), unrestricted capabilities \(container "c" must not include "CHOWN" in securityContext.capabilities.add\)' "$(c '"privileged":true');s/\"allowPrivilegeEscalation\":false,//;s/\"privileged\":true/&,\"allowPrivilegeEscalation\":false/;s/\"drop\":/\"add\":[\"CHOWN\"],&/"
	t create "restricted: init containers count" 'containers? "i" must' "pod restricted x 's/\"containers\":/\"initContainers\":[{\"name\":\"i\",\"image\":\"i\"}],&/'"
	t label "labels of a pod that is there may change" 'labeled' 'k -n restricted label pod good a=b'
}

modes()
{
	k create ns soft >/dev/null
	k label ns soft pod-security.kubernetes.io/{warn,audit}=restricted pod-security.kubernetes.io/warn-version=v1.32 >/dev/null
	t create "a deployment is warned of" 'Warning: would violate PodSecurity "restricted:v1.32": allowPrivilegeEscalation != false .container "i" must' 'k -n soft create deploy d --image=i'
	t create "once" '^1$' 'k -n soft create deploy e --image=i 2>&1 | grep -c Warning'
	t create "a cron job" 'Warning: would violate' 'k -n soft create cronjob j --image=i --schedule="* * * * *"'
	t create "a pod is let in" 'pod/free created' 'k -n soft run free --image=i'
	t get "and audited" '"pod-security.kubernetes.io/enforce-policy":"privileged:latest"|"pod-security.kubernetes.io/audit-violations":"would violate PodSecurity ."restricted:latest.":' \
		'timeout 10 bash -c "until grep \"\\\"name\\\":\\\"free\\\"\" $dir/audit.log | grep audit-violations; do :; done"'
	t create "enforcing refuses no deployment" 'deployment.apps/d created' 'k -n restricted create deploy d --image=i'
	t label "a namespace that begins to ask for more" 'Warning: existing pods in namespace "soft" violate the new PodSecurity enforce level "restricted:latest"' 'k label ns soft pod-security.kubernetes.io/enforce=restricted'
	t label "names them" 'Warning: [a-z0-9-]+( .and [0-9]+ other pods?.)?: allowPrivilegeEscalation != false, unrestricted capabilities, runAsNonRoot != true, seccompProfile' 'k label ns soft pod-security.kubernetes.io/enforce-; k label ns soft pod-security.kubernetes.io/enforce=restricted'
	t label "a level there is not" 'metadata.labels.pod-security.kubernetes.io/enforce.: Invalid value: "strict": must be one of privileged, baseline, restricted' 'k label ns default pod-security.kubernetes.io/enforce=strict'
	t label "a version there is not" 'Invalid value: "1.2": must be "latest" or "v1.x"' 'k label ns default pod-security.kubernetes.io/enforce-version=1.2'
	arktosctl tenant create acme --out "$dir/acme.kubeconfig" >/dev/null
	local host='{"spec":{"hostPID":true}}'
	t create "a tenant's pods keep to baseline" 'is forbidden: violates PodSecurity "baseline:latest" of tenant "acme": host namespaces \(hostPID=true\)' "as acme run x --image=i --overrides='$host'"
	t create "whatever it says itself" 'of tenant "acme"' "as acme label ns default pod-security.kubernetes.io/enforce=privileged >/dev/null; as acme run x --image=i --overrides='$host'"
	t label "which it cannot change" 'Forbidden|resource type' 'as acme label tenant acme pod-security.kubernetes.io/enforce=privileged; as acme replace --raw /api/v1/tenants/acme -f - <<<{}'
	t create "what makes such pods is warned of" 'Warning: would violate PodSecurity "baseline:latest" of tenant "acme"' 'as acme create -f - <<<"{\"apiVersion\":\"apps/v1\",\"kind\":\"Deployment\",\"metadata\":{\"name\":\"d\"},\"spec\":{\"selector\":{\"matchLabels\":{\"a\":\"b\"}},\"template\":{\"metadata\":{\"labels\":{\"a\":\"b\"}},\"spec\":{\"hostNetwork\":true,\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}}}"'
	t create "the system's in a tenant, too" 'of tenant "acme"' 'kin create --raw /api/v1/tenants/acme/namespaces/default/pods -f - <<<"{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"x\"},\"spec\":{\"hostPID\":true,\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}"'
	t label "no such level of a tenant" 'must be one of privileged' 'k label tenant acme pod-security.kubernetes.io/enforce=strict'
	t label "the system lets a tenant do more" 'pod/y created' "k label tenant acme pod-security.kubernetes.io/enforce=privileged >/dev/null; as acme run y --image=i --overrides='$host'"
	t label "a tenant's own" 'is forbidden: violates PodSecurity "baseline:v1.30": host namespaces' 'as acme label ns default --overwrite pod-security.kubernetes.io/enforce=baseline pod-security.kubernetes.io/enforce-version=v1.30 >/dev/null; as acme run x --image=i --overrides="{\"spec\":{\"hostPID\":true}}"'
}

v=1.32 kubectl=$deps/kubectl-1.32/kubectl
if [ ! -x "$kubectl" ]; then
	echo "ok 1 PodSecurity # SKIP $kubectl is missing (make deps)"
	echo 1..1
	exit
fi
start 0 --audit-log-path "$dir/audit.log"
checks
modes
finish_tap
