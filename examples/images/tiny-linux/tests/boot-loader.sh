#!/bin/sh
# aibuild: timeout=60s
# Both ways to boot are on the disk, whichever was used now.
set -e
root=$(findfs LABEL=tiny-root)
disk=${root%3}
[ "$(dd if="$disk" bs=1 skip=510 count=2 2>/dev/null | hexdump -v -e '1/1 "%02x"')" = 55aa ] || { echo "no boot signature on $disk"; exit 1; }
dd if="$disk" bs=440 count=1 2>/dev/null | grep -q GRUB || { echo "no GRUB in the first sector of $disk"; exit 1; }
mkdir -p /run/esp
mount -t vfat -o ro "${disk}2" /run/esp
trap 'umount /run/esp' EXIT
[ -s /run/esp/EFI/BOOT/BOOTX64.EFI ] || { echo "no EFI/BOOT/BOOTX64.EFI in ${disk}2"; exit 1; }
if [ -d /sys/firmware/efi ]; then echo "booted by UEFI from $disk"; else echo "booted by BIOS from $disk"; fi
