"""The constants of kernels, and what chose them: they are about time and memory.

Evidence: "windows" are whole windows of 20 steps, with graphs, by ours over those by torch's own passes, interleaved in
one process (30 November 2026, `docs/results/measured.md`). Of others no figures were kept.
"""

# Entries of a tensor below which torch's own passes, of the same bits, cost less than calls of ours; untested.
SMALL_BATCH_NORM = 2**14
# Entries, likewise; windows: 1.31 at 8,000 entries, 1.11 at 33,000, 1.02 to 1.04 at 66,000 to 131,000, 1.21 at 262,000,
# .97 at 524,000.
SMALL_LAYER_NORM = 2**19

BLOCK = 2**17  # entries of a temporary per thread: half a megabyte in single precision, for the cache; untested
