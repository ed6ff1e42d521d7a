"""The first ledger."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Not imported from tables.py: a migration says for ever what it said on its first day.
Key = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
Json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create all tables."""
    op.create_table(
        "objects",
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
        sqlite_with_rowid=False,
    )
    op.create_table(
        "collections",
        sa.Column("name", Key, primary_key=True),
        sa.Column("pipeline", Key, nullable=False),
        sa.Column("lane", Key, nullable=False),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("settings", Json, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.CheckConstraint("state IN ('live', 'candidate', 'retired')", name="ck_collections_state"),
    )
    op.create_index(
        "uq_collections_live",
        "collections",
        ["pipeline", "lane"],
        unique=True,
        sqlite_where=sa.text("state = 'live'"),
        postgresql_where=sa.text("state = 'live'"),
    )
    op.create_table(
        "entries",
        sa.Column(
            "collection", Key, sa.ForeignKey("collections.name", name="fk_entries_collection"), primary_key=True
        ),
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
    op.create_table(
        "vectors",
        sa.Column("fingerprint", Key, primary_key=True),
        sa.Column("content_hash", Key, primary_key=True),
        sa.Column("uri", sa.Text, nullable=False),
        sa.Column("rows", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "dead_letters",
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
        sqlite_autoincrement=True,
    )
    op.create_index(
        "uq_dead_letters_open",
        "dead_letters",
        ["pipeline", "lane", "key"],
        unique=True,
        sqlite_where=sa.text("resolved_at_ms IS NULL"),
        postgresql_where=sa.text("resolved_at_ms IS NULL"),
    )
    op.create_table(
        "cutovers",
        sa.Column("id", Id, primary_key=True, autoincrement=True),
        sa.Column("alias", sa.Text, nullable=False),
        sa.Column(
            "from_name", Key, sa.ForeignKey("collections.name", name="fk_cutovers_from_name"), nullable=True
        ),
        sa.Column("to_name", Key, sa.ForeignKey("collections.name", name="fk_cutovers_to_name"), nullable=False),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_cutovers_alias", "cutovers", ["alias"])
    op.create_table(
        "runs",
        sa.Column("run_id", Key, primary_key=True),
        sa.Column("pipeline", Key, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("started_at_ms", sa.BigInteger, nullable=False),
        sa.Column("ended_at_ms", sa.BigInteger, nullable=True),
        sa.CheckConstraint("state IN ('running', 'succeeded', 'failed')", name="ck_runs_state"),
    )
    op.create_index("ix_runs_pipeline_started_at_ms", "runs", ["pipeline", "started_at_ms"])
    op.create_table(
        "run_stages",
        sa.Column("run_id", Key, sa.ForeignKey("runs.run_id", name="fk_run_stages_run_id"), primary_key=True),
        sa.Column("stage", Key, primary_key=True),
        sa.Column("lane", Key, primary_key=True),
        sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("counts", Json, nullable=False),
        sa.Column("duration_s", sa.Double, nullable=False),
        sa.Column("model_s", sa.Double, nullable=False),
        sa.Column("first_at_ms", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "leases",
        sa.Column("collection", Key, primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("token", sa.BigInteger, nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger, nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("pid", sa.BigInteger, nullable=False),
        sa.Column("process_start", sa.BigInteger, nullable=False),
        sa.Column("bound_to_process", sa.Boolean, nullable=False),
    )


def downgrade() -> None:
    """Drop all tables."""
    for table in ("leases", "run_stages", "runs", "cutovers", "dead_letters", "vectors", "entries", "collections", "objects"):
        op.drop_table(table)
