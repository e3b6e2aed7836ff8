# shellcheck shell=bash
# What the demonstrations share: numbered lines with times, the raw log, and an independent look into the clouds.
# The script that reads this has set story, its name; it runs in the repository's root.

stack=examples/stack/stack
aibuild=$PWD/bin/aibuild
mkdir -p .stack
log=$PWD/.stack/$story.log
: >"$log"
begin=$(date +%s.%N)
since=$begin

seconds() { awk -v a="$1" -v b="$(date +%s.%N)" 'BEGIN { printf "%.1f", b - a }'; }
say() { printf '%s\n' "$*"; printf '\n### %s\n' "$*" >>"$log"; }
tell() { printf '%-2s %-88s %6s s\n' "$1" "$2" "$(seconds "$since")" | tee -a "$log"; since=$(date +%s.%N); }
more() { printf '   %s\n' "$*" | tee -a "$log"; }
fail() { printf '%s: %s\n  the raw log is %s\n' "$story" "$1" "$log" >&2; tail -n 15 "$log" | sed 's/^/  | /' >&2; exit 1; }
run() { printf '\n$ %s\n' "$*" >>"$log"; "$@" 2>>"$log" | tee -a "$log"; }

# json FILTER - read JSON from stdin with Python, as jq need not be here.
json() { /usr/bin/python3 -c "import json,sys; d=json.load(sys.stdin); print($1)"; }

# stop - for the end: only CI leaves nothing up.
stop() { [ -z "${CI:-}" ] || "$stack" down --purge >>"$log" 2>&1; }

# in_cloud CLUSTER NAME SHA512 - OpenStack's own client sees exactly one image of the name, with these bytes; prints its id.
in_cloud() {
  local id
  openstack --os-cloud "$1" image list --name "$2" -f json >.stack/list.json 2>>"$log" || fail "openstack image list failed in $1"
  id=$(json "d[0]['ID'] if len(d) == 1 else ''" <.stack/list.json)
  [ -n "$id" ] || fail "$1 does not show exactly one image $2"
  openstack --os-cloud "$1" image save --file .stack/saved.qcow2 "$id" >>"$log" 2>&1 || fail "openstack image save failed in $1"
  [ "$(sha512sum <.stack/saved.qcow2 | cut -d' ' -f1)" = "$3" ] || fail "the bytes in $1 are not those that were tested"
  rm -f .stack/saved.qcow2 .stack/list.json
  echo "$id"
}
