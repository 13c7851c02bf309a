#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Install what has been built ('make install'): programs, the agent's systemd
# unit, manual pages made from the programs' own help, and the documentation.
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
	*) man_page "$name" >"$root/share/man/man8/$name.8" ;;
	esac
done
sed "s,@PREFIX@,$PREFIX," tools/arktos-node.service \
	>"$unit/arktos-node.service"
install -m 644 README.md LICENSE Documentation/*.md "$root/share/doc/arktos/"
