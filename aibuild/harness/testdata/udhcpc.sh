#!/bin/sh
[ "$1" = bound ] || [ "$1" = renew ] || exit 0
ifconfig $interface $ip netmask $subnet
[ -n "$router" ] && route add default gw $router
for d in $dns; do echo nameserver $d; done >/etc/resolv.conf
