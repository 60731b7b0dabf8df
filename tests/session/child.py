"""A training process that dies by SIGKILL at a chosen step, or in the middle of a save; see `test_kill.py`."""

import json
import os
import shutil
import signal
import sys
from pathlib import Path

import torch

from .cases import WAYS, Run, seed_all

SAVE_EVERY = 11


def latest(folder):
    """The newest checkpoint that was completed."""
    found = sorted(folder.glob("checkpoint-*"))
    return found[-1] if found else None


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def die_in_the_middle_of_writing(plain, file):
    Path(file).write_bytes(b"half a checkpoint")
    die()


def save(session, folder, deadly):
    """Into a fresh folder that gets its name when it is whole."""
    if deadly:
        torch.save = die_in_the_middle_of_writing
    unfinished = folder / "unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    session.save(unfinished)
    unfinished.rename(folder / f"checkpoint-{session.step_count:06d}")


def main(folder, kill_at, kill_in_save, way):
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    run = Run(trace=folder / "trace", schedule="warm-up and cosine", own_generator=True, settings=WAYS[way])
    session = run.session()
    seed_all(os.getpid() if latest(folder) else 3)
    session.restore(latest(folder))
    for batch in session.batches(run.loader):
        session.step(batch)
        if session.step_count == kill_at:
            die()
        if session.step_count % SAVE_EVERY == 0:
            save(session, folder, deadly=session.step_count == kill_in_save)
    torch.save(run.model.state_dict(), folder / "end.pt")
    values = {name: float(value) for name, value in session.values.items()}
    (folder / "end.json").write_text(json.dumps(values))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
