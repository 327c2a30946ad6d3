"""The arithmetic of the simulated run."""

import pytest

from benchmarks.simulation import Cluster, Failures, simulate
from src.scale.process import IMAGE_TRIES, TRIES


@pytest.mark.parametrize(("parts", "workers", "rounds"), [(8, 4, 2), (9, 4, 3), (1, 1, 1), (3, 10, 1)])
def test_equal_parts_without_failures_take_whole_rounds(parts: int, workers: int, rounds: int) -> None:
    found = simulate([5.0] * parts, Cluster(workers, start=7.0))
    assert found.seconds == 7.0 + 5.0 * rounds
    assert found.worked == 5.0 * parts + 7.0 * workers
    assert found.repeated == 0.0


def test_the_longest_part_at_the_end_decides() -> None:
    assert simulate([1.0, 1.0, 10.0], Cluster(2)).seconds == 11.0
    assert simulate([10.0, 1.0, 1.0], Cluster(2)).seconds == 10.0


def test_a_slow_process_gets_fewer_parts() -> None:
    # One of two processes takes twice as long: it reads the first part until 2, the other the second and the third.
    found = simulate([1.0] * 3, Cluster(2, failures=Failures(slow_share=0.5, slow_factor=2.0)))
    assert (found.seconds, found.worked, found.repeated) == (2.0, 4.0, 0.0)


def test_deaths_repeat_about_the_work_that_theory_says() -> None:
    # Parts of 60 s, a death each hour of work: a part dies with probability 1 - exp(-1/60) and has lost half of itself
    # on average, and a start. Three deaths in a row are rare.
    start = 10.0
    cluster = Cluster(10, start, failures=Failures(deaths_per_hour=1.0))
    found = simulate([60.0] * 20_000, cluster, seed=1)
    expected = (30.0 + start) / 3600  # per second of work
    assert found.repeated == pytest.approx(expected, rel=0.1)
    assert found.seconds > 60.0 * 2_000 + start


def test_a_poisonous_image_costs_the_tries_and_a_slower_reading() -> None:
    found = simulate([60.0], Cluster(1, start=10.0, alone=3.0, failures=Failures(poisoned=1.0)))
    least = 10.0 + TRIES * 10.0 + 3.0 * 60.0 + IMAGE_TRIES * 10.0
    assert least < found.seconds < least + TRIES * 60.0
    assert found.seconds == found.worked
    assert found.repeated == pytest.approx((found.worked - 60.0 - 10.0) / found.worked)


def test_the_share_of_poisoned_parts_follows_from_that_of_images() -> None:
    # Of parts with 100 images, 1 - 0.99 ** 100 = 63% have at least one.
    cluster = Cluster(1, alone=2.0, failures=Failures(poisoned=0.01))
    found = simulate([1.0] * 5_000, cluster, seed=3, images=100)
    # Three tries end in the middle on average, and then the part takes twice as long: 3.5 s in place of 1 s.
    assert found.seconds / 5_000 == pytest.approx(1 + 0.634 * 2.5, rel=0.03)


def test_a_seed_repeats_a_run() -> None:
    cluster = Cluster(4, start=1.0, failures=Failures(deaths_per_hour=20.0))
    one, same, other = (simulate([30.0] * 50, cluster, seed) for seed in (1, 1, 2))
    assert one == same != other
