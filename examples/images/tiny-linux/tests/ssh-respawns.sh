#!/bin/sh
# aibuild: timeout=60s isolated
# A dead SSH server comes back. Isolated, because it breaks the guest that it runs in.
server=$(ps | awk '/[d]ropbear -F/ { print $1 }' | head -1)
[ -n "$server" ] || { echo "no SSH server runs"; exit 1; }
kill -KILL "$server"
for _ in $(seq 40); do
	usleep 250000
	if netstat -ltn | grep -q ':22 '; then echo "back as $(ps | awk '/[d]ropbear -F/ { print $1 }' | head -1)"; exit 0; fi
done
echo "init did not start SSH again within 10 s"
exit 1
