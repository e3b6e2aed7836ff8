-- The tables of aibuild, full current state (schema version 3).
--
-- `aibuild serve` and `aibuild db migrate` apply this file, then the numbered
-- upgrade steps of aibuild/lineage, which bring older tables to this state.
-- CREATE TABLE IF NOT EXISTS only; MariaDB 10.11, MySQL 8.0.16 or later.
-- All times are UTC. Each statement ends with a semicolon at the end of a line.

-- The three tables of the mission. Nothing may ever be added to them: no
-- column, key, index, trigger or foreign key. Others read and write them too.

CREATE TABLE IF NOT EXISTS build_log (
  image_uuid       VARCHAR(36) NOT NULL,
  image_name       VARCHAR(255),
  os_type          VARCHAR(20),
  os_ver           VARCHAR(10),
  build_at         DATETIME,
  from_iso         VARCHAR(255),
  update_contents  TEXT,
  PRIMARY KEY (image_uuid)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS test_log (
  image_uuid   VARCHAR(36) NOT NULL,
  test_case    VARCHAR(255),
  test_result  VARCHAR(10),
  test_at      DATETIME,
  PRIMARY KEY (image_uuid)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS release_log (
  image_uuid         VARCHAR(36) NOT NULL,
  openstack_cluster  VARCHAR(60),
  glance_id          VARCHAR(36),
  release_at         DATETIME,
  PRIMARY KEY (image_uuid)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Companions: what the three tables cannot hold.

-- One row per image: what lists read. state and good are derived from facts.
-- number counts the images of a name, for people: NAME@N. A name belongs to
-- the one project that its rows name (project '' claims nothing).
CREATE TABLE IF NOT EXISTS image (
  id            BIGINT NOT NULL AUTO_INCREMENT,
  uuid          VARCHAR(36) NOT NULL,
  name          VARCHAR(255) NOT NULL,
  number        INT NOT NULL,
  project       VARCHAR(255) NOT NULL,
  arch          VARCHAR(32) NOT NULL,
  state         VARCHAR(20) NOT NULL,
  good          TINYINT NOT NULL,
  held          TINYINT NOT NULL,
  revoked       TINYINT NOT NULL,
  adopted       TINYINT NOT NULL,
  built_at      DATETIME(6) NOT NULL,
  verdict       VARCHAR(10),
  tested_at     DATETIME(6),
  test_rounds   INT NOT NULL,
  test_round    INT NOT NULL,
  published_at  DATETIME(6),
  pruned        VARCHAR(64) NOT NULL,
  recorded_at   DATETIME(6) NOT NULL,
  PRIMARY KEY (id),
  UNIQUE KEY uuid (uuid),
  UNIQUE KEY name_number (name, number),
  KEY name_built (name, built_at, id),
  KEY name_good (name, good, built_at, id),
  KEY name_state (name, state, built_at, id),
  KEY name_project (name, project),
  KEY project_built (project, built_at, id),
  KEY project_state (project, state, built_at, id),
  KEY state_built (state, built_at, id),
  KEY built (built_at, id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- One row per image that aibuild built: its file and how it was made.
CREATE TABLE IF NOT EXISTS image_artifact (
  image_uuid       VARCHAR(36) NOT NULL,
  format           VARCHAR(16) NOT NULL,
  compress         VARCHAR(16) NOT NULL,
  size             BIGINT NOT NULL,
  allocated        BIGINT NOT NULL,
  virtual_size     BIGINT NOT NULL,
  sha256           VARCHAR(64) NOT NULL,
  sha512           VARCHAR(128) NOT NULL,
  md5              VARCHAR(32) NOT NULL,
  commit_sha       VARCHAR(64) NOT NULL,
  dirty            TINYINT NOT NULL,
  ref              VARCHAR(255) NOT NULL,
  build_digest     VARCHAR(64) NOT NULL,
  test_digest      VARCHAR(64) NOT NULL,
  release_digest   VARCHAR(64) NOT NULL,
  source_url       VARCHAR(2048) NOT NULL,
  source_sha256    VARCHAR(64) NOT NULL,
  parent_uuid      VARCHAR(36),
  parent_sha256    VARCHAR(64) NOT NULL,
  login_user       VARCHAR(64) NOT NULL,
  memory           BIGINT NOT NULL,
  tools            TEXT NOT NULL,
  accelerator      VARCHAR(16) NOT NULL,
  console_watched  TINYINT NOT NULL,
  build_ms         BIGINT NOT NULL,
  build_url        VARCHAR(2048) NOT NULL,
  release_url      VARCHAR(2048) NOT NULL,
  PRIMARY KEY (image_uuid),
  KEY sha256 (sha256),
  KEY commit_sha (commit_sha),
  KEY parent (parent_uuid)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Every case of every test. round counts the tests of an image.
CREATE TABLE IF NOT EXISTS test_case (
  image_uuid  VARCHAR(36) NOT NULL,
  round       INT NOT NULL,
  cell        VARCHAR(64) NOT NULL,
  name        VARCHAR(255) NOT NULL,
  attempt     INT NOT NULL,
  result      VARCHAR(10) NOT NULL,
  at          DATETIME(6) NOT NULL,
  ms          BIGINT NOT NULL,
  message     TEXT NOT NULL,
  evidence    VARCHAR(1024) NOT NULL,
  PRIMARY KEY (image_uuid, round, cell, name, attempt)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Image x cluster. changed_at is the time of the step that the row shows.
CREATE TABLE IF NOT EXISTS release_target (
  image_uuid   VARCHAR(36) NOT NULL,
  cluster      VARCHAR(60) NOT NULL,
  image_name   VARCHAR(255) NOT NULL,
  state        VARCHAR(20) NOT NULL,
  glance_id    VARCHAR(36),
  hash         VARCHAR(255) NOT NULL,
  error        TEXT NOT NULL,
  released_at  DATETIME(6),
  checked_at   DATETIME(6),
  changed_at   DATETIME(6) NOT NULL,
  PRIMARY KEY (image_uuid, cluster),
  KEY glance (glance_id),
  KEY cluster_name (cluster, image_name),
  KEY cluster_state (cluster, state)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- What is installed in an image.
CREATE TABLE IF NOT EXISTS image_package (
  image_uuid  VARCHAR(36) NOT NULL,
  manager     VARCHAR(10) NOT NULL,
  name        VARCHAR(190) NOT NULL,
  arch        VARCHAR(32) NOT NULL,
  version     VARCHAR(128) NOT NULL,
  PRIMARY KEY (image_uuid, manager, name, arch, version),
  KEY name_version (name, version, image_uuid)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- One row per attempt of one image. head_seq is NULL for runs that no push
-- opened, so that the key `head` binds only those that one did; first_run is
-- the id of the first attempt, so that retries of any run are counted once.
-- managed runs are moved and ended by the daemon: next_at, lease_owner (as
-- OWNER#CLAIM), lease_until and fence belong to its reconciler. status_due = 1:
-- GitLab has not yet been told of the state; status_sent is its word for the
-- last one that it was told.
CREATE TABLE IF NOT EXISTS run (
  seq               BIGINT NOT NULL AUTO_INCREMENT,
  id                VARCHAR(36) NOT NULL,
  first_run         VARCHAR(36) NOT NULL,
  attempt           INT NOT NULL,
  retry_of          VARCHAR(36),
  image             VARCHAR(63) NOT NULL,
  image_uuid        VARCHAR(36),
  project           VARCHAR(255) NOT NULL,
  ref               VARCHAR(255) NOT NULL,
  head_seq          BIGINT,
  commit_sha        VARCHAR(64) NOT NULL,
  folder            VARCHAR(1024) NOT NULL,
  from_stage        VARCHAR(20) NOT NULL,
  stage             VARCHAR(20) NOT NULL,
  state             VARCHAR(20) NOT NULL,
  state_at          DATETIME(6) NOT NULL,
  finished          TINYINT NOT NULL,
  reason            TEXT NOT NULL,
  failure           MEDIUMTEXT,
  exit_code         INT,
  actor             VARCHAR(255) NOT NULL,
  channel           VARCHAR(32) NOT NULL,
  managed           TINYINT NOT NULL,
  worker            VARCHAR(255) NOT NULL,
  hook_event        BIGINT,
  jenkins           VARCHAR(255) NOT NULL,
  jenkins_job       VARCHAR(255) NOT NULL,
  jenkins_queue_id  BIGINT,
  jenkins_build     BIGINT,
  jenkins_url       VARCHAR(2048) NOT NULL,
  build_tag         VARCHAR(255) NOT NULL,
  cancel_by         VARCHAR(255),
  cancel_at         DATETIME(6),
  cancel_reason     TEXT NOT NULL,
  lease_owner       VARCHAR(255),
  lease_until       DATETIME(6),
  claimed_at        DATETIME(6),
  fence             BIGINT NOT NULL,
  tries             INT NOT NULL,
  next_at           DATETIME(6),
  opened_at         DATETIME(6) NOT NULL,
  started_at        DATETIME(6),
  finished_at       DATETIME(6),
  status_due        TINYINT NOT NULL,
  status_sent       VARCHAR(20) NOT NULL,
  status_tries      INT NOT NULL,
  status_next_at    DATETIME(6),
  status_error      TEXT NOT NULL,
  PRIMARY KEY (seq),
  UNIQUE KEY id (id),
  UNIQUE KEY head (project, ref, head_seq, image, attempt),
  UNIQUE KEY first_attempt (first_run, attempt),
  KEY image_seq (image, seq),
  KEY image_made (image, image_uuid, seq),
  KEY made (image_uuid),
  KEY project_seq (project, seq),
  KEY state_seq (state, seq),
  KEY image_state (image, state, seq),
  KEY unfinished (finished, seq),
  KEY active (finished, image, seq),
  KEY due (finished, next_at),
  KEY hook (hook_event),
  KEY status (status_due, project, commit_sha, image, seq),
  KEY jenkins_job (jenkins_job, jenkins_build),
  KEY build_tag (build_tag)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- The durable inbox of hooks. payload is compressed by zstd; it is the only
-- part that expires (kept = 0), payload_size is what it had uncompressed.
-- head_seq is what the ref's head counted when the event had moved it; ref_key
-- (the first half of the ref's sha256, hex) stands for the ref in indexes,
-- because a ref is longer than they may be.
CREATE TABLE IF NOT EXISTS hook_event (
  id               BIGINT NOT NULL AUTO_INCREMENT,
  instance         VARCHAR(255) NOT NULL,
  idempotency_key  VARCHAR(255) NOT NULL,
  event            VARCHAR(64) NOT NULL,
  project          VARCHAR(255) NOT NULL,
  ref              VARCHAR(1024) NOT NULL,
  ref_key          VARCHAR(32) NOT NULL,
  before_sha       VARCHAR(64) NOT NULL,
  after_sha        VARCHAR(64) NOT NULL,
  head_seq         BIGINT,
  actor            VARCHAR(255) NOT NULL,
  payload          LONGBLOB,
  payload_size     BIGINT NOT NULL,
  kept             TINYINT NOT NULL,
  state            VARCHAR(20) NOT NULL,
  reason           TEXT NOT NULL,
  lease_owner      VARCHAR(255),
  lease_until      DATETIME(6),
  fence            BIGINT NOT NULL,
  tries            INT NOT NULL,
  next_at          DATETIME(6),
  received_at      DATETIME(6) NOT NULL,
  handled_at       DATETIME(6),
  PRIMARY KEY (id),
  UNIQUE KEY delivery (instance, idempotency_key),
  UNIQUE KEY head (project, ref_key, head_seq),
  KEY waiting (state, project, ref_key, id),
  KEY state_id (state, id),
  KEY project_id (project, id),
  KEY project_state (project, state, id),
  KEY ref_id (project, ref_key, id),
  KEY kept (kept, received_at)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Who did what, when, by what and why. Rows are only ever added. record_id
-- makes the delivery of a record repeatable.
CREATE TABLE IF NOT EXISTS event (
  id           BIGINT NOT NULL AUTO_INCREMENT,
  record_id    VARCHAR(36) NOT NULL,
  at           DATETIME(6) NOT NULL,
  recorded_at  DATETIME(6) NOT NULL,
  actor        VARCHAR(255) NOT NULL,
  channel      VARCHAR(32) NOT NULL,
  verb         VARCHAR(32) NOT NULL,
  image_name   VARCHAR(255),
  image_uuid   VARCHAR(36),
  run_id       VARCHAR(36),
  cluster      VARCHAR(60),
  state        VARCHAR(20),
  reason       TEXT NOT NULL,
  PRIMARY KEY (id),
  UNIQUE KEY record (record_id),
  KEY name_id (image_name, id),
  KEY image_id (image_uuid, id),
  KEY run_id_id (run_id, id),
  KEY actor_id (actor, id),
  KEY shown (image_name, cluster, state, at)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- API tokens: only the sha256 of a token is kept. projects is a JSON list;
-- an empty one means all.
CREATE TABLE IF NOT EXISTS api_token (
  id            BIGINT NOT NULL AUTO_INCREMENT,
  name          VARCHAR(64) NOT NULL,
  token_sha256  VARCHAR(64) NOT NULL,
  role          VARCHAR(16) NOT NULL,
  projects      TEXT NOT NULL,
  created_by    VARCHAR(255) NOT NULL,
  created_at    DATETIME(6) NOT NULL,
  expires_at    DATETIME(6),
  last_used_at  DATETIME(6),
  revoked_at    DATETIME(6),
  PRIMARY KEY (id),
  UNIQUE KEY token (token_sha256),
  KEY name (name)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Who holds the lock on an image name, for the message to others. The lock
-- itself is the server's GET_LOCK; fence counts its holders.
CREATE TABLE IF NOT EXISTS lock_holder (
  name   VARCHAR(255) NOT NULL,
  host   VARCHAR(255) NOT NULL,
  pid    INT NOT NULL,
  since  DATETIME(6) NOT NULL,
  fence  BIGINT NOT NULL,
  PRIMARY KEY (name)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- The newest row is the state of these tables: its version, and the oldest
-- schema whose binaries may still use them.
CREATE TABLE IF NOT EXISTS schema_version (
  version     INT NOT NULL,
  oldest      INT NOT NULL,
  applied_at  DATETIME(6) NOT NULL,
  PRIMARY KEY (version)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
