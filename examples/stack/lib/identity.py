"""Keystone over HTTP on 127.0.0.1, for one machine.

    identity.py PORT SECRETS [--config-file FILE] [--config-dir DIR]

Keystone is a WSGI application. The server that Debian's package brings takes one connection
at a time, and a client that keeps an idle one open (Go's does) blocks it. Here each connection has
a thread, but Keystone itself always runs in the same one: its SQLite connections may not change threads.

On an empty database the administrator, the roles and the catalog's identity entries are made
first, with the password "admin" in SECRETS: what `keystone-manage bootstrap` does, without loading
all of Keystone twice and without a password on a command line.
"""

import concurrent.futures
import json
import socketserver
import sys
import wsgiref.simple_server

port, secrets, *arguments = sys.argv[1:]
sys.argv = ["keystone", *arguments]

import keystone.cmd.bootstrap  # noqa: E402  (both read sys.argv)
from keystone.server.wsgi import initialize_public_application  # noqa: E402

worker = concurrent.futures.ThreadPoolExecutor(max_workers=1)


class Bootstrapper(keystone.cmd.bootstrap.Bootstrapper):
    """Repeatable: what is there is left alone."""

    def __init__(self, url, password):  # not the parent's, which loads all back ends a second time
        self.admin_username, self.admin_password, self.project_name = "admin", password, "admin"
        self.admin_role_name, self.member_role_name, self.reader_role_name = "admin", "member", "reader"
        self.region_id, self.service_name = "RegionOne", "keystone"
        self.public_url = self.internal_url = self.admin_url = url
        self.project_id = self.admin_user_id = self.default_domain_id = None
        self.admin_role_id = self.member_role_id = self.reader_role_id = None
        self.endpoints, self.immutable_roles = {}, False


def start():
    application = initialize_public_application()
    with open(secrets, encoding="utf-8") as file:
        Bootstrapper(f"http://127.0.0.1:{port}/v3", json.load(file)["admin"]).bootstrap()
    return application


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


Server.allow_reuse_address = True
server = Server(("127.0.0.1", int(port)), Handler)
server.set_app(application)
server.serve_forever()
