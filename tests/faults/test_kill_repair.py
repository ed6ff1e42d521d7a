"""kill -9 around every durable write of a repair. Repaired again, everything is as it should be, at no model call."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.reached_by import REPAIR
from tests.fixtures_audit import (
    Scene,
    add_rows_that_are_not_ours,
    delete_rows,
    drop_the_alias,
    edit_the_content_hash_of_an_object,
    leave_a_collection_that_nobody_owns,
    leave_a_store_file_that_nobody_names,
    lose_the_store_file_of_a_vanished_object,
    record_a_collection_that_milvus_lacks,
)


@pytest.mark.parametrize("mode", ["before", "after", "lost"])
@pytest.mark.parametrize("name", REPAIR)
def test_a_repair_that_dies_here_is_finished_by_the_next(scene: Scene, name: str, mode: str) -> None:
    lose_the_store_file_of_a_vanished_object(scene)
    for plant in (
        delete_rows,
        add_rows_that_are_not_ours,
        drop_the_alias,
        edit_the_content_hash_of_an_object,
        leave_a_collection_that_nobody_owns,
        leave_a_store_file_that_nobody_names,
        record_a_collection_that_milvus_lacks,
    ):
        plant(scene)
    scene.project.endpoint.take_texts()
    done = subprocess.run(
        [str(Path(sys.executable).with_name("etl")), "audit", scene.project.name, "--repair"],
        env={**os.environ, **scene.project.environment, "ETL_FAILPOINT": f"{name}:{mode}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if mode == "lost":
        assert done.returncode in (1, 2), done.stdout + done.stderr
        assert "the reply was lost" in done.stdout + done.stderr
    else:
        assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr
    assert scene.repair().problems == ()
    assert scene.audit().findings == ()
    assert scene.project.rows() == scene.project.expected_rows(scene.chunks)
    assert scene.project.endpoint.take_texts() == []
