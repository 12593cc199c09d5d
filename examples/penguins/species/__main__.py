"""The image's entry point: `python -m species train | evaluate | serve`."""

import sys

from penguins.program import Program, main
from species.evaluate import report
from species.model import LABEL, predict
from species.train import train

PROGRAM = Program(name="species", label=LABEL, train=train, report=report, predict=predict)

if __name__ == "__main__":
    sys.exit(main(PROGRAM))
