"""Whether validation is on the very data that training is on."""

from typing import Any


def shared(loader: Any, validation: Any) -> bool:
    """Whether two loaders are one, or read one and the same data set without keeping to different parts of it.

    Args:
        loader: Of the training.
        validation: Of the validation.
    """
    if loader is validation:
        return True
    data = getattr(loader, "dataset", None)
    if data is None or data is not getattr(validation, "dataset", None):
        return False
    left, right = _chosen(loader), _chosen(validation)
    return left is None or right is None or not left.isdisjoint(right)


def _chosen(loader: Any) -> set[int] | None:
    """Indices that a loader's sampler keeps to; None where it takes all."""
    indices = getattr(getattr(loader, "sampler", None), "indices", None)
    return None if indices is None else {int(index) for index in indices}
