#!/bin/sh
# aibuild: timeout=2m
# Somebody keeps the clock.
[ "$(systemctl is-enabled systemd-timesyncd)" = enabled ] && [ "$(systemctl is-active systemd-timesyncd)" = active ] ||
	{ echo "systemd-timesyncd is $(systemctl is-enabled systemd-timesyncd), $(systemctl is-active systemd-timesyncd)"; exit 1; }
[ "$(timedatectl show --property=NTP --value)" = yes ] || { timedatectl; exit 1; }
