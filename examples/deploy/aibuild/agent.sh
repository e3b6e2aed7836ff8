#!/bin/bash
# agent.sh - the container that Jenkins builds on, by SSH, as the user aibuild: nobody else may log in, and nobody by
# password. /dev/kvm is used where it works; without it builds are slow, and work.
set -euo pipefail
install -D -m 600 -o root /run/secrets/agent-host-key /etc/ssh/agent_host_key
install -D -m 644 -o root /run/secrets/agent-key.pub /etc/ssh/agent_authorized_keys
if [ -e /dev/kvm ]; then
  group=$(stat -c %g /dev/kvm)
  getent group "$group" >/dev/null || groupadd --gid "$group" kvm-host
  usermod -aG "$(getent group "$group" | cut -d: -f1)" aibuild
fi
# What every build finds in its environment. The secrets are Jenkins' credentials, and not here.
{
  echo "AIBUILD_SERVER=http://aibuild:9753"
  echo "AIBUILD_WEB_ROOT=/srv/www"
  echo "AIBUILD_WEB_URL=$AIBUILD_WEB_URL"
  echo "AIBUILD_DATA=/var/lib/aibuild"
} >/etc/environment
exec /usr/sbin/sshd -D -e -o HostKey=/etc/ssh/agent_host_key -o AuthorizedKeysFile=/etc/ssh/agent_authorized_keys \
  -o AllowUsers=aibuild -o PasswordAuthentication=no -o KbdInteractiveAuthentication=no -o PermitRootLogin=no -o UsePAM=yes
