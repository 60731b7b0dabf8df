"""What an optimizer and a session really held at each step that led to the final weights, noted down beside them."""

from __future__ import annotations

from typing import Any

import numpy as np

RETURNS = ("roll back", "go back", "restart")


def options(optimizer: Any) -> list[dict[str, Any]]:
    """Plain options of each parameter group."""
    kept = ("lr", "momentum", "betas", "weight_decay", "alpha", "dampening")
    return [{name: group[name] for name in kept if name in group} for group in optimizer.param_groups]


class Witness:
    """Notes each step of a session's optimizer, and strikes those out that the session takes back."""

    def __init__(self, session: Any) -> None:
        self.session, self.taken, self.returns = session, [], 0
        self._rows = len(session.trace.rows)
        session.problem.optimizer.register_step_pre_hook(self._note)

    def _note(self, optimizer: Any, *_: Any) -> None:
        values = {name: value.numpy().copy() for name, value in self.session.values.items()}
        self.taken.append((self.session.step_count, options(optimizer), values))

    def step(self, batch: Any) -> None:
        self.session.step(batch)
        fresh = {row.gate for row in self.session.trace.rows[self._rows :]} & set(RETURNS)
        self._rows = len(self.session.trace.rows)
        if fresh:
            self.returns += 1
            back = 0 if "restart" in fresh else self.session._guard.good.step
            self.taken = [note for note in self.taken if note[0] < back]


def same_options(mine: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> bool:
    pairs = [(a[name], b[name]) for a, b in zip(mine, theirs, strict=True) for name in b]
    return all(np.allclose(a, b, rtol=1e-9, atol=0) for a, b in pairs)
