#!/bin/sh
# aibuild: timeout=2m sudo isolated
# A crashed SSH server comes back. Isolated, because it breaks the guest that it runs in.
kill -SEGV "$(systemctl show -P MainPID ssh)" || exit 1
for _ in $(seq 60); do
	sleep 0.5
	if [ "$(systemctl is-active ssh)" = active ] && ss -ltn | grep -q ':22 '; then echo "restarts: $(systemctl show -P NRestarts ssh)"; exit 0; fi
done
systemctl status ssh
exit 1
