"""A fair queue: one visitor's work does not delay another's, and work that would end too late is refused at once.

The next free place goes to the visitor for whom Vigil has worked the fewest seconds (fair queueing). The queue measures
each piece of work and uses these measurements to estimate every waiting time. If work would end too late, the queue
refuses it and gives the number of seconds after which another try will succeed.
"""

import asyncio
import heapq
import math
import time
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

visitor: ContextVar[str] = ContextVar("visitor", default="")
"""The visitor of the current request. The page sets it before it calls a function."""

LET_IN: Final = 0.75
"""New work is let in up to this share of the longest wait. The rest is a reserve, because estimates can be wrong."""
PLACES: Final = 32
"""The most pieces of work that may wait for one visitor. A whole school class may share one address."""
UNMEASURED: Final = 0.5
"""The estimate, in seconds, before any piece of work was measured."""
WEIGHT: Final = 0.5
"""The weight of a visitor's newest measurement in the estimate for its next piece of work."""
WEIGHT_OF_ALL: Final = 0.1
"""The weight of the newest measurement in the estimate for visitors without one, after the first ten measurements."""
ON_ITS_WAY: Final = 2.0
"""Seconds for which a place is kept for work that was let in but has not arrived."""
CHECK_SECONDS: Final = 1.0
"""Seconds between two checks that all waiting work will still end in time."""
PLACE_SECONDS: Final = 0.5
"""Seconds between two reports of a visitor's place in the queue."""
SOON: Final = 0.02
"""Every estimate assumes that a taken place stays taken for at least this many seconds."""
LONGEST_RETRY: Final = 60
"""The longest time to come back, in seconds, that a refusal gives."""
KNOWN: Final = 1000
"""Visitors whose measurements are kept."""


TOO_BUSY: Final = "Too many images are being read just now; try again in {after} s."


class Late(Exception):  # noqa: N818 - a refusal, not an error
    """The work would end too late. `after`: the seconds to wait before another try."""

    def __init__(self, after: int) -> None:
        super().__init__(after)
        self.after = after


@dataclass(eq=False)
class Turn:
    """One piece of work. It waits until `granted` is done.

    `task`: the asyncio task that waits for it. `waited`: the seconds that it waited. `started`: the time at which it
    began to run. `charged`: the seconds that were charged to its visitor in advance.
    """

    visitor: str
    arrived: float
    number: int
    granted: "asyncio.Future[None] | None" = None
    task: "asyncio.Task[Any] | None" = None
    waited: float = 0
    started: float | None = None
    charged: float = 0


@dataclass
class _Line:
    """The work of one visitor. `had`: its virtual time, in seconds of work."""

    had: float
    waiting: deque[Turn] = field(default_factory=deque)
    running: set[Turn] = field(default_factory=set)


class Turns:
    """Gives out `at_once` places for work. A single visitor may hold all places but one.

    A piece of work is refused if it is expected to end more than `patience` seconds after its arrival, unless it can
    start at once.
    """

    def __init__(self, at_once: int, patience: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.at_once, self.patience = at_once, patience
        # So a second visitor finds a free place and waits for no running work.
        self.share = max(1, at_once - 1)
        self._clock = clock
        self._lines: dict[str, _Line] = {}
        self._measured: OrderedDict[str, float] = OrderedDict()
        self._of_all, self._pieces = UNMEASURED, 0
        self._debts: OrderedDict[str, float] = OrderedDict()
        self._virtual = 0.0
        self._on_their_way: deque[Turn] = deque()
        self._returning: dict[str, float] = {}
        self._numbers = count()
        self._timer: asyncio.TimerHandle | None = None

    def let_in(self, who: str) -> None:
        """Keep a place for a piece of work that will arrive soon. Raises Late where it would end too late."""
        now = self._clock()
        turn = Turn(who, now, next(self._numbers))
        if (after := self._too_late(turn, now)) is not None:
            raise Late(after)
        self._on_their_way.append(turn)

    async def take(self, who: str) -> Turn:
        """Wait for a place, which must be given back. Raises Late as soon as the work would end too late."""
        now = self._clock()
        turn = self._arrival(who, now)
        if turn is None:
            turn = Turn(who, now, next(self._numbers))
            if (after := self._too_late(turn, now)) is not None:
                raise Late(after)
        turn.granted = asyncio.get_running_loop().create_future()
        turn.task = asyncio.current_task()
        self._line(who).waiting.append(turn)
        self._serve()
        try:
            await turn.granted
        except BaseException:
            self._leave(turn)
            raise
        return turn

    async def places(self, task: "asyncio.Task[Any]") -> AsyncIterator[int | None]:
        """The place in the queue of the work that `task` waits for, whenever it changes, until the task ends.

        1 is the next to begin. None means that the work has begun.
        """
        shown: int | None = None
        while not task.done():
            if (place := self._place(task)) != shown:
                shown = place
                yield place
            await asyncio.wait({task}, timeout=PLACE_SECONDS)

    def _place(self, task: "asyncio.Task[Any]") -> int | None:
        if not self.waiting:
            return None
        planned, _ = self._foresee(self._clock())  # in the order in which they will begin
        return next((place for place, turn in enumerate(planned, 1) if turn.task is task), None)

    def start(self, turn: Turn) -> None:
        """Measure the work from now on. Time spent before, such as for the start of a process, does not count."""
        turn.started = self._clock()

    def left(self, turn: Turn) -> float:
        """Seconds that work may take once it has started: its visitor waits no longer than `patience` in all."""
        return self.patience - turn.waited

    def late(self, turn: Turn) -> Late:
        """The refusal for work that was stopped because its visitor had waited too long."""
        now = self._clock()
        return Late(self._after(turn.visitor, now + self.seconds(turn.visitor), now))

    def give_back(self, turn: Turn) -> None:
        """The work has ended, and its place is free."""
        line = self._lines[turn.visitor]
        line.running.remove(turn)
        took = 0.0 if turn.started is None else self._clock() - turn.started
        if turn.started is not None:
            self._measure(turn.visitor, took)
        line.had += took - turn.charged
        self._forget(turn.visitor, line)
        self._serve()

    @property
    def waiting(self) -> int:
        """The number of waiting pieces of work."""
        return sum(len(line.waiting) for line in self._lines.values())

    def seconds(self, who: str) -> float:
        """The estimate for the next piece of a visitor's work. A running piece counts as the newest measurement."""
        now = self._clock()
        return self._seconds(who, now, self._unmeasured(now))

    def _seconds(self, who: str, now: float, unmeasured: float) -> float:
        expected = self._measured.get(who, unmeasured)
        if line := self._lines.get(who):
            so_far = max((now - turn.started for turn in line.running if turn.started is not None), default=0.0)
            expected += WEIGHT * max(0.0, so_far - expected)
        return expected

    def _unmeasured(self, now: float) -> float:
        """The estimate for a visitor who was not measured yet.

        If the running work of such visitors takes longer than earlier work did, a crowd has probably come with larger
        images. Then the estimate grows.
        """
        running = [
            now - turn.started
            for who, line in self._lines.items()
            if who not in self._measured
            for turn in line.running
            if turn.started is not None
        ]
        over = [max(0.0, seconds - self._of_all) for seconds in running]
        return self._of_all + (WEIGHT * sum(over) / len(over) if over else 0.0)

    def _arrival(self, who: str, now: float) -> Turn | None:
        """The place that was kept for this visitor's work, if there is one."""
        self._drop_lost(now)
        for turn in self._on_their_way:
            if turn.visitor == who:
                self._on_their_way.remove(turn)
                return turn
        return None

    def _drop_lost(self, now: float) -> None:
        while self._on_their_way and now - self._on_their_way[0].arrived > ON_ITS_WAY:
            self._on_their_way.popleft()

    def _line(self, who: str) -> _Line:
        if who not in self._lines:
            self._lines[who] = _Line(max(self._virtual, self._debts.pop(who, 0.0)))
        return self._lines[who]

    def _forget(self, who: str, line: _Line) -> None:
        """Forget a visitor who has no work left. Only the time beyond this visitor's share is kept."""
        if line.waiting or line.running:
            return
        del self._lines[who]
        if not self._lines:
            self._debts.clear()
            self._virtual = 0.0
        elif line.had > self._virtual:
            _remember(self._debts, who, line.had)

    def _measure(self, who: str, took: float) -> None:
        before = self._measured.get(who)
        _remember(self._measured, who, took if before is None else before + WEIGHT * (took - before))
        self._pieces += 1
        self._of_all += max(WEIGHT_OF_ALL, 1 / self._pieces) * (took - self._of_all)

    def _serve(self) -> None:
        """Refuse waiting work that would end too late, and give the free places to the visitors whose turn it is."""
        self._refuse_late()
        free = self.at_once - sum(len(line.running) for line in self._lines.values())
        while free and (
            able := [line for line in self._lines.values() if line.waiting and len(line.running) < self.share]
        ):
            line = min(able, key=lambda line: (line.had, line.waiting[0].number))
            turn = line.waiting.popleft()
            assert turn.granted
            if turn.granted.done():  # cancelled: its caller is gone
                self._forget(turn.visitor, line)
                continue
            free -= 1
            turn.charged = self.seconds(turn.visitor)
            turn.waited = self._clock() - turn.arrived
            self._virtual = max(self._virtual, line.had)
            line.had += turn.charged
            line.running.add(turn)
            turn.granted.set_result(None)
        if self._timer:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(CHECK_SECONDS, self._serve) if self.waiting else None

    def _leave(self, turn: Turn) -> None:
        """Remove a piece of work whose caller has left."""
        line = self._lines.get(turn.visitor)
        if line and turn in line.running:
            self.give_back(turn)
        elif line and turn in line.waiting:
            line.waiting.remove(turn)
            self._forget(turn.visitor, line)

    def _refuse_late(self) -> None:
        now = self._clock()
        _, late = self._foresee(now) if self.waiting else ({}, [])
        for turn, end in late:
            if turn.granted is not None:
                self._lines[turn.visitor].waiting.remove(turn)
                if not turn.granted.done():
                    turn.granted.set_exception(Late(self._after(turn.visitor, end, now)))
                self._forget(turn.visitor, self._lines[turn.visitor])

    def _too_late(self, turn: Turn, now: float) -> int | None:
        """None where new work can be let in; otherwise the seconds after which to try again."""
        self._drop_lost(now)
        line = self._lines.get(turn.visitor)
        own = len(line.waiting) if line else 0
        own += sum(other.visitor == turn.visitor for other in self._on_their_way)
        ends, late = self._foresee(now, turn)
        begins, end = ends.get(turn) or next((end, end) for other, end in late if other is turn)
        if begins <= now or (end - now <= LET_IN * self.patience and own < PLACES):
            self._returning.pop(turn.visitor, None)
            return None
        return self._after(turn.visitor, end, now)

    def _after(self, who: str, end: float, now: float) -> int:
        """The seconds after which work that would now end at `end` can be let in. Each visitor gets another time."""
        self._returning = {other: due for other, due in self._returning.items() if due > now}
        earliest = max(now + 1, end - LET_IN * self.patience)
        others = len(self._returning.keys() - {who})
        due = self._returning.get(who) or earliest + others * self._of_all / self.at_once
        due = min(max(due, earliest), now + LONGEST_RETRY)
        self._returning[who] = due
        return math.ceil(due - now)

    def _foresee(
        self, now: float, newcomer: Turn | None = None
    ) -> tuple[dict[Turn, tuple[float, float]], list[tuple[Turn, float]]]:
        """Estimate when every waiting piece of work, and `newcomer`, will begin and end if no more work comes.

        Returns the begin and end of each piece that ends in time. Then it returns the pieces that would end too late,
        each with its estimated end.
        """
        waiting: dict[str, list[Turn]] = {who: list(line.waiting) for who, line in self._lines.items()}
        for turn in (*self._on_their_way, *([newcomer] if newcomer else ())):
            waiting.setdefault(turn.visitor, []).append(turn)
        had = {who: self._lines[who].had if who in self._lines else self._newly(who) for who in waiting}
        unmeasured = self._unmeasured(now)
        seconds = {who: self._seconds(who, now, unmeasured) for who in waiting}
        running = Counter({who: len(line.running) for who, line in self._lines.items()})
        # The estimated end of every running piece. A piece that is overdue by some seconds is expected to take as many
        # more.
        ends = [
            (now + max(SOON, abs(seconds[who] - (now - (turn.started or now)))), who)
            for who, line in self._lines.items()
            for turn in line.running
        ]
        heapq.heapify(ends)
        next_one = dict.fromkeys(waiting, 0)
        able: list[tuple[float, int, str]] = []
        held_back: set[str] = set()

        def line_up(who: str) -> None:
            if next_one[who] < len(waiting[who]):
                if running[who] < self.share:
                    heapq.heappush(able, (had[who], waiting[who][next_one[who]].number, who))
                else:
                    held_back.add(who)

        for who in waiting:
            line_up(who)
        planned: dict[Turn, tuple[float, float]] = {}
        late: list[tuple[Turn, float]] = []
        moment = now
        while able or held_back:
            if not able or len(ends) >= self.at_once:
                moment, who = heapq.heappop(ends)
                running[who] -= 1
                if who in held_back:
                    held_back.remove(who)
                    line_up(who)
                continue
            _, _, who = heapq.heappop(able)
            turn = waiting[who][next_one[who]]
            next_one[who] += 1
            end = moment + seconds[who]
            # New work that can begin now is always tried, or a very slow machine would do none at all.
            if end - turn.arrived > self.patience and (moment > now or now - turn.arrived > ON_ITS_WAY):
                late.append((turn, end))
            else:
                planned[turn] = moment, end
                had[who] += seconds[who]
                running[who] += 1
                heapq.heappush(ends, (end, who))
            line_up(who)
        return planned, late

    def _newly(self, who: str) -> float:
        return max(self._virtual, self._debts.get(who, 0.0))


def _remember(values: OrderedDict[str, float], who: str, value: float) -> None:
    """Set a value, and keep the newest KNOWN values."""
    values[who] = value
    values.move_to_end(who)
    if len(values) > KNOWN:
        values.popitem(last=False)
