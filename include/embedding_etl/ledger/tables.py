"""The ledger's tables. A change here needs a migration in migrations/versions; a test compares the two."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from include.embedding_etl.ledger.stored_text import KeyText

Key = KeyText()
Json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")  # only INTEGER counts up by itself there

metadata = sa.MetaData(
    naming_convention={"ix": "ix_%(table_name)s_%(column_0_N_name)s", "fk": "fk_%(table_name)s_%(column_0_N_name)s"}
)

objects = sa.Table(
    "objects",
    metadata,
    sa.Column("pipeline", Key, primary_key=True),
    sa.Column("key", Key, primary_key=True),
    sa.Column("etag", sa.Text, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("last_modified_ms", sa.BigInteger, nullable=False),
    sa.Column("media_type", sa.Text, nullable=False),
    sa.Column("content_hash", sa.Text, nullable=False),
    sa.Column("skip_reason", sa.Text, nullable=False),
    sa.Column("vanished", sa.Boolean, nullable=False),
    sa.Column("meta", Json, nullable=False),
    sqlite_with_rowid=False,  # stored in key order: a stream reads pages one after the other
)
# Counts by condition, for pages and reports: 100,000 objects in 18 ms instead of 80.
sa.Index("ix_objects_condition", objects.c.pipeline, objects.c.vanished, objects.c.skip_reason, objects.c.media_type)

collections = sa.Table(
    "collections",
    metadata,
    sa.Column("name", Key, primary_key=True),
    sa.Column("pipeline", Key, nullable=False),
    sa.Column("lane", Key, nullable=False),
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Column("settings", Json, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("created_at_ms", sa.BigInteger, nullable=False),
    sa.Column("drop_after_ms", sa.BigInteger, nullable=True),
    sa.Column("dropped_at_ms", sa.BigInteger, nullable=True),  # the row stays: cutovers name it, and so does history
    sa.CheckConstraint("state IN ('live', 'candidate', 'retired')", name="ck_collections_state"),
)
sa.Index(
    "uq_collections_live",
    collections.c.pipeline,
    collections.c.lane,
    unique=True,
    sqlite_where=sa.text("state = 'live'"),
    postgresql_where=sa.text("state = 'live'"),
)

entries = sa.Table(
    "entries",
    metadata,
    # A collection that nobody recorded would hide its entries from `delete_vanished`, and leave orphans behind.
    sa.Column("collection", Key, sa.ForeignKey("collections.name"), primary_key=True),
    sa.Column("key", Key, primary_key=True),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("last_modified_ms", sa.BigInteger, nullable=False),
    sa.Column("content_hash", sa.Text, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("intended_rows", sa.BigInteger, nullable=False),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("synced_at_ms", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
sa.Index("ix_entries_run", entries.c.collection, entries.c.run_id, entries.c.key)  # what a run has made, in key order

vectors = sa.Table(
    "vectors",
    metadata,
    sa.Column("fingerprint", Key, primary_key=True),
    sa.Column("content_hash", Key, primary_key=True),
    sa.Column("uri", sa.Text, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

dead_letters = sa.Table(
    "dead_letters",
    metadata,
    sa.Column("id", Id, primary_key=True, autoincrement=True),
    sa.Column("pipeline", Key, nullable=False),
    sa.Column("lane", Key, nullable=False),
    sa.Column("key", Key, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Column("stage", sa.Text, nullable=False),
    sa.Column("error_class", sa.Text, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("first_at_ms", sa.BigInteger, nullable=False),
    sa.Column("last_at_ms", sa.BigInteger, nullable=False),
    sa.Column("resolved_at_ms", sa.BigInteger, nullable=True),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("task", sa.Text, nullable=False, server_default=""),
    sa.Column("dismissed_at_ms", sa.BigInteger, nullable=True),
    sa.Column("limits_hash", sa.Text, nullable=True),  # NULL = written before letters remembered it
    sa.Column("dismiss_reason", sa.Text, nullable=True),
    sa.Column("dismissed_by", sa.Text, nullable=True),
    sqlite_autoincrement=True,
)
sa.Index("ix_dead_letters_pipeline_key", dead_letters.c.pipeline, dead_letters.c.key)  # the history of an object
OPEN = dead_letters.c.resolved_at_ms.is_(None)
sa.Index(
    "uq_dead_letters_open",
    dead_letters.c.pipeline,
    dead_letters.c.lane,
    dead_letters.c.fingerprint,  # a candidate fails on its own account
    dead_letters.c.key,
    unique=True,
    sqlite_where=OPEN,
    postgresql_where=OPEN,
)

cutovers = sa.Table(
    "cutovers",
    metadata,
    sa.Column("id", Id, primary_key=True, autoincrement=True),
    sa.Column("alias", sa.Text, nullable=False, index=True),
    sa.Column("from_name", Key, sa.ForeignKey("collections.name"), nullable=True),
    sa.Column("to_name", Key, sa.ForeignKey("collections.name"), nullable=False),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("run_id", Key, primary_key=True),
    sa.Column("pipeline", Key, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("started_at_ms", sa.BigInteger, nullable=False),
    sa.Column("ended_at_ms", sa.BigInteger, nullable=True),
    sa.Column("kind", sa.Text, nullable=False, server_default="ingest"),
    sa.Column("seen_at_ms", sa.BigInteger, nullable=True),  # its last sign of life; NULL = nobody wrote one down
    sa.Column("given_up", sa.Text, nullable=True),  # why somebody else closed it
    sa.CheckConstraint("state IN ('running', 'succeeded', 'failed')", name="ck_runs_state"),
)
sa.Index("ix_runs_pipeline_started_at_ms", runs.c.pipeline, runs.c.started_at_ms)

# One row a shard, not one counter a run: shards report side by side, and a retried shard replaces what it said before.
run_stages = sa.Table(
    "run_stages",
    metadata,
    sa.Column("run_id", Key, sa.ForeignKey("runs.run_id"), primary_key=True),
    sa.Column("stage", Key, primary_key=True),
    sa.Column("lane", Key, primary_key=True),
    sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("counts", Json, nullable=False),
    sa.Column("duration_s", sa.Double, nullable=False),
    sa.Column("model_s", sa.Double, nullable=False),
    sa.Column("first_at_ms", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("collection", Key, primary_key=True),
    sa.Column("owner", sa.Text, nullable=False),  # "" = free; the row stays, because its token has to grow
    sa.Column("token", sa.BigInteger, nullable=False),
    sa.Column("expires_at_ms", sa.BigInteger, nullable=False),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("pid", sa.BigInteger, nullable=False),
    sa.Column("process_start", sa.BigInteger, nullable=False),
    sa.Column("bound_to_process", sa.Boolean, nullable=False),
)

reindexes = sa.Table(
    "reindexes",
    metadata,
    sa.Column("run_id", Key, sa.ForeignKey("runs.run_id"), primary_key=True),
    sa.Column("pipeline", Key, nullable=False),
    sa.Column("lane", Key, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("request", Json, nullable=False),
    sa.Column("candidate", Key, sa.ForeignKey("collections.name"), nullable=False),
    sa.Column("replaces", Key, sa.ForeignKey("collections.name"), nullable=False),
    sa.Column("verification", Json, nullable=False),  # {} until it was verified
    sa.Column("started_at_ms", sa.BigInteger, nullable=False),
    sa.Column("ended_at_ms", sa.BigInteger, nullable=True),
    sa.CheckConstraint(
        "state IN ('building', 'verified', 'rejected', 'failed', 'cut over')", name="ck_reindexes_state"
    ),
)
sa.Index("ix_reindexes_pipeline_started_at_ms", reindexes.c.pipeline, reindexes.c.started_at_ms)

audits = sa.Table(
    "audits",
    metadata,
    sa.Column("id", Id, primary_key=True, autoincrement=True),
    sa.Column("pipeline", Key, nullable=False),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("faults", sa.BigInteger, nullable=False),
    sa.Column("findings", Json, nullable=False),
    sqlite_autoincrement=True,
)
sa.Index("ix_audits_pipeline_at_ms", audits.c.pipeline, audits.c.at_ms)
