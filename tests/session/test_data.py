"""Training batches and validation batches: what is drawn, in which order, and what it disturbs."""

from itertools import islice
from statistics import fmean

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient.state.randomness import Randomness
from ray_glocal.session import Settings
from ray_glocal.session.state.generators import own_generators
from ray_glocal.session.state.stream import Stream
from ray_glocal.session.validation import ValidationBatches

from .cases import Run, differences


def numbers(count=20, **arguments):
    return DataLoader(TensorDataset(torch.arange(count)), **arguments)


def taken(stream, count):
    return [batch[0].tolist() for _, batch in zip(range(count), stream, strict=False)]


LOADERS = {
    "in order": lambda: numbers(batch_size=3),
    "shuffled": lambda: numbers(batch_size=3, shuffle=True),
    "shuffled by its own generator": lambda: numbers(
        batch_size=3, shuffle=True, generator=torch.Generator().manual_seed(4)
    ),
    "weighted": lambda: numbers(batch_size=3, sampler=WeightedRandomSampler(torch.ones(20), 20)),
    "drawn with replacement": lambda: numbers(
        batch_size=3,
        sampler=torch.utils.data.RandomSampler(range(20), replacement=True, generator=torch.Generator().manual_seed(4)),
    ),
    "a list": lambda: [[torch.tensor([i])] for i in range(7)],
}


@pytest.mark.parametrize("name", LOADERS)
@pytest.mark.parametrize("at", [0, 1, 6, 7, 8, 20, 21])
def test_a_resumed_stream_gives_the_batches_of_an_undisturbed_one(name, at):
    torch.manual_seed(1)
    whole = taken(Stream().batches(LOADERS[name]()), 40)
    torch.manual_seed(1)
    stream = Stream()
    begun = stream.batches(LOADERS[name]())
    before = taken(begun, at) if at else []
    plain, randomness = stream.as_plain(), Randomness.capture()
    torch.manual_seed(999)
    resumed = Stream()
    resumed.load_plain(plain)
    randomness.restore()
    after = taken(resumed.batches(LOADERS[name]()), 40 - at)
    assert before + after == whole
    assert (resumed.epoch, resumed.position) == (5, 5)


def test_a_stream_survives_being_saved_before_it_was_read_again():
    """Restore, save at once, restore: the loader's generators have not been seen in between."""
    torch.manual_seed(1)
    loader = LOADERS["shuffled by its own generator"]
    whole = taken(Stream().batches(loader()), 20)
    torch.manual_seed(1)
    stream = Stream()
    before = taken(stream.batches(loader()), 9)
    randomness = Randomness.capture()
    for _ in range(2):
        plain = stream.as_plain()
        stream = Stream()
        stream.load_plain(plain)
    randomness.restore()
    assert before + taken(stream.batches(loader()), 11) == whole


def test_a_resumed_loader_must_own_the_same_generators():
    stream = Stream()
    taken(stream.batches(LOADERS["shuffled by its own generator"]()), 3)
    resumed = Stream()
    resumed.load_plain(stream.as_plain())
    with pytest.raises(ArgumentError, match="`loader` must own as many generators as the one that was saved, 1; got 0"):
        next(resumed.batches(LOADERS["shuffled"]()))


def test_generators_are_found_once_wherever_they_are():
    generator = torch.Generator()
    loader = numbers(shuffle=True, generator=generator)
    assert loader.sampler.generator is generator
    assert own_generators(loader) == [generator]
    assert own_generators([1, 2]) == []


@pytest.mark.parametrize("loader", [[], DataLoader(TensorDataset(torch.zeros(0)))])
def test_an_empty_loader_is_refused(loader):
    with pytest.raises(ArgumentError, match="`loader` must yield at least one batch in every epoch"):
        next(Stream().batches(loader))


@pytest.mark.parametrize("loader", [iter([1, 2]), (i for i in range(3))])
def test_what_can_be_read_only_once_is_refused(loader):
    with pytest.raises(ArgumentError, match="`loader` must be iterable anew for every epoch, and an iterator is not"):
        next(Stream().batches(loader))
    with pytest.raises(ArgumentError, match="`val_batches` must be iterable more than once, and an iterator is not"):
        ValidationBatches(loader, 2)


@pytest.mark.parametrize("batches", [None, 7])
def test_missing_validation_data_are_refused(batches):
    with pytest.raises(ArgumentError, match="`val_batches` must be an iterable of validation batches; got"):
        ValidationBatches(batches, 2)
    with pytest.raises(ArgumentError, match="Pass a DataLoader or a list of batches that the training does not use"):
        Run().session(val_batches=batches)


def test_empty_validation_data_are_refused():
    with pytest.raises(ArgumentError, match=r"`val_batches` must hold at least one batch; got \[\]"):
        ValidationBatches([], 2)


@given(st.integers(1, 12), st.integers(1, 12))
def test_over_the_hypergradients_all_batches_take_their_turn(count, per_hypergradient):
    validation = ValidationBatches(list(range(count)), per_hypergradient)
    size = min(count, per_hypergradient)
    seen = [batch for _ in range(count) for batch in validation.next_few()]
    assert len(seen) == count * size
    assert seen == [i % count for i in range(count * size)]


def sized(count):
    return {"x": torch.zeros(count, 2), "y": [torch.zeros(count)]}


@pytest.mark.parametrize(
    ("parts", "size"),
    [([sized(20)], 3.0), ([sized(20), sized(40)], 1.0), (["no tensor"], 1.0), ([torch.zeros(())], 1.0)],
)
def test_how_large_validation_batches_are_is_counted_by_examples_beside_all_micro_batches(parts, size):
    validation = ValidationBatches([sized(60), sized(60), sized(30)], 2)
    validation.compare(validation.few(0), parts)
    assert (validation.size, validation.few_size, validation.whole_size) == (size, 2 * size, 3 * size)


def test_a_report_is_counted_by_examples_and_comes_as_seldom_as_that_asks_for():
    """Ten times as many examples a validation batch: ten thirds of a step for the first pass, and not one third."""
    costs, periods = [], []
    for factor in (1, 10):
        run = Run(total=20_000, settings=Settings())
        batch = next(iter(run.loader))
        session = run.session(val_batches=[tuple(torch.cat([part] * factor) for part in batch)])
        for each in islice(session.batches(run.loader), 1):
            session.step(each)
        costs.append(session.cost.extra_steps)
        periods.append(session.report_period)
    assert costs[1] - costs[0] == pytest.approx(9 / 3)
    assert periods[1] > periods[0]


@pytest.mark.parametrize("own", [False, True])
def test_validation_disturbs_no_generator(own):
    generator = torch.Generator().manual_seed(3) if own else None
    loader = numbers(batch_size=4, shuffle=True, generator=generator)
    before = Randomness.capture().as_plain()
    state = generator.get_state() if own else None
    validation = ValidationBatches(loader, 2)
    validation.next_few()
    validation.mean(lambda batch: float(torch.rand(()) + np.random.rand()))  # noqa: NPY002
    assert differences(before, Randomness.capture().as_plain()) == []
    if own:
        assert torch.equal(state, generator.get_state())
        order = [n for _ in range(5) for batch in validation.next_few() for n in batch[0].tolist()]
        assert sorted(order) == sorted([*range(20)] * 2), "its own generator shuffles alike each time"


def test_generators_come_back_after_a_loss_that_fails():
    validation = ValidationBatches(numbers(batch_size=4, shuffle=True), 2)
    before = Randomness.capture().as_plain()

    def broken(batch):
        raise RuntimeError("no such class")

    with pytest.raises(RuntimeError, match="no such class"):
        validation.mean(broken)
    assert differences(before, Randomness.capture().as_plain()) == []


def test_the_mean_runs_over_all_batches_one_at_a_time():
    alive = []

    class Loader:
        def __iter__(self):
            for i in range(5):
                alive.append(i)
                yield i
                alive.remove(i)

    def loss(batch):
        assert alive == [batch]
        return float(batch)

    assert ValidationBatches(Loader(), 2).mean(lambda batches: fmean(loss(batch) for batch in batches)) == 2.0
