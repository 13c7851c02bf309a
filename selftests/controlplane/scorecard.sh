#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Add up what the tests of kubectl and other clients said of their behaviours:
#
#	selftests/controlplane/scorecard.sh LOG...	(build/selftests/logs/*)
#
# and print a table in Markdown, a row a verb, a column a client.
set -eu
cat "$@" | sed -nE 's,^# scorecard ([^/]+)/([^ ]+) ([0-9]+)/([0-9]+)$,\1 \2 \3 \4,p' |
awk '
function cell(g, a) { return !a ? "" : g == a ? a : g "/" a }
function sorted(set, v,    n, i, k, t) {
	for (k in set) {
		v[++n] = k
		for (i = n; i > 1 && v[i - 1] > v[i]; i--) {
			t = v[i]; v[i] = v[i - 1]; v[i - 1] = t
		}
	}
	return n
}
$1 != "-" {
	split($1, who, "-")
	good[who[1], $2] += $3; all[who[1], $2] += $4
	good[who[1], "**all**"] += $3; all[who[1], "**all**"] += $4
	clients[who[1]]; verbs[$2]
}
END {
	n = sorted(clients, c); m = sorted(verbs, v); v[++m] = "**all**"
	head = "| |"; line = "|---|"
	for (i = 1; i <= n; i++) {
		head = head " " c[i] " |"; line = line "---|"
	}
	print head; print line
	for (j = 1; j <= m; j++) {
		row = "| " v[j] " |"
		for (i = 1; i <= n; i++)
			row = row " " cell(good[c[i], v[j]], all[c[i], v[j]]) " |"
		print row
	}
}'
