#!/bin/bash
# backup.sh FOLDER - everything of aibuild that cannot be made again: database, published images, configuration, spool.
#
#   AIBUILD_MYSQL   options file for the dump (default /etc/aibuild/backup.cnf): [client] host, user, password
#   AIBUILD_DB      name of the database (aibuild)
#   AIBUILD_WEB_ROOT, AIBUILD_DATA, AIBUILD_ETC    /srv/www, /var/lib/aibuild, /etc/aibuild
#
# Run it as root, from a timer. Each run makes FOLDER/DATE; images that the run before has are hard links to it, so a run
# costs what is new. FOLDER is best on another machine's disk: then give it to rsync or restic from there.
set -euo pipefail
umask 077
to=${1:?usage: backup.sh FOLDER}
mysql=${AIBUILD_MYSQL:-/etc/aibuild/backup.cnf} db=${AIBUILD_DB:-aibuild}
web=${AIBUILD_WEB_ROOT:-/srv/www} data=${AIBUILD_DATA:-/var/lib/aibuild} etc=${AIBUILD_ETC:-/etc/aibuild}
dump=$(command -v mariadb-dump || command -v mysqldump) || { echo "backup.sh: no mariadb-dump: install mariadb-client" >&2; exit 1; }
mkdir -p "$to"
last=$(ls -1 "$to" | grep -E '^[0-9]{8}T[0-9]{6}Z$' | tail -n 1 || true)
now=$(date -u +%Y%m%dT%H%M%SZ)
part=$to/.part-$now
mkdir "$part"
trap 'rm -rf "$part"' EXIT

# One snapshot of the database, without a lock. What images/release tells beside it may be newer, never older.
"$dump" --defaults-extra-file="$mysql" --single-transaction --skip-lock-tables --no-tablespaces "$db" | gzip -n >"$part/database.sql.gz"
# Both areas: images/build has the manifests, and its bytes are those of images/release. Hard links between them stay.
rsync -aH --exclude='.part-*' ${last:+--link-dest="$(cd "$to/$last" && pwd)/"} "$web/images" "$part/"
tar -C "$etc" -cf "$part/etc.tar" .
state=()
for folder in spool journal session-key; do if [ -e "$data/$folder" ]; then state+=("$folder"); fi; done
tar -C "$data" -cf "$part/state.tar" --files-from <(printf '%s\n' "${state[@]}")
mv "$part" "$to/$now"
echo "$to/$now"
