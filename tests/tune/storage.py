"""Where an experiment of the tests is stored: in its own folder, or on an S3 server that is handed over explicitly.

A storage is None for the folder, else `{"bucket": ..., "options": ...}` with the options of `pyarrow.fs.S3FileSystem`,
plain data for processes to hand on.
"""

from pyarrow.fs import LocalFileSystem, S3FileSystem


def path(folder, storage):
    """What Tune is told as its `storage_path`."""
    return str(folder) if storage is None else f"{storage['bucket']}/{folder.name}"


def filesystem(storage):
    """What Tune is told as its `storage_filesystem`."""
    return None if storage is None else S3FileSystem(**storage["options"])


def opened(storage):
    """The filesystem that the experiment's files are read through."""
    return filesystem(storage) or LocalFileSystem()
