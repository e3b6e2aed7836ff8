# Prints what the package managers' own databases say is installed: @MANAGER,
# then its lines, then @end. The databases of dpkg and apk are read themselves, as
# their programs may be gone; that of rpm is no text, so its program is asked. Why
# one cannot be read is said by @failed MANAGER WHY.
# It is all one function: the shell reads the script itself from standard input.
list() {
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export LC_ALL
problem() { echo "@failed $1 $(printf '%s' "$2" | tr '\n\t' '  ' | cut -c1-400)"; }
take() { # MANAGER FILE FIRST-FIELD SED-SCRIPT
	echo "@$1"
	why=$(sed -n "$4" "$2" 2>&1 >&5) || { problem "$1" "$2: $why"; return; }
	[ -s "$2" ] && ! grep -q "^$3:." "$2" && problem "$1" "$2 names no package"
	echo
}

echo @aibuild-packages-1
# Images without a dpkg of their own have one file per package in status.d.
for f in /var/lib/dpkg/status /var/lib/dpkg/status.d/*; do
	case $f in *.md5sums) continue ;; esac
	[ -e "$f" ] && take dpkg "$f" Package '/^Package:/p;/^Status:/p;/^Architecture:/p;/^Version:/p;/^[[:space:]]*$/p'
done
for f in /lib/apk/db/installed /usr/lib/apk/db/installed; do
	[ -e "$f" ] && take apk "$f" P '/^[PVA]:/p;/^[[:space:]]*$/p' && break # one may be a link to the other's folder
done
db=
for f in /var/lib/rpm/* /usr/lib/sysimage/rpm/* /usr/share/rpm/*; do
	case ${f##*/} in Packages | Packages.db | rpmdb.sqlite) db=$f ;; esac
done
if [ -n "$db" ]; then
	echo @rpm
	if has=$(command -v rpm); then
		why=$("$has" -qa --qf '%{NAME}\t%|EPOCH?{%{EPOCH}:}|%{VERSION}-%{RELEASE}\t%{ARCH}\n' 2>&1 >&5)
		rc=$?
		if [ $rc != 0 ] || [ -n "$why" ]; then problem rpm "rpm -qa ended with $rc: $why"; fi
	else
		problem rpm "there is $db, but no program rpm to read it"
	fi
fi
echo @end
}
list </dev/null 5>&1 2>/dev/null
