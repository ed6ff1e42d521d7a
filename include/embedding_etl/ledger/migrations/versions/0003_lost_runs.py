"""When a run last showed life, and why it was given up."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add columns; runs that are there have shown no life that anybody wrote down."""
    op.add_column("runs", sa.Column("seen_at_ms", sa.BigInteger, nullable=True))
    op.add_column("runs", sa.Column("given_up", sa.Text, nullable=True))


def downgrade() -> None:
    """Take it back."""
    op.drop_column("runs", "given_up")
    op.drop_column("runs", "seen_at_ms")
