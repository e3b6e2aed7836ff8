#!/bin/sh
# Runs in the guest, with the content of files/ in /tmp.
set -e
mkdir -p /srv/app/cgi-bin
sed "s/@VERSION@/$APP_VERSION/" /tmp/index.html >/srv/app/index.html
echo "$APP_VERSION" >/srv/app/version
cp /tmp/status.sh /srv/app/cgi-bin/status
chmod 755 /srv/app/cgi-bin/status
echo '::respawn:/bin/httpd -f -p 80 -h /srv/app' >>/etc/inittab
rm /tmp/index.html /tmp/status.sh
