"""Objects that fail, on real parts: what heals by itself, what a person does, what never becomes a letter."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pytest

from include.embedding_etl import dead_letters
from include.embedding_etl.converge import converge_collection
from include.embedding_etl.dead_letters import LetterChoice
from include.embedding_etl.embed import openai
from include.embedding_etl.errors import TransientError
from include.embedding_etl.lane_collection import create_collection, ensure_live
from include.embedding_etl.ledger.records import DeadLetter, LetterFilter, LetterState
from include.embedding_etl.plan import plan
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.stages.embed import embed
from include.embedding_etl.stages.identify import identify
from include.embedding_etl.stages.route import route
from include.embedding_etl.stages.scan import scan
from include.embedding_etl.stages.sync import sync
from include.embedding_etl.status.agreement import status
from include.embedding_etl.turn import give_turn_back, take_turn
from include.embedding_etl.vectorstore.milvus import MilvusStore
from include.embedding_etl.vectorstore.retry import RetryPolicy
from tests.fixtures_pipeline import Project
from tests.ports import free_port

pytestmark = pytest.mark.both_ledgers

BLANK = " \n \n"


@pytest.fixture
def tolerant(project: Project) -> Project:
    """A pipeline whose runs stay green however many objects fail."""
    project.thresholds = {"max_failed_fraction": 1.0}
    project.configure()
    return project


@pytest.fixture
def refusing(tolerant: Project) -> Project:
    """Four dead letters of two classes in two folders, and an endpoint that would take all of them now."""
    tolerant.put_many(3)
    tolerant.put("a/refused.txt", "unwanted words")
    tolerant.put("b/refused.txt", "unwanted words of another kind")
    tolerant.put("a/blank.txt", BLANK)
    tolerant.put("b/blank.txt", BLANK + BLANK)
    tolerant.endpoint.refused_word = "unwanted"
    assert tolerant.run().lanes["text"].dead_letters == 4
    tolerant.endpoint.refused_word = ""
    return tolerant


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts follow each other at once; there are as many as ever."""
    monkeypatch.setattr(openai, "_FIRST_WAIT_S", 0.01)


def letters(project: Project, state: LetterState = "open") -> list[DeadLetter]:
    """By key."""
    with project.open() as runtime:
        found = runtime.ledger.dead_letters.list(LetterFilter(project.name, state=state), limit=1_000)
    return sorted(found, key=lambda letter: (letter.key, letter.id))


def keys(found: Sequence[DeadLetter]) -> list[str]:
    return [letter.key for letter in found]


def etl(project: Project, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).with_name("etl")), "dead-letters", *arguments],
        env={**os.environ, **project.environment, "COLUMNS": "220"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_letter_tells_what_failed_where_why_and_who_saw_it(tolerant: Project) -> None:
    tolerant.put("blank.txt", BLANK)
    tolerant.run()
    (letter,) = letters(tolerant)
    with tolerant.open() as runtime:
        (listed,) = runtime.source.list()
        live = ensure_live(runtime, "text")
    assert (letter.pipeline, letter.lane, letter.key, letter.version) == (
        tolerant.name,
        "text",
        "blank.txt",
        listed.etag,
    )
    assert (letter.stage, letter.error_class, letter.attempts) == ("chunk", "NothingToEmbed", 1)
    assert letter.message == "there is no text, picture, sound or film in it"
    assert (letter.run_id, letter.task, letter.fingerprint) == ("run-1", "embed text/0", live.fingerprint)


def test_fixing_the_object_heals_it_and_its_history_stays(tolerant: Project) -> None:
    tolerant.put("blank.txt", BLANK)
    tolerant.run()
    (before,) = letters(tolerant)
    tolerant.put("blank.txt", "now it says something")
    report = tolerant.run()
    assert report.lanes["text"].dead_letters == 0
    assert tolerant.rows() == tolerant.expected_rows()
    assert letters(tolerant) == []
    (resolved,) = letters(tolerant, "resolved")
    assert resolved.resolved_at_ms is not None
    assert {**asdict(resolved), "resolved_at_ms": None} == asdict(before)


def test_an_object_that_is_gone_leaves_history_only(tolerant: Project) -> None:
    tolerant.put("blank.txt", BLANK)
    tolerant.put("good.txt", "good words")
    tolerant.run()
    tolerant.remove("blank.txt")
    tolerant.run()
    assert letters(tolerant) == []
    assert keys(letters(tolerant, "resolved")) == ["blank.txt"]


def test_a_poison_object_is_not_tried_again(tolerant: Project) -> None:
    tolerant.put("refused.txt", "unwanted words")
    tolerant.put("good.txt", "good words")
    tolerant.endpoint.refused_word = "unwanted"
    tolerant.run()
    refusals = tolerant.endpoint.refusals
    assert refusals > 0
    report = tolerant.run()
    assert report.lanes["text"].figures["model_calls"] == 0
    assert tolerant.endpoint.refusals == refusals
    assert [(letter.key, letter.attempts, letter.run_id) for letter in letters(tolerant)] == [
        ("refused.txt", 1, "run-1")
    ]


def test_what_an_endpoint_says_is_kept_without_its_secrets(tolerant: Project) -> None:
    tolerant.put("refused.txt", "unwanted words")
    tolerant.endpoint.refused_word = "unwanted"
    tolerant.run()
    (letter,) = letters(tolerant)
    assert letter.message == "the endpoint refuses this text: unwanted: refused, api_key=***"


def test_raising_a_limit_heals_without_anybodys_doing(tolerant: Project) -> None:
    tolerant.configure(limits={"max_characters": 20})
    tolerant.put("short.txt", "a few words")
    tolerant.put("middle.txt", "some more words than that")
    tolerant.put("long.txt", "words upon words upon words upon words")
    tolerant.run()
    assert [(one.key, one.error_class) for one in letters(tolerant)] == [
        ("long.txt", "TooMuchText"),
        ("middle.txt", "TooMuchText"),
    ]
    tolerant.configure(limits={"max_characters": 30})
    assert tolerant.run().lanes["text"].indexed == 2
    assert [(one.key, one.attempts) for one in letters(tolerant)] == [("long.txt", 2)]
    asked = len(tolerant.endpoint.texts)
    tolerant.run()  # under the same limits nothing is tried again
    assert [(one.key, one.attempts) for one in letters(tolerant)] == [("long.txt", 2)]
    assert len(tolerant.endpoint.texts) == asked
    tolerant.configure()
    assert tolerant.run().lanes["text"].dead_letters == 0
    assert tolerant.rows() == tolerant.expected_rows()


def test_an_object_that_was_too_large_is_looked_at_when_the_limit_is_raised(tolerant: Project) -> None:
    tolerant.configure(limits={"max_object_bytes": 10})
    tolerant.put("large.txt", "more than ten bytes of words")
    assert tolerant.run().skipped == {"oversize": 1}
    tolerant.configure()
    with tolerant.open() as runtime:
        assert plan(runtime).lanes["text"].new == 1
    report = tolerant.run()
    assert (report.skipped, report.lanes["text"].indexed) == ({}, 1)


def test_other_settings_do_not_make_letters_due(tolerant: Project) -> None:
    tolerant.put("blank.txt", BLANK)
    tolerant.run()
    tolerant.configure(description="something else", shards={"max_shards": 2})
    tolerant.run()
    assert [letter.attempts for letter in letters(tolerant)] == [1]


def test_new_settings_are_tried_by_their_candidate_and_the_live_letter_stays(refusing: Project) -> None:
    before = letters(refusing)
    with refusing.open() as runtime:
        wanted = runtime.pipeline.lanes["text"]
        settings = wanted.model_copy(update={"model": wanted.model.model_copy(update={"id": "word-hash-2"})})
        candidate = create_collection(runtime, "text", settings, settings, "candidate")
        assert candidate.fingerprint != ensure_live(runtime, "text").fingerprint
        runtime.ledger.runs.start("reindex-1", refusing.name, "reindex")
        scan(runtime, "reindex-1")
        converge_collection(runtime, "reindex-1", candidate, lambda _: None)
        assert runtime.ledger.entries.totals(candidate.name).objects == 5
        of_candidate = list(runtime.ledger.dead_letters.open_for(refusing.name, "text", candidate.fingerprint))
        assert status(runtime).lanes["text"].dead_letters == {"InputRefused": 2, "NothingToEmbed": 2}
    assert keys(of_candidate) == ["a/blank.txt", "b/blank.txt"]
    assert [letter for letter in letters(refusing) if letter not in of_candidate] == before
    assert refusing.run().lanes["text"].dead_letters == 4


def test_an_endpoint_that_recovers_leaves_no_letter(tolerant: Project, impatient: None) -> None:
    tolerant.put_many(3)
    tolerant.endpoint.fail_next = 3
    report = tolerant.run()
    assert report.green
    assert tolerant.endpoint.fail_next == 0
    assert letters(tolerant, "all") == []
    assert tolerant.rows() == tolerant.expected_rows()


def test_an_endpoint_that_is_down_for_good_makes_the_run_red_and_no_letter(tolerant: Project, impatient: None) -> None:
    tolerant.put_many(3)
    tolerant.endpoint.fail_next = 1_000
    report = tolerant.run()
    assert not report.green
    assert "did not answer now (HTTP 503)" in "\n".join(report.problems)
    assert letters(tolerant, "all") == []
    tolerant.endpoint.fail_next = 0
    assert tolerant.run().green
    assert tolerant.rows() == tolerant.expected_rows()


def test_a_milvus_that_is_down_for_good_fails_the_task_and_makes_no_letter(tolerant: Project) -> None:
    tolerant.put_many(3)
    with tolerant.open() as runtime:
        take_turn(runtime, "down-1")
        scan(runtime, "down-1")
        identify(runtime, "down-1")
        (reference,) = route(runtime, "down-1", ensure_live(runtime, "text"))
        embed(runtime, "down-1", reference)
        nobody = f"http://127.0.0.1:{free_port()}"
        cut_off = Runtime(
            runtime.pipeline,
            runtime.places,
            open_store=lambda _: MilvusStore(nobody, retry=RetryPolicy(window_s=0.3)),
            one_process=True,
        )
        with cut_off, pytest.raises(TransientError):
            sync(cut_off, "down-1", reference)
        give_turn_back(runtime, "down-1")
    assert letters(tolerant, "all") == []
    asked = len(tolerant.endpoint.texts)
    assert tolerant.run().green
    assert len(tolerant.endpoint.texts) == asked


def test_a_dismissed_object_is_neither_tried_nor_counted_until_it_changes(project: Project) -> None:
    project.thresholds = {"max_failed_fraction": 0.3}
    project.configure()
    project.put_many(2)
    project.put("one.txt", BLANK)
    project.put("two.txt", BLANK + BLANK)
    red = project.run()
    assert "2 of 4 objects are dead letters" in "\n".join(red.problems)
    with project.open() as runtime:
        assert dead_letters.dismiss(runtime, LetterChoice(key_glob="one.*")) == 1
        assert status(runtime).lanes["text"].dead_letters == {"NothingToEmbed": 1}
    report = project.run()
    assert report.green
    assert (report.lanes["text"].dead_letters, report.lanes["text"].dismissed) == (1, 1)
    assert [(letter.key, letter.attempts) for letter in letters(project, "dismissed")] == [("one.txt", 1)]
    project.put("one.txt", "now it says something")
    healed = project.run()
    assert (healed.lanes["text"].indexed, healed.lanes["text"].dismissed) == (3, 0)
    assert keys(letters(project, "resolved")) == ["one.txt"]


def test_a_dismissed_letter_of_an_object_that_changed_is_not_counted_twice(project: Project) -> None:
    """The letter is about a version that nobody looks at any more: what is pending now is not dismissed."""
    project.thresholds = {"max_failed_fraction": 1.0}
    project.configure()
    project.put("one.txt", BLANK)
    project.run()
    with project.open() as runtime:
        dead_letters.dismiss(runtime, LetterChoice(lane="text"))
    project.put("one.txt", BLANK + BLANK)
    report = project.run()
    assert (report.lanes["text"].dead_letters, report.lanes["text"].dismissed) == (1, 0)


@pytest.mark.parametrize(
    ("choice", "due"),
    [
        (LetterChoice(), ["a/blank.txt", "a/refused.txt", "b/blank.txt", "b/refused.txt"]),
        (LetterChoice(lane="text", error_class="InputRefused"), ["a/refused.txt", "b/refused.txt"]),
        (LetterChoice(key_glob="a/**"), ["a/blank.txt", "a/refused.txt"]),
        (LetterChoice(key_glob="blank.*", error_class="NothingToEmbed"), ["a/blank.txt", "b/blank.txt"]),
        (LetterChoice(key_glob="*/none"), []),
        (LetterChoice(since_ms=4_000_000_000_000), []),
    ],
)
def test_a_replay_touches_only_what_was_chosen(refusing: Project, choice: LetterChoice, due: list[str]) -> None:
    with refusing.open() as runtime:
        chosen = dead_letters.replay(runtime, "replay-1", choice)
    assert chosen.due == len(due)
    assert [letter.key for letter in letters(refusing) if letter.attempts == 0] == due


def test_what_became_of_a_replay_is_counted_by_object(refusing: Project) -> None:
    with refusing.open() as runtime:
        chosen = dead_letters.replay(runtime, "replay-1", LetterChoice())
        assert dead_letters.replay_outcome(runtime, chosen.path).waiting == 4
    refusing.remove("b/blank.txt")
    refusing.put("a/blank.txt", BLANK * 3)  # another version fails in the place of the first
    refusing.run()
    with refusing.open() as runtime:
        outcome = dead_letters.replay_outcome(runtime, chosen.path)
    assert (outcome.healed, outcome.failed_again, outcome.waiting) == (3, 1, 0)
    assert keys(outcome.examples) == ["a/blank.txt"]


def test_the_command_line_lists_and_shows(refusing: Project) -> None:
    refusing.put("[red]\x1b[31mkey.txt", BLANK)
    refusing.run()
    done = etl(refusing, "list", refusing.name, "--error-class", "NothingToEmbed")
    assert done.returncode == 0, done.stderr
    assert "[red]·[31mkey.txt" in done.stdout
    assert "\x1b" not in done.stdout
    assert "refused.txt" not in done.stdout
    document = json.loads(etl(refusing, "list", refusing.name, "--key", "a/**", "--limit", "1", "--json").stdout)
    (letter,) = document["letters"]
    assert (document["more"], letter["state"], letter["lane"]) == (True, "open", "text")
    shown = etl(refusing, "show", refusing.name, str(letter["id"]))
    assert all(str(letter[name]) in shown.stdout for name in ("key", "version", "error_class", "message", "run_id"))


def test_the_command_line_replays_and_says_what_became_of_it(refusing: Project) -> None:
    done = etl(refusing, "replay", refusing.name, "--key", "a/**")
    assert done.returncode == 0, done.stderr
    assert "Of 2 dead letters 1 are healed, 1 failed again, 0 were not tried." in done.stdout
    assert "Green: storage, ledger and Milvus agree." in done.stdout
    assert keys(letters(refusing)) == ["a/blank.txt", "b/blank.txt", "b/refused.txt"]
    later = json.loads(etl(refusing, "replay", refusing.name, "--no-run", "--json").stdout)
    assert later == {"due": 3, "outcome": None, "report": None}
    assert {letter.attempts for letter in letters(refusing)} == {0}
    nothing = etl(refusing, "replay", refusing.name, "--since", "2100-01-01")
    assert (nothing.returncode, nothing.stdout.strip()) == (0, "Nothing to replay: no open dead letter is like that.")


def test_a_red_replay_has_exit_code_1(refusing: Project) -> None:
    refusing.configure(thresholds={"max_failed_fraction": 0.1})
    done = etl(refusing, "replay", refusing.name, "--error-class", "InputRefused", "--json")
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert document["outcome"] == {"healed": 2, "failed_again": 0, "waiting": 0, "examples": []}
    assert document["report"]["green"] is False


def test_the_command_line_dismisses_and_takes_it_back(refusing: Project) -> None:
    letter = next(one for one in letters(refusing) if one.key == "a/refused.txt")
    done = etl(refusing, "dismiss", refusing.name, "--id", str(letter.id), "--reason", "a test page")
    assert done.returncode == 0, done.stderr
    assert keys(letters(refusing, "dismissed")) == ["a/refused.txt"]
    listed = json.loads(etl(refusing, "list", refusing.name, "--state", "dismissed", "--json").stdout)
    assert [(one["id"], one["state"], one["dismiss_reason"]) for one in listed["letters"]] == [
        (letter.id, "dismissed", "a test page")
    ]
    shown = etl(refusing, "show", refusing.name, str(letter.id)).stdout
    assert "a test page" in shown
    assert "Mend the endpoint or the text, then replay" in shown
    assert json.loads(etl(refusing, "replay", refusing.name, "--json").stdout)["due"] == 3  # not the dismissed one
    done = etl(refusing, "replay", refusing.name, "--id", str(letter.id))  # named: also a dismissed one
    assert "Of 1 dead letters 1 are healed" in done.stdout
    assert letters(refusing, "dismissed") == []


def test_a_mistake_is_one_plain_line(refusing: Project) -> None:
    for arguments, words in [
        (["dismiss", refusing.name], "say which letters to dismiss"),
        (["list", refusing.name, "--lane", "texts"], "has no lane 'texts'; it has: text"),
        (["list", refusing.name, "--since", "yesterday"], "is no time; allowed are"),
        (["show", refusing.name, "123456"], "has no dead letter 123456"),
    ]:
        done = etl(refusing, *arguments)
        assert done.returncode == 2, arguments
        assert words in done.stderr
        assert "Traceback" not in done.stderr
    assert len(letters(refusing)) == 4
