"""What the library raises, by what its caller can do about it; each class is also Python's own of such trouble."""


class GlocalError(Exception):
    """Whatever the library itself raises, by what can be done about it.

    `ArgumentError` (a `ValueError`): change what was passed. `CheckpointError`, one of those: start from the weights of
    the checkpoint alone, or afresh. `HangError` (a `TimeoutError`): try once more, as Tune does. `ClusterError` (a
    `RuntimeError`): mend the cluster.
    """


class ArgumentError(GlocalError, ValueError):
    """An argument breaks a rule: names the argument, the rule, the value got and the way out.

    Args:
        argument: Name of the argument as the caller typed it.
        rule: What it must be, completing "`argument` must ...", without a full stop.
        got: The offending value; shown by `repr`.
        remedy: A sentence that says what to do instead: what to hand, what is usual, or what it is that it counts.
    """

    def __init__(self, argument: str, rule: str, got: object, remedy: str) -> None:
        # All four go to `args`, so that the error survives pickling between Ray's processes.
        super().__init__(argument, rule, got, remedy)

    def __str__(self) -> str:
        argument, rule, got, remedy = self.args
        return f"`{argument}` must {rule}; got {got!r}. {remedy}"


class UnreadError(ArgumentError):
    """A hyperparameter is to be adapted that neither the optimizer nor a loss reads.

    A kind of its own: the driver of an experiment knows it by its name, in what workers leave of their failures.
    """


class AbsentError(ArgumentError, KeyError):
    """A loss reads a hyperparameter that is not there; a `KeyError`, for it asks a mapping."""


class CheckpointError(ArgumentError):
    """A checkpoint cannot be gone on from: it is missing, damaged, of another version, or of another run.

    An `ArgumentError` too, for it was passed to somebody; catch this one to start from its weights, or afresh.
    """


class HangError(GlocalError, TimeoutError):
    """A step took longer than it may. Where it never comes back its worker ends instead, with the same sentence."""


class ClusterError(GlocalError, RuntimeError):
    """A cluster on which an experiment would fail: what is wrong, on which nodes, and the way out."""
