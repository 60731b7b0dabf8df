"""What a session has to say to its user: each thing once, in the log and in everything that it reports."""

import logging
from collections.abc import Mapping

from ray_glocal.names import WARNING, WARNINGS

logger = logging.getLogger(__name__)


class Notices:
    """Warnings of one session, oldest first; they outlive the worker's log, which a cluster may hide."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    def say(self, key: str, text: str) -> None:
        """Log a warning and keep it; of each `key` the first text alone.

        Args:
            key: What it is about.
            text: One sentence or more, with the way out.
        """
        if key not in self._texts:
            self._texts[key] = " ".join(text.split())
            logger.warning("%s", self._texts[key])

    def said(self, key: str) -> bool:
        """Whether a warning about it was given."""
        return key in self._texts

    @property
    def texts(self) -> tuple[str, ...]:
        """All that was said."""
        return tuple(self._texts.values())

    def metrics(self) -> dict[str, float | str]:
        """How many warnings there are, and their texts, a line each."""
        return {WARNINGS: len(self._texts), WARNING: "\n".join(self.texts)}

    def as_plain(self) -> dict[str, str]:
        """The warnings as plain data."""
        return dict(self._texts)

    def load_plain(self, plain: Mapping[str, str]) -> None:
        """Go on from what a saved session had said; what this one has said already comes after it."""
        self._texts = {**plain, **{key: text for key, text in self._texts.items() if key not in plain}}
