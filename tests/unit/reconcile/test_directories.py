"""In which order directories take the names of their mailboxes."""

from collections.abc import Mapping
from pathlib import PurePosixPath

from hypothesis import given
from hypothesis import strategies as st

from syncd.reconcile.directories import Step, aside, next_step

NAMES = st.lists(st.sampled_from(["a", "b", "a/b", "a/b/c", "b/a", "c", "c/a"]), min_size=1, max_size=7, unique=True)


def paths(names: Mapping[int, str]) -> dict[int, PurePosixPath]:
    return {id_: PurePosixPath(name) for id_, name in names.items()}


def test_outer_directory_goes_first_and_a_free_name_before_one_in_use() -> None:
    """What is inside goes along, and then has its name already."""
    now = paths({1: "a/x", 2: "a", 3: "b"})
    wanted = paths({1: "c/x", 2: "c", 3: "a"})

    assert next_step(now, wanted) == Step(2, PurePosixPath("a"), PurePosixPath("c"))
    assert next_step(paths({1: "c/x", 2: "c", 3: "b"}), wanted) == Step(3, PurePosixPath("b"), PurePosixPath("a"))


def test_name_that_stays_in_use_is_waited_for() -> None:
    """Nothing is put aside for that."""
    assert next_step(paths({1: "a", 2: "b"}), paths({1: "b", 2: "b"})) is None
    assert next_step(paths({1: "a", 2: "b"}), paths({1: "b"})) is None


def test_those_that_wait_for_each_other_and_one_that_goes_into_itself_are_put_aside() -> None:
    """Then the way is free."""
    assert next_step(paths({1: "a", 2: "b"}), paths({1: "b", 2: "a"})) == Step(1, PurePosixPath("a"), aside(1))
    assert next_step(paths({1: "a"}), paths({1: "a/b"})) == Step(1, PurePosixPath("a"), aside(1))


@given(NAMES, st.randoms(use_true_random=False))
def test_any_exchange_of_names_comes_to_its_end(names: list[str], random: object) -> None:
    """However they are nested, each is where it should be after a few steps."""
    targets = list(names)
    random.shuffle(targets)  # type: ignore[attr-defined]
    now, wanted = paths(dict(enumerate(names))), paths(dict(enumerate(targets)))
    for _ in range(10 * len(names)):
        step = next_step(now, wanted)
        if step is None:
            break
        assert step.source == now[step.replica_id]
        now = {
            id_: step.target / at.relative_to(step.source) if at.is_relative_to(step.source) else at
            for id_, at in now.items()
        }
        assert len(set(now.values())) == len(now)

    assert now == wanted
