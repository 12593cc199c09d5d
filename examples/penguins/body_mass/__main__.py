"""The image's entry point: `python -m body_mass train | evaluate | serve`."""

import sys

from body_mass.evaluate import report
from body_mass.model import LABEL, predict
from body_mass.train import train
from penguins.program import Program, main

PROGRAM = Program(name="body-mass", label=LABEL, train=train, report=report, predict=predict)

if __name__ == "__main__":
    sys.exit(main(PROGRAM))
