"""Run a module as `python -m` does, with the journal at another socket: SOCKET PYTHON -m MODULE ARGUMENT..."""

import runpy
import sys
from pathlib import Path

from syncd.daemon.process import journal

if __name__ == "__main__":
    _, socket, _, _, module, *arguments = sys.argv
    journal.SOCKET = Path(socket)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
