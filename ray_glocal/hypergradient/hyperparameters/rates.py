"""One learning rate, or weight decay, for parameter groups that were given different ones: their ratios stay."""

from collections.abc import Mapping
from dataclasses import dataclass

from ray_glocal.errors import ArgumentError
from ray_glocal.options import in_proportion, is_among


@dataclass(frozen=True)
class Proportion:
    """What a group's option is at a value: `own`, where the value is at `reference`, and in proportion to it."""

    own: float
    reference: float

    def at(self, value: float) -> float:
        """The group's option; its own to the last bit where the value is the reference."""
        return self.own * (value / self.reference)

    @property
    def slope(self) -> float:
        """Derivative of the group's option in the value."""
        return self.own / self.reference


WHOLE = Proportion(1.0, 1.0)  # the value itself


def proportions(
    name: str, field: str, start: float, options: Mapping[int, float], default: float
) -> dict[int, Proportion]:
    """How the option of each parameter group follows the one value that sets them all.

    Groups with one and the same option take the value itself. Where they differ, the value must stand for one of the
    numbers that the optimizer was given, so that at the start every group trains as it was told to.

    Args:
        name: Of the hyperparameter.
        field: The option.
        start: Value that the hyperparameter begins with.
        options: The option of each group, by its index.
        default: The optimizer's own, which groups without one have.

    Raises:
        ArgumentError: They differ, and the start is none of them and not the default, or it is zero.
    """
    if not in_proportion(field, options.values()):
        return dict.fromkeys(options, WHOLE)
    known = (*options.values(), default)
    if not is_among(start, known):
        rule = f"be above zero and one of the optimizer's own for {name!r}, whose groups have different ones"
        numbers = ", ".join(f"{own:g}" for own in dict.fromkeys(known))
        remedy = (
            f"Start at one of {numbers}: the groups keep their ratios. Or give each group a hyperparameter of its own: "
            f"`Hyperparameter({name + '_0'!r}, ..., field={field!r}, groups=(0,))`."
        )
        raise ArgumentError("start", rule, start, remedy)
    return {group: Proportion(own, start) for group, own in options.items()}
