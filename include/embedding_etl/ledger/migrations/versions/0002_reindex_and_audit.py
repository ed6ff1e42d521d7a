"""Candidates beside live collections: when they may be dropped, letters of their own, reindexes and audits."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

Key = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
Json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
OPEN = sa.text("resolved_at_ms IS NULL")


def upgrade() -> None:
    """Add columns and tables; nothing that is there changes its meaning."""
    op.add_column("collections", sa.Column("drop_after_ms", sa.BigInteger, nullable=True))
    op.add_column("collections", sa.Column("dropped_at_ms", sa.BigInteger, nullable=True))
    op.add_column("dead_letters", sa.Column("task", sa.Text, nullable=False, server_default=""))
    op.add_column("dead_letters", sa.Column("dismissed_at_ms", sa.BigInteger, nullable=True))
    op.add_column("dead_letters", sa.Column("limits_hash", sa.Text, nullable=True))
    op.add_column("dead_letters", sa.Column("dismiss_reason", sa.Text, nullable=True))
    op.add_column("dead_letters", sa.Column("dismissed_by", sa.Text, nullable=True))
    op.create_index("ix_dead_letters_pipeline_key", "dead_letters", ["pipeline", "key"])
    op.drop_index("uq_dead_letters_open", "dead_letters")
    op.create_index(
        "uq_dead_letters_open",
        "dead_letters",
        ["pipeline", "lane", "fingerprint", "key"],
        unique=True,
        sqlite_where=OPEN,
        postgresql_where=OPEN,
    )
    op.add_column("runs", sa.Column("kind", sa.Text, nullable=False, server_default="ingest"))
    op.create_table(
        "reindexes",
        sa.Column("run_id", Key, sa.ForeignKey("runs.run_id", name="fk_reindexes_run_id"), primary_key=True),
        sa.Column("pipeline", Key, nullable=False),
        sa.Column("lane", Key, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("request", Json, nullable=False),
        sa.Column(
            "candidate", Key, sa.ForeignKey("collections.name", name="fk_reindexes_candidate"), nullable=False
        ),
        sa.Column("replaces", Key, sa.ForeignKey("collections.name", name="fk_reindexes_replaces"), nullable=False),
        sa.Column("verification", Json, nullable=False),
        sa.Column("started_at_ms", sa.BigInteger, nullable=False),
        sa.Column("ended_at_ms", sa.BigInteger, nullable=True),
        sa.CheckConstraint(
            "state IN ('building', 'verified', 'rejected', 'failed', 'cut over')", name="ck_reindexes_state"
        ),
    )
    op.create_index("ix_reindexes_pipeline_started_at_ms", "reindexes", ["pipeline", "started_at_ms"])
    op.create_table(
        "audits",
        sa.Column("id", Id, primary_key=True, autoincrement=True),
        sa.Column("pipeline", Key, nullable=False),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("faults", sa.BigInteger, nullable=False),
        sa.Column("findings", Json, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_audits_pipeline_at_ms", "audits", ["pipeline", "at_ms"])
    op.create_index("ix_objects_condition", "objects", ["pipeline", "vanished", "skip_reason", "media_type"])
    op.create_index("ix_entries_run", "entries", ["collection", "run_id", "key"])


def downgrade() -> None:
    """Take it all back. Letters that only candidates have would contradict the old index: the newest one stays open."""
    op.drop_index("ix_entries_run", "entries")
    op.drop_index("ix_objects_condition", "objects")
    op.drop_table("audits")
    op.drop_table("reindexes")
    op.drop_column("runs", "kind")
    op.drop_index("uq_dead_letters_open", "dead_letters")
    op.execute(
        "UPDATE dead_letters SET resolved_at_ms = last_at_ms WHERE resolved_at_ms IS NULL AND EXISTS ("
        "SELECT 1 FROM dead_letters AS newer WHERE newer.resolved_at_ms IS NULL AND newer.id > dead_letters.id "
        "AND newer.pipeline = dead_letters.pipeline AND newer.lane = dead_letters.lane AND newer.key = dead_letters.key)"
    )
    op.create_index(
        "uq_dead_letters_open",
        "dead_letters",
        ["pipeline", "lane", "key"],
        unique=True,
        sqlite_where=OPEN,
        postgresql_where=OPEN,
    )
    op.drop_index("ix_dead_letters_pipeline_key", "dead_letters")
    for table, column in (
        ("dead_letters", "dismissed_by"),
        ("dead_letters", "dismiss_reason"),
        ("dead_letters", "limits_hash"),
        ("dead_letters", "dismissed_at_ms"),
        ("dead_letters", "task"),
        ("collections", "dropped_at_ms"),
        ("collections", "drop_after_ms"),
    ):
        op.drop_column(table, column)
