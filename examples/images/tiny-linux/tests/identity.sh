#!/bin/sh
# Host name, machine id and host keys belong to this instance; the image's own are gone.
set -e
[ "$(hostname)" != tiny ] || { echo "the host name is the image's, not the instance's"; exit 1; }
grep -qw "$(hostname)" /etc/hosts || { echo "/etc/hosts does not know $(hostname)"; exit 1; }
grep -qE '^[0-9a-f]{32}$' /etc/machine-id || { echo "no machine id: $(cat /etc/machine-id)"; exit 1; }
[ -s /var/lib/seed/instance-id ] || { echo "no seed was found"; exit 1; }
booted=$(($(date +%s) - $(cut -d. -f1 /proc/uptime)))
for key in /etc/ssh/ssh_host_ed25519_key /etc/ssh/ssh_host_ecdsa_key; do
	[ "$(stat -c %Y "$key")" -ge $((booted - 5)) ] || { echo "$key is older than this boot: it was baked into the image"; exit 1; }
	[ "$(stat -c %a "$key")" = 600 ] || { echo "$key can be read by others"; exit 1; }
done
