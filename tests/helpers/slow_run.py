"""A run in a process of its own, signalled inside: `python slow_run.py data.hdf5 out SIGNAL UPDATE`."""

import os
import signal
import sys
from pathlib import Path

import torch

from helpers.synthetic import asked
from rdlib.engine import hardware
from rdlib.training import trainer

STEPS, PER_CALL = 60, 5


def config(data: Path, out: Path):
    return asked(data, out, steps=STEPS, eval_every=20, seeds=(0, 1))


def main(data: str, out: str, name: str, update: str) -> None:
    torch.set_num_threads(1)
    hardware.choose_matmul = lambda device: hardware.use_matmul("default")
    trainer.CHECKPOINT_SECONDS, trainer.UPDATES_PER_CALL = 0.0, PER_CALL

    def observe(event, run):
        if event == "update" and run.progress.step == int(update):
            os.kill(os.getpid(), signal.Signals[name])

    trainer.train(config(Path(data), Path(out)), observer=observe)


if __name__ == "__main__":
    main(*sys.argv[1:])
