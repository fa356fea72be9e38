"""Whether a figure grows: what leaks is found, and what only goes up and down is not."""

import random

import pytest

from tests.seed import SEED
from tests.soak.samples import Bound, Memory, Sample, judge, slope
from tests.soak.verdict import verdict_of


def sample(number: int, **figures: float) -> Sample:
    flat = {"descriptors": 39, "threads": 20, "children": 0, "tasks": 27, "objects": 90_000, "wal_bytes": 0}
    rest = {"store_bytes": 0, "log_bytes": 0, "cpu_s": float(number)}
    counted = {"kinds": {"builtins.dict": 100 * number, "builtins.list": 7}, "places": {}}
    kib = int(figures.pop("uss_kib", 120_000))
    values = {**flat, **rest, **figures}
    return Sample(number, 1000 * number, Memory(kib, kib, kib), **values, counted=counted)  # type: ignore[arg-type]


def row_of(samples: list[Sample], name: str) -> bool:
    return next(one.is_flat for one in verdict_of(samples).findings if one.bound.name == name)


def test_leak_is_found_below_noise_that_is_larger() -> None:
    """A tenth of a megabyte more in each round is seen though each sample is off by up to two."""
    chance = random.Random(SEED)
    noise = [chance.uniform(-2, 2) for _ in range(60)]
    bound = Bound("memory", "MiB", slope=0.05)

    assert not judge(bound, [(at, 120 + 0.1 * at + off) for at, off in enumerate(noise)]).is_flat
    assert judge(bound, [(at, 120 + off) for at, off in enumerate(noise)]).is_flat


def test_third_of_the_samples_may_be_anywhere() -> None:
    """What a busy moment leaves in one sample is no growth, wherever it is."""
    points = [(float(at), 500.0 if at % 3 == 2 else 39.0) for at in range(30)]

    assert slope(points) == 0


def test_one_point_has_no_slope() -> None:
    """The shortest soak is judged as well."""
    assert slope([(1.0, 39.0)]) == slope([]) == 0


@pytest.mark.parametrize(
    ("name", "figure", "each"),
    [
        ("memory of its own", "uss_kib", 400),
        ("descriptors", "descriptors", 1),
        ("threads", "threads", 1),
        ("tasks", "tasks", 1),
        ("objects", "objects", 300),
    ],
)
def test_what_grows_with_each_round_is_not_flat(name: str, figure: str, each: int) -> None:
    """One descriptor, thread or task in a thousand messages is one too many; so are some hundred objects."""
    stays = [sample(number) for number in range(1, 31)]
    grows = [sample(number, **{figure: 1000 + each * number}) for number in range(1, 31)]

    assert row_of(stays, name)
    assert not row_of(grows, name)


def test_growth_until_all_has_happened_once_does_not_count() -> None:
    """The first half of a soak is a warm-up."""
    samples = [sample(number, threads=min(number, 10)) for number in range(1, 31)]

    assert row_of(samples, "threads")


def test_process_that_is_left_over_is_one_too_many() -> None:
    """At rest nothing that was started runs any more, not even once."""
    assert not row_of([*(sample(number) for number in range(1, 30)), sample(30, children=1)], "processes it started")


def test_table_and_what_grew_are_told() -> None:
    """Whoever reads it sees the figure that is not flat, and which objects there are more of."""
    verdict = verdict_of([sample(number, tasks=27 + number) for number in range(1, 31)])

    assert not verdict.is_flat
    assert "| tasks | 43 | 57 | 57 | 1 | 0 by 1,000 | not flat |\n" in verdict.markdown()
    assert verdict.grown() == "   +1400 builtins.dict\n"
