# shellcheck shell=bash
# The state folder of one stack: its shape, secrets, ports, and the supervisor that owns the processes.
#
#   aibuild-stack           marks the folder as ours; only such a folder is ever purged
#   services                one wanted service on each line: what "status" expects to be up
#   own                     those of them that "run" started
#   ports                   "SERVICE PORT", remembered for good
#   run/SERVICE.pid         "PID START-TIME BOOT-ID", which together name one process
#   log/SERVICE.log         what the service says
#   supervisor/             its pid, log and control socket
#   secrets/                0600, never on a command line

die() {
  echo "stack: $*" >&2
  exit 1
}

# fail_with_log SERVICE WHY NEXT - the end of a start that failed.
fail_with_log() {
  {
    echo "stack: $1: $2"
    if [ -s "$state/log/$1.log" ]; then
      echo "the end of $state/log/$1.log:"
      tail -n 15 "$state/log/$1.log" | sed 's/^/  | /'
    fi
    echo "next: $3"
  } >&2
  exit 1
}

# lock_state - one command at a time; the lock ends with this process. It lies on the folder itself, which
# another command may delete while we wait.
lock_state() {
  until [ "$state" -ef /dev/fd/9 ]; do
    mkdir -p "$state" 2>/dev/null || die "$state cannot be made; give another state folder with --state"
    { exec 9<"$state"; } 2>/dev/null || die "$state cannot be read; give another state folder with --state"
    flock -w 300 9 || die "another stack command has held $state for five minutes; end it first"
  done
}

# open_state - lock the folder and give it its shape. Somebody's files are left alone; only a folder by the name
# .stack, where `make demo` puts its log first, is taken as it is.
open_state() {
  id -un >/dev/null 2>&1 || die "user id $(id -u) has no name in /etc/passwd; MariaDB and sshd do not start without one"
  [[ $state =~ ^[A-Za-z0-9/._+@-]+$ ]] ||
    die "state folder '$state': use a path of letters, digits and . _ - + @ only (Keystone, Apache and sshd quote paths differently), with --state"
  lock_state
  [ -e "$state/aibuild-stack" ] || [ "${state##*/}" = .stack ] || [ -z "$(ls -A "$state")" ] ||
    die "$state is neither empty nor the state folder of a stack; give another one with --state"
  : >>"$state/aibuild-stack"
  mkdir -p "$state"/{run,log,supervisor,secrets,data,www/images/build,www/images/release}
  # Apache's unprivileged account walks through to www and nowhere else.
  chmod 711 "$state"
  chmod 700 "$state"/{run,log,supervisor,secrets,data}
  chmod 755 "$state"/www "$state"/www/images "$state"/www/images/{build,release}
  : >>"$state/services"
}

# alive PID-FILE - does the very process recorded there run? Not one that was given its number
# later, nor after another boot.
alive() {
  local pid start boot stat now
  read -r pid start boot 2>/dev/null <"$1" || return 1
  read -r now </proc/sys/kernel/random/boot_id
  [ "$boot" = "$now" ] || return 1
  read -r stat 2>/dev/null <"/proc/$pid/stat" || return 1
  read -ra stat <<<"${stat##*) }"
  [ "${stat[0]}" != Z ] && [ "${stat[19]}" = "$start" ]
}

# end_with PID - let the supervisor end everything when this process has ended.
end_with() {
  local stat boot file=$state/supervisor/while
  read -r stat 2>/dev/null <"/proc/$1/stat" || die "--while: there is no process $1"
  read -r boot </proc/sys/kernel/random/boot_id
  read -ra stat <<<"${stat##*) }"
  echo "$1 ${stat[19]} $boot" >"$file.new"
  mv "$file.new" "$file"
}

# secret NAME - a random password of 32 hexadecimal digits, made once.
secret() {
  local file=$state/secrets/$1
  if ! [ -s "$file" ]; then
    od -An -N16 -tx1 /dev/urandom | tr -d ' \n' >"$file.new"
    mv "$file.new" "$file"
  fi
  cat "$file"
}

ask() { "$python" -I "$here/lib/supervisor.py" ask "$state" "$@" 9>&-; }

supervised() { alive "$state/supervisor/pid"; }

# end_survivors - services whose supervisor was killed, and which its death has not ended yet.
end_survivors() {
  local file pid i
  for file in "$state"/run/*.pid; do
    [ -e "$file" ] || continue
    for ((i = 0; i < 200; i++)); do
      alive "$file" || break
      read -r pid _ <"$file"
      kill -s "$([ "$i" -lt 150 ] && echo TERM || echo KILL)" "$pid" 2>/dev/null || break
      sleep 0.1
    done
    rm -f "$file"
  done
}

ensure_supervisor() {
  local i
  supervised && return
  end_survivors
  setsid "$python" -I "$here/lib/supervisor.py" run "$state" </dev/null >>"$state/log/supervisor.log" 2>&1 9>&- &
  for ((i = 0; i < 1500; i++)); do
    supervised && return
    sleep 0.02
  done
  fail_with_log supervisor "did not start" "see the log, then run 'stack up' again"
}

await_supervisor_end() {
  local i
  for ((i = 0; i < 1500; i++)); do
    supervised || return 0
    sleep 0.02
  done
  die "the supervisor of $state does not end; see $state/log/supervisor.log"
}

# port SERVICE - as the supervisor has reserved it.
port() { awk -v name="$1" '$1 == name {print $2}' "$state/ports"; }

# answers SERVICE - does it run and take connections?
answers() {
  alive "$state/run/$1.pid" && (exec 5<>"/dev/tcp/127.0.0.1/$(port "$1")") 2>/dev/null
}

# launch SERVICE [SETPRIV-OPTION...] -- PROGRAM... - start it unless it runs, and wait until it listens.
launch() {
  local said
  ! answers "$1" || return 0
  : >>"$state/log/$1.log"
  said=$(ask start "$@" 2>&1) || fail_with_log "$1" "$said" "see above"
  await "$1"
}

await() {
  local said
  said=$("$python" -I "$here/lib/supervisor.py" wait "$state" "$1" 180 2>&1) ||
    fail_with_log "$1" "$said" "correct what the log names and run 'stack up' again"
}

# missing_packages - reads lines "FILE PACKAGE", prints the packages whose file is absent.
missing_packages() {
  local file package
  while read -r file package; do
    [ -e "$file" ] || echo "$package"
  done | sort -u
}

# need_packages KIND... - stop with their names when some are not installed.
need_packages() {
  local kind missing
  missing=$(for kind in "$@"; do "${kind}_files"; done | missing_packages | tr '\n' ' ')
  [ -z "$missing" ] ||
    die "not installed: ${missing% }; run 'make deps', or: apt-get install --no-install-recommends ${missing% }"
}
