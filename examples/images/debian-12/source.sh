#!/bin/bash
# source.sh [--fresh] makes source/debian-12.qcow2, a bootable Debian 12 from the mirror that apt uses here, and its checksum file. Takes two to four
# minutes and does nothing when the disk is there and made by the same scripts; --fresh makes it anew, with today's packages. Runs as root,
# or as a user who may use user namespaces (packages uidmap and fakeroot).
set -euo pipefail
export LC_ALL=C TZ=UTC PATH=$PATH:/usr/sbin:/sbin
here=$(cd "$(dirname "$0")" && pwd)
out=$here/source
include=linux-image-cloud-amd64,systemd-sysv,systemd-resolved,systemd-timesyncd,udev,dbus,openssh-server,cloud-init,cloud-guest-utils,fdisk
include+=,grub-pc-bin,grub-efi-amd64-bin,grub2-common,iproute2,netbase,ca-certificates,qemu-guest-agent,sudo,e2fsprogs,dosfstools,kmod,procps
include+=,less,tzdata,zstd,curl,vim-tiny
packages='debian-archive-keyring e2fsprogs fdisk grub-common mmdebstrap mtools qemu-utils'
[ "$(id -u)" = 0 ] || packages+=' fakeroot uidmap'

missing=$(for p in $packages; do dpkg-query -W -f '${db:Status-Status}\n' "$p" 2>/dev/null | grep -q '^installed$' || echo "$p"; done)
if [ -n "$missing" ]; then
	echo "source.sh: packages are missing; run: apt-get install --no-install-recommends" $missing >&2
	exit 1
fi
mkdir -p "$out"
exec 9<"$here/source.sh"
flock 9 # two at once would make the same twice

inputs=$(cat "$here/source.sh" "$here/disk.sh" "$here/../common/grub.sh" | sha256sum)
if [ "${1:-}" != --fresh ] && [ "$inputs" = "$(cat "$here/.inputs" 2>/dev/null)" ] &&
	(cd "$out" && sha256sum --status -c debian-12.qcow2.sha256 2>/dev/null); then
	echo "$out/debian-12.qcow2 is up to date" >&2
	exit 0
fi

# The mirrors, suites and components that apt uses for Debian 12 here, and its proxy.
sources=$(apt-get indextargets --format '$(ORIGIN) $(CODENAME) deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $(REPO_URI) $(RELEASE) $(COMPONENT)' \
	'Created-By: Packages' | sed -nE 's/^Debian bookworm[^ ]* //p' | grep ' main$' | sort -u)
if [ -z "$sources" ]; then
	echo "source.sh: apt knows no mirror of Debian 12 (bookworm); add one to /etc/apt/sources.list.d and run: apt-get update" >&2
	exit 1
fi
proxy=()
while IFS= read -r line; do proxy+=(--aptopt="$line"); done < <(apt-config dump Acquire::http::Proxy | grep '"..*"')

work=$(mktemp -d -p "$out" .work.XXXXXX)
trap 'rm -rf "$work"' EXIT
echo "$sources" | mmdebstrap --quiet --variant=minbase --include="$include" --aptopt='APT::Install-Recommends "false"' "${proxy[@]}" \
	--dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
	--dpkgopt='path-exclude=/usr/share/locale/*' bookworm "$work/root.tar" -

as_root=()
[ "$(id -u)" = 0 ] || as_root=(fakeroot)
"${as_root[@]}" bash "$here/disk.sh" "$work/root.tar" "$work/debian-12.qcow2"
rm -f "$here/.inputs"
mv "$work/debian-12.qcow2" "$out/"
(cd "$out" && sha256sum debian-12.qcow2 >debian-12.qcow2.sha256)
echo "$inputs" >"$here/.inputs"
echo "$out/debian-12.qcow2 is made: $(stat -c %s "$out/debian-12.qcow2") bytes" >&2
