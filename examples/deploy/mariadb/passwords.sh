#!/bin/bash
# passwords.sh - run by the image of MariaDB after grants.sql, when the database is new: the accounts get the passwords of
# the secrets db-owner and db-daily. They are on no command line.
set -euo pipefail
for account in owner daily; do
  user=aibuild
  [ "$account" = daily ] || user=aibuild_owner
  password=$(cat "/run/secrets/db-$account")
  case $password in *[\'\\]*) echo "passwords.sh: the secret db-$account must hold neither quotes nor backslashes" >&2; exit 1 ;; esac
  docker_process_sql --database=mysql <<<"ALTER USER $user@'%' IDENTIFIED BY '$password' ACCOUNT UNLOCK;"
done
