# shellcheck shell=bash
# OpenSSH's sshd on 127.0.0.1, for SFTP alone and with a key alone. The account is the one that runs the stack:
# an sshd without root can serve nobody else. The session sees the whole machine as that
# account does (a chroot wants root); $STACK_SFTP_URL names the folder that Apache serves.

sftp_files() {
  echo "/usr/sbin/sshd openssh-server
/usr/bin/ssh-keygen openssh-client"
}

sftp_configure() {
  local dir=$state/sftp key
  mkdir -p -m 700 "$dir"
  for key in host_key client_key; do
    [ -s "$dir/$key.pub" ] || { rm -f "$dir/$key" && ssh-keygen -q -t ed25519 -N '' -C "aibuild-stack" -f "$dir/$key"; }
  done
  cp "$dir/client_key.pub" "$dir/authorized_keys"
  echo "[127.0.0.1]:$(port sftp) $(cut -d' ' -f1,2 "$dir/host_key.pub")" >"$dir/known_hosts"
  cat >"$dir/sshd_config" <<CONF
Port $(port sftp)
ListenAddress 127.0.0.1
HostKey $dir/host_key
PidFile $dir/sshd.pid
AllowUsers $(id -un)
AuthenticationMethods publickey
PubkeyAuthentication yes
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
AuthorizedKeysFile $dir/authorized_keys
# The folder may lie in a shared temporary one; the file itself is ours.
StrictModes no
UsePAM $(sftp_locked && echo yes || echo no)
UseDNS no
AllowTcpForwarding no
AllowAgentForwarding no
AllowStreamLocalForwarding no
X11Forwarding no
PermitTunnel no
PermitTTY no
PermitUserRC no
PrintMotd no
MaxStartups 100
LogLevel INFO
Subsystem sftp internal-sftp
ForceCommand internal-sftp -u 0022
CONF
}

# sftp_locked - does the account's password start with "!"? Then sshd takes the key only through PAM.
sftp_locked() { getent shadow "$(id -un)" | grep -q '^[^:]*:!'; }

sftp_up() {
  sftp_configure
  # What the package's service would make at boot; sshd as root does not start without it.
  [ "$(id -u)" != 0 ] || mkdir -p -m 755 /run/sshd
  launch sftp -- /usr/sbin/sshd -D -e -f "$state/sftp/sshd_config"
}

sftp_env() {
  say AIBUILD_SFTP_KEY_FILE "$state/sftp/client_key"
  say AIBUILD_SFTP_KNOWN_HOSTS "$state/sftp/known_hosts"
  say STACK_SFTP_URL "sftp://$(id -un)@127.0.0.1:$(port sftp)$state/www"
}
