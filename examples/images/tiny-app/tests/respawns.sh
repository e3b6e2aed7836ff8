#!/bin/sh
# aibuild: timeout=60s isolated
# Without its files the server says 404, and when it is killed it comes back. Isolated: the other cases never see the damage.
rm /srv/app/index.html
if wget -q -O - http://127.0.0.1/index.html; then echo "a removed page is still served"; exit 1; fi
kill -KILL "$(pidof httpd)"
for _ in $(seq 40); do
	if wget -q -O - http://127.0.0.1/version >/dev/null 2>&1; then echo "back"; exit 0; fi
	usleep 250000
done
echo "init did not start the server again within 10 s"
exit 1
