# kill.sh SUDO ID: ends the case that case.sh started, and all that it started.
dir=${0%/*}
root=
[ "$1" = - ] || [ "$(id -u)" = 0 ] || root="sudo -n"
for f in "$dir/$2.outer" "$dir/$2.inner"; do
	[ -s "$f" ] || continue
	read -r pid <"$f"
	$root kill -9 -- "-$pid" "$pid"
done 2>/dev/null
exit 0
