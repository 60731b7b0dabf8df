"""A filesystem that is another place on each node, as a folder that was never mounted is."""

import os

import fsspec
import pyarrow.fs
from fsspec.implementations.dirfs import DirFileSystem


class Apart(DirFileSystem):
    """The folder that the process at hand knows by `APART`."""

    cachable = False

    def __init__(self, **_):
        super().__init__(path=os.environ["APART"], fs=fsspec.filesystem("file", auto_mkdir=True))


def filesystem():
    return pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(Apart()))
