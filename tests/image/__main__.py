"""`python -m tests.image build` and `test`: exit code 0 only if the image was built, and every step held."""

import argparse
import os
import subprocess
import sys
import time
import tomllib
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.demo.narrator import Narrator
from tests.demo.waiting import StepFailedError
from tests.image.compose_story import ComposeStory
from tests.image.container import image_of
from tests.image.docker import a_docker, load, need_postgres
from tests.image.engine import Engine, EngineError, EngineUnavailable, find_engine
from tests.image.house import build_house
from tests.image.story import Story
from tests.servers.debian import CHECKOUT
from tests.servers.identity import ServerUnavailable

_BASES = ("BASE", "DOVECOT_BASE", "PACKAGES")


def main() -> int:
    """Do what was asked for and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.image", description="Build the image of syncd, and test it.")
    parser.add_argument("what", choices=("build", "test"))
    parser.add_argument("--built", action="store_true", help="test the images that there are, and build none")
    parts = parser.add_mutually_exclusive_group()
    parts.add_argument("--only-compose", action="store_true", help="leave out what is tested without compose")
    parts.add_argument("--without-compose", action="store_true", help="leave out what is tested by compose")
    parser.add_argument("--messages", type=int, default=5_000, help="how many are on the IMAP server")
    options = parser.parse_args()
    narrator = Narrator(())
    try:
        engine = find_engine()
        narrator.say(f"By {engine.text('--version')}.")
        for target in () if options.built else ("syncd", "dovecot") if options.what == "test" else ("syncd",):
            _build(engine, narrator, target)
        if options.what == "test":
            if not options.only_compose:
                _test(engine, narrator, options.messages)
            if not options.without_compose:
                _test_compose(engine, narrator)
    except EngineUnavailable as error:
        narrator.say(f"FAILED: nothing here builds and runs images: {error}")
        return 1
    except (EngineError, ServerUnavailable, StepFailedError, subprocess.SubprocessError) as error:
        narrator.say(f"FAILED: {error}")
        return 1
    return 0


def _build(engine: Engine, narrator: Narrator, target: str) -> None:
    narrator.begin(f"The image {target} is built")
    version = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["version"]
    bases = {name: os.environ[name] for name in _BASES if os.environ.get(name)}
    began = time.monotonic()
    image = engine.build(target, bases=bases, version=version)
    narrator.took("built", time.monotonic() - began)
    narrator.fact(f"{image_of(engine, image)['Size'] / 1e6:,.0f} MB, as {image}")


def _test(engine: Engine, narrator: Narrator, count: int) -> None:
    began = time.monotonic()
    with build_house(engine) as house:
        try:
            Story(house, narrator, count=count).play()
        except (EngineError, StepFailedError, subprocess.SubprocessError):
            for container in house.containers:
                narrator.say(f"The last lines of {container.name}:")
                narrator.say("".join(container.log()[1].splitlines(keepends=True)[-15:]))
            raise
    narrator.say()
    narrator.say(f"Every step held, in {time.monotonic() - began:.0f} s.")


def _test_compose(builder: Engine, narrator: Narrator) -> None:
    """Play the story of compose.yaml; where docker is not the builder it gets the images."""
    began = time.monotonic()
    with ExitStack() as ends:
        try:
            docker = ends.enter_context(a_docker())
        except EngineUnavailable as error:
            why = f"no compose runs here: {error}; --without-compose leaves out what is tested by it"
            raise EngineError(why) from error
        root = Path(ends.enter_context(TemporaryDirectory(prefix="syncd-image-test-", dir="/tmp")))
        root.chmod(0o755)
        narrator.say()
        narrator.say(f"By {docker.version()}.")
        for image in ("syncd", "syncd-dovecot"):
            load(docker, builder, image)
        need_postgres(docker, builder)
        ComposeStory(docker, root, narrator).play()
    narrator.say()
    narrator.say(f"Every step by compose held, in {time.monotonic() - began:.0f} s.")


if __name__ == "__main__":
    sys.exit(main())
