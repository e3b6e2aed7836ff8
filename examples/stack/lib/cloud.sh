# shellcheck shell=bash
# One OpenStack cluster: Keystone and Glance as Debian packs them, with SQLite and a file store.
#
#   clouds/NAME/{keystone,glance}/conf.d/*.conf   your own settings, which win (image_size_cap, token expiration ...)
#   clouds/NAME/glance/images                     the store
#   clouds/NAME/glance-endpoint                   the image service's URL in the catalog, when it is not Glance itself
#   clouds/NAME/clouds.yaml                       the cluster's entries; clouds.yaml holds those of all
#
# Only the library packages are used: glance-api and keystone would bring services, accounts and questions.

cloud_files() {
  echo "/usr/lib/python3/dist-packages/glance/cmd/api.py python3-glance
/usr/lib/python3/dist-packages/keystone/server/wsgi.py python3-keystone"
}

cloud_names() { sed -n 's/^glance@//p' "$state/services"; }

keystone_configure() {
  local dir=$1 url=$2 repository key
  mkdir -p "$dir"/{conf.d,policy.d,fernet-keys,credential-keys}
  # A key is 32 random bytes in URL-safe base64; keystone-manage takes two seconds for each repository.
  for repository in fernet-keys credential-keys; do
    for key in 0 1; do
      [ -s "$dir/$repository/$key" ] ||
        head -c 32 /dev/urandom | base64 | tr '+/' '-_' >"$dir/$repository/$key"
    done
  done
  cat >"$dir/keystone.conf" <<CONF
[DEFAULT]
log_file = $dir/keystone.log
public_endpoint = ${url%/v3}
[database]
connection = sqlite:///$dir/keystone.db
[cache]
# One process, so its memory is always right; each call costs half as much.
enabled = true
backend = oslo_cache.dict
[token]
provider = fernet
[fernet_tokens]
key_repository = $dir/fernet-keys
[fernet_receipts]
key_repository = $dir/fernet-keys
[credential]
key_repository = $dir/credential-keys
[identity]
# Cheap hashes: a login in 0.1 s, not 0.5 s. These accounts guard nothing.
password_hash_rounds = 4
max_password_length = 54
[oslo_policy]
policy_dirs = $dir/policy.d
CONF
}

glance_configure() {
  local dir=$1 url=$2 port=$3 password=$4
  mkdir -p "$dir"/{conf.d,policy.d,images,staging,tasks}
  cat >"$dir/glance-api.conf" <<CONF
[DEFAULT]
bind_host = 127.0.0.1
bind_port = $port
# One process for everything: one pid to kill, one writer for SQLite.
workers = 0
log_file = $dir/glance-api.log
enabled_backends = local:file
[database]
connection = sqlite:///$dir/glance.db
[glance_store]
default_backend = local
[local]
filesystem_store_datadir = $dir/images
[os_glance_staging_store]
filesystem_store_datadir = $dir/staging
[os_glance_tasks_store]
filesystem_store_datadir = $dir/tasks
[paste_deploy]
flavor = keystone
config_file = $dir/paste.ini
[keystone_authtoken]
www_authenticate_uri = $url
auth_url = $url
auth_type = password
username = glance
password = $password
project_name = service
user_domain_id = default
project_domain_id = default
[oslo_policy]
policy_dirs = $dir/policy.d
[oslo_concurrency]
lock_path = $dir
CONF
  # The pipeline that glance-common would install, without the filters that nobody uses here.
  cat >"$dir/paste.ini" <<'INI'
[pipeline:glance-api-keystone]
pipeline = healthcheck http_proxy_to_wsgi versionnegotiation authtoken context rootapp
[composite:rootapp]
paste.composite_factory = glance.api:root_app_factory
/: apiversions
/v2: apiv2app
[app:apiversions]
paste.app_factory = glance.api.versions:create_resource
[app:apiv2app]
paste.app_factory = glance.api.v2.router:API.factory
[filter:healthcheck]
paste.filter_factory = oslo_middleware:Healthcheck.factory
[filter:http_proxy_to_wsgi]
paste.filter_factory = oslo_middleware:HTTPProxyToWSGI.factory
[filter:versionnegotiation]
paste.filter_factory = glance.api.middleware.version_negotiation:VersionNegotiationFilter.factory
[filter:context]
paste.filter_factory = glance.api.middleware.context:ContextMiddleware.factory
[filter:authtoken]
paste.filter_factory = keystonemiddleware.auth_token:filter_factory
delay_auth_decision = true
INI
}

# cloud_secrets NAME - the passwords of a cluster as JSON, for the two Python programs.
cloud_secrets() {
  local user separator='{'
  for user in admin aibuild consumer glance appcred; do
    printf '%s"%s": "%s"' "$separator" "$user" "$(secret "$1-$user")"
    separator=', '
  done
  echo '}'
}

cloud_configure() {
  local name=$1 dir=$state/clouds/$1 url
  url=http://127.0.0.1:$(port "keystone@$name")/v3
  mkdir -p -m 700 "$state/clouds" "$dir"
  cloud_secrets "$name" >"$state/secrets/$name.json"
  keystone_configure "$dir/keystone" "$url"
  glance_configure "$dir/glance" "$url" "$(port "glance@$name")" "$(secret "$name-glance")"
}

keystone_up() {
  local name=$1 dir=$state/clouds/$1/keystone
  launch "keystone@$name" -- "$python" -I "$here/lib/identity.py" "$(port "keystone@$name")" "$state/secrets/$name.json" \
    "$dir/keystone.db" --config-file "$dir/keystone.conf" --config-dir "$dir/conf.d"
}

glance_up() {
  local name=$1 dir=$state/clouds/$1/glance
  launch "glance@$name" -- "$python" -I "$here/lib/image.py" "$dir/glance.db" \
    --config-file "$dir/glance-api.conf" --config-dir "$dir/conf.d"
  healthy "glance@$name" /healthcheck
}

# healthy SERVICE PATH - does it answer 200 there, soon?
healthy() {
  local status end=$((SECONDS + 180))
  while [ "$SECONDS" -lt "$end" ]; do
    if { exec 5<>"/dev/tcp/127.0.0.1/$(port "$1")"; } 2>/dev/null; then
      printf 'GET %s HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n' "$2" >&5
      read -r -t 10 -u 5 status || status=
      exec 5>&-
      case $status in *' 200 '*) return ;; esac
    fi
    alive "$state/run/$1.pid" || break
    sleep 0.1
  done
  fail_with_log "$1" "does not answer 200 at $2${status:+ but: $status}" "see also $state/clouds/${1#*@}/${1%@*}"
}

# cloud_up NAME - both servers at once, then the accounts, when they or the catalog's URL are new. Databases
# of a start that did not get so far may have half of their tables: they are made anew.
cloud_up() {
  local name=$1 dir=$state/clouds/$1 glance_pid glance_url
  if ! [ -e "$dir/catalog" ]; then
    ask stop TERM "keystone@$name" "glance@$name"
    rm -f "$dir"/keystone/keystone.db* "$dir"/glance/glance.db*
  fi
  glance_up "$name" & glance_pid=$!
  keystone_up "$name"
  glance_url=$(cat "$dir/glance-endpoint" 2>/dev/null || echo "http://127.0.0.1:$(port "glance@$name")")
  if [ "$(cat "$dir/catalog" 2>/dev/null)" != "$glance_url" ]; then
    "$python" -I "$here/lib/accounts.py" "$name" "http://127.0.0.1:$(port "keystone@$name")/v3" "$glance_url" \
      "$state/secrets/$name.json" "$dir/clouds.yaml" 2>"$dir/accounts.log" ||
      die "accounts of $name: $(tail -n 1 "$dir/accounts.log"); see $dir/accounts.log and $dir/keystone/keystone.log"
    wait "$glance_pid"
    echo "$glance_url" >"$dir/catalog"
  else
    wait "$glance_pid"
  fi
}

# clouds_up NAME... - all at once, then one clouds.yaml for all clusters of this stack.
clouds_up() {
  local name jobs=() job bad=0
  for name in "$@"; do cloud_configure "$name"; done
  for name in "$@"; do
    cloud_up "$name" &
    jobs+=($!)
  done
  for job in "${jobs[@]}"; do wait "$job" || bad=1; done
  [ "$bad" = 0 ] || exit 1
  {
    echo "clouds:"
    for name in $(cloud_names); do
      [ -e "$state/clouds/$name/catalog" ] || continue # its own start has failed
      sed 's/^/  /' "$state/clouds/$name/clouds.yaml"
    done
  } >"$state/clouds.yaml.new"
  mv "$state/clouds.yaml.new" "$state/clouds.yaml"
}

cloud_env() { say OS_CLIENT_CONFIG_FILE "$state/clouds.yaml"; }
