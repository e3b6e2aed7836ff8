#!/bin/sh
# Asks the GitLab stand-in whether this push is allowed. A push is forced when
# the old commit is not part of the new one's history; only here, where the new
# objects are in quarantine, can git tell.
set -eu
here=$(dirname "$0")
while read -r old new ref; do
	how=plain
	case $old in *[!0]*) case $new in *[!0]*)
		[ -z "$(git rev-list --max-count=1 "$old" "^$new" --)" ] || how=forced ;;
	esac ;; esac
	printf '%s %s %s %s\n' "$old" "$new" "$how" "$ref"
done | curl -q --config "$here/server" --silent --show-error --fail-with-body --data-binary @- \
	--header "Gitlab-Project: $(git config gitlab.fullpath)" --header "Gitlab-User: ${GL_USERNAME:-}" \
	"$(cat "$here/address")pre-receive"
