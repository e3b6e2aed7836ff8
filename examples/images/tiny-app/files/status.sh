#!/bin/sh
printf 'Content-Type: application/json\r\n\r\n'
printf '{"status": "ok", "version": "%s", "host": "%s", "uptime": %s}\n' "$(cat /srv/app/version)" "$(hostname)" "$(cut -d' ' -f1 /proc/uptime)"
