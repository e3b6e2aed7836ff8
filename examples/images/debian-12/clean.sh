#!/bin/sh
# The last step: takes away what belongs to this machine or to whoever built it.
set -eu
apt-get clean
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/log/journal/* /tmp/* /var/tmp/*
cloud-init clean --logs --seed
rm -rf /etc/ssh/ssh_host_* /root/.ssh /root/.bash_history /home/* /var/lib/systemd/random-seed /var/lib/dbus/machine-id
rm -f /etc/systemd/network/10-cloud-init-* /etc/netplan/50-cloud-init.yaml /var/lib/systemd/timesync/clock /etc/sudoers.d/90-cloud-init-users
if id debian >/dev/null 2>&1; then userdel --remove debian 2>/dev/null || userdel debian; fi
find /var/log -type f -exec truncate -s 0 {} +
: >/etc/machine-id
echo debian >/etc/hostname
sync
fstrim -v / # what was deleted is gone from the disk, too
