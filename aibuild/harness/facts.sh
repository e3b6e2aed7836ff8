# Prints what the built-in cases ask about, as KEY<TAB>VALUE... lines. It runs in
# any guest that has a POSIX shell and the usual small tools (busybox is enough),
# as root when the login can become root. No secret is printed: of a password
# only whether there is one.
# It is all one function: the shell reads the script itself from standard input.
look() {
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
tab=$(printf '\t')
say() { printf '%s\n' "$1$tab$2${3+$tab}${3-}${4+$tab}${4-}"; }
has() { command -v "$1" >/dev/null; }
age() { # seconds since the file was written, or nothing
	m=$(stat -c %Y "$1" || date -r "$1" +%s) && [ -n "$m" ] && echo $(($(date +%s) - m))
}

say marker aibuild-facts-1
say uid "$(id -u)"
say hostname "$(cat /proc/sys/kernel/hostname)"

if [ -s /etc/machine-id ]; then say machine-id "$(cat /etc/machine-id)" "$(age /etc/machine-id)"; fi
for f in /etc/ssh/ssh_host_*_key /etc/dropbear/*; do
	case $f in */authorized_keys | *.conf) continue ;; esac
	[ -f "$f" ] && [ -s "$f" ] && say host-key "$f" "$(age "$f")"
done

# Root file system: where it is, how large it, its device and the disk are.
mm=$(awk '$5 == "/" { d = $3 } END { print d }' /proc/self/mountinfo)
src=$(awk '$5 == "/" { for (i = 6; i < NF; i++) if ($i == "-") s = $(i + 2) } END { print s }' /proc/self/mountinfo)
sys=/sys/dev/block/$mm
[ -e "$sys" ] || sys=/sys/class/block/${src##*/}
if [ -e "$sys/size" ]; then
	sys=$(readlink -f "$sys")
	disk=$sys; start=0
	if [ -e "$sys/partition" ]; then disk=${sys%/*}; start=$(cat "$sys/start"); fi
	say root "${sys##*/}" "$start $(cat "$sys/size") $(cat "$disk/size")" "$(df -Pk / | awk 'NR == 2 { print $2 }')"
fi
for t in cloud-init growpart; do has $t && say grower $t; done
for f in /etc/systemd/system/*growfs* /etc/repart.d/*.conf /usr/lib/repart.d/*.conf; do [ -e "$f" ] && say grower "$f"; done

awk '$2 == "00000000" { print "route\t" $1 }' /proc/net/route
awk '$1 == "nameserver" { print "nameserver\t" $2 }' /etc/resolv.conf

if [ -d /run/systemd/system ]; then
	say systemd "$(systemctl is-system-running)"
	systemctl list-units --state=failed --plain --no-legend --no-pager | awk '{ print "failed-unit\t" $1 }'
fi
if has cloud-init; then
	say cloud-init "$(cloud-init status --long | tr '\n' ' ')"
	[ -s /run/cloud-init/result.json ] && say cloud-result "$(tr -d '\n\t' </run/cloud-init/result.json)"
fi

awk -F: '{ s = "locked"; if ($2 == "") s = "empty"; else if ($2 !~ /^[!*x]/) s = "hash"; print "password\t" $1 "\t" s "\tpasswd" }' /etc/passwd
[ -r /etc/shadow ] && say shadow readable &&
	awk -F: '{ s = "locked"; if ($2 == "") s = "empty"; else if ($2 !~ /^[!*]/) s = "hash"; print "password\t" $1 "\t" s "\tshadow" }' /etc/shadow

keys() { [ -f "$1" ] && awk -v f="$1" '/^[^#]/ { print "key\t" f "\t" $0 }' "$1"; }
for f in /etc/ssh/authorized_keys/* /etc/ssh/authorized_keys /etc/dropbear/authorized_keys; do keys "$f"; done
awk -F: '$6 != "" { print $6 }' /etc/passwd | sort -u | while read -r home; do
	for f in "$home"/.ssh/authorized_keys "$home"/.ssh/authorized_keys2; do keys "$f"; done
	for f in "$home"/.*_history; do [ -s "$f" ] && say history "$f" "$(wc -c <"$f")"; done
done
# Last, so that nothing that this boot made can seem older than it.
read -r up _ </proc/uptime && say uptime "$up"
say end ok
}
look </dev/null 2>/dev/null
