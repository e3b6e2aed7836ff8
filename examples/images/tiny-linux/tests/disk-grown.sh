#!/bin/sh
# The root partition ends where the disk ends, and the file system fills it.
root=$(findfs LABEL=tiny-root)
part=${root#/dev/}
disk=${part%3}
number() { cat "/sys/class/block/$1"; }
left=$(($(number "$disk/size") - $(number "$part/start") - $(number "$part/size")))
[ "$left" -le 4096 ] || { echo "$left sectors behind $part are unused"; exit 1; }
have=$(df -k / | awk 'END { print $2 }')
want=$(($(number "$part/size") / 2 * 9 / 10))
[ "$have" -ge "$want" ] || { echo "the file system has $have KiB, less than 90 % of its partition ($want KiB)"; exit 1; }
echo "$have KiB"
