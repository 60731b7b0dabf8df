"""Why a window cannot be differentiated: raised inside of an engine, whose trajectory then carries the sentence."""

from ray_glocal.errors import GlocalError


class WindowError(GlocalError, RuntimeError):
    """What would be differentiated is not what was trained."""


class OverwrittenError(WindowError):
    """A tensor that a kept graph holds was written to before it was differentiated."""


class NoSecondDerivativeError(WindowError):
    """A function in a training loss can be differentiated only once."""
