#!/bin/bash
# demo.sh - the whole story against real servers, in numbered lines.
#
# Starts examples/stack (MariaDB, two OpenStack clusters, Apache), builds the
# tiny image from its ISO with Packer, and goes on from there. Raw output is in
# .stack/demo.log. Leaves the stack up to look around; with CI set it stops all.
set -euo pipefail
cd "$(dirname "$0")/.."

story=demo
. examples/story.sh
trap stop EXIT

"$stack" up >>"$log" 2>&1 || fail "the servers did not start"
eval "$("$stack" env)"
run "$aibuild" db migrate >/dev/null || fail "the tables were not made"
# The demo's definitions live in a git repository of their own, as an image
# engineer's would: what is not committed is not released.
work=$PWD/.stack/demo-images
rm -rf "$work"; mkdir -p "$work"
cp -a examples/images/common examples/images/tiny-linux examples/images/tiny-broken "$work"
"$work/tiny-linux/source.sh" >>"$log" 2>&1 || fail "the tiny ISO was not made"
git=(git -C "$work" -c user.name=demo -c user.email=demo@example.com -c init.defaultBranch=main)
"${git[@]}" init -q; "${git[@]}" add -A; "${git[@]}" commit -qm "tiny-linux: first version"
commit=$("${git[@]}" rev-parse HEAD)
tell 0 "servers are up: MariaDB, Keystone + Glance twice, Apache; the tiny ISO is made"

v1=$(run "$aibuild" build "$work/tiny-linux") || fail "the build failed"
tell 1 "built tiny-linux from its ISO with Packer: ${v1:0:13}…"

cells=(--cell bios-virtio-nocloud --cell uefi-scsi-configdrive)
run "$aibuild" test "$v1" "${cells[@]}" >/dev/null || fail "the tests failed"
cases=$("$aibuild" image show "$v1" -o json 2>>"$log" | json "d['verdict']['test_case']")
tell 2 "booted and tested in two cells (BIOS and UEFI): $cases passed"

run "$aibuild" publish "$v1" >/dev/null || fail "publishing failed"
show() { "$aibuild" image show "$1" -o json 2>>"$log"; }
url=$(show "$v1" | json "d['artifact']['release_url']")
sha=$(show "$v1" | json "d['sha256']")
[ "$(curl -fsS "$url" | sha256sum | cut -d' ' -f1)" = "$sha" ] || fail "what Apache serves is not what was built"
run "$aibuild" release "$v1" >/dev/null || fail "the release failed"
sha512=$(show "$v1" | json "d['artifact']['sha512']")
for cluster in alpha beta; do glance_id=$(in_cloud "$cluster" tiny-linux "$sha512") || exit 1; done
tell 3 "published, fetched back from Apache, released to alpha and beta: all digests equal"

"${git[@]}" commit -q --allow-empty -m "tiny-linux: second version"
v2=$(run "$aibuild" build "$work/tiny-linux") && run "$aibuild" test "$v2" --cell bios-virtio-nocloud >/dev/null &&
  run "$aibuild" publish "$v2" >/dev/null || fail "the second version was not made"
file=$AIBUILD_WEB_ROOT/images/release/tiny-linux/$v2/tiny-linux.qcow2
flip() { printf "\\$(printf %o $((0x$(od -An -tx1 -j 4096 -N 1 "$file" | tr -d ' ') ^ 1)))" | dd of="$file" bs=1 seek=4096 conv=notrunc status=none; }
chmod u+w "$file"; flip
run "$aibuild" release "$v2" >/dev/null && fail "a damaged image was released" || code=$?
[ "$code" -eq 5 ] || fail "a damaged image ended with $code, not 5"
[ "$(openstack --os-cloud alpha image list --name tiny-linux -f value -c ID 2>>"$log")" != "" ] || fail "the name went missing"
flip; chmod u-w "$file"
tell 4 "one byte of a published image flipped: release refuses (exit 5), the old one stays visible"

broken=$(run "$aibuild" build "$work/tiny-broken") || fail "the broken image did not even build"
run "$aibuild" test "$broken" >/dev/null && fail "a broken image passed" || code=$?
[ "$code" -eq 3 ] || fail "a broken image ended with $code, not 3"
case=$(show "$broken" | json "d['verdict']['test_case']")
serial=$(show "$broken" | json "next((t.get('message','') for t in d['tests'] if t['cell']+'/'+t['case'] == d['verdict']['test_case']), '').strip().splitlines()[0]")
tell 5 "a broken image is stopped at $case:"
printf '   %s\n' "$serial"

"$stack" down glance@beta --signal KILL >>"$log" 2>&1
run "$aibuild" release "$v2" >/dev/null && fail "a dead cluster went unnoticed" || code=$?
states() { show "$v2" | json "' '.join(sorted(t['openstack_cluster']+':'+t['state'] for t in d['releases']))"; }
before=$(states)
"$stack" up >>"$log" 2>&1 || fail "beta did not come back"
run "$aibuild" release "$v2" >/dev/null || fail "the repair failed"
[ "$(states)" = "alpha:visible beta:visible" ] || fail "after the repair: $(states)"
tell 6 "one cluster killed: $before (exit $code); released again, just that one was repaired"

run "$aibuild" rollback tiny-linux --reason "demo: back to the first version" >/dev/null || fail "the rollback failed"
for cluster in alpha beta; do
  now=$(openstack --os-cloud "$cluster" image list --name tiny-linux --long -f json 2>>"$log" | json "len(d)")
  [ "$now" = 1 ] || fail "$cluster shows $now images of the name"
done
tell 7 "rolled back in both clusters, with a reason in the audit"

show "$glance_id" >"$work/../answer.json"
[ "$(json "d['commit']" <"$work/../answer.json")" = "$commit" ] || fail "the Glance id does not lead to its commit"
answer=$(json "'%s, commit %s, from %s, tests %s: %s' % (d['image_name'], d['commit'][:10], d['from_iso'], d['verdict']['test_result'], d['verdict']['test_case'])" <"$work/../answer.json")
tell 8 "a bare Glance id answers:"
printf '   %s -> %s\n' "$glance_id" "$answer"

"$stack" down aibuild >>"$log" 2>&1 || true # of a demonstration before
port=$("$stack" port aibuild)
(umask 077; printf '%s' "$AIBUILD_DSN" >.stack/demo-dsn)
cat >.stack/demo-config.yaml <<CONF
data: $AIBUILD_DATA
database: {dsn_file: $PWD/.stack/demo-dsn}
web: {root: $AIBUILD_WEB_ROOT, url: "$AIBUILD_WEB_URL"}
clouds: $OS_CLIENT_CONFIG_FILE
pages: {public: true}
CONF
"$stack" run aibuild -- "$aibuild" serve --config "$PWD/.stack/demo-config.yaml" --listen "127.0.0.1:$port" >>"$log" 2>&1 || fail "the daemon did not start"
page=http://127.0.0.1:$port/images/$v1
for _ in {1..120}; do curl -fsS "$page" >.stack/page.html 2>>"$log" && break || sleep 0.25; done
for text in "$v1" "$commit" "$glance_id" "$sha"; do grep -q "$text" .stack/page.html || fail "the page $page does not show $text"; done
rm .stack/page.html
tell 9 "the daemon shows it in a browser: commit, source, tests, clusters, Glance ids"
more "$page"

say ""
say "the story is complete after $(seconds "$begin") s; the raw log is .stack/demo.log"
if [ -z "${CI:-}" ]; then
  say "look at it:    $page"
  say "images are served at $AIBUILD_WEB_URL/images/release/"
  say "look around:   eval \"\$(examples/stack/stack env)\"; bin/aibuild image history tiny-linux"
  say "stop it all:   make down"
fi
