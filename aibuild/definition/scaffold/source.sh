#!/bin/sh
# Fetches Debian's cloud image into source/, checks it against Debian's list, and writes the checksum that aibuild.yaml names.
set -eu
cd "$(dirname "$0")"
url=https://cloud.debian.org/images/cloud/bookworm/latest
image=debian-12-genericcloud-amd64.qcow2
mkdir -p source
cd source
curl -fsSL --proto '=https' -o SHA512SUMS "$url/SHA512SUMS"
curl -fL --proto '=https' -o "$image" "$url/$image"
grep " $image\$" SHA512SUMS | sha512sum -c -
mv "$image" debian-12.qcow2
sha256sum debian-12.qcow2 > SHA256SUMS.new
mv SHA256SUMS.new SHA256SUMS
