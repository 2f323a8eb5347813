"""A run slow enough to be killed inside: `python slow_run.py data.hdf5 out`, used by test_train.py."""

import sys
import time
from pathlib import Path

import torch

from helpers.synthetic import asked
from rdlib.engine import hardware
from rdlib.training import trainer

STEPS, PER_CALL, PAUSE = 600, 5, 0.02


def main(data: str, out: str) -> None:
    torch.set_num_threads(1)
    hardware.choose_matmul = lambda device: hardware.use_matmul("default")
    trainer.CHECKPOINT_SECONDS, trainer.UPDATES_PER_CALL = 0.0, PER_CALL
    updates = trainer.Trainer._updates

    def slowly(self, count):
        time.sleep(PAUSE)
        updates(self, count)

    trainer.Trainer._updates = slowly
    trainer.train(asked(Path(data), Path(out), steps=STEPS, eval_every=200, seeds=(0, 1)))


if __name__ == "__main__":
    main(*sys.argv[1:])
