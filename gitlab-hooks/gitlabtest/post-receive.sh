#!/bin/sh
# Tells the GitLab stand-in which refs this push has moved, and who pushed.
set -eu
here=$(dirname "$0")
while read -r old new ref; do
	printf '%s %s plain %s\n' "$old" "$new" "$ref"
done | curl -q --config "$here/server" --silent --show-error --fail-with-body --data-binary @- \
	--header "Gitlab-Project: $(git config gitlab.fullpath)" --header "Gitlab-User: ${GL_USERNAME:-}" \
	"$(cat "$here/address")post-receive"
