#!/bin/sh
# Runs in the guest: what this image adds to Debian.
set -eu
cloud-init status --wait >/dev/null || { cloud-init status --long; exit 1; }

cat >/etc/ssh/sshd_config.d/50-image.conf <<'CFG'
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
X11Forwarding no
CFG
sshd -t

update-grub # from here on the boot menu is Debian's own, and follows its kernels
grep -q 'root=UUID=' /boot/grub/grub.cfg || { echo "update-grub did not find the root file system"; exit 1; }
systemctl disable --quiet e2scrub_reap.service # only for LVM, and six seconds of each boot
echo 'Debian 12, built by aibuild' >/etc/motd
