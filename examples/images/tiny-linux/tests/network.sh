#!/bin/sh
# Address, route and name server came by DHCP.
set -e
route -n | grep -q '^0\.0\.0\.0 ' || { echo "no default route"; exit 1; }
grep -q '^nameserver [0-9]' /etc/resolv.conf || { echo "no name server"; exit 1; }
ping -c 1 -W 5 127.0.0.1 >/dev/null
ifconfig eth0 | grep 'inet addr'
