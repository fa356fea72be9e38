"""Floor 6: what several commands take on the command line."""

from pathlib import Path
from typing import Annotated

import typer

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="PATH", help="The configuration; else $SYNCD_CONFIG, else the usual places."),
]
