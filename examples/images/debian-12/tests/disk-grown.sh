#!/bin/sh
# aibuild: timeout=2m
# The root partition ends where the disk ends, and the file system fills it.
part=$(findmnt -no SOURCE / | sed 's|/dev/||')
disk=$(lsblk -no PKNAME "/dev/$part")
number() { cat "/sys/class/block/$1"; }
left=$(($(number "$disk/size") - $(number "$part/start") - $(number "$part/size")))
[ "$left" -le 4096 ] || { echo "$left sectors behind $part are unused"; exit 1; }
have=$(df -k --output=size / | tail -1)
want=$(($(number "$part/size") / 2 * 9 / 10))
[ "$have" -ge "$want" ] || { echo "the file system has $have KiB, less than 90 % of its partition ($want KiB)"; exit 1; }
echo "$have KiB"
