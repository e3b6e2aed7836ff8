#!/bin/bash
# source.sh [FOLDER] makes FOLDER/tiny-linux.iso and FOLDER/tiny-linux.iso.sha256 (default FOLDER: source/ beside this script) from
# installed Debian packages and the files here. Needs no root, takes a few seconds, and does nothing when both are up to date. The same
# packages and files give the same bytes.
set -euo pipefail
export LC_ALL=C TZ=UTC SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-1767225600} # 2026-01-01
export PATH=$PATH:/usr/sbin:/sbin
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here/source}
. "$here/../common/grub.sh"
packages='busybox-static cpio dropbear-bin e2fsprogs fdisk grub-common grub-efi-amd64-bin grub-pc-bin isolinux kmod libc6
	linux-image-cloud-amd64 mtools openssh-client syslinux-common util-linux xorriso'
umask 022
mkdir -p "$out"
exec 9<"$here/source.sh"
flock 9 # two at once would make the same twice

missing=$(for p in $packages; do dpkg-query -W -f '${db:Status-Status}\n' "$p" 2>/dev/null | grep -q '^installed$' || echo "$p"; done)
if [ -n "$missing" ]; then
	echo "source.sh: packages are missing; run: apt-get install --no-install-recommends" $missing >&2
	exit 1
fi
kernel=$(dpkg-query -W -f '${Depends}' linux-image-cloud-amd64 | grep -o 'linux-image-[^ ,]*' | sed 's/linux-image-//')
[ -r "/boot/vmlinuz-$kernel" ] || { echo "source.sh: cannot read /boot/vmlinuz-$kernel; reinstall linux-image-$kernel" >&2; exit 1; }

# The ISO carries the list of what it was made from: up to date = made from the same, and whole.
inputs=$(
	dpkg-query -W $packages "linux-image-$kernel"
	echo "SOURCE_DATE_EPOCH $SOURCE_DATE_EPOCH"
	cd "$here" && find source.sh initramfs system ../common -type f -printf '%m ' -exec sha256sum {} \; | sort -k 3
)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if (cd "$out" && sha256sum --status -c tiny-linux.iso.sha256 2>/dev/null) &&
	xorriso -osirrox on -indev "$out/tiny-linux.iso" -extract /made-from "$work/made-from" 2>/dev/null &&
	[ "$inputs" = "$(cat "$work/made-from")" ]; then
	echo "$out/tiny-linux.iso is up to date" >&2
	exit 0
fi
system=$work/system initrd=$work/initrd iso=$work/iso
mkdir -p "$iso/isolinux"

# applets FOLDER: busybox in FOLDER/bin under all its names
applets() {
	mkdir -p "$1/bin"
	cp /usr/bin/busybox "$1/bin/"
	for name in $(/usr/bin/busybox --list); do
		case $name in busybox | mke2fs) ;; *) ln -s busybox "$1/bin/$name" ;; esac # ours is e2fsprogs' mke2fs
	done
}

# program FILE FOLDER: FILE into FOLDER of the system, and the libraries that it loads
program() {
	local lib
	install -D -t "$system/$2" "$(command -v "$1")"
	owner "$(command -v "$1")"
	for lib in $(ldd "$(command -v "$1")" | grep -oE '/[^ ]+'); do
		[ -e "$system/$lib" ] || { install -D "$lib" "$system/$lib"; owner "$lib"; }
	done
}

# owner FILE notes which package a file is from; dpkg knows some of them without /usr, some with it
owner() {
	{ dpkg-query -S "$1" || dpkg-query -S "/usr$1" || dpkg-query -S "${1#/usr}"; } 2>/dev/null | sed 's/: .*//' >>"$work/owners" || true # a file of no package
}

# modules NAME...: the files of kernel modules and of what they need, in the order to load
modules() {
	local m
	for m; do modprobe -S "$kernel" --show-depends "$m"; done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }'
}

# archive FOLDER: FOLDER as cpio for the kernel, the same bytes each time
archive() {
	find "$1" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
	(cd "$1" && find . -print0 | sort -z | cpio --quiet -0 -o -H newc --reproducible -R 0:0) | gzip -n
}

# the initramfs: finds and starts the root, no more; the small it is the faster every boot
applets "$initrd"
mkdir -p "$initrd"/{cd,dev,modules,proc,root,run,sys}
cp "$here/initramfs/init" "$initrd/init"
cp "$here/system/bin/udhcpc.script" "$initrd/bin/"
number=100
for m in $(modules virtio_pci virtio_blk virtio_scsi sd_mod); do
	cp "$m" "$initrd/modules/$((number++))-$(basename "$m")"
done

# the installed system
applets "$system"
mkdir -p "$system"/{boot,dev,etc/ssh,lib,mnt,proc,root/.ssh,run,sbin,sys,tmp,usr,var/lib,var/log}
chmod 700 "$system/root" "$system/root/.ssh"
ln -s ../bin "$system/usr/bin"
ln -s ../sbin "$system/usr/sbin"
ln -s ../bin/busybox "$system/sbin/init"
for p in blkid dropbear dropbearkey sfdisk partx resize2fs mke2fs; do program "$p" sbin; done
program scp bin # Packer uploads its scripts with scp -t
cp -r "$here/system/." "$system/"
chmod 600 "$system/etc/shadow"
for m in $(modules virtio_pci virtio_blk virtio_scsi sd_mod $(cat "$here/system/etc/modules")); do install -m 644 -D -t "$system/$(dirname "$m")" "$m"; done
cp "/lib/modules/$kernel"/modules.{builtin,builtin.modinfo,order} "$system/lib/modules/$kernel/"
depmod -b "$system" "$kernel"
# the packages that all this is from, where dpkg keeps them: tests list them, though there is no dpkg here
mkdir -p "$system/var/lib/dpkg"
dpkg-query -W -f 'Package: ${Package}\nStatus: ${Status}\nArchitecture: ${Architecture}\nVersion: ${Version}\n\n' \
	busybox-static "linux-image-$kernel" $(sort -u "$work/owners") >"$system/var/lib/dpkg/status"

# the installer's extra drivers go into its initramfs too, from where the CD and the network are reached
for m in $(modules virtio_net ata_piix sr_mod isofs virtio-rng); do
	[ -n "$(find "$initrd/modules" -name "*-$(basename "$m")")" ] || cp "$m" "$initrd/modules/$((number++))-$(basename "$m")"
done
archive "$initrd" >"$iso/initrd.gz"

find "$system" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
tar -C "$system" --sort=name --owner=0 --group=0 --numeric-owner --format=gnu -c . | gzip -n >"$iso/system.tgz"
grub_bios "$iso" tiny-root 2048
grub_esp "$iso/esp.img" tiny-root 2 54494e59
cp "/boot/vmlinuz-$kernel" "$iso/vmlinuz"
cp "$here/initramfs/install.sh" "$iso/"
echo "$inputs" >"$iso/made-from"
cp /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 "$iso/isolinux/"
cat >"$iso/isolinux/isolinux.cfg" <<'CFG'
serial 0 115200
default tiny
onerror tiny
prompt 1
timeout 300
label tiny
 kernel /vmlinuz
 append initrd=/initrd.gz tiny.install net.ifnames=0 console=tty0 console=ttyS0,115200 loglevel=6
CFG
find "$iso" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
xorriso -as mkisofs -quiet -o "$work/tiny-linux.iso" -V TINY -r -J -b isolinux/isolinux.bin -c isolinux/boot.cat -no-emul-boot \
	-boot-load-size 4 -boot-info-table "$iso" 2>"$work/xorriso.log" || { cat "$work/xorriso.log" >&2; exit 1; }

cp "$work/tiny-linux.iso" "$out/.tiny-linux.iso"
mv "$out/.tiny-linux.iso" "$out/tiny-linux.iso"
(cd "$out" && sha256sum tiny-linux.iso >tiny-linux.iso.sha256)
echo "$out/tiny-linux.iso is made: $(stat -c %s "$out/tiny-linux.iso") bytes" >&2
