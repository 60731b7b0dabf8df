"""The C library's heap, from which tensors on a CPU are allocated."""

from functools import cache

import torch

LARGEST = 31 * 2**20  # bytes; of blocks from 32 MiB on glibc learns nothing


@cache
def hold() -> None:
    """Have the C library keep free memory for the next temporaries, up to twice `LARGEST`; once a process.

    By default glibc returns what lies free at the end of its heap, which is where a window's temporaries are put, and
    maps every larger block anew. Getting the memory back, page by page, takes longer than the passes over it. But glibc
    neither maps blocks up to the largest one that it ever unmapped, nor returns less than twice as much, and here one
    is. It is never written to. Where another library allocates nothing happens.
    """
    torch.empty(LARGEST, dtype=torch.uint8)
