"""Which command reaches which durable write. A write that is not named here is one of `etl run`."""

from include.embedding_etl.failpoints import DURABLE_WRITES

REINDEX_ONLY = ("candidate_state", "cutover_alias", "cutover_commit")
DROP_ONLY = ("drop_collection", "drop_commit")
REPAIR_ONLY = ("distrust", "orphan_delete", "store_forget", "file_delete")
BULK_LOAD_ONLY = ("import_intent", "import_file", "import_submit", "import_clear")  # on a server that has imports
RUN = tuple(name for name in DURABLE_WRITES if name not in (*REINDEX_ONLY, *DROP_ONLY, *REPAIR_ONLY, *BULK_LOAD_ONLY))
# The same stages, writing to a candidate. Nobody deletes tombstones or points a first alias there.
REINDEX = (*(name for name in RUN if name not in ("alias", "forget_objects")), *REINDEX_ONLY)
# Before it converges; from there on it is a run.
REPAIR = (*REPAIR_ONLY, *DROP_ONLY, "alias", "objects")
