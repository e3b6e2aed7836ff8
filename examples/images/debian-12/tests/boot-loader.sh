#!/bin/sh
# aibuild: timeout=2m sudo
# Both ways to boot are on the disk, whichever was used now, and the menu starts the newest kernel.
set -e
disk=/dev/$(lsblk -no PKNAME "$(findmnt -no SOURCE /)")
dd if="$disk" bs=440 count=1 status=none | grep -aq GRUB || { echo "no GRUB in the first sector of $disk"; exit 1; }
[ -s /boot/efi/EFI/BOOT/BOOTX64.EFI ] || { echo "no EFI/BOOT/BOOTX64.EFI"; exit 1; }
newest=$(ls /boot/vmlinuz-* | sort -V | tail -1)
grep -m 1 '^[[:space:]]*linux' /boot/grub/grub.cfg | grep -q "$newest" || { echo "GRUB's first entry is not $newest"; exit 1; }
[ "/boot/vmlinuz-$(uname -r)" = "$newest" ] || { echo "running $(uname -r), newest is $newest"; exit 1; }
case $(uname -r) in *-cloud-amd64) ;; *) echo "not the cloud kernel: $(uname -r)"; exit 1 ;; esac
grep -qw console=ttyS0,115200n8 /proc/cmdline || { echo "no serial console: $(cat /proc/cmdline)"; exit 1; }
if [ -d /sys/firmware/efi ]; then echo "booted by UEFI"; else echo "booted by BIOS"; fi
