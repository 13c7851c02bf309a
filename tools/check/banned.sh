#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Calls that are refused everywhere: no bound, no error, or a hidden shell.
set -u
cd "$(dirname "$0")/../.."
banned='strcpy|strcat|sprintf|vsprintf|strtok|atoi|atol|atof|gets|tmpnam|mktemp|system|popen|abort'
if git ls-files '*.c' '*.h' | grep -v '^selftests/' |
	xargs -r grep -nE "(^|[^A-Za-z0-9_>.])($banned)\\(" |
	grep -vE '^\S+:\s*(/?\*|//)'; then
	echo "banned calls above: see tools/check/banned.sh"
	exit 1
fi
if git ls-files '*.c' '*.h' | grep -v '^selftests/' |
	xargs -r grep -nE '\bsleep\('; then
	echo "no sleep(): wait on the event"
	exit 1
fi
