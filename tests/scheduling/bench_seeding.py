"""What a proposal costs the processor, by trials and size of the space, and what an event adds for it."""

import time

import numpy as np

from ray_glocal.scheduling.axis import Axis
from ray_glocal.scheduling.event import Added, Completed, Reported
from ray_glocal.scheduling.factor import Factor, Space
from ray_glocal.scheduling.ledger import Ledger
from ray_glocal.scheduling.proposed import ProposedTrials
from ray_glocal.scheduling.seeding import propose

SIZES = ((2, 3, 4), (3, 4, 5, 4, 2), (3, 4, 5, 4, 4), (2, 8, 6, 5, 5))
TRIALS = (50, 500, 4_000, 10_000)
REPEATS = 50


def space_of(sizes):
    factors = [Factor(str(i), n, i == 0, tuple(np.linspace(0, 1, n)) if n > 3 else None) for i, n in enumerate(sizes)]
    return Space(tuple(factors), (Axis("lr", "log", 1e-4, 1.0),))


def history(sizes, trials):
    rng = np.random.default_rng(0)
    for i in range(trials):
        levels = tuple(int(rng.integers(n)) for n in sizes)
        yield Added(str(i), levels=levels, start={"lr": 0.1}, origin="cover")
        yield Reported(str(i), 1, 9.0, sum(levels) + float(rng.random()), 0.1)
        yield Completed(str(i))


def milliseconds(call, repeats):
    begin = time.process_time()
    for _ in range(repeats):
        call()
    return 1e3 * (time.process_time() - begin) / repeats


def main():
    for sizes in SIZES:
        space, cells = space_of(sizes), []
        for trials in TRIALS:
            ledger = Ledger(history(sizes, trials))
            events = list(ledger.events)
            view = ProposedTrials(space).start()
            each = milliseconds(lambda view=view, events=events: [view.add(e) for e in events], 1) / len(events)
            propose(ledger, space, 0, 0)
            cost = milliseconds(lambda ledger=ledger, space=space: propose(ledger, space, 0, 0), REPEATS)
            cells.append(f"{trials} trials {cost:.2f} ms (event {1e3 * each:.1f} us)")
        print(f"{space.configurations:5d} configurations: " + ", ".join(cells), flush=True)


if __name__ == "__main__":
    main()
