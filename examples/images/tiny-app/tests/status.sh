#!/bin/sh
# aibuild: timeout=30s retries=2
# The status names this machine. Retried, as one would with anything that may need a moment after the boot.
status=$(wget -q -O - http://127.0.0.1/cgi-bin/status) || { echo "no status yet"; exit 1; }
case $status in *'"status": "ok"'*"\"host\": \"$(hostname)\""*) echo "$status" ;; *) echo "unexpected: $status"; exit 1 ;; esac
