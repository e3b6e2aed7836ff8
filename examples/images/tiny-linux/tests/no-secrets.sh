#!/bin/sh
# Nobody can log in but with the key of the instance, and nothing of the build is left.
if cut -d: -f2 /etc/shadow | grep -vE '^[*!]'; then echo "an account has a password"; exit 1; fi
[ "$(wc -l </root/.ssh/authorized_keys)" -eq 1 ] || { echo "root has other keys than the instance's:"; cat /root/.ssh/authorized_keys; exit 1; }
[ "$(stat -c %a /root/.ssh)" = 700 ] && [ "$(stat -c %a /root/.ssh/authorized_keys)" = 600 ] || { echo "others can read root's keys"; exit 1; }
for left in /root/.ash_history /root/.known_hosts /tmp/script_*; do [ ! -e "$left" ] || { echo "$left is left from the build"; exit 1; }; done
ps | grep -q '[d]ropbear -F -E -s' || { echo "SSH would take passwords"; exit 1; }
