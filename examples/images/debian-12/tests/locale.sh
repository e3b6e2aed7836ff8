#!/bin/sh
# UTF-8 without a word about missing locales, and UTC.
. /etc/default/locale
export LANG
[ "$(locale charmap 2>&1)" = UTF-8 ] || { echo "the character set is $(locale charmap 2>&1)"; exit 1; }
[ -z "$(locale 2>&1 >/dev/null)" ] || { locale 2>&1 >/dev/null; exit 1; }
[ "$(date +%Z)" = UTC ] || { echo "the time zone is $(date +%Z)"; exit 1; }
