# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# The joined half of 'make up': the control plane, the kubeconfigs, this host's
# credentials, and the demo pods through the API. Sourced by tools/up.sh, whose
# say, die, now_ms and node it uses.

api_ready() { admin GET /readyz --timeout 5 >/dev/null; }
admin() { "$ctl" --kubeconfig "$data_dir/admin.kubeconfig" raw "$@"; }
demo() { "$ctl" --kubeconfig "$etc_dir/demo.kubeconfig" raw --timeout 20 "$@"; }
control_runs() { [ -s "$data_dir/admin.kubeconfig" ] && api_ready 2>/dev/null; }

# 1 when it has ended. It may be one that was there before, and is about to.
wait_control() # SECONDS
{
	local end=$(($(now_ms) + $1 * 1000)) why=
	until [ -s "$data_dir/admin.kubeconfig" ] && why=$(api_ready 2>&1); do
		pid_of control >/dev/null || return 1
		[ "$(now_ms)" -lt $end ] ||
			die "the control plane (pid $(pid_of control)) runs," \
				"but does not answer within $1 s: ${why:-no" \
				"kubeconfig yet}. Look at its log; 'make down'" \
				"ends it, and the next 'make up' goes on from" \
				"its state"
		sleep 0.05
	done
}

# What LISTEN says is for a start of ours alone: told, never dropped.
check_listen()
{
	local have
	[ -n "${LISTEN-}" ] || return 0
	grep -qE '^([0-9A-Za-z.-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}$' <<<"$LISTEN" ||
		die "LISTEN=$LISTEN: want ADDRESS:PORT, like 127.0.0.1:6443"
	if has_systemd && is_installed arktos-control; then
		die "arktos-control is installed, LISTEN does not reach it: put" \
			"'ARKTOS_CONTROL_OPTIONS=--listen $LISTEN' into" \
			"/etc/arktos/control.env and restart it"
	fi
	have=$(cat "$data_dir/listen" 2>/dev/null) || return 0
	[ "$have" = "$LISTEN" ] || ! control_runs ||
		die "the control plane serves at $have: 'make down' first, then" \
			"LISTEN=$LISTEN counts"
}

start_control()
{
	local listen
	blame=control
	if control_runs; then
		say "The control plane is running"
		return
	fi
	if pid_of control >/dev/null; then
		say "Waiting for the control plane"
		! wait_control "${ARKTOS_CONTROL_WAIT:-20}" || return 0
	fi
	say "Starting the control plane"
	listen=${LISTEN:-$(cat "$data_dir/listen" 2>/dev/null ||
		echo 127.0.0.1:6443)}
	if has_systemd; then
		start_control_unit --data-dir "$data_dir" --listen "$listen"
	else
		start_process control "$(realpath "$control")" run \
			--data-dir "$data_dir" --listen "$listen"
	fi
	wait_control 60 || die "the control plane has ended"
	echo "$listen" >"$data_dir/listen"
}

put_config() # FILE FROM
{
	if is_there "$1" && ! is_ours "$1"; then
		die "$1 is there, is not of 'make up', and does not lead to" \
			"$(server_here): move it away, or run this host" \
			"without a control plane ('make up STANDALONE=1')"
	fi
	(umask 077 && { echo "$mark" && cat "$2"; } >"$1.new")
	mv -fT "$1.new" "$1"
}

# It leads here, and is still good: certificates end.
config_works() # FILE
{
	leads_here "$1" && "$ctl" --kubeconfig "$1" raw --timeout 10 GET \
		/api/v1/namespaces/default >/dev/null 2>&1
}

make_configs()
{
	local verb=create
	blame=
	install -d -m 755 "$etc_dir"
	config_works "$etc_dir/admin.kubeconfig" ||
		put_config "$etc_dir/admin.kubeconfig" \
			"$data_dir/admin.kubeconfig"
	if admin GET /api/v1/tenants/demo >/dev/null 2>&1; then
		! config_works "$etc_dir/demo.kubeconfig" || return 0
		verb=kubeconfig
	fi
	rm -f "$run_dir/demo.kubeconfig"
	(umask 077 && "$ctl" --kubeconfig "$data_dir/admin.kubeconfig" tenant \
		$verb demo --out "$run_dir/demo.kubeconfig" >/dev/null) ||
		die "no tenant 'demo'"
	config_works "$etc_dir/demo.kubeconfig" ||
		put_config "$etc_dir/demo.kubeconfig" "$run_dir/demo.kubeconfig"
	rm -f "$run_dir/demo.kubeconfig"
}

# Credentials that the API server takes, whatever it then says of the Node.
node_is_known()
{
	local why
	why=$("$ctl" --kubeconfig "$etc_dir/node.kubeconfig" raw --timeout 10 \
		GET "/api/v1/nodes/$(uname -n | tr A-Z a-z)" 2>&1) ||
		grep -q 'not found' <<<"$why"
}

join_node()
{
	local words at=$etc_dir/node.kubeconfig
	# With another LISTEN it is somewhere else now.
	if has_ca_here "$at" && ! leads_here "$at"; then
		sed -i "s,^\( *server: *\).*,\1$(server_here)," "$at"
	fi
	leads_here "$at" && node_is_known && return
	if is_there "$at" && ! has_ca_here "$at"; then
		die "this host is joined to $(field "$at" server) ($at):" \
			"remove that file to leave it, or run 'make up" \
			"STANDALONE=1'"
	fi
	words=$("$ctl" --kubeconfig "$data_dir/admin.kubeconfig" node token) ||
		die "no token to join with"
	read -ra words <<<"$words"
	rm -f "$at" # of this control plane, which does not take it any more
	"$node" "${words[@]:1}" --out "$at" >/dev/null ||
		die "this host cannot join"
}

# --- the demo pods ------------------------------------------------------------

pods=/api/v1/namespaces/default/pods

# There, and not at its end: what has ended or is going makes room first.
create_pod() # POD
{
	local end=$(($(now_ms) + 60000)) state why
	while :; do
		state=$(demo GET $pods/"$1" 2>/dev/null | jq -r \
			'.metadata.deletionTimestamp // .status.phase') || true
		case $state in
		'')
			why=$(demo POST $pods -f "tools/demo/$1.yaml" 2>&1) && {
				echo "pod/$1 created"
				fresh+=" $1"
				return
			}
			;;
		Failed | Succeeded) demo DELETE $pods/"$1" >/dev/null || true ;;
		NoSchedule)
			die "$1 is shut down: 'kubectl --kubeconfig" \
				"$etc_dir/demo.kubeconfig patch pod $1 --type" \
				"merge -p '{\"spec\":{\"virtualMachine\":" \
				"{\"powerSpec\":\"Running\"}}}'' starts it"
			;;
		[0-9]*) ;; # on its way out
		*)
			echo "pod/$1 is there"
			return
			;;
		esac
		[ "$(now_ms)" -lt $end ] || die "pod $1: ${why:-$state}"
		sleep 0.2
	done
}

# phase, readiness and, if nothing has it yet, why not
api_state_of() # POD
{
	demo GET $pods/"$1" 2>/dev/null | jq -r '
		def is($t): [.status.conditions[]? | select(.type == $t)][0];
		[.status.phase // "Pending", (is("Ready").status // "False")] +
		(is("PodScheduled") | if .status == "False"
			then ["(" + .message + ")"] else [] end) | join(" ")'
}
