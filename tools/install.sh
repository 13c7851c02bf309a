#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Install what has been built ('make install'): programs, systemd
# units, manual pages (those in Documentation/man, else made from the program's
# own help), shell completions, and the documentation.
set -euo pipefail
cd "$(dirname "$0")/.."
O=${O:-build}
PREFIX=${PREFIX:-/usr/local}
root=${DESTDIR-}$PREFIX
unit=${DESTDIR-}/usr/lib/systemd/system

# The help is laid out by hand already: keep its lines.
man_page() # PROGRAM
{
	printf '.TH %s 8 "" "Arktos" "Arktos"\n' "${1^^}"
	printf '.SH NAME\n%s\n.SH SYNOPSIS AND OPTIONS\n.nf\n' \
		"$1 \\- part of Arktos, container and VM pods on one node"
	"$O/bin/$1" --help | sed 's/\\/\\e/g; s/-/\\-/g; s/^\([.'\'']\)/\\\&\1/'
	printf '.fi\n.SH SEE ALSO\n%s/share/doc/arktos/\n' "$PREFIX"
}

install -d "$root/bin" "$root/share/man/man8" "$root/share/doc/arktos" "$unit"
for program in "$O"/bin/*; do
	name=${program##*/}
	install -m 755 "$program" "$root/bin/"
	case $name in
	arktos-pod | arktos-unpack) ;; # only the agent starts these
	*)
		page=Documentation/man/$name.8
		if [ -e "$page" ]; then
			install -m 644 "$page" "$root/share/man/man8/"
		else
			man_page "$name" >"$root/share/man/man8/$name.8"
		fi
		;;
	esac
done

completion() # SHELL FILE
{
	install -d "$root/share/${2%/*}"
	"$O/bin/arktos-node" completion "$1" >"$root/share/$2"
}
completion bash bash-completion/completions/arktos-node
completion zsh zsh/site-functions/_arktos-node
completion fish fish/vendor_completions.d/arktos-node.fish
install -D -m 755 tools/hold.sh "$root/lib/arktos/hold.sh"
for name in arktos-node arktos-pods arktos-control; do
	sed "s,@PREFIX@,$PREFIX," tools/$name.service >"$unit/$name.service"
done
install -m 644 README.md LICENSE Documentation/*.md "$root/share/doc/arktos/"
