package lineage

// Questions to the server about its tables, for change.Unless. The dialect has
// no ADD COLUMN IF NOT EXISTS: that is MariaDB's alone.
func hasColumn(table, column string) string {
	return "SELECT COUNT(*) FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = '" + table + "' AND column_name = '" + column + "'"
}

func hasIndex(table, index string) string {
	return "SELECT COUNT(*) FROM information_schema.statistics WHERE table_schema = DATABASE() AND table_name = '" + table + "' AND index_name = '" + index + "'"
}

// toVersion2 makes room for the daemon: runs that it moves, the outbox of
// commit statuses, and an inbox that is read by ref. Binaries of schema 1 would
// end runs that only the daemon may end, so they may not use it. Each ALTER
// TABLE is applied whole or not at all.
var toVersion2 = step{Version: 2, Changes: []change{
	{Unless: hasColumn("run", "managed"), SQL: `ALTER TABLE run
		ADD COLUMN managed TINYINT NOT NULL AFTER channel,
		ADD COLUMN cancel_reason TEXT NOT NULL AFTER cancel_at,
		ADD COLUMN claimed_at DATETIME(6) AFTER lease_until,
		ADD COLUMN status_due TINYINT NOT NULL AFTER finished_at,
		ADD COLUMN status_sent VARCHAR(20) NOT NULL AFTER status_due,
		ADD COLUMN status_tries INT NOT NULL AFTER status_sent,
		ADD COLUMN status_next_at DATETIME(6) AFTER status_tries,
		ADD COLUMN status_error TEXT NOT NULL AFTER status_next_at`},
	{Unless: hasIndex("run", "active"), SQL: `ALTER TABLE run DROP KEY due, DROP KEY jenkins_job, DROP KEY build_tag,
		ADD KEY active (finished, image, seq),
		ADD KEY due (finished, next_at),
		ADD KEY hook (hook_event),
		ADD KEY status (status_due, project, commit_sha, image, seq),
		ADD KEY jenkins_job (jenkins_job, jenkins_build),
		ADD KEY build_tag (build_tag)`},
	{Unless: hasColumn("hook_event", "ref_key"), SQL: `ALTER TABLE hook_event
		ADD COLUMN ref_key VARCHAR(32) NOT NULL AFTER ref,
		ADD COLUMN payload_size BIGINT NOT NULL AFTER payload,
		ADD COLUMN kept TINYINT NOT NULL AFTER payload_size`},
	{Unless: "SELECT COUNT(*) = 0 FROM hook_event WHERE ref_key = ''",
		SQL: "UPDATE hook_event SET ref_key = LEFT(SHA2(ref, 256), 32), kept = payload IS NOT NULL WHERE ref_key = ''"},
	{Unless: hasIndex("hook_event", "waiting"), SQL: `ALTER TABLE hook_event DROP KEY state_id, DROP KEY project_id, DROP KEY received,
		ADD UNIQUE KEY head (project, ref_key, head_seq),
		ADD KEY waiting (state, project, ref_key, id),
		ADD KEY state_id (state, id),
		ADD KEY project_id (project, id),
		ADD KEY project_state (project, state, id),
		ADD KEY ref_id (project, ref_key, id),
		ADD KEY kept (kept, received_at)`},
}}

// toVersion3 lets the audit answer what a cluster showed at a time. Binaries of
// schema 2 do not mind.
var toVersion3 = step{Version: 3, Changes: []change{
	{Unless: hasIndex("event", "shown"), SQL: "ALTER TABLE event ADD KEY shown (image_name, cluster, state, at)"},
}}

// toVersion4 lets the audit answer whose a Glance id was that is gone. Binaries of
// schema 2 do not mind: they leave it out.
var toVersion4 = step{Version: 4, Changes: []change{
	{Unless: hasColumn("event", "glance_id"), SQL: "ALTER TABLE event ADD COLUMN glance_id VARCHAR(36) AFTER cluster"},
	{Unless: hasIndex("event", "glance"), SQL: "ALTER TABLE event ADD KEY glance (glance_id)"},
}}
