#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: native
# SECONDS: 120
# Images made to do harm, by the way any image comes in: each is refused with
# what it tried, leaves nothing in the store or beside it, and disturbs no pod.
. "$(dirname "$0")/lib.sh"

blob() # FOLDER, bytes on stdin: kept by their digest, which is printed with the size
{
	local d
	cat >"$1/new"
	d=$(sha256sum <"$1/new" | cut -d ' ' -f 1)
	mv "$1/new" "$1/$d"
	echo "\"digest\":\"sha256:$d\",\"size\":$(stat -c %s "$1/$d")"
}
image_of() # NAME: an OCI folder with one layer, a tar on stdin
{
	local d=$E2E/$1 b=$E2E/$1/blobs/sha256 diff config layer manifest
	local v=vnd.oci.image
	mkdir -p "$b"
	cat >"$d/tar"
	diff=$(sha256sum <"$d/tar" | cut -d ' ' -f 1)
	layer=$(zstd -q -c "$d/tar" | blob "$b")
	config=$(printf '%s' '{"architecture":"amd64","os":"linux","config":{},
"rootfs":{"type":"layers","diff_ids":["sha256:'"$diff"'"]}}' | blob "$b")
	manifest=$(printf '%s' '{"schemaVersion":2,"mediaType":
"application/'$v'.manifest.v1+json","config":{"mediaType":
"application/'$v'.config.v1+json",'"$config"'},"layers":[{"mediaType":
"application/'$v'.layer.v1.tar+zstd",'"$layer"'}]}' | blob "$b")
	printf '{"imageLayoutVersion":"1.0.0"}' >"$d/oci-layout"
	printf '%s' '{"schemaVersion":2,"manifests":[{"mediaType":
"application/'$v'.manifest.v1+json",'"$manifest"',"annotations":{
"org.opencontainers.image.ref.name":"latest"}}]}' >"$d/index.json"
	rm "$d/tar"
}
import() { node image import "oci:$E2E/$1:latest" --name "$1"; }
refused() # NAME REGEX
{
	prints "$2" eval "! import $1"
}
store() { (cd "$STATE/images" && find . -type f -o -type d | grep -v '/logs\?$' | sort); }
same_store() { diff <(echo "$before") <(store); }

mkdir "$E2E/in"
cd "$E2E/in" || exit 1
echo mine >file
echo good >etc-passwd
tar -c file | image_of plain
tar -cP --transform 's,^,../../../../../../../..'"$E2E"'/out-,' file | image_of dots
tar -c --transform 's,file,a/../../b,' file | image_of inner
ln -s / root-link
{ tar -c root-link; } >"$E2E/a.tar"
tar -rf "$E2E/a.tar" --transform "s,^,root-link$E2E/through-," file
image_of links <"$E2E/a.tar"
mknod disk b 8 0
mknod kmsg c 1 11
tar -c disk kmsg file | image_of devices
truncate -s 600M zeros
tar -c zeros | image_of bomb
truncate -s 1T giant
tar -cS giant | image_of giant
rm zeros giant
image_of noise < <(head -c 100000 /dev/urandom)
cp -a "$E2E/plain" "$E2E/changed"
big=$(find "$E2E/changed/blobs" -type f -size +0 -printf '%s %p\n' | sort -n | sed -n 1p | cut -d ' ' -f 2)
printf 'X' | dd of="$big" bs=1 seek=20 conv=notrunc 2>/dev/null
cp -a "$E2E/plain" "$E2E/cut"
for f in "$E2E"/cut/blobs/sha256/*; do
	head -c 8 "$f" | grep -q '{' || truncate -s 30 "$f"
done
cd - >/dev/null || exit 1

ok "the agent starts" agent_start --restart-backoff 100ms
ok "the image is imported" image_web
ok "a good pod runs" eval 'web_manifest good | apply && wait_for 30 pod_ready good'
ok "an image made like those below is good" import plain
ok "and can go" node image rm plain
before=$(store)
ok "a name that leads out of the layer is refused" refused dots \
	"layer .*(\.\.|leads out|outside)"
ok "wherever the dots are" refused inner "layer .*(\.\.|leads out|outside)"
ok "nothing was written there" eval '! ls "$E2E"/out-* "$E2E"/b 2>/dev/null'
ok "a bomb is refused, with its measure" refused bomb 'more than [0-9]+ times its size: a bomb'
ok "so is a file of 1 TiB that is a hole" refused giant "files of more than the limit of [0-9]+ bytes"
ok "and noise" refused noise 'layer|archive|tar'
ok "and what is not what its digest says" refused changed \
	'digest|sha256|checksum|not what'
ok "and what was cut off" refused cut 'size|digest|sha256|truncated|short|EOF'
ok "none of it is left in the store" same_store
ok "a link to / leads nowhere" eval '
	import links >/dev/null 2>&1; ! ls "$E2E"/through-* 2>/dev/null'
ok "devices of a layer do not come with it" eval 'import devices &&
	[ -z "$(find "$STATE/images" -type b -o -type c ! -name ".wh*")" ]'
for i in links devices; do
	node image rm $i >/dev/null 2>&1
done
ok "and the store is as before" same_store
ok "no pod was disturbed" pod_is good \
	'.status.containerStatuses[0].restartCount' 0
ok "and the next good image is taken" import plain
e2e_end
