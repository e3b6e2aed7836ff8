#!/bin/bash
# disk.sh ROOT.tar OUT.qcow2 makes a disk of the tree that boots on BIOS and UEFI, without loop devices, mounts or grub-install. What it
# sets is only what the first boot needs; the rest is the template's work. Owners are those of the tar: run it as root or under fakeroot.
set -euo pipefail
export LC_ALL=C TZ=UTC PATH=$PATH:/usr/sbin:/sbin
tar=$1 out=$2
. "$(dirname "$0")/../common/grub.sh"
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(stat -c %Y "$tar")}
mib=2048 # the image's virtual size; clouds enlarge it
work=$(mktemp -d -p "$(dirname "$out")")
trap 'rm -rf "$work"' EXIT
root=$work/root raw=$work/disk.raw
mkdir "$root"
tar -C "$root" --numeric-owner -xf "$tar"

printf '%s\n' 'LABEL=debian-root / ext4 errors=remount-ro,discard 0 1' 'LABEL=ESP /boot/efi vfat umask=0077,nofail,x-systemd.device-timeout=5min 0 1' >"$root/etc/fstab"
echo debian >"$root/etc/hostname"
printf '127.0.0.1 localhost\n127.0.1.1 debian\n' >"$root/etc/hosts"
: >"$root/etc/machine-id"
rm -f "$root"/etc/ssh/ssh_host_* "$root/var/lib/dbus/machine-id"
ln -sf ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
for unit in systemd-networkd systemd-resolved; do
	ln -sf "/lib/systemd/system/$unit.service" "$root/etc/systemd/system/multi-user.target.wants/$unit.service"
done
cat >"$root/etc/cloud/cloud.cfg.d/90_image.cfg" <<'CFG'
datasource_list: [ NoCloud, ConfigDrive, OpenStack, None ]
locale: false # C.UTF-8 is built in
CFG
echo LANG=C.UTF-8 >"$root/etc/default/locale"
cat >"$root/etc/default/grub" <<'CFG'
GRUB_TIMEOUT=0
GRUB_DISTRIBUTOR=Debian
GRUB_CMDLINE_LINUX="net.ifnames=0 console=tty0 console=ttyS0,115200n8"
GRUB_TERMINAL="serial console"
GRUB_SERIAL_COMMAND="serial --unit=0 --speed=115200"
GRUB_DISABLE_OS_PROBER=true
CFG

# GRUB reads this until update-grub has run in the guest; its modules are on the root, its cores on partitions of their own.
kernel=$(basename "$(ls "$root"/boot/vmlinuz-*)" | sed 's/vmlinuz-//')
mkdir -p "$root/boot/grub" "$root/boot/efi"
cat >"$root/boot/grub/grub.cfg" <<CFG
linux /boot/vmlinuz-$kernel root=LABEL=debian-root ro net.ifnames=0 console=tty0 console=ttyS0,115200n8
initrd /boot/initrd.img-$kernel
boot
CFG
for platform in i386-pc x86_64-efi; do
	mkdir "$root/boot/grub/$platform"
	cp "$root/usr/lib/grub/$platform"/*.{mod,lst} "$root/boot/grub/$platform/"
done
grub_bios "$work" debian-root 2048 "$root/usr/lib/grub"
grub_esp "$work/esp.img" debian-root 32 44454249 "$root/usr/lib/grub"

truncate -s "${mib}M" "$raw"
printf '%s\n' 'label: gpt' 'start=2048, size=2048, type=21686148-6449-6E6F-744E-656564454649' 'start=4096, size=65536, type=U' \
	'start=69632, type=L' | sfdisk -q "$raw"
mke2fs -q -F -t ext4 -b 4096 -L debian-root -E offset=$((69632 * 512)),lazy_itable_init=0,lazy_journal_init=0 -d "$root" "$raw" \
	$(((mib * 1024 - 34816 - 1024) / 4))
dd if="$work/boot.img" of="$raw" conv=notrunc status=none
dd if="$work/core.img" of="$raw" bs=512 seek=2048 conv=notrunc status=none
dd if="$work/esp.img" of="$raw" bs=512 seek=4096 conv=notrunc,sparse status=none
qemu-img convert -O qcow2 "$raw" "$out"
