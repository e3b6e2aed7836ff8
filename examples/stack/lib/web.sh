# shellcheck shell=bash
# Apache, which serves www/images/build and www/images/release on 127.0.0.1.
#
# It never runs as root: root's stack runs it as www-data. Where www-data cannot walk to the state folder
# (a test's temporary folder, /root), it gets the one capability that lets it, and reads everything in
# www; elsewhere a published file that is not world-readable is refused, as on a real server.

web_files() {
  echo "/usr/sbin/apache2 apache2-bin
/usr/lib/apache2/modules/mod_mpm_event.so apache2-bin"
}

web_configure() {
  local dir=$state/web module
  mkdir -p "$dir"
  {
    for module in mpm_event authz_core mime alias autoindex headers reqtimeout; do
      echo "LoadModule ${module}_module /usr/lib/apache2/modules/mod_$module.so"
    done
    cat <<CONF
Listen 127.0.0.1:$(port web)
ServerName 127.0.0.1
ServerRoot "$dir"
DefaultRuntimeDir "$dir"
PidFile "$dir/apache2.pid"
Mutex pthread default
ErrorLog "$dir/error.log"
LogFormat "%h %t \"%r\" %>s %B %{Range}i" access
CustomLog "$dir/access.log" access
ServerTokens Prod
ServerSignature Off
TraceEnable Off
StartServers 1
ServerLimit 4
ThreadsPerChild 25
MinSpareThreads 1
MaxSpareThreads 100
MaxRequestWorkers 100

DocumentRoot "$state/www"
<Directory "/">
  AllowOverride None
  Require all denied
</Directory>
<Directory "$state/www">
  AllowOverride None
  Options Indexes SymLinksIfOwnerMatch
  Require all granted
</Directory>

# What is being written is nobody's business: neither listed nor served.
IndexOptions FancyIndexing NameWidth=* SuppressDescription
IndexIgnore ".??*" "*.part"
RedirectMatch 404 "/\.[^/]*"
RedirectMatch 404 "\.part(/|\$)"

TypesConfig /dev/null
AddType application/json .json
AddType application/xml .xml
AddType application/x-tar .tar
AddType application/zstd .zst
AddType image/png .png
AddType "text/plain; charset=utf-8" .txt .log
AddType application/octet-stream .qcow2 .raw
<FilesMatch "^SHA(256|512)SUMS\$">
  ForceType "text/plain; charset=utf-8"
</FilesMatch>
<FilesMatch "\.(qcow2|raw)\$">
  ForceType application/octet-stream
</FilesMatch>
Header always set X-Content-Type-Options nosniff
CONF
  } >"$dir/apache2.conf"
}

# web_privileges - setpriv's options, one on each line; none for an ordinary user.
web_privileges() {
  local capability options
  [ "$(id -u)" = 0 ] || return 0
  printf '%s\n' --reuid=www-data --regid=www-data --clear-groups
  # Containers often lack the first and have the second, which can do more. (`test -r` asks access(2), which
  # ignores capabilities.)
  for capability in '' dac_read_search dac_override; do
    options=()
    [ -z "$capability" ] || options=(--inh-caps="+$capability" --ambient-caps="+$capability")
    if setpriv --reuid=www-data --regid=www-data --clear-groups "${options[@]}" ls "$state/www" >/dev/null 2>&1; then
      [ -z "$capability" ] || printf '%s\n' "${options[@]}"
      return
    fi
  done
  die "www-data, as which Apache runs, cannot enter $state/www; give a folder that others may enter with --state"
}

web_up() {
  local privileges
  web_configure
  [ "$(id -u)" != 0 ] || chown -R www-data: "$state/web"
  mapfile -t privileges < <(web_privileges)
  wait $! || exit 1 # web_privileges' own status
  # Apache would not start if any process had the number that a killed one left here.
  answers web || rm -f "$state/web/apache2.pid"
  launch web "${privileges[@]}" -- /usr/sbin/apache2 -f "$state/web/apache2.conf" -DFOREGROUND
}

web_env() {
  say AIBUILD_WEB_ROOT "$state/www"
  say AIBUILD_WEB_URL "http://127.0.0.1:$(port web)"
}
