"""src/fair_queue.py: no visitor holds all places, and nobody waits in vain. The tests use virtual time."""

import asyncio
import tracemalloc
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from src import fair_queue
from src.fair_queue import PLACES, Late, Turns
from tests.support.virtual_time import run

PATIENCE = 20.0


@dataclass(frozen=True)
class Outcome:
    """Of one piece of work: seconds until it was answered or refused, and with the latter after how many to return."""

    waited: float
    began: float
    after: int | None = None

    @property
    def refused(self) -> bool:
        return self.after is not None


class Site:
    """A server with simulated work: `at_once` places, on cores that share what runs there."""

    def __init__(self, at_once: int, slowdown: Callable[[], float] = lambda: 1.0) -> None:
        self.now = asyncio.get_running_loop().time
        self.turns, self.slowdown = Turns(at_once, PATIENCE, self.now), slowdown

    async def ask(self, who: str, seconds: float, pause: float = 0.002) -> Outcome:
        """As a request is handled: let in first, and with a little delay the work itself."""
        asked = self.now()
        try:
            self.turns.let_in(who)
            await asyncio.sleep(pause)
            turn = await self.turns.take(who)
        except Late as late:
            return Outcome(self.now() - asked, 0, late.after)
        began = self.now() - asked
        self.turns.start(turn)
        wanted, left = seconds * self.slowdown(), self.turns.left(turn)
        try:
            await asyncio.sleep(min(wanted, left))
        finally:
            self.turns.give_back(turn)
        after = self.turns.late(turn).after if wanted > left and turn.waited else None
        return Outcome(self.now() - asked, began, after)


async def all_of(*asked: Coroutine[Any, Any, Outcome]) -> list[Outcome]:
    return list(await asyncio.gather(*asked))


@pytest.mark.parametrize("measured", [True, False])
def test_a_hundred_visitors_of_a_slow_server_are_answered_or_refused(measured: bool) -> None:
    """Two answers a second: three places, each of which takes a second and a half."""

    async def crowd() -> tuple[list[Outcome], list[Outcome], int]:
        site = Site(3)
        for i in range(6 if measured else 0):
            await site.ask(f"early {i}", 1.5)
        outcomes = await all_of(*(site.ask(f"visitor {i}", 1.5) for i in range(100)))
        return outcomes, [one for one in outcomes if one.refused], site.turns.waiting

    outcomes, refused, waiting = run(crowd)
    answered = [one for one in outcomes if not one.refused]
    assert len(answered) + len(refused) == 100
    assert waiting == 0
    assert len(answered) >= 25, "what fits into the time"
    assert max(one.waited for one in answered) <= PATIENCE
    assert max(one.waited for one in refused) <= (0.1 if measured else 4), "at once, where the speed is known"


def test_who_comes_back_when_told_is_answered() -> None:
    async def crowd() -> list[list[Outcome]]:
        site = Site(3)
        for i in range(6):
            await site.ask(f"early {i}", 1.5)

        async def until_answered(who: str) -> list[Outcome]:
            outcomes = [await site.ask(who, 1.5)]
            while (after := outcomes[-1].after) is not None:
                await asyncio.sleep(after)
                outcomes.append(await site.ask(who, 1.5))
            return outcomes

        return list(await asyncio.gather(*(until_answered(f"visitor {i}") for i in range(100))))

    tries = [len(outcomes) for outcomes in run(crowd)]
    assert sum(count <= 2 for count in tries) >= 90, "what they were told was true"
    assert max(tries) <= 3


def test_a_second_visitor_need_not_wait_for_a_greedy_one() -> None:
    async def greedy() -> tuple[list[Outcome], list[Outcome]]:
        site = Site(3)

        async def beside() -> list[Outcome]:
            others = []
            for _ in range(20):
                await asyncio.sleep(1)
                others.append(await site.ask("other", 0.3))
            return others

        flood = all_of(*(site.ask("greedy", 6.5) for _ in range(58)))
        flooded, others = await asyncio.gather(flood, beside())
        return flooded, others

    flood, others = run(greedy)
    assert not any(one.refused for one in others)
    assert np.percentile([one.waited for one in others], 95) < 0.5
    answered = [one for one in flood if not one.refused]
    assert len(answered) + sum(one.refused for one in flood) == 58
    assert 4 <= len(answered) <= 8, "what fits into the time, and is worth a greedy one's while"
    assert max(one.waited for one in answered) <= PATIENCE


def test_among_many_a_newcomer_waits_for_what_is_running_at_most() -> None:
    async def greedy() -> Outcome:
        site = Site(2)
        floods = [all_of(*(site.ask(who, 3) for _ in range(8))) for who in ("one", "another")]
        flood = asyncio.gather(*floods)
        await asyncio.sleep(4)
        newcomer = await site.ask("newcomer", 0.3)
        await flood
        return newcomer

    newcomer = run(greedy)
    assert newcomer.began <= 3


def test_visitors_have_the_same_seconds_of_work_not_the_same_pieces() -> None:
    async def two() -> dict[str, int]:
        site, done = Site(1), {"slow": 0, "quick": 0}

        async def again(who: str, seconds: float) -> None:
            while site.now() < 200:
                outcome = await site.ask(who, seconds)
                done[who] += not outcome.refused
                await asyncio.sleep(outcome.after or 0)

        await asyncio.gather(*(again("slow", 4.0) for _ in range(2)), *(again("quick", 0.5) for _ in range(2)))
        return done

    done = run(two)
    assert done["quick"] * 0.5 == pytest.approx(done["slow"] * 4.0, rel=0.2)


def test_one_visitor_has_few_places() -> None:
    async def flood() -> list[Outcome]:
        site = Site(3)
        return await all_of(*(site.ask("greedy", 0.1) for _ in range(100)))

    outcomes = run(flood)
    assert PLACES <= sum(not one.refused for one in outcomes) <= PLACES + 2
    assert all(one.after for one in outcomes if one.refused)


def test_a_server_that_slows_down_refuses_whom_it_can_no_longer_serve() -> None:
    async def crowd() -> list[Outcome]:
        factor = [1.0]
        site = Site(3, lambda: factor[0])
        for i in range(6):
            await site.ask(f"early {i}", 0.3)
        asked = asyncio.ensure_future(all_of(*(site.ask(f"visitor {i}", 0.3) for i in range(100))))
        await asyncio.sleep(0.5)
        factor[0] = 10
        return await asked

    outcomes = run(crowd)
    assert max(one.waited for one in outcomes) <= PATIENCE
    late = [one.waited for one in outcomes if one.refused]
    assert late
    assert np.median(late) < 10, "as soon as it is known"


def test_a_crowd_with_large_images_is_refused_long_before_the_time_is_over() -> None:
    """Small images were measured before, and each newcomer is another visitor."""

    async def crowd() -> list[Outcome]:
        site = Site(3)
        for i in range(40):
            await site.ask(f"early {i}", 0.3)
        return await all_of(*(site.ask(f"visitor {i}", 6) for i in range(100)))

    outcomes = run(crowd)
    assert max(one.waited for one in outcomes) <= PATIENCE
    assert sum(not one.refused for one in outcomes) >= 6
    refused = [one.waited for one in outcomes if one.refused]
    assert np.median(refused) < 6


def test_nobody_waits_longer_even_where_the_server_slows_down() -> None:
    async def slowed() -> list[Outcome]:
        site = Site(2, lambda: 10 if site.now() > 6 else 1)
        return await all_of(*(site.ask(f"visitor {i}", 4) for i in range(20)))

    outcomes = run(slowed)
    assert max(one.waited for one in outcomes) <= PATIENCE
    assert any(one.refused and one.began for one in outcomes), "one was ended while it ran"
    assert all(one.after for one in outcomes if one.refused)


def test_work_that_hangs_keeps_nobody_past_the_time() -> None:
    async def hung() -> list[Outcome]:
        site = Site(2)
        hanging = [asyncio.ensure_future(site.ask(f"hung {i}", 60)) for i in range(2)]
        await asyncio.sleep(1)
        waiting = [asyncio.ensure_future(site.ask(f"visitor {i}", 0.1)) for i in range(3)]
        outcomes = await asyncio.gather(*waiting)
        for each in hanging:
            each.cancel()
        return outcomes

    assert all(one.refused and one.waited <= PATIENCE for one in run(hung))


@pytest.mark.parametrize("leave_after", [0.0, 0.5, 1.5])
def test_who_leaves_frees_the_place(leave_after: float) -> None:
    """While it is let in, while it waits and while it is served."""

    async def leave() -> tuple[Outcome, int]:
        site = Site(1)
        first = asyncio.ensure_future(site.ask("first", 1))
        await asyncio.sleep(0.1)
        left = [asyncio.ensure_future(site.ask(f"left {i}", 5)) for i in range(3)]
        await asyncio.sleep(leave_after)
        for each in left:
            each.cancel()
        await asyncio.sleep(3)
        await first
        return await site.ask("next", 0.1), site.turns.waiting

    outcome, waiting = run(leave)
    assert outcome.began < 0.1
    assert waiting == 0


def test_a_turn_granted_to_who_leaves_in_that_moment_is_the_next_ones() -> None:
    async def leave() -> Outcome:
        site = Site(1)
        first = await site.turns.take("first")
        left = asyncio.ensure_future(site.turns.take("left"))
        following = asyncio.ensure_future(site.ask("next", 0.1))
        await asyncio.sleep(0.01)
        left.cancel()
        site.turns.give_back(first)
        await asyncio.gather(left, return_exceptions=True)
        return await following

    assert not run(leave).refused


def test_what_was_let_in_and_never_came_holds_no_place_for_long() -> None:
    async def lost() -> None:
        turns = Turns(1, PATIENCE, asyncio.get_running_loop().time)
        while True:
            try:
                turns.let_in("lost")
            except Late:
                break
        await asyncio.sleep(3)
        turns.let_in("lost")

    run(lost)


def test_memory_of_visitors_is_bounded() -> None:
    def held() -> int:
        """The bytes that the queue's own code holds."""
        only = [tracemalloc.Filter(True, fair_queue.__file__)]
        return sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces(only).traces)

    async def many() -> list[int]:
        site, sizes = Site(3), []
        busy = asyncio.ensure_future(site.ask("busy", 5000))
        for i in range(3000):
            await site.ask(f"visitor {i}", 0.1)
            if i in (99, 1499, 2999):
                sizes.append(held())
        busy.cancel()
        return sizes

    tracemalloc.start()
    try:
        few, some, twice_as_many = run(many)
    finally:
        tracemalloc.stop()
    assert some > 1.5 * few, "something is kept of each visitor"
    assert twice_as_many < 1.1 * some
