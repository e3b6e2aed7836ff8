"""Drives a GitLab with python3-gitlab, which does not know that it is a stand-in.

usage: drive.py URL HOOK_URL FIRST SECOND   (the token is in the environment as TOKEN)

FIRST and SECOND are the commits of the branch main of group/images. Any
difference to what GitLab answers is an AssertionError.
"""

import os
import sys

import gitlab


def refused(call, status, words):
    try:
        call()
    except gitlab.exceptions.GitlabError as error:
        assert error.response_code == status, (error.response_code, error.error_message)
        assert words in str(error.error_message), error.error_message
    else:
        raise AssertionError("%s was not refused" % words)


def project(gl):
    found = gl.projects.get("group/images")
    assert found.id == gl.projects.get(1).id == 1
    assert found.path_with_namespace == "group/images" and found.default_branch == "main"
    refused(lambda: gl.projects.get("group/nothing"), 404, "404 Project Not Found")
    return found


def repository(p, first, second):
    branches = p.branches.list(all=True)
    assert {"main", "feature/x"} <= {b.name for b in branches} and len(branches) == 32, branches
    assert p.branches.get("feature/x").commit["id"] == first
    pages = p.branches.list(as_list=False, per_page=10)
    assert len(list(pages)) == 32 and pages.total == 32, pages.total
    refused(lambda: p.branches.get("nothing"), 404, "404 Branch Not Found")

    tree = p.repository_tree(path="images", ref=second, all=True)
    assert [e["name"] for e in tree] == ["a", "b"] and tree[0]["type"] == "tree" and tree[0]["mode"] == "040000", tree
    before = p.repository_tree(path="images", ref=first, all=True)
    changed = [e["name"] for e in tree if e["id"] not in {b["id"] for b in before}]
    assert changed == ["b"], changed
    by_keyset = p.repository_tree(ref=second, recursive=True, all=True, pagination="keyset", per_page=2)
    assert [e["path"] for e in by_keyset] == ["images", "images/a", "images/b", "images/a/x", "images/b/x", "images/b/y"], by_keyset
    refused(lambda: p.repository_tree(ref="nothing"), 404, "404 Tree Not Found")

    compared = p.repository_compare(first, second)
    assert [c["id"] for c in compared["commits"]] == [second] and not compared["compare_timeout"]
    assert [d["new_path"] for d in compared["diffs"]] == ["images/b/x", "images/b/y"], compared["diffs"]
    refused(lambda: p.repository_compare(first, "nothing"), 404, "404 Ref Not Found")

    assert p.files.raw("images/b/y", ref="main") == b"\x00\xffraw\n"
    refused(lambda: p.files.raw("nothing", ref="main"), 404, "404 File Not Found")


def statuses(p, sha):
    commit = p.commits.get(sha)
    assert commit.id == sha and commit.stats["total"] == 2, commit.stats
    status = {"state": "pending", "ref": "main", "name": "aibuild/b", "target_url": "https://ci.example.org/1"}
    made = commit.statuses.create(status)
    assert made.status == "pending" and made.author["username"] == "root", made
    refused(lambda: commit.statuses.create(status), 400,
            'Cannot transition status via :enqueue from :pending (Reason(s): Status cannot transition via "enqueue")')
    done = commit.statuses.create(dict(status, state="success", description="released"))
    assert done.id == made.id and done.status == "success" and done.finished_at, done
    assert [s.status for s in commit.statuses.list(all=True)] == ["success"]
    again = commit.statuses.create(status)
    assert again.id != made.id, again
    refused(lambda: commit.statuses.create({"state": "done"}), 400, "state does not have a valid value")


def hooks(gl, p, url):
    made = p.hooks.create({"url": url, "token": "secret", "push_events": True, "tag_push_events": True})
    assert made.alert_status == "executable" and made.tag_push_events and not made.job_events, made
    made.url = url + "?edited"
    made.token = "secret"  # GitLab forgets it where the address changes
    made.tag_push_events = False
    made.save()
    found = p.hooks.get(made.id)
    assert found.url.endswith("?edited") and not found.tag_push_events and found.push_events, found
    tested = gl.http_post("/projects/1/hooks/%d/test/push_events" % made.id)
    assert tested == {"message": "201 Created"}, tested
    events = gl.http_list("/projects/1/hooks/%d/events" % made.id)
    assert len(events) == 1 and events[0]["response_status"] == "200", events
    assert events[0]["request_headers"]["X-Gitlab-Token"] == "[REDACTED]", events[0]["request_headers"]
    assert gl.http_post("/projects/1/hooks/%d/events/%d/resend" % (made.id, events[0]["id"])) == {"response_status": 200}
    refused(lambda: p.hooks.create({"url": "nonsense"}), 422, "Invalid url given")
    made.delete()
    assert p.hooks.list(all=True) == []


def protection(p):
    p.protectedbranches.create({"name": "release-*", "push_access_level": gitlab.const.MAINTAINER_ACCESS})
    assert [b.name for b in p.protectedbranches.list(all=True)] == ["main", "release-*"]
    p.protectedbranches.delete("release-*")


def main(url, hook, first, second):
    gl = gitlab.Gitlab(url, private_token=os.environ["TOKEN"])
    gl.auth()
    assert gl.user.username == "root"
    version, revision = gl.version()
    assert version == "19.2.0" and revision, version
    assert gl.http_get("/personal_access_tokens/self")["active"]
    wrong = gitlab.Gitlab(url, private_token="glpat-wrong")
    refused(wrong.auth, 401, "401 Unauthorized")
    bearer = gitlab.Gitlab(url, oauth_token=os.environ["TOKEN"])
    bearer.auth()

    p = project(gl)
    repository(p, first, second)
    statuses(p, second)
    hooks(gl, p, hook)
    protection(p)
    print("done")


main(*sys.argv[1:])
