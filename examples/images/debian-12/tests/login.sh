#!/bin/sh
# aibuild: timeout=2m sudo
# Only keys log in; nobody has a password; the user may become root.
set -e
conf=$(sshd -T)
for want in 'passwordauthentication no' 'kbdinteractiveauthentication no' 'permitrootlogin without-password' 'permitemptypasswords no'; do
	echo "$conf" | grep -qx "$want" || { echo "sshd: not '$want' but '$(echo "$conf" | grep "^${want%% *} ")'"; exit 1; }
done
if cut -d: -f1,2 /etc/shadow | grep -vE ':[*!]'; then echo "an account has a password"; exit 1; fi
if [ -s /root/.ssh/authorized_keys ] && grep -v 'no-port-forwarding.*command=' /root/.ssh/authorized_keys; then echo "root has a key that logs in"; exit 1; fi
sudo -n -u debian sudo -n true || { echo "debian cannot become root"; exit 1; }
