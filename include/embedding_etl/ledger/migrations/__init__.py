"""Alembic's directory: every change of the ledger's tables, in order. Copy the newest version to add one."""
