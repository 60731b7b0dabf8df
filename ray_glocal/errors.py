"""The shape that every complaint about an argument takes, and the one about a cluster."""


class ArgumentError(ValueError):
    """An argument breaks a rule: names the argument, the rule, the value got and the way out.

    Args:
        argument: Name of the argument as the caller typed it.
        rule: What it must be, completing "`argument` must ...", without a full stop.
        got: The offending value; shown by `repr`.
        remedy: One sentence that says what to do instead; may be empty.
    """

    def __init__(self, argument: str, rule: str, got: object, remedy: str = "") -> None:
        # All four go to `args`, so that the error survives pickling between Ray's processes.
        super().__init__(argument, rule, got, remedy)

    def __str__(self) -> str:
        argument, rule, got, remedy = self.args
        return f"`{argument}` must {rule}; got {got!r}.{' ' + remedy if remedy else ''}"


class UnreadError(ArgumentError):
    """A hyperparameter is to be adapted that neither the optimizer nor a loss reads.

    A kind of its own: the driver of an experiment knows it by its name, in what workers leave of their failures.
    """


class ClusterError(RuntimeError):
    """A cluster on which an experiment would fail: what is wrong, on which nodes, and the way out."""
