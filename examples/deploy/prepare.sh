#!/bin/bash
# prepare.sh - before `docker-compose up`: make the folders, and in secrets/ beside this file what is random, once; name
# what only you can put there.
#
# Containers read these files, each only those that it needs; nothing secret is in compose.yaml, in an environment or on
# a command line. Run it again, as root, whenever a file was put there.
set -euo pipefail
cd "$(dirname "$0")"
given=$(export -p | grep -E '^declare -x (DATA|WEB_ROOT)=' || true)
. ./.env # as docker-compose does: the environment counts more
eval "$given"
umask 077
root=$(id -u)
[ "$root" = 0 ] || echo "prepare.sh: only root can give files to the users of the containers; run it as root before docker-compose up" >&2
own() { if [ "$root" = 0 ]; then chown "$@"; fi; }

# Users: 999 MariaDB, 1000 Jenkins, 9753 aibuild.
folder() { # OWNER FOLDER
  mkdir -p "$2"
  own "$1:$1" "$2"
  chmod 755 "$2"
}
data=$DATA web=$WEB_ROOT
folder 9753 "$data/aibuild"
folder 9753 "$data/agent"
folder 1000 "$data/jenkins"
folder 9753 "$web/images"

mkdir -p secrets
cd secrets

random() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }
once() { [ -s "$1" ] || printf '%s' "$2" >"$1"; }

for name in db-root db-owner db-daily jenkins-admin hook-secret; do once $name "$(random 20)"; done
once jenkins-token "11$(random 16)" # the form of Jenkins' own api tokens
once dsn-owner "aibuild_owner:$(cat db-owner)@tcp(mariadb:3306)/aibuild"
once dsn "aibuild:$(cat db-daily)@tcp(mariadb:3306)/aibuild"
for key in agent-key agent-host-key; do
  [ -s $key ] || ssh-keygen -q -t ed25519 -N '' -C $key -f $key
done
give() { # OWNER:GROUP MODE FILE...
  local file
  for file in "${@:3}"; do
    [ -e "$file" ] || continue
    own "$1" "$file"
    chmod "$2" "$file"
  done
}
give 999:999 400 db-root db-owner db-daily
give 9753:9753 400 dsn dsn-owner hook-secret gitlab-token
give 1000:9753 440 jenkins-token clouds.yaml
give 1000:1000 400 jenkins-admin agent-key agent-host-key.pub aibuild-token
give 0:0 400 agent-host-key agent-key.pub

missing=0
need() { [ -s "$1" ] || { echo "prepare.sh: secrets/$1 is missing: $2" >&2; missing=1; }; }
need gitlab-token "in GitLab, a project access token with the scope api; put it there when GitLab is up"
need aibuild-token "docker-compose run --rm aibuild token create agents --role recorder --project GROUP/PROJECT > secrets/aibuild-token"
need clouds.yaml "OpenStack's, of a user who may create images in each cluster"
[ "$missing" = 0 ] || echo "prepare.sh: the rest is made. An empty file will do until then: touch it, replace it later, restart what reads it." >&2
