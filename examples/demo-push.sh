#!/bin/bash
# demo-push.sh - from git push to OpenStack and back to the commit, against real servers, in numbered lines.
#
# MariaDB, two OpenStack clusters, Apache, git, Packer, QEMU and aibuild are real. Jenkins and GitLab cannot be had as
# Debian packages: bin/aibuild-standins speaks for them, with real repositories, and with executors that run the job's
# Groovy and aibuild's shared library. Raw output is in .stack/demo-push.log. Leaves all of it up to look around, daemon
# included; with CI set it stops all.
set -euo pipefail
cd "$(dirname "$0")/.."
story=demo-push
. examples/story.sh
trap stop EXIT

# ------------------------------------------------------------------- what the steps below are made of
standins=$PWD/bin/aibuild-standins
cluster_names='alpha beta'

# number - how many times this was shown on this stack: each time has a project, a job and an image of its own.
number() { echo $(($(cat .stack/push/number 2>/dev/null || echo 0) + 1)); }

# gitlab PATH [CURL-OPTION...] - GitLab's API about the project. The token is on no command line.
gitlab() { curl -fsS -H @"$dir/header" "$GITLAB/api/v4/projects/${project/\//%2F}/$1" "${@:2}"; }

# wait_for SECONDS WHAT COMMAND... - until the command succeeds.
wait_for() {
  local end=$((SECONDS + $1)) what=$2
  until "${@:3}" >>"$log" 2>&1; do
    [ "$SECONDS" -lt "$end" ] || fail "not within $1 s: $what"
    sleep 0.5
  done
}

# as_service NAME PROGRAM... - beside the servers of the stack, with their end.
as_service() { "$stack" run "$1" -- "${@:2}" >>"$log" 2>&1 || fail "$1 did not start"; }

daemon() {
  as_service aibuild "$aibuild" serve --config "$dir/config.yaml" --listen "127.0.0.1:$port_aibuild"
  wait_for 60 "the daemon is ready" curl -fsS "$AIBUILD/readyz"
}

# push MESSAGE [BRANCH] - commit what was changed and push it; the new commit is in $commit.
push() {
  "${git[@]}" commit -qam "$1"
  "${git[@]}" push -q origin "HEAD:refs/heads/${2:-main}" >>"$log" 2>&1 || fail "git push failed"
  commit=$("${git[@]}" rev-parse HEAD)
}

# runs - all runs of the project, newest first.
runs() { "$aibuild" runs list --limit 100 -o json 2>>"$log" | json "json.dumps([r for r in d if r.get('project') == '$project'])"; }

# of_commit EXPRESSION - about the list d of the runs of $commit.
of_commit() { runs | json "(lambda d: $1)([r for r in d if r['commit'] == '$commit'])"; }
opened() { [ "$(of_commit 'len(d)')" -gt 0 ]; }
ended() { [ "$(of_commit "len(d) > 0 and all(r.get('finished_at') for r in d)")" = True ]; }

# one_run STATE - waits for the end of the one run of $commit; its id is in $id.
one_run() {
  wait_for 600 "the runs of ${commit:0:10} end" ended
  local states
  states=$(of_commit "' '.join(r['image_name'] + ':' + r['state'] for r in d)")
  id=$(of_commit "d[0]['run_id']")
  [ "$states" = "$image:$1" ] || { "$aibuild" runs show "$id" >>"$log" 2>&1 || true; fail "the runs of ${commit:0:10} are $states, not $image:$1"; }
}

# status STATE - waits until GitLab has this status for $commit, and prints its description.
status() {
  local rows
  has_status() { gitlab "repository/commits/$commit/statuses" | json "exit(not any(s['name'] == 'aibuild/$image' and s['status'] == '$1' for s in d))"; }
  wait_for 60 "the commit's status is $1" has_status "$1"
  rows=$(gitlab "repository/commits/$commit/statuses")
  json "[s['description'] for s in d if s['name'] == 'aibuild/$image'][0]" <<<"$rows"
}

posts() { curl -fsS "$JENKINS/stand-in/posts?job=$job" | json "d['posts']"; }
metric() { curl -fsS "$AIBUILD/metrics" | awk -v name="$1" '$1 == name { n = $2 } END { print n + 0 }'; }
handled() { grep -q "event=.*project=$project .*$1" .stack/log/aibuild.log; }

# two_passes - the dispatcher has looked at everything twice since now.
two_passes() {
  local now
  now=$(metric aibuild_dispatcher_passes_total)
  passed() { [ "$(metric aibuild_dispatcher_passes_total)" -ge $(($1 + 2)) ]; }
  wait_for 60 "the dispatcher looks at everything twice" passed "$now"
}

shown() { "$aibuild" image show "$1" -o json 2>>"$log"; }
ids_in_clouds() { for c in $cluster_names; do openstack --os-cloud "$c" image list --name "$image" -f value -c ID 2>>"$log"; done | paste -sd' '; }

# ------------------------------------------------------------------------------------------- 0: servers
"$stack" up >>"$log" 2>&1 || fail "the servers did not start"
for service in aibuild jenkins gitlab; do "$stack" down $service >>"$log" 2>&1 || true; done # of a demonstration before
eval "$("$stack" env)"
n=$(number)
suffix=$([ "$n" = 1 ] || echo "-$n")
dir=$PWD/.stack/push/$n project=ops$suffix/images job=images$suffix/build image=tiny$suffix
rm -rf "$dir"
mkdir -p -m 700 .stack/push "$dir"
echo "$n" >.stack/push/number
examples/images/tiny-linux/source.sh >>"$log" 2>&1 || fail "the tiny ISO was not made"
tell 0 "servers are up: MariaDB, Keystone + Glance twice, Apache; the tiny ISO is made"

# ------------------------------------------------------------- 1: GitLab, Jenkins, the daemon, connected
read -r port_gitlab port_jenkins port_aibuild < <("$stack" port gitlab jenkins aibuild | paste -sd' ')
GITLAB=http://127.0.0.1:$port_gitlab JENKINS=http://127.0.0.1:$port_jenkins AIBUILD=http://127.0.0.1:$port_aibuild
umask 077
secret() { od -An -N20 -tx1 /dev/urandom | tr -d ' \n'; }
secret >"$dir/gitlab-token"; secret >"$dir/jenkins-token"; secret >"$dir/hook-secret"; printf '%s' "$AIBUILD_DSN" >"$dir/dsn"
printf 'PRIVATE-TOKEN: %s\n' "$(cat "$dir/gitlab-token")" >"$dir/header"
printf 'http://root:%s@127.0.0.1:%s\n' "$(cat "$dir/gitlab-token")" "$port_gitlab" >"$dir/credentials"
as_service gitlab "$standins" gitlab --listen "127.0.0.1:$port_gitlab" --home "$dir/gitlab" --token-file "$dir/gitlab-token" \
  --project "$project" --visibility public

# Three images in a repository, as it was before anybody thought of aibuild.
repo=$dir/repo
mkdir -p "$repo/images"
cp -a examples/images/{common,tiny-linux,tiny-broken,debian-12} "$repo/images"
mv "$repo/images/tiny-linux" "$repo/images/$image"
rm -rf "$repo"/images/*/source
for folder in "$image" tiny-broken debian-12; do
  sed -i "s/^name: .*/name: ${folder%"$suffix"}$suffix/" "$repo/images/$folder/aibuild.yaml"
done
sed -i 's/^  matrix: .*/  matrix: {firmware: [bios], disk_bus: [virtio], datasource: [nocloud]}/' "$repo/images/$image/aibuild.yaml"
git=(git -C "$repo" -c user.name=demo -c user.email=demo@example.com -c "credential.helper=store --file=$dir/credentials")
git -c init.defaultBranch=main init -q "$repo"
"${git[@]}" remote add origin "$GITLAB/$project.git"
"${git[@]}" add -A
"${git[@]}" commit -qm "three images"
wait_for 30 "the project is there" gitlab ''
"${git[@]}" push -q origin HEAD:refs/heads/main >>"$log" 2>&1 || fail "the first git push failed"

cat >"$dir/config.yaml" <<CONF
data: $AIBUILD_DATA
database: {dsn_file: $dir/dsn}
web: {root: $AIBUILD_WEB_ROOT, url: "$AIBUILD_WEB_URL"}
clouds: $OS_CLIENT_CONFIG_FILE
public_url: $AIBUILD
gitlab:
  url: $GITLAB
  token_file: $dir/gitlab-token
  secret_files: [$dir/hook-secret]
  projects:
    - path: $project
      job: $job
      release: {refs: [main], clusters: [alpha, beta], visibility: [private]}
jenkins: {url: "$JENKINS", user: admin, token_file: $dir/jenkins-token}
CONF
# What the agents of a real Jenkins have: an environment, and credentials that the shared library binds to the steps that
# need them: a token that may record builds of this project, and the clouds. Nothing of the database.
"$aibuild" db migrate >>"$log" 2>&1 || fail "the tables were not made"
mkdir "$dir/agent"
"$aibuild" token create "demo-recorder$suffix-$RANDOM" --role recorder --project "$project" >"$dir/agent/aibuild-token" 2>>"$log" || fail "no token was made"
cp "$OS_CLIENT_CONFIG_FILE" "$dir/agent/aibuild-clouds"
printf "%s='%s'\n" AIBUILD_BIN "$aibuild" AIBUILD_SERVER "$AIBUILD" AIBUILD_DATA "$AIBUILD_DATA" \
  AIBUILD_WEB_ROOT "$AIBUILD_WEB_ROOT" AIBUILD_WEB_URL "$AIBUILD_WEB_URL" >"$dir/agent.env"
# The stand-in has no Groovy of its own: it runs the job's script, as `aibuild jenkins setup` made it, with the shared
# library under Debian's Groovy, which has the version of Jenkins' own. The ISO is not in git.
cat >"$dir/job.sh" <<JOB
#!/bin/bash
set -eu
unset AIBUILD_DSN OS_CLIENT_CONFIG_FILE
set -a; . "$dir/agent.env"; set +a
export AFTER_CHECKOUT='cp -r "$PWD/examples/images/tiny-linux/source" "\$AIBUILD_IMAGE/"'
parameters=()
for name in RUN_ID PROJECT REF COMMIT IMAGE FROM; do parameters+=(--parameter "AIBUILD_\$name"); done
exec "$PWD/jenkins/test/run" --credentials "$dir/agent" "\${parameters[@]}" "\$PIPELINE_SCRIPT"
JOB
as_service jenkins "$standins" jenkins --listen "127.0.0.1:$port_jenkins" --home "$dir/jenkins" --token-file "$dir/jenkins-token" --user admin \
  --adopt "$dir/job.sh" --clean --unstable-return 3
JENKINS_SETUP_USER=admin JENKINS_SETUP_TOKEN_FILE=$dir/jenkins-token "$aibuild" jenkins setup --config "$dir/config.yaml" >>"$log" 2>&1 ||
  fail "aibuild jenkins setup"
daemon
wait_for 60 "the daemon knows the repository" handled "nothing is built"
"$aibuild" gitlab setup --config "$dir/config.yaml" -o json >"$dir/setup" 2>>"$log" || fail "aibuild gitlab setup: $(cat "$dir/setup")"
hook=$(gitlab hooks | json "d[0]['id']")
[ "$(runs)" = "[]" ] || fail "something is built that nobody pushed"
tell 1 "GitLab and Jenkins (stand-ins) and the daemon are up; aibuild's setups made job and webhook"
more "$(json "[c['found'] for c in d['checks'] if c['check'].startswith('webhook')][0]" <"$dir/setup")"
more "the repository $project held three images before: what was there already is not built"

# --------------------------------------------------------------------------------- 2: a push, one run
file=$repo/images/$image/tiny-linux.json
sed -i "s/built by Packer/built by Packer, pushed once/" "$file"
push "$image: another greeting"
first=$commit
wait_for 60 "the push makes a run" opened
[ "$(of_commit 'len(d)')" = 1 ] || fail "one image was changed, and there are $(of_commit 'len(d)') runs"
id=$(of_commit "d[0]['run_id']")
tell 2 "git push, one of three images changed: exactly one run, $image from ${id:0:13}…"
more "$("$aibuild" runs show "$id" -o json 2>>"$log" | json "d['path'][0]['reason']")"

# ------------------------------------------------------------------------- 3: the real pipeline, its end
one_run success
said=$(status success)
[ "$(posts)" = 1 ] || fail "Jenkins was asked $(posts) times, not once"
v1=$("$aibuild" runs show "$id" -o json 2>>"$log" | json "d['image_uuid']")
sha512=$(shown "$v1" | json "d['artifact']['sha512']")
[ "$(shown "$v1" | json "d['commit']")" = "$first" ] || fail "the image does not lead to its commit"
for cluster in $cluster_names; do in_cloud "$cluster" "$image" "$sha512" >>"$log" || exit 1; done
tell 3 "Jenkins ran it, through the shared library: built, tested, published, released; both clusters hold the tested bytes"
more "commit ${first:0:10} has the status success: $said"

# ------------------------------------------------------------------------------------------ 4: its path
"$aibuild" runs show "$id" >.stack/push/path 2>>"$log" || fail "runs show failed"
cat .stack/push/path >>"$log"
for word in received queued triggering in_jenkins_queue building success; do
  grep -q "$word" .stack/push/path || fail "runs show does not tell that the run was $word"
done
tell 4 "aibuild runs show ${id:0:13}… tells the whole path:"
grep -E '^20[0-9-]{8} ' .stack/push/path | cut -c1-110 | sed 's/^/   /'

# --------------------------------------------------------------------------------- 5: the same push again
before=$(runs | json "len(d)") asked=$(posts) clouds=$(ids_in_clouds)
delivery=$(gitlab "hooks/$hook/events" | json "d[0]['id']")
answer=$(gitlab "hooks/$hook/events/$delivery/resend" -X POST | json "d['response_status']")
[ "$answer" = 202 ] || fail "the push sent again was answered with $answer"
[ "$(metric 'aibuild_hooks_total{answer="duplicate"}')" = 1 ] || fail "the push sent again was not known"
two_passes
[ "$(runs | json "len(d)") $(posts)" = "$before $asked" ] || fail "the push sent again has built something"
tell 5 "GitLab sends the same push again: 202, and nothing is built"

# ------------------------------------------------------------------------------- 6: a test that fails
printf '#!/bin/sh\necho "no printer was found"\nexit 1\n' >"$repo/images/$image/tests/printer.sh"
chmod 755 "$repo/images/$image/tests/printer.sh"
"${git[@]}" add -A
push "$image: a test that cannot pass"
one_run unstable
said=$(status failed)
[[ $said = *bios-virtio-nocloud/printer* ]] || fail "the commit's status does not name the case: $said"
[ "$(ids_in_clouds)" = "$clouds" ] || fail "the clusters have changed"
tell 6 "a push that breaks a test: tested again, not built; the commit's status is failed:"
more "$said"

# --------------------------------------------------------------------- 7: a push while the daemon is away
"$stack" down aibuild >>"$log" 2>&1
rm "$repo/images/$image/tests/printer.sh"
sed -i "s/pushed once/pushed again/" "$file"
push "$image: mended, and a third greeting"
lost() { [ "$(gitlab "hooks/$hook/events" | json "d[0]['response_status']")" = 'internal error' ]; }
wait_for 30 "GitLab does not reach the daemon" lost
daemon
one_run success
said=$(status success)
v2=$("$aibuild" runs show "$id" -o json 2>>"$log" | json "d['image_uuid']")
[ "$v2" != "$v1" ] || fail "nothing was built"
sha512=$(shown "$v2" | json "d['artifact']['sha512']")
for cluster in $cluster_names; do in_cloud "$cluster" "$image" "$sha512" >>"$log" || exit 1; done
clouds=$(ids_in_clouds)
tell 7 "a push while the daemon was down: started again, it built it, into both clusters"

# --------------------------------------------------------------------------------- 8: a feature branch
"${git[@]}" checkout -q -b feature
sed -i "s/pushed again/from a feature branch/" "$file"
push "$image: an idea" feature
one_run success
status success >>"$log"
v3=$("$aibuild" runs show "$id" -o json 2>>"$log" | json "d['image_uuid']")
[ "$(shown "$v3" | json "d['state']")" = passed ] || fail "the branch's image is $(shown "$v3" | json "d['state']")"
[ "$(ids_in_clouds)" = "$clouds" ] || fail "a feature branch was released"
[ "$(posts)" = 4 ] || fail "Jenkins was asked $(posts) times for four pushes"
tell 8 "a push to a feature branch stops after its tests: $image@$(shown "$v3" | json "d['number']") passed, and is in no cluster"

for name in gitlab-token jenkins-token hook-secret agent/aibuild-token; do
  ! grep -qFf "$dir/$name" "$log" .stack/log/*.log || fail "the $name is in a log"
done

say ""
say "the story is complete after $(seconds "$begin") s; the raw log is .stack/demo-push.log"
if [ -z "${CI:-}" ]; then
  say "the daemon is at $AIBUILD (GitLab $GITLAB, Jenkins $JENKINS)"
  say "look around:   eval \"\$(examples/stack/stack env)\"; bin/aibuild runs list"
  say "stop it all:   make down"
fi
