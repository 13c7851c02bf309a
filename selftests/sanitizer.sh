# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What sanitized programs (SAN=) have to say, of whatever process a test starts:
# each writes its report to a file, so none is lost with a daemon's stderr.
# Sourced by run.sh, guest/inside.sh and what tests share (e2e/lib.sh,
# controlplane/kubectl.sh).

# From here on reports go to PREFIX.<pid>; a prefix that run.sh gave stays.
sanitizers_to() # PREFIX
{
	export SANITIZER_LOG=${SANITIZER_LOG:-$1}
	export ASAN_OPTIONS="${ASAN_OPTIONS-}:log_path=$SANITIZER_LOG"
	export TSAN_OPTIONS="${TSAN_OPTIONS-}:log_path=$SANITIZER_LOG"
	export UBSAN_OPTIONS="${UBSAN_OPTIONS-}:print_stacktrace=1"
}

# Print what they said: in their files, and in logs of programs below DIR (one
# that cannot open its file says it on stderr). Fails if there is anything; an empty
# file is of one that was killed together with those that look for its leaks.
sanitizers_silent() # [DIR]
{
	! cat "$SANITIZER_LOG".* 2>/dev/null | grep -a . && { [ $# -eq 0 ] ||
		! grep -rhsE 'runtime error:|(Address|Leak|Thread)Sanitizer' \
			"$1" --include='log' --include='*.log'; }
}

is_sanitized() # PROGRAM
{
	ldd "$1" 2>/dev/null | grep -q 'lib[at]san'
}
