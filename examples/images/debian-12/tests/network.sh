#!/bin/sh
# aibuild: timeout=2m
# Address, route and name server; no promise that there is anything behind them.
set -e
ip -4 route show default | grep -q . || { echo "no default route"; exit 1; }
resolvectl dns | grep -qE '[0-9]+\.[0-9]+' || { echo "no name server: $(resolvectl dns)"; exit 1; }
[ -L /etc/resolv.conf ] || { echo "/etc/resolv.conf is not systemd-resolved's"; exit 1; }
ip -4 -brief address show scope global
