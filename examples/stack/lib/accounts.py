"""Projects, users and the image service in a cluster's catalog, and its entries for clouds.yaml.

    accounts.py CLUSTER KEYSTONE_URL GLANCE_URL SECRETS CLOUDS_YAML

Repeatable: what is there is left alone, except the image service's URL, which is set to GLANCE_URL,
and the application credential, whose secret Keystone tells nobody later.

    admin     role admin   in project admin     entry CLUSTER-admin
    aibuild   role member  in project images    entries CLUSTER and CLUSTER-appcred
    consumer  role member  in project consumer  entry CLUSTER-consumer
    glance    role admin   in project service   the image service's own account
"""

import json
import os
import sys
import urllib.error
import urllib.request

import yaml

REGION = "RegionOne"
cluster, keystone, glance, secrets_file, clouds_yaml = sys.argv[1:]
with open(secrets_file, encoding="utf-8") as secrets_stream:
    secrets = json.load(secrets_stream)
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback: never through a proxy


class Keystone:
    def __init__(self, user, project):
        default = {"id": "default"}
        self.token = None
        answer, headers = self.call("POST", "/auth/tokens", {"auth": {
            "identity": {"methods": ["password"], "password": {
                "user": {"name": user, "domain": default, "password": secrets[user]}}},
            "scope": {"project": {"name": project, "domain": default}}}})
        self.token, self.user_id = headers["X-Subject-Token"], answer["token"]["user"]["id"]

    def call(self, method, path, body=None):
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["X-Auth-Token"] = self.token
        data = json.dumps(body).encode() if body else None
        request = urllib.request.Request(keystone + path, data, headers, method=method)
        try:
            with opener.open(request, timeout=60) as answer:
                text = answer.read()
                return (json.loads(text) if text else None), answer.headers
        except urllib.error.HTTPError as error:
            sys.exit(f"{method} {path}: {error.code} {error.read(500).decode(errors='replace')}")

    def list(self, kind):
        return self.call("GET", f"/{kind}s")[0][kind + "s"]

    def make(self, kind, body):
        return self.call("POST", f"/{kind}s", {kind: body})[0][kind]


def ensure(admin, kind, *bodies):
    """The ids of the objects of these names, by name, made where they are missing."""
    ids = {found["name"]: found["id"] for found in admin.list(kind)}
    for body in bodies:
        if body["name"] not in ids:
            ids[body["name"]] = admin.make(kind, body)["id"]
    return ids


def accounts(admin):
    members = (("glance", "service", "admin"), ("aibuild", "images", "member"), ("consumer", "consumer", "member"))
    roles = ensure(admin, "role")
    projects = ensure(admin, "project", *({"name": project, "domain_id": "default"} for _, project, _ in members))
    users = ensure(admin, "user", *({"name": user, "domain_id": "default", "password": secrets[user]}
                                    for user, _, _ in members))
    for user, project, role in members:
        admin.call("PUT", f"/projects/{projects[project]}/users/{users[user]}/roles/{roles[role]}")


def catalog(admin):
    service = ensure(admin, "service", {"type": "image", "name": "glance"})["glance"]
    found = {endpoint["interface"]: endpoint for endpoint in admin.list("endpoint") if endpoint["service_id"] == service}
    for interface in ("public", "internal", "admin"):
        if interface not in found:
            admin.make("endpoint", {"service_id": service, "interface": interface, "region_id": REGION, "url": glance})
        elif found[interface]["url"] != glance:
            admin.call("PATCH", f"/endpoints/{found[interface]['id']}", {"endpoint": {"url": glance}})


def application_credential(user):
    path = f"/users/{user.user_id}/application_credentials"
    for old in user.call("GET", path)[0]["application_credentials"]:
        user.call("DELETE", f"{path}/{old['id']}")
    return user.call("POST", path, {"application_credential": {
        "name": "aibuild-release", "secret": secrets["appcred"]}})[0]["application_credential"]["id"]


def entry(auth, **more):
    return {"region_name": REGION, "interface": "public", "identity_api_version": 3, **more,
            "auth": {"auth_url": keystone, **auth}}


def password_entry(user, project):
    return entry({"username": user, "password": secrets[user], "project_name": project,
                  "user_domain_name": "Default", "project_domain_name": "Default"}, auth_type="password")


admin = Keystone("admin", "admin")
accounts(admin)
catalog(admin)
credential = application_credential(Keystone("aibuild", "images"))
clouds = {
    cluster: password_entry("aibuild", "images"),
    cluster + "-admin": password_entry("admin", "admin"),
    cluster + "-consumer": password_entry("consumer", "consumer"),
    cluster + "-appcred": entry({"application_credential_id": credential,
                                 "application_credential_secret": secrets["appcred"]},
                                auth_type="v3applicationcredential"),
}
with open(clouds_yaml + ".new", "w", encoding="utf-8") as file:
    yaml.safe_dump(clouds, file, sort_keys=True)
os.rename(clouds_yaml + ".new", clouds_yaml)
