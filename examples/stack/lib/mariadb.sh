# shellcheck shell=bash
# MariaDB on 127.0.0.1 and a unix socket, with the account "aibuild", which may use the database of that name
# and those whose names start with "aibuild_" (for tests), and nothing else. The person who runs the stack
# is the administrator, through the socket and without a password.

mariadb_files() {
  echo "/usr/sbin/mariadbd mariadb-server-core
/usr/share/mysql/mysql_system_tables.sql mariadb-server-core"
}

# A socket's path holds 107 bytes. In a deeper state folder the socket is known by its name relative to
# the data folder alone, and people use TCP.
mariadb_socket() {
  local path=$state/mariadb/socket
  [ ${#path} -le 107 ] && echo "$path" || echo ../socket
}

mariadb_configure() {
  local dir=$state/mariadb password
  mkdir -p -m 700 "$dir"/{,tmp}
  password=$(secret mariadb)
  # Run at each start, before the first connection.
  {
    echo "CREATE DATABASE IF NOT EXISTS aibuild CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;"
    for host in localhost 127.0.0.1; do
      echo "CREATE USER IF NOT EXISTS 'aibuild'@'$host' IDENTIFIED BY '$password';"
      echo "GRANT ALL ON \`aibuild\`.* TO 'aibuild'@'$host';"
      echo "GRANT ALL ON \`aibuild\\_%\`.* TO 'aibuild'@'$host';"
    done
  } >"$dir/init.sql"
  cat >"$dir/my.cnf" <<CONF
[mariadbd]
datadir = $dir/data
socket = $(mariadb_socket)
port = $(port mariadb)
bind-address = 127.0.0.1
skip-name-resolve
init-file = $dir/init.sql
pid-file = $dir/mariadbd.pid
tmpdir = $dir/tmp
secure-file-priv = $dir/tmp
user = $(id -un)
character-set-server = utf8mb4
default-time-zone = +00:00
innodb-buffer-pool-size = 64M
innodb-log-file-size = 32M
skip-log-bin
performance-schema = OFF
CONF
}

# mariadb_tables - what mariadb-install-db feeds to the server. That script wants a program of
# the client's package, and fills in two megabytes of help texts.
mariadb_tables() {
  printf '%s\n' "CREATE DATABASE mysql;" "USE mysql;" "SET @auth_root_socket='$(id -un)';"
  cat /usr/share/mysql/mysql_{system_tables,performance_tables,system_tables_data}.sql
}

mariadb_up() {
  local dir=$state/mariadb
  mariadb_configure
  if ! [ -d "$dir/data" ]; then
    rm -rf "$dir/data.new"
    mkdir "$dir/data.new"
    mariadb_tables | mariadbd --no-defaults --bootstrap --datadir="$dir/data.new" --user="$(id -un)" --tmpdir="$dir/tmp" \
      --innodb-log-file-size=32M --log-warnings=0 >"$state/log/mariadb.log" 2>&1 ||
      fail_with_log mariadb "its tables cannot be made" "correct what the log names and run 'stack up' again"
    mv "$dir/data.new" "$dir/data"
  fi
  launch mariadb -- /usr/sbin/mariadbd --defaults-file="$dir/my.cnf"
}

mariadb_env() {
  say AIBUILD_DSN "aibuild:$(secret mariadb)@tcp(127.0.0.1:$(port mariadb))/aibuild"
  say STACK_MARIADB_ADMIN "$(id -un)"
  say STACK_MARIADB_SOCKET "$(cd "$state/mariadb" && mariadb_socket | sed "s|^\.\./|$state/mariadb/|")"
}
