#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: native
# SECONDS: 300
# A VM that boots from a disk image (qcow2: SeaBIOS, loader, ext4 root) and is
# told by its NoCloud seed who it is, whom to let in, and what to do: seen from
# inside. Each pod writes to a disk of its own.
. "$(dirname "$0")/lib.sh"
key='ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGFya3Rvcw0KAAAAAAAAAAAAAAAAAAAA me@here'

disk_manifest() # NAME MORE-OF-THE-MACHINE
{
	vm_manifest "$1" 1 192Mi | sed 's/image: vm/image: disk/'
	sed 's,^,    ,' <<<"$2"
}
image_disk()
{
	tools/mkimage/mkimage.sh disk >/dev/null &&
		node image import "$BUILD/images/vm.qcow2" --name disk
}
guest() { node exec "$1" -- /bin/sh -c "$2"; }
answers_in() { guest "$1" true; }
said() { prints "$2" guest "$1" "cat /told"; }
boot_id() { guest a 'cat /proc/sys/kernel/random/boot_id'; }
rebooted() { local id; id=$(boot_id) && [ -n "$id" ] && [ "$id" != "$before" ]; }
qemu_of() # POD
{
	local p
	for p in $(our_processes); do
		grep -q qemu-system "/proc/$p/comm" && tr '\0' ' ' \
			<"/proc/$p/cmdline" | grep -qF "$(pod "$1" \
			.metadata.uid)" && echo "$p"
	done
}
reach() { fetch "http://$(pod a .status.podIP)/cgi-bin/info"; }

ok "the agent starts" agent_start --restart-backoff 100ms
ok "a disk image is imported" image_disk
data=$(base64 -w 0 <<'END'
#!/bin/sh
echo "user data on $(hostname)" >>/told
END
)
ok "a VM with user data and a key" eval 'disk_manifest a "publicKey: $key
userData: $data" | apply'
ok "and one with a script" eval 'disk_manifest b \
	"cloudInitUserDataScript: echo a script on \$(hostname) >>/told" | apply'
ok "the first has booted" wait_for 90 answers_in a
ok "from its disk" prints '^/dev/vda2 / ext4 rw' guest a \
	"grep ' / ext4' /proc/mounts"
ok "is called as its pod" prints '^a$' guest a hostname
ok "has done what its user data say" wait_for 20 said a '^user data on a$'
ok "lets the key in, and nobody else" prints "^$key\$" guest a \
	'cat /root/.ssh/authorized_keys'
ok "keeps it from others" prints '^-rw-------' guest a \
	'ls -l /root/.ssh/authorized_keys'
ok "is reached at the address it was told" wait_for 20 prints '^host a' reach
ok "the second has booted" wait_for 90 answers_in b
ok "and done its own" wait_for 20 said b '^a script on b$'
ok "with no key" guest b '! [ -s /root/.ssh/authorized_keys ]'

ok "what the first writes" guest a 'echo mine >/kept && sync'
ok "the second does not see" guest b '! [ -e /kept ]'
ok "a snapshot of disk and memory" prints '^pod/a took snapshot s1, [0-9]+ ms$' \
	node snapshot a --name s1
ok "is told" prints '^ +s1 +[0-9]+Mi' node describe a
ok "what is written later" guest a 'echo later >/kept && sync'
ok "is gone when the VM has gone back" node restore a --snapshot s1
ok "its file is as it was" wait_for 30 prints '^mine$' guest a 'cat /kept'
ok "what is not there is not gone back to" prints "has no snapshot 's2'" \
	eval '! node restore a --snapshot s2'
before=$(boot_id)
ok "a reboot" node reboot a
ok "boots anew" wait_for 90 rebooted
ok "what was written is there" prints '^mine$' guest a 'cat /kept'
ok "user data are for the first boot only" prints '^1$' guest a 'wc -l </told'
before=$(boot_id)
kill -9 "$(qemu_of a)"
ok "after its QEMU was killed it boots again" wait_for 90 rebooted
ok "from the same disk" prints '^mine$' guest a 'cat /kept'
ok "as the same instance" prints '^1$' guest a 'wc -l </told'
ok "memory grows in place" node resize a --memory 320Mi --timeout 60s
ok "and is seen inside" eval '[ "$(vm_mib a)" -ge 270 ]'
note_bpf
ok "both are deleted" eval 'node delete a && node delete b'
ok "and gone" wait_for 30 eval 'pod_gone a && pod_gone b'
ok "with their disks" [ -z "$(find "$STATE/pods" -name '*.qcow2')" ]
e2e_end
