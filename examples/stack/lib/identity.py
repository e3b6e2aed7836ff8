"""Keystone over HTTP on 127.0.0.1, for one machine.

    identity.py PORT SECRETS DATABASE [--config-file FILE] [--config-dir DIR]

Keystone is a WSGI application. The server that Debian's package brings takes one connection at a time,
and a client that keeps an idle one open (Go's does) blocks it. Here each connection has a thread, but
Keystone itself always runs in the same one: its SQLite connections may not change threads.

When DATABASE does not exist, its tables, the administrator (with the password "admin" in SECRETS), the roles
and the catalog's identity entries are made first: what `keystone-manage db_sync` and `bootstrap` do, without
loading all of Keystone three times, and without a password on a command line.
"""

import concurrent.futures
import json
import os
import socketserver
import sqlite3
import sys
import types
import wsgiref.simple_server

port, secrets, database, *arguments = sys.argv[1:]
sys.argv = ["keystone", *arguments]

# Nobody logs in with SAML here. Reading its XML schemas is half of the time that Keystone takes to start.
saml = types.ModuleType("saml2.xml.schema")
saml.node_to_schema, saml.XMLSchemaError = {}, ValueError
sys.modules["saml2.xml.schema"] = saml

import keystone.cmd.bootstrap  # noqa: E402  (reads sys.argv)
from keystone.common.sql import upgrades  # noqa: E402
from keystone.server.flask import core  # noqa: E402

worker = concurrent.futures.ThreadPoolExecutor(max_workers=1)


class Bootstrapper(keystone.cmd.bootstrap.Bootstrapper):
    def __init__(self, url, password):  # not the parent's, which loads all back ends a second time
        self.admin_username, self.admin_password, self.project_name = "admin", password, "admin"
        self.admin_role_name, self.member_role_name, self.reader_role_name = "admin", "member", "reader"
        self.region_id, self.service_name = "RegionOne", "keystone"
        self.public_url = self.internal_url = self.admin_url = url
        self.project_id = self.admin_user_id = self.default_domain_id = None
        self.admin_role_id = self.member_role_id = self.reader_role_id = None
        self.endpoints, self.immutable_roles = {}, False


def make_tables():
    upgrades.offline_sync_database_to_version()
    # The file remembers it: a write passes the read cursors that Keystone leaves open; without it
    # Keystone answers 500 "database is locked".
    sqlite3.connect(database).execute("PRAGMA journal_mode=WAL")


def start():
    new = not os.path.exists(database)
    loaded = core.initialize_application(
        "public", post_log_configured_function=make_tables if new else lambda: None,
        config_files=core._get_config_files())
    if new:
        with open(secrets, encoding="utf-8") as file:
            Bootstrapper(f"http://127.0.0.1:{port}/v3", json.load(file)["admin"]).bootstrap()
    return loaded


keystone_application = worker.submit(start).result()


def application(environ, start_response):
    return worker.submit(lambda: list(keystone_application(environ, start_response))).result()


class Server(socketserver.ThreadingMixIn, wsgiref.simple_server.WSGIServer):
    daemon_threads = True
    request_queue_size = 128

    def server_bind(self):
        """Without the look-up of the host's name, which can hang on a machine without DNS."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]
        self.setup_environ()


class Handler(wsgiref.simple_server.WSGIRequestHandler):
    def address_string(self):
        return self.client_address[0]


server = Server(("127.0.0.1", int(port)), Handler)
server.set_app(application)
server.serve_forever()
