#!/bin/sh
# aibuild: timeout=5m sudo
# systemd and cloud-init have come to their end and are content.
state=$(systemctl is-system-running --wait)
[ "$state" = running ] || { echo "systemd is $state"; systemctl --failed --no-legend; exit 1; }
status=$(cloud-init status --wait --long)
echo "$status" | grep -q '^status: done' || { echo "$status"; exit 1; }
errors=$(python3 -c 'import json; print("\n".join(json.load(open("/run/cloud-init/result.json"))["v1"]["errors"]))')
[ -z "$errors" ] || { echo "$errors"; exit 1; }
cloud-init query platform subplatform 2>/dev/null || true
