#!/bin/sh
# The page by IPv6, where the machine has an address of that kind.
address=$(ifconfig eth0 | awk '/Scope:Global/ { sub("/.*", "", $3); print $3; exit }')
[ -n "$address" ] || { echo "no global IPv6 address here"; exit 77; }
wget -q -O /dev/null "http://[$address]/" || { echo "nothing answers on [$address]:80"; exit 1; }
