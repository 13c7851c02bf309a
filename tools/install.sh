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

as_is() { sed 's/\\/\\e/g; s/-/\\-/g; s/^\([.'\'']\)/\\\&\1/'; }

# The help is laid out by hand already: keep its lines.
man_page() # PROGRAM
{
	printf '.TH %s 8 "" "Arktos" "Arktos"\n' "${1^^}"
	printf '.SH NAME\n%s\n.SH SYNOPSIS AND OPTIONS\n.nf\n' \
		"$1 \\- part of Arktos, container and VM pods on one node"
	"$O/bin/$1" --help | as_is
	printf '.fi\n.SH SEE ALSO\n%s/share/doc/arktos/\n' "$PREFIX"
}

# Our own page, with the options of each command as its help has them.
node_page()
{
	local page=Documentation/man/arktos-node.8 verb
	sed '/^\.SH EXIT STATUS/,$d' "$page"
	echo '.SH OPTIONS'
	"$O/bin/arktos-node" --help | sed -n 's/^  \([a-z]*\)  .*/\1/p' |
		while read -r verb; do
			printf '.SS %s\n.nf\n' "$verb"
			"$O/bin/arktos-node" "$verb" --help | as_is
			echo .fi
		done
	sed -n '/^\.SH EXIT STATUS/,$p' "$page"
}

install -d "$root/bin" "$root/share/man/man8" "$root/share/doc/arktos" "$unit"
for program in "$O"/bin/*; do
	name=${program##*/}
	install -m 755 "$program" "$root/bin/"
	case $name in
	arktos-pod | arktos-unpack) ;; # only the agent starts these
	*)
		if [ "$name" = arktos-node ]; then
			node_page >"$root/share/man/man8/$name.8"
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
install -D -m 644 -t "$root/share/doc/arktos/acceptance" Documentation/acceptance/*.md
