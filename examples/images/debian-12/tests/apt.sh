#!/bin/sh
# aibuild: timeout=3m sudo
# The package system is whole and knows where security updates come from. Needs no network.
set -e
audit=$(dpkg --audit)
[ -z "$audit" ] || { echo "$audit"; exit 1; }
apt-get check -q
sources=$(find /etc/apt/sources.list /etc/apt/sources.list.d -type f -exec cat {} + 2>/dev/null || true) # one of the two is enough
for suite in bookworm bookworm-security; do
	echo "$sources" | grep -qE "(^deb .*|^Suites:.*)[ /]$suite( |/|$)" || { echo "apt has no source for $suite"; exit 1; }
done
if ls /var/cache/apt/archives/*.deb 2>/dev/null; then echo "packages are left in apt's cache"; exit 1; fi
