"""Glance's API server; its tables are made first when DATABASE does not exist.

    image.py DATABASE [--config-file FILE] [--config-dir DIR]

What `glance-manage db_sync` and `glance-api` do, in one process: loading Glance takes longer than
making the tables.
"""

import os
import sqlite3
import sys

database = sys.argv.pop(1)
sys.argv[0] = "glance-api"

import glance.cmd.api as api  # noqa: E402  (changes the standard library's sockets and reads sys.argv)
import glance.cmd.manage as manage  # noqa: E402
from glance.common import config  # noqa: E402

if not os.path.exists(database):
    config.parse_args()
    manage.DbCommands().sync()
    sqlite3.connect(database).execute("PRAGMA journal_mode=WAL")  # see identity.py
api.main()
