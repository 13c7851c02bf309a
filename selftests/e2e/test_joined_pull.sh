#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: native
# SECONDS: 120
# imagePullSecrets: images of a registry that asks who wants them.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/joined.sh"
for tool in docker-registry skopeo; do
	command -v $tool >/dev/null || skip_all "no $tool: make deps"
done

# --- a registry for user 'user', password 'secret' -------------------------------------
R=127.0.0.1:5000
FAR=10.9.9.9:5000 # not on a loopback address
ip addr add ${FAR%:*}/32 dev lo
mount -t tmpfs none /etc/containers || skip_all "no /etc/containers to mount on"
# shellcheck disable=SC2016
echo 'user:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a' >"$E2E/htpasswd"
cat >"$E2E/registry.yml" <<-END
	version: 0.1
	log: {level: info}
	storage: {filesystem: {rootdirectory: $E2E/registry}}
	http: {addr: ':5000'}
	auth: {htpasswd: {realm: test, path: $E2E/htpasswd}}
END
docker-registry serve "$E2E/registry.yml" >"$LOG/registry.log" 2>&1 &
registry=$!
disown $registry
ok "the registry serves" wait_for 20 grep -q 'listening on' "$LOG/registry.log"
tools/mkimage/mkimage.sh web >/dev/null
push() { skopeo --insecure-policy copy -q --dest-creds user:secret --dest-tls-verify=false "oci:$BUILD/images/web:latest" "docker://$R/team/$1"; }
ok "it has images" push a:1
skopeo_only() { push b:1 && push c:1; }
ok "some" skopeo_only
control_start && node_join || exit 1

puller() # NAME IMAGE [SECRET]
{
	cat <<-END
	apiVersion: v1
	kind: Pod
	metadata: {name: $1}
	spec:
	  nodeName: $NAME
	  terminationGracePeriodSeconds: 1
	  imagePullSecrets: [${3+{name: $3\}}]
	  containers:
	  - {name: web, image: $2, resources: {limits: {cpu: 100m, memory: 64Mi}}}
	END
}
why() { k_get "$1" '.status.containerStatuses[0].state.waiting | .reason + ": " + .message'; }
says() { prints "$2" why "$1"; }

# --- who may not ------------------------------------------------------------------------
k create secret docker-registry wrong --docker-server=$R --docker-username=user \
	--docker-password=hunter2hunter2 >/dev/null
k create secret docker-registry other --docker-server=r.example \
	--docker-username=user --docker-password=secret >/dev/null
k create secret generic plain --from-literal=a=b >/dev/null
puller none $R/team/a:1 | k create -f - >/dev/null
puller wrong $R/team/a:1 wrong | k create -f - >/dev/null
puller other $R/team/a:1 other | k create -f - >/dev/null
puller absent $R/team/a:1 later | k create -f - >/dev/null
puller plain $R/team/a:1 plain | k create -f - >/dev/null
ok "without credentials it is not pulled" wait_for 30 says none \
	'^(ErrImagePull|ImagePullBackOff): .*(unauthorized|authentication required)'
ok "wrong ones are told" wait_for 30 says wrong \
	"^(ErrImagePull|ImagePullBackOff): .*registry $R refuses the credentials of the imagePullSecrets"
ok "those of another registry" wait_for 30 says other \
	"wants credentials, and the imagePullSecrets have none for it"
ok "a missing secret" wait_for 20 prints \
	'FailedToRetrieveImagePullSecret.*"later": not found' k describe pod absent
ok "one of another type" wait_for 20 prints \
	'"plain": its type is Opaque, not kubernetes.io/dockerconfigjson' \
	k describe pod plain

# --- who may ------------------------------------------------------------------------------
k create secret docker-registry good --docker-server=https://$R/v1/ \
	--docker-username=user --docker-password=secret >/dev/null
puller good $R/team/a:1 good | k create -f - >/dev/null
ok "the right ones pull" wait_for 60 k_ready good
k create secret docker-registry later --docker-server=$R \
	--docker-username=user --docker-password=secret >/dev/null
ok "a secret that comes later does" wait_for 60 k_ready absent
# The old form, and both a wrong and a right one.
printf '{"%s":{"auth":"%s"}}' $R "$(printf user:secret | base64)" >"$E2E/cfg"
k create secret generic old --type=kubernetes.io/dockercfg \
	--from-file=.dockercfg="$E2E/cfg" >/dev/null
puller old $R/team/b:1 wrong | sed 's/{name: wrong}/&, {name: old}/' |
	k create -f - >/dev/null
ok "one after the other is tried; also a dockercfg" wait_for 60 k_ready old
k create serviceaccount puller >/dev/null
k patch serviceaccount puller -p '{"imagePullSecrets":[{"name":"good"}]}' >/dev/null
puller account $R/team/c:1 | sed 's/imagePullSecrets.*/serviceAccountName: puller/' |
	k create -f - >/dev/null
ok "those of its service account" wait_for 60 k_ready account

# --- one that has no certificate, and is on another host -------------------------------------
k create secret docker-registry far --docker-server=$FAR \
	--docker-username=user --docker-password=secret >/dev/null
puller far $FAR/team/a:1 far | k create -f - >/dev/null
ok "plain HTTP is not spoken with others; how it would be is told" wait_for 30 says far \
	"registry $FAR speaks plain HTTP: .*'insecure = true' of it in /etc/containers/registries.conf"
printf '[[registry]]\nlocation = "%s"\ninsecure = true\n' $FAR \
	>/etc/containers/registries.conf
ok "unless it is said so" wait_for 60 k_ready far

tenant_create acme
puller tenant $R/team/a:1 good | sed '/image:/s/image:/imagePullPolicy: Always, &/' |
	kt acme create -f - >/dev/null
tenant() { kt acme get pod tenant -o json | jq -r '.status.containerStatuses[0].state.waiting.message'; }
ok "a tenant has not the others' secrets" wait_for 30 prints \
	"wants credentials" tenant

# --- where they are not ---------------------------------------------------------------------
secret=$(printf user:hunter2hunter2 | base64 -w0)
nowhere() { ! grep -rqsE "hunter2hunter2|$secret" "$STATE" "$LOG" "$RUN"; }
ok "no credentials are on a disk or in a log" nowhere

for p in none wrong other absent plain good old account far; do
	k delete pod $p --wait=false >/dev/null
done
kt acme delete pod tenant --wait=false >/dev/null
ok "they go" wait_for 30 pod_gone good
kill $registry
control_stop
e2e_end
