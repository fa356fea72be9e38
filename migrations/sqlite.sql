CREATE TABLE account (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	name TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	identity TEXT NOT NULL, 
	listed_at DOUBLE, 
	succeeded_at DOUBLE, 
	failed_at DOUBLE, 
	error TEXT, 
	failures BIGINT DEFAULT 0 NOT NULL, cause TEXT, 
	CONSTRAINT uq_account_name UNIQUE (name)
);
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0024');
CREATE TABLE base_message (
	replica_id INTEGER NOT NULL, 
	message_id INTEGER NOT NULL, 
	flags TEXT DEFAULT '' NOT NULL, 
	CONSTRAINT pk_base_message PRIMARY KEY (replica_id, message_id), 
	CONSTRAINT fk_base_message_message_id FOREIGN KEY(message_id) REFERENCES server_message (id) ON DELETE CASCADE, 
	CONSTRAINT fk_base_message_replica_id FOREIGN KEY(replica_id) REFERENCES replica (id) ON DELETE CASCADE
);
CREATE TABLE body (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	digest BLOB NOT NULL, 
	header_digest BLOB NOT NULL, 
	message_id TEXT, 
	size_bytes BIGINT NOT NULL, 
	lf_size_bytes BIGINT NOT NULL, 
	is_crlf BOOLEAN NOT NULL, 
	codec TEXT NOT NULL, 
	chunks INTEGER NOT NULL, 
	stored_at DOUBLE NOT NULL, 
	CONSTRAINT uq_body_digest UNIQUE (digest)
);
CREATE TABLE body_chunk (
	body_id INTEGER NOT NULL, 
	seq INTEGER NOT NULL, 
	octets BLOB NOT NULL, 
	CONSTRAINT pk_body_chunk PRIMARY KEY (body_id, seq), 
	CONSTRAINT fk_body_chunk_body_id FOREIGN KEY(body_id) REFERENCES body (id) ON DELETE CASCADE
);
CREATE TABLE carried_change (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	device_id INTEGER NOT NULL, 
	message_id INTEGER NOT NULL, 
	body_id INTEGER, 
	flags_add TEXT DEFAULT '' NOT NULL, 
	flags_remove TEXT DEFAULT '' NOT NULL, origin_id INTEGER, 
	CONSTRAINT fk_carried_change_device_id FOREIGN KEY(device_id) REFERENCES device (id) ON DELETE CASCADE, 
	CONSTRAINT fk_carried_change_message_id FOREIGN KEY(message_id) REFERENCES server_message (id) ON DELETE CASCADE
);
CREATE TABLE device (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	name TEXT NOT NULL, 
	path TEXT NOT NULL, 
	layout TEXT NOT NULL, 
	generation BIGINT DEFAULT 0 NOT NULL, 
	generation_next BIGINT DEFAULT 0 NOT NULL, 
	state TEXT NOT NULL, 
	settled_at DOUBLE, 
	error TEXT, cause TEXT, 
	CONSTRAINT uq_device_name UNIQUE (name)
);
CREATE TABLE guard_removal (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	scope TEXT NOT NULL, 
	scope_id INTEGER NOT NULL, 
	mailbox_id INTEGER NOT NULL, 
	at DOUBLE NOT NULL, 
	removed BIGINT NOT NULL, 
	present BIGINT NOT NULL, 
	CONSTRAINT fk_guard_removal_mailbox_id FOREIGN KEY(mailbox_id) REFERENCES mailbox (id) ON DELETE CASCADE
);
CREATE TABLE history (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	at DOUBLE NOT NULL, 
	mailbox_id INTEGER, 
	device_id INTEGER, 
	message_id INTEGER, 
	messages BIGINT DEFAULT 1 NOT NULL, 
	origin TEXT NOT NULL, 
	origin_device_id INTEGER, 
	verb TEXT NOT NULL, 
	detail TEXT DEFAULT '' NOT NULL, 
	outcome TEXT NOT NULL, 
	reason TEXT DEFAULT '' NOT NULL
);
CREATE TABLE hold (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	scope TEXT NOT NULL, 
	scope_id INTEGER NOT NULL, 
	mailbox_id INTEGER, 
	reason TEXT NOT NULL, 
	effects TEXT NOT NULL, 
	state TEXT NOT NULL, 
	held_at DOUBLE NOT NULL, 
	CONSTRAINT fk_hold_mailbox_id FOREIGN KEY(mailbox_id) REFERENCES mailbox (id) ON DELETE CASCADE
);
CREATE TABLE hook (
	name TEXT NOT NULL, 
	history_cursor BIGINT DEFAULT 0 NOT NULL, 
	CONSTRAINT pk_hook PRIMARY KEY (name)
);
CREATE TABLE hook_told (
	hook TEXT NOT NULL, 
	trouble TEXT NOT NULL, 
	CONSTRAINT pk_hook_told PRIMARY KEY (hook, trouble), 
	CONSTRAINT fk_hook_told_hook FOREIGN KEY(hook) REFERENCES hook (name) ON DELETE CASCADE
);
CREATE TABLE journal (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	account_id INTEGER NOT NULL, 
	mailbox_id INTEGER NOT NULL, 
	replica_message_id INTEGER, 
	kind TEXT NOT NULL, 
	digest BLOB NOT NULL, 
	header_digest BLOB NOT NULL, 
	size_bytes BIGINT NOT NULL, 
	uidvalidity BIGINT NOT NULL, 
	uidnext BIGINT NOT NULL, 
	attempts BIGINT DEFAULT 0 NOT NULL, 
	error TEXT, 
	begun_at DOUBLE NOT NULL, restored_flags TEXT, base_flags TEXT, message_id INTEGER, form TEXT, sent_flags TEXT, told_uid BIGINT, 
	CONSTRAINT fk_journal_account_id FOREIGN KEY(account_id) REFERENCES account (id) ON DELETE CASCADE, 
	CONSTRAINT fk_journal_mailbox_id FOREIGN KEY(mailbox_id) REFERENCES mailbox (id) ON DELETE CASCADE, 
	CONSTRAINT fk_journal_replica_message_id FOREIGN KEY(replica_message_id) REFERENCES replica_message (id) ON DELETE SET NULL
);
CREATE TABLE mailbox (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	account_id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	wire_name TEXT NOT NULL, 
	delimiter TEXT, 
	attributes TEXT DEFAULT '' NOT NULL, 
	special_use TEXT, 
	is_selectable BOOLEAN NOT NULL, 
	is_selected BOOLEAN NOT NULL, 
	gone_at DOUBLE, 
	uidvalidity BIGINT DEFAULT 0 NOT NULL, 
	uidnext BIGINT DEFAULT 0 NOT NULL, 
	highestmodseq BIGINT, 
	permanent_flags TEXT, 
	accepts_keywords BOOLEAN DEFAULT 0 NOT NULL, 
	exists_count BIGINT DEFAULT 0 NOT NULL, 
	is_listed BOOLEAN DEFAULT 0 NOT NULL, 
	version BIGINT DEFAULT 0 NOT NULL, 
	error TEXT, object_id TEXT, came_at DOUBLE, 
	CONSTRAINT fk_mailbox_account_id FOREIGN KEY(account_id) REFERENCES account (id) ON DELETE CASCADE, 
	CONSTRAINT uq_mailbox_account_id_wire_name UNIQUE (account_id, wire_name)
);
CREATE TABLE mailbox_change (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	account_id INTEGER NOT NULL, 
	device_id INTEGER NOT NULL, 
	mailbox_id INTEGER, 
	kind TEXT NOT NULL, 
	name TEXT NOT NULL, 
	state TEXT NOT NULL, 
	attempts BIGINT DEFAULT 0 NOT NULL, 
	error TEXT, 
	asked_at DOUBLE NOT NULL, 
	tried_at DOUBLE DEFAULT 0 NOT NULL, 
	CONSTRAINT fk_mailbox_change_account_id FOREIGN KEY(account_id) REFERENCES account (id) ON DELETE CASCADE, 
	CONSTRAINT fk_mailbox_change_device_id FOREIGN KEY(device_id) REFERENCES device (id) ON DELETE CASCADE, 
	CONSTRAINT fk_mailbox_change_mailbox_id FOREIGN KEY(mailbox_id) REFERENCES mailbox (id) ON DELETE CASCADE, 
	CONSTRAINT uq_mailbox_change_device_id_account_id_name_kind UNIQUE (device_id, account_id, name, kind)
);
CREATE TABLE oauth_grant (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	account_id INTEGER NOT NULL, 
	sealed TEXT NOT NULL, 
	granted_at DOUBLE NOT NULL, 
	renewed_at DOUBLE NOT NULL, 
	CONSTRAINT fk_oauth_grant_account_id FOREIGN KEY(account_id) REFERENCES account (id) ON DELETE CASCADE, 
	CONSTRAINT uq_oauth_grant_account_id UNIQUE (account_id)
);
CREATE TABLE replica (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	device_id INTEGER NOT NULL, 
	mailbox_id INTEGER NOT NULL, 
	directory TEXT NOT NULL, 
	selection TEXT NOT NULL, 
	keywords TEXT DEFAULT '' NOT NULL, 
	version BIGINT DEFAULT 0 NOT NULL, 
	server_cursor BIGINT DEFAULT 0 NOT NULL, 
	replica_cursor BIGINT DEFAULT 0 NOT NULL, 
	listed_at DOUBLE, moving_to TEXT, 
	CONSTRAINT fk_replica_device_id FOREIGN KEY(device_id) REFERENCES device (id) ON DELETE CASCADE, 
	CONSTRAINT fk_replica_mailbox_id FOREIGN KEY(mailbox_id) REFERENCES mailbox (id) ON DELETE CASCADE, 
	CONSTRAINT uq_replica_device_id_directory UNIQUE (device_id, directory), 
	CONSTRAINT uq_replica_device_id_mailbox_id UNIQUE (device_id, mailbox_id)
);
CREATE TABLE replica_message (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	replica_id INTEGER NOT NULL, 
	message_id INTEGER, 
	name TEXT NOT NULL, 
	subdir TEXT NOT NULL, 
	flags TEXT DEFAULT '' NOT NULL, 
	info TEXT, 
	state TEXT NOT NULL, 
	size_bytes BIGINT NOT NULL, 
	mtime BIGINT NOT NULL, 
	form TEXT NOT NULL, 
	version BIGINT NOT NULL, 
	missing_since DOUBLE, 
	CONSTRAINT fk_replica_message_message_id FOREIGN KEY(message_id) REFERENCES server_message (id) ON DELETE CASCADE, 
	CONSTRAINT fk_replica_message_replica_id FOREIGN KEY(replica_id) REFERENCES replica (id) ON DELETE CASCADE, 
	CONSTRAINT uq_replica_message_replica_id_name UNIQUE (replica_id, name)
);
CREATE TABLE server_message (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	mailbox_id INTEGER NOT NULL, 
	uidvalidity BIGINT NOT NULL, 
	uid BIGINT NOT NULL, 
	flags TEXT DEFAULT '' NOT NULL, 
	modseq BIGINT DEFAULT 0 NOT NULL, 
	size_bytes BIGINT NOT NULL, 
	internaldate BIGINT NOT NULL, 
	email_id TEXT, 
	body_id INTEGER, 
	version BIGINT NOT NULL, 
	gone_at DOUBLE, came_at DOUBLE, 
	CONSTRAINT fk_server_message_body_id FOREIGN KEY(body_id) REFERENCES body (id) ON DELETE RESTRICT, 
	CONSTRAINT fk_server_message_mailbox_id FOREIGN KEY(mailbox_id) REFERENCES mailbox (id) ON DELETE CASCADE, 
	CONSTRAINT uq_server_message_mailbox_id_uidvalidity_uid UNIQUE (mailbox_id, uidvalidity, uid)
);
CREATE TABLE store (
	id INTEGER NOT NULL CONSTRAINT ck_store_one_row CHECK (id = 1), 
	store_id TEXT NOT NULL, 
	created_at DOUBLE NOT NULL, swept_at DOUBLE DEFAULT '0' NOT NULL, 
	CONSTRAINT pk_store PRIMARY KEY (id)
);
CREATE TABLE tombstone (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	replica_id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	digest BLOB, 
	uidvalidity BIGINT NOT NULL, 
	uid BIGINT NOT NULL, 
	gone_at DOUBLE NOT NULL, 
	settled_at DOUBLE, 
	CONSTRAINT fk_tombstone_replica_id FOREIGN KEY(replica_id) REFERENCES replica (id) ON DELETE CASCADE
);
CREATE TABLE trouble (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	device_id INTEGER, 
	mailbox_id INTEGER, 
	message_id INTEGER, 
	error TEXT NOT NULL, 
	temper TEXT NOT NULL, 
	attempts INTEGER NOT NULL, 
	since_at DOUBLE NOT NULL, 
	retry_at DOUBLE NOT NULL, 
	CONSTRAINT fk_trouble_device_id FOREIGN KEY(device_id) REFERENCES device (id) ON DELETE CASCADE, 
	CONSTRAINT fk_trouble_mailbox_id FOREIGN KEY(mailbox_id) REFERENCES mailbox (id) ON DELETE CASCADE, 
	CONSTRAINT fk_trouble_message_id FOREIGN KEY(message_id) REFERENCES server_message (id) ON DELETE CASCADE
);
CREATE TABLE uidl (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	account_id INTEGER NOT NULL, 
	"key" TEXT NOT NULL, 
	size_bytes BIGINT, 
	digest BLOB NOT NULL, 
	message_id INTEGER, 
	state TEXT NOT NULL, 
	tries BIGINT DEFAULT 0 NOT NULL, 
	error TEXT, 
	seen_at DOUBLE NOT NULL, 
	deleted_at DOUBLE, 
	CONSTRAINT fk_uidl_account_id FOREIGN KEY(account_id) REFERENCES account (id) ON DELETE CASCADE, 
	CONSTRAINT fk_uidl_message_id FOREIGN KEY(message_id) REFERENCES server_message (id) ON DELETE SET NULL, 
	CONSTRAINT uq_uidl_account_id_key UNIQUE (account_id, "key")
);
CREATE INDEX ix_guard_removal_scope_scope_id_at ON guard_removal (scope, scope_id, at);
CREATE INDEX ix_hold_scope_scope_id ON hold (scope, scope_id);
CREATE INDEX ix_replica_mailbox_id ON replica (mailbox_id);
CREATE INDEX ix_server_message_body_id ON server_message (body_id);
CREATE INDEX ix_server_message_mailbox_id_version ON server_message (mailbox_id, version);
CREATE INDEX ix_server_message_wanted ON server_message (mailbox_id, uid) WHERE body_id IS NULL AND gone_at IS NULL;
CREATE INDEX ix_base_message_message_id ON base_message (message_id);
CREATE INDEX ix_replica_message_message_id_replica_id ON replica_message (message_id, replica_id);
CREATE INDEX ix_replica_message_replica_id_version ON replica_message (replica_id, version);
CREATE INDEX ix_replica_message_unsettled ON replica_message (replica_id, state) WHERE state <> 'present';
CREATE INDEX ix_tombstone_digest ON tombstone (digest);
CREATE INDEX ix_tombstone_replica_id_name ON tombstone (replica_id, name);
CREATE INDEX ix_uidl_account_id_digest ON uidl (account_id, digest);
CREATE INDEX ix_server_message_internaldate_size_bytes ON server_message (internaldate, size_bytes);
CREATE INDEX ix_server_message_email_id ON server_message (email_id) WHERE email_id IS NOT NULL;
CREATE INDEX ix_journal_replica_message_id ON journal (replica_message_id);
CREATE INDEX ix_journal_digest ON journal (digest);
CREATE INDEX ix_mailbox_change_account_id ON mailbox_change (account_id);
CREATE INDEX ix_mailbox_change_mailbox_id ON mailbox_change (mailbox_id);
CREATE INDEX ix_carried_change_message_id ON carried_change (message_id);
CREATE INDEX ix_body_message_id ON body (message_id);
CREATE INDEX ix_uidl_message_id ON uidl (message_id) WHERE message_id IS NOT NULL;
CREATE INDEX ix_server_message_gone ON server_message (mailbox_id) WHERE gone_at IS NOT NULL;
CREATE INDEX ix_journal_kind ON journal (kind, account_id, begun_at);
CREATE INDEX ix_trouble_message_id ON trouble (message_id);
INSERT INTO "sqlite_sequence" VALUES('trouble',0);
