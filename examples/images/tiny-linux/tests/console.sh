#!/bin/sh
# What goes wrong has to be seen on the serial console, and nothing has gone wrong yet.
for word in console=ttyS0,115200 root=LABEL=tiny-root; do
	grep -qw -- "$word" /proc/cmdline || { echo "the kernel was started without $word: $(cat /proc/cmdline)"; exit 1; }
done
[ "$(cut -f1 /proc/sys/kernel/printk)" -ge 4 ] || { echo "errors of the kernel do not reach the console"; exit 1; }
if dmesg | grep -E 'BUG:|Oops|Call Trace|I/O error|EXT4-fs error'; then echo "the kernel complains"; exit 1; fi
