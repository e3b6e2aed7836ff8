-- The database and its two accounts, locked until they have passwords:
--
--   mariadb < grants.sql      (mysql < grants.sql)
--   ALTER USER aibuild_owner IDENTIFIED BY '…' ACCOUNT UNLOCK;
--   ALTER USER aibuild       IDENTIFIED BY '…' ACCOUNT UNLOCK;
--
-- aibuild_owner makes and upgrades the tables: `aibuild db migrate`, or the first `aibuild serve` of a release.
-- aibuild is for all days: the daemon, and agents without one. It can neither make nor drop nor change a table.
CREATE DATABASE IF NOT EXISTS aibuild CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE USER IF NOT EXISTS aibuild_owner@'%' ACCOUNT LOCK;
GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, REFERENCES ON aibuild.* TO aibuild_owner@'%';

CREATE USER IF NOT EXISTS aibuild@'%' ACCOUNT LOCK;
GRANT SELECT, INSERT, UPDATE, DELETE ON aibuild.* TO aibuild@'%';
