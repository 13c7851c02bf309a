#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: native
# SECONDS: 60
# 'make install DESTDIR= PREFIX=': what a packager gets. Every program, a page for
# each that people start, every command and option of arktos-node in its page.
set -u
cd "$(dirname "$0")/../.." || exit 1
export O=${O:-build}
dir=$(mktemp -d /tmp/arktos-install.XXXXXX)
trap 'rm -rf "$dir"' EXIT
tests=0 failures=0

ok() # NAME COMMAND...
{
	local name=$1 out
	shift
	tests=$((tests + 1))
	if out=$("$@" 2>&1); then
		echo "ok $tests $name"
	else
		sed 's,^,# ,' <<<"$out"
		echo "not ok $tests $name"
		failures=$((failures + 1))
	fi
}
root=$dir/root prefix=/opt/arktos
man=$root$prefix/share/man/man8
people=(arktos-node arktos-control arktosctl arktos-hollow)

installs()
{
	make -s install O="$O" SAN= DESTDIR="$root" PREFIX=$prefix
}
ok "make install DESTDIR= PREFIX=" installs
nothing_else() { [ "$(cd "$root" && echo ./*)" = "./opt ./usr" ]; }
ok "puts things below PREFIX, and units where systemd looks" nothing_else
programs()
{
	local p
	for p in "${people[@]}" arktos-pod arktos-unpack; do
		[ -x "$root$prefix/bin/$p" ] || { echo "no $p"; return 1; }
	done
}
ok "every program" programs
pages()
{
	local p
	for p in "${people[@]}"; do
		[ -s "$man/$p.8" ] || { echo "no page of $p"; return 1; }
	done
}
ok "a page for each that people start" pages
clean_pages()
{
	local p said
	for p in "${people[@]}"; do
		said=$(MANWIDTH=100 man --warnings=w -l "$man/$p.8" 2>&1 >/dev/null)
		[ -z "$said" ] || { echo "$p: $said"; return 1; }
	done
}
# man-db is on every Debian machine but the smallest.
if command -v man >/dev/null && command -v groff >/dev/null; then
	ok "which man shows without a complaint" clean_pages
fi
options()
{
	local verb option page
	page=$(sed 's/\\-/-/g' "$man/arktos-node.8")
	"$O/bin/arktos-node" --help | sed -n 's/^  \([a-z]*\)  .*/\1/p' >"$dir/verbs"
	[ "$(wc -l <"$dir/verbs")" -ge 20 ] || return
	while read -r verb; do
		grep -qx ".SS $verb" <<<"$page" || { echo "no $verb"; return 1; }
		for option in $("$O/bin/arktos-node" "$verb" --help |
			grep -oE '^ +(-.,)? +--[a-z-]+' | grep -oE -- '--[a-z-]+'); do
			grep -qF -- "$option" <<<"$page" || {
				echo "no $verb $option"
				return 1
			}
		done
	done <"$dir/verbs"
}
ok "every command and option of arktos-node is in its page" options
described()
{
	local verb missing=
	while read -r verb; do
		sed -n '/^\.SH COMMANDS/,/^\.SH OPTIONS/p' "$man/arktos-node.8" |
			grep -qE "^\.(B|BR|BI) \"?(arktos-node )?$verb\b" ||
			missing+=" $verb"
	done < <(grep -vx run "$dir/verbs")
	[ -z "$missing" ] || { echo "not described:$missing"; return 1; }
}
ok "and every command is described" described
units()
{
	local u=$root/usr/lib/systemd/system
	grep -q "^ExecStart=$prefix/bin/arktos-node run" "$u/arktos-node.service" &&
		grep -q '^Delegate=yes' "$u"/arktos-pods.service "$u"/arktos-node.service &&
		! grep -r '@PREFIX@' "$u"
}
ok "units that start it from there, in a delegated cgroup" units
again() { installs && pages; }
ok "installing again is no harm" again
echo "1..$tests"
[ $failures -eq 0 ]
