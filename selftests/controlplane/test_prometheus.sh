#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: native
# SECONDS: 180
# The unmodified Prometheus scrapes /metrics over TLS, by a certificate and by a
# token; dashboards' queries find what they ask for; tenants may not scrape, and
# do not grow what is counted. (Debian's has no discovery of Kubernetes' objects.)
. "$(dirname "$0")/kubectl.sh"

prometheus=$deps/prometheus/usr/bin/prometheus
use 1.32 && needs "$prometheus" || finish_tap
prometheus_pid= address=

stop_prometheus()
{
	[ -n "$prometheus_pid" ] && kill "$prometheus_pid" &&
		wait "$prometheus_pid" 2>/dev/null
	stop_all
}
trap stop_prometheus EXIT

write_config()
{
	local server job
	server=$(k config view -o jsonpath='{.clusters[0].cluster.server}')
	k config view --raw -o jsonpath='{.clusters[0].cluster.certificate-authority-data}' | base64 -d >"$dir/ca.pem"
	k config view --raw -o jsonpath='{.users[0].user.client-certificate-data}' | base64 -d >"$dir/cert.pem"
	k config view --raw -o jsonpath='{.users[0].user.client-key-data}' | base64 -d >"$dir/key.pem"
	k create sa scraper >/dev/null
	k create clusterrole scraper --verb=get --non-resource-url=/metrics >/dev/null
	k create clusterrolebinding scraper --clusterrole=scraper --serviceaccount=default:scraper >/dev/null
	k create token scraper >"$dir/token"
	"$O/bin/arktosctl" tenant create acme --out "$dir/acme.kubeconfig" >/dev/null
	as acme create sa scraper >/dev/null
	as acme create clusterrole scraper --verb=get --non-resource-url=/metrics >/dev/null
	as acme create clusterrolebinding scraper --clusterrole=scraper --serviceaccount=default:scraper >/dev/null
	as acme create token scraper >"$dir/acme.token"
	echo "global: {scrape_interval: 1s, scrape_timeout: 1s}"
	echo "scrape_configs:"
	for job in certificate token acme; do
		echo "- job_name: $job"
		echo "  scheme: https"
		echo "  static_configs: [{targets: ['${server#https://}']}]"
		case $job in
		certificate)
			echo "  tls_config: {ca_file: $dir/ca.pem, cert_file: $dir/cert.pem, key_file: $dir/key.pem}"
			;;
		token)
			echo "  tls_config: {ca_file: $dir/ca.pem}"
			echo "  authorization: {credentials_file: $dir/token}"
			;;
		acme)
			echo "  tls_config: {ca_file: $dir/ca.pem}"
			echo "  authorization: {credentials_file: $dir/acme.token}"
			;;
		esac
	done
}

# The value of a query, once there is one: Prometheus scrapes when it does.
ask()
{
	local i out
	for i in $(seq 60); do
		out=$(curl -s --max-time 10 "http://$address/api/v1/query" --data-urlencode "query=$1" |
			jq -r '[.data.result[]?.value[1]] | join(" ")' 2>/dev/null)
		[ -n "$out" ] && [ "${2-}" != "$out" ] && break
		read -rt 0.2 <> <(:) || :
	done
	echo "$out"
}
start_prometheus()
{
	local i
	"$prometheus" --config.file="$dir/prometheus.yml" --log.level=warn \
		--storage.tsdb.path="$dir/tsdb" \
		--web.listen-address=127.0.0.1:0 >"$dir/prometheus.log" 2>&1 &
	prometheus_pid=$!
	for i in $(seq 300); do
		address=$(ss -Hltnp | sed -nE "s/.* (127\.0\.0\.1:[0-9]+) .*pid=$prometheus_pid,.*/\1/p")
		[ -n "$address" ] && curl -sf --max-time 5 "http://$address/-/ready" >/dev/null && return
		read -rt 0.1 <> <(:) || :
	done
	sed 's,^,# ,' "$dir/prometheus.log"
	t scrape "Prometheus starts" '^yes$' 'echo no'
	finish_tap
}

crd() # KIND
{
	local low=${1,,}
	cat <<-EOF
	apiVersion: apiextensions.k8s.io/v1
	kind: CustomResourceDefinition
	metadata: {name: ${low}s.x.example}
	spec:
	  group: x.example
	  scope: Namespaced
	  names: {plural: ${low}s, kind: $1}
	  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]
	EOF
}

scraping()
{
	t scrape "the configuration" 'SUCCESS' '"$deps/prometheus/usr/bin/promtool" check config $dir/prometheus.yml'
	t scrape "with a certificate" '^1$' 'ask "up{job=\"certificate\"} == 1"'
	t scrape "with a token" '^1$' 'ask "up{job=\"token\"} == 1"'
	t scrape "a tenant may not" '^0$' 'ask "up{job=\"acme\"} == 0"'
	t scrape "says why" '403 Forbidden' 'curl -s http://$address/api/v1/targets | jq -r ".data.activeTargets[] | select(.scrapePool==\"acme\") | .lastError"'
	t lint "no complaint but of a name that is Kubernetes'" '^authentication_attempts counter metrics should have "_total" suffix$' 'k get --raw /metrics | "$deps/prometheus/usr/bin/promtool" check metrics'
}

queries()
{
	local one='job="certificate"'
	t query "requests, by Kubernetes' labels" '^[1-9][0-9]*$' 'ask "sum(apiserver_request_total{$one,verb=\"POST\",resource=\"deployments\",group=\"apps\",version=\"v1\",scope=\"resource\",subresource=\"\",component=\"apiserver\",dry_run=\"\",code=\"201\"})"'
	t query "dry runs apart" '^1$' 'k create cm dry --dry-run=server >/dev/null; ask "apiserver_request_total{$one,resource=\"configmaps\",verb=\"POST\",dry_run=\"All\"}"'
	t query "applied" '^[1-9]' 'k create cm ap --dry-run=client -o yaml | kin apply --server-side -f - >/dev/null; ask "apiserver_request_total{$one,resource=\"configmaps\",verb=\"APPLY\"}"'
	t query "errors" '^[1-9]' 'k get cm none 2>/dev/null; ask "apiserver_request_total{$one,resource=\"configmaps\",verb=\"GET\",code=\"404\"}"'
	t query "refusals" '^[1-9]' 'as acme get --raw /api/v1/nodes 2>/dev/null; ask "sum(apiserver_request_total{$one,resource=\"nodes\",verb=\"LIST\",code=\"403\"})"'
	t query "status, by subresource" '^[1-9]' 'ask "sum(apiserver_request_total{$one,resource=\"pods\",subresource=\"status\",verb=\"PATCH\"})"'
	t query "rates" '^[0-9.e+-]+$' 'ask "sum(rate(apiserver_request_total{$one,code=~\"2..\"}[1m]))"'
	t query "p99 of writes" '^0\.[0-9]+|^[0-9.]+$' 'ask "histogram_quantile(0.99, sum by (le) (apiserver_request_duration_seconds_bucket{$one,verb=~\"POST|PUT|PATCH|DELETE\"}))"'
	t query "service level" '^1$' 'ask "sum(apiserver_request_sli_duration_seconds_bucket{$one,le=\"60\"}) / sum(apiserver_request_sli_duration_seconds_count{$one})"'
	t query "watches are long" '^$' 'ask "apiserver_request_sli_duration_seconds_count{verb=\"WATCH\"} > 0" | head -c 0; curl -s "http://$address/api/v1/series?match[]=apiserver_request_sli_duration_seconds_count%7Bverb=%22WATCH%22%7D" | jq -r ".data[]"'
	t query "sizes of answers" '^[1-9]' 'ask "sum(apiserver_response_sizes_count{$one,verb=\"LIST\"})"'
	t query "watches open" '^[1-9]' 'ask "sum(apiserver_longrunning_requests{$one,verb=\"WATCH\",resource=\"pods\"})"'
	t query "events sent" '^[1-9]' 'ask "sum(apiserver_watch_events_total{$one,kind=\"Pod\",group=\"\",version=\"v1\"})"'
	t query "requests under way: this one" '^[1-9]' 'ask "apiserver_current_inflight_requests{$one,request_kind=\"readOnly\"}"'
	t query "objects" '^[1-9]' 'ask "apiserver_storage_objects{$one,resource=\"deployments.apps\"}"'
	t query "the store" '^[1-9][0-9]+$' 'ask "apiserver_storage_size_bytes{$one}"'
	t query "handshakes that failed" '^[1-9]' 'curl -s "https://$(k config view -o jsonpath={.clusters[0].cluster.server} | cut -d/ -f3)/" --tls-max 1.1 2>/dev/null; ask "apiserver_tls_handshake_errors_total{$one} > 0"'
	t query "attempts to be somebody" '^[1-9]' 'k --kubeconfig=/dev/null --insecure-skip-tls-verify --server=$(k config view -o jsonpath={.clusters[0].cluster.server}) --token=none get ns 2>/dev/null; ask "authentication_attempts{$one,result=\"failure\"} > 0"'
	t query "build" '^1$' 'ask "kubernetes_build_info{$one,git_version=~\"v1.32.*\",major=\"1\"}"'
	t query "the process" '^1$' 'ask "process_resident_memory_bytes{$one} > bool 1e6 and process_cpu_seconds_total{$one} > 0 and process_open_fds{$one} < process_max_fds{$one}"'
	t query "up since" '^1$' 'ask "(time() - process_start_time_seconds{$one}) < bool 600"'
	t query "clients" '^[1-9]' 'ask "sum(rest_client_requests_total{$one,method=\"PATCH\",code=\"200\"})"'
	t query "how long they took" '^[1-9]' 'ask "rest_client_request_duration_seconds_count{$one}"'
	t query "queues" '^[1-9]' 'ask "workqueue_adds_total{$one,name=\"controllers\"}"'
	t query "nothing is stuck in them" '^0$' 'ask "workqueue_depth{$one} * 0"'
	t query "time in them" '^[1-9]' 'ask "workqueue_queue_duration_seconds_count{$one} > 0 and workqueue_work_duration_seconds_count{$one} > 0"'
	t query "scheduled" '^[3-9]' 'ask "scheduler_schedule_attempts_total{$one,result=\"scheduled\"} > 2"'
	t tenant "custom types of the system by name" '^[1-9]' 'crd Our | kin create -f - >/dev/null; k get ours >/dev/null 2>&1; ask "apiserver_request_total{$one,resource=\"ours\",group=\"x.example\",verb=\"LIST\"}"'
	t tenant "those of tenants as one" '^[1-9]' 'crd Their | as acme create -f - >/dev/null; as acme get theirs >/dev/null 2>&1; ask "sum(apiserver_request_total{$one,resource=\"customresources\",group=\"\",verb=\"LIST\"})"'
	t tenant "nothing of their names" '^0$' 'k get --raw /metrics | grep -cE "theirs|acme"'
}

start
nodes 2
write_config >"$dir/prometheus.yml"
k create deployment seen --image=x --replicas=3 >/dev/null
k expose deployment seen --port=80 >/dev/null
k rollout status deployment seen --timeout=20s >/dev/null
start_prometheus
v=prometheus-$("$prometheus" --version 2>&1 | sed -nE 's/^prometheus, version ([^ ]+).*/\1/p')
scraping
queries
finish_tap
