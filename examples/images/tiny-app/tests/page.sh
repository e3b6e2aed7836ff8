#!/bin/sh
# The page is there and says its version.
page=$(wget -q -O - http://127.0.0.1/) || { echo "nothing answers on port 80"; exit 1; }
version=$(cat /srv/app/version)
case $page in *"<h1>tiny-app $version</h1>"*) echo "version $version" ;; *) echo "the page does not show version $version: $page"; exit 1 ;; esac
