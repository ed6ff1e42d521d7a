"""What we believe and have verified: SQLAlchemy Core over SQLite or PostgreSQL."""

from include.embedding_etl.ledger.leases import Heartbeat
from include.embedding_etl.ledger.ledger import Ledger
from include.embedding_etl.ledger.schema import migrate

__all__ = ["Heartbeat", "Ledger", "migrate"]
