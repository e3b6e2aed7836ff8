#!/bin/sh
# The keeper of a private MariaDB: starts it, starts it again when it dies while
# it is used, stops it when nobody used it for a while or its folder is gone.
#
# usage: keeper.sh HOME SOCKET LINGER PROGRAM [ARGUMENT...]
#   LINGER  half seconds without users before the server is stopped
#
# Locks in HOME, all by flock:
#   keeper.lock  exclusive: the keeper (descriptor 9)
#   users.lock   shared: every user; the keeper tries it exclusively (descriptor 7)
#   server.lock  exclusive: the server, which inherits it (descriptor 8)
home=$1 socket=$2 linger=$3
shift 3
cd / || exit 1
umask 077
exec 7>>"$home/users.lock" 9>>"$home/keeper.lock" || exit 1
# A user that looks whether a keeper is there holds this lock for an instant.
flock -w 1 9 || exit 0
rm -f "$home/stop"
echo $$ >"$home/keeper.pid"
[ -e "$home/server.log" ] && mv -f "$home/server.log" "$home/server.log.1"
server='' seen='' idle=0 failures=0

present() { [ "$home/keeper.lock" -ef "/proc/$$/fd/9" ]; }

# A server whose keeper was killed ends by itself (pdeathsig); one that does not
# is killed, so that two never share the data.
claim() {
	flock -w 20 8 && return
	old=$(cat "$home/data/server.pid" 2>/dev/null)
	if [ -n "$old" ] && tr '\0' '\n' <"/proc/$old/cmdline" 2>/dev/null | grep -Fqx -- "--datadir=$home/data"; then
		kill -9 "$old"
	fi
	flock -w 5 8
}

start() {
	exec 8>>"$home/server.lock" || exit 1
	claim || exit 1
	[ -d "${socket%/*}" ] || mkdir -m 700 "${socket%/*}" || exit 1
	rm -f "$socket" "$home/data/server.pid"
	setpriv --pdeathsig TERM "$@" 7>&- 9>&- >>"$home/server.log" 2>&1 &
	server=$!
	exec 8>&-
	seen=''
}

# finish STATUS: nothing of the server may be left.
finish() {
	rm -f "$socket" "$home/keeper.pid"
	case $socket in "$home"/*) ;; *) rmdir "${socket%/*}" 2>/dev/null ;; esac
	exit "$1"
}

stop() {
	kill "$server" 2>/dev/null
	present && flock -w 20 "$home/server.lock" true 9>&- || kill -9 "$server" 2>/dev/null
	wait "$server"
	finish 0
}

start "$@"
while :; do
	# Waits half a second, or until the server has ended.
	if flock -w 0.5 "$home/server.lock" true 7>&- 9>&-; then
		kill -9 "$server" 2>/dev/null
		wait "$server"
		present || finish 0
		flock -n 7 && finish 0
		[ -n "$seen" ] && failures=0
		failures=$((failures + 1))
		[ "$failures" -ge 3 ] && finish 1
		start "$@"
		continue
	fi
	if ! present; then
		kill -9 "$server"
		wait "$server"
		finish 0
	fi
	# The server writes its pid when its socket is there.
	[ -e "$home/data/server.pid" ] && seen=1
	if [ -n "$seen" ] && ! [ -S "$socket" ]; then
		# Somebody cleaned /tmp: nobody can reach the server any more.
		kill "$server" 2>/dev/null
	fi
	if flock -n 7; then
		idle=$((idle + 1))
		if [ "$idle" -ge "$linger" ] || [ -e "$home/stop" ]; then
			stop
		fi
		flock -u 7
	else
		idle=0
	fi
done
