# case.sh CLOCK SUDO ID FILE NAME=VALUE...: runs one case in the folder of the
# test files. CLOCK is the time to set in seconds, or -; SUDO is sudo or -.
# Standard output carries what the case says, cut in the middle when it is long:
# a case may say gigabytes. Standard error carries "rc N" when it has ended, at
# once, even if something that it left behind still holds its output open.
clock=$1 sudo=$2 id=$3 file=$4
shift 4
dir=${0%/*}
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
root=
[ "$(id -u)" = 0 ] || root="sudo -n"
if [ "$clock" != - ]; then
	$root date -u -s "@$clock" >/dev/null 2>&1 || echo "clock not set" >&2
fi
if [ "$sudo" = - ]; then
	root=
elif [ -n "$root" ] && ! $root true 2>/dev/null; then
	echo "no sudo" >&2
	exit 1
fi
cd "$dir/files" || exit 1
# A session of its own, so that all of the case can be killed. setsid comes first:
# below sudo it might have to fork, and the exit status would be lost.
own=
command -v setsid >/dev/null 2>&1 && own=setsid
limit() {
	head -c "$HEAD"
	tail -c "$TAIL"
}
{
	$own sh -c 'echo $$ >"$0.outer"; exec "$@"' "$dir/$id" \
		$root sh -c 'echo $$ >"$0.inner"; exec env "$@"' "$dir/$id" "$@" "$file" </dev/null 2>&1 3>&-
	echo "rc $?" >&3
} 3>&2 | limit
