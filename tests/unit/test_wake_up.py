"""When messages in hand wake a run, and when they have served."""

from include.embedding_etl.wake_up import WakeUps

NO_RUNS: frozenset[str] = frozenset()


def test_only_a_run_that_was_recorded_after_a_message_came_serves_it() -> None:
    wake_ups = WakeUps(repeat_after_s=600)
    wake_ups.keep("m", "h", 300)
    assert wake_ups.settle({"before"}) == []
    assert wake_ups.settle({"before"}) == []
    assert [held.handle for held in wake_ups.settle({"before", "after"})] == ["h"]
    assert wake_ups.held == {}


def test_a_run_that_was_recorded_while_a_message_came_may_have_listed_too_early() -> None:
    wake_ups = WakeUps(repeat_after_s=600)
    wake_ups.keep("first", "h1", 300)
    wake_ups.settle(NO_RUNS)
    wake_ups.keep("second", "h2", 300)
    assert [held.message_id for held in wake_ups.settle({"run"})] == ["first"]
    assert list(wake_ups.held) == ["second"]
    assert [held.message_id for held in wake_ups.settle({"run", "next"})] == ["second"]


def test_runs_that_are_forgotten_serve_nobody() -> None:
    wake_ups = WakeUps(repeat_after_s=600)
    wake_ups.keep("m", "h", 300)
    wake_ups.settle({"a", "b"})
    assert wake_ups.settle({"b"}) == []
    assert wake_ups.settle(NO_RUNS) == []


def test_a_message_that_came_twice_is_as_old_as_its_first_coming_and_deleted_by_its_last_handle() -> None:
    wake_ups = WakeUps(repeat_after_s=600)
    wake_ups.keep("m", "old", 300)
    wake_ups.settle(NO_RUNS)
    wake_ups.keep("m", "new", 600)
    assert [held.handle for held in wake_ups.settle({"run"})] == ["new"]


def test_one_wake_up_at_a_time_and_another_for_what_came_after_its_run_began() -> None:
    wake_ups = WakeUps(repeat_after_s=600)
    assert not wake_ups.due(0)
    wake_ups.keep("a", "h", 300)
    wake_ups.settle(NO_RUNS)
    assert wake_ups.due(0)
    wake_ups.asked(0, NO_RUNS)
    wake_ups.keep("b", "h", 300)
    wake_ups.settle(NO_RUNS)
    assert not wake_ups.due(599)
    wake_ups.settle({"run"})
    wake_ups.keep("c", "h", 300)
    wake_ups.settle({"run"})
    assert wake_ups.due(1)


def test_a_wake_up_without_a_run_is_repeated_after_a_while_and_two_keep_their_distance() -> None:
    wake_ups = WakeUps(repeat_after_s=600, min_interval_s=30)
    wake_ups.keep("a", "h", 300)
    wake_ups.settle(NO_RUNS)
    assert wake_ups.due(100)
    wake_ups.asked(100, NO_RUNS)
    assert not wake_ups.due(699)
    assert wake_ups.due(700)
    wake_ups.settle({"run"})
    wake_ups.keep("b", "h", 300)
    wake_ups.settle({"run"})
    assert not wake_ups.due(129)
    assert wake_ups.due(130)


def test_messages_are_hidden_again_before_others_see_them() -> None:
    wake_ups = WakeUps(repeat_after_s=600)
    wake_ups.keep("soon", "h", 300)
    wake_ups.keep("later", "h", 500)
    soon = wake_ups.showing_soon(160, 150)
    assert [held.message_id for held in soon] == ["soon"]
    wake_ups.hidden(soon, 460)
    assert wake_ups.showing_soon(160, 150) == []
    assert wake_ups.settle(NO_RUNS) == []
    assert {held.hidden_until_s for held in wake_ups.held.values()} == {460, 500}
