"""A Debian with systemd as PID 1, in namespaces of its own; it needs root, debootstrap and overlayfs, and no engine.

Theory. The tree is made once, by debootstrap, and lies below `.cache`. What a test changes of it is kept in memory, by
an overlay that one process holds in a mount namespace of its own until its standard input ends, so that nothing is left
however the test ends (after SIGKILL: but empty directories).
Cgroups are a directory in the hierarchy of version 2, with controllers or without; systemd takes it for all there is.
"""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.demo.waiting import wait_for
from tests.servers.debian import CHECKOUT

DEBIAN = "bookworm"
_PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "libpam-systemd", "sudo", "make", "python3-venv", "ca-certificates"),
    *("dovecot-imapd", "dovecot-pop3d"),
)
_STORE = CHECKOUT / ".cache" / "service"
_SCRIPT = str(Path(__file__).with_name("machine.sh"))
_AUTHORITIES = Path(os.environ.get("SSL_CERT_FILE") or "/etc/ssl/certs/ca-certificates.crt")
_TREE_S = 1800
_COMMAND_S = 120
_BOOT_S = 60
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class MachineUnavailable(RuntimeError):
    """No such machine can be had here; the text says why."""


class MachineError(RuntimeError):
    """A command failed; the text is what it said."""


class Machine:
    """Run commands in the tree, then boot it; `root` is where it is for processes that see its mounts."""

    def __init__(self, holder: "subprocess.Popen[str]", root: Path) -> None:
        self._holder = holder
        self._root = root
        self._groups: Path | None = None
        self._init: subprocess.Popen[bytes] | None = None
        self._pid = 0

    def enter(self, *command: str, user: str = "root", timeout_s: float = _COMMAND_S) -> str:
        """Return what a command prints in the tree that is not booted, which is on the network of this machine."""
        inside = (_SCRIPT, "enter", str(self._root), *_as(user, command, PIP_CERT="/run/authorities.crt"))
        namespaces = ("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--")
        return _text(self._beside((*namespaces, *inside)), timeout_s=timeout_s)

    def put(self, path: str, content: bytes, *, mode: int = 0o644) -> None:
        """Write a file, and the directories above it, whether it is booted or not."""
        script = 'mkdir -p "$(dirname "$1")" && cat >"$1.new" && chmod "$2" "$1.new" && mv "$1.new" "$1"'
        command = ("sh", "-c", script, "sh", path, f"{mode:o}")
        if self._pid:
            self.octets(*command, given=content)
        else:
            _run(self._beside(("chroot", str(self._root), *command)), given=content)

    def boot(self) -> float:
        """Let systemd be PID 1, and return the seconds until it has started everything."""
        began = time.monotonic()
        self._groups = Path(tempfile.mkdtemp(prefix="syncd-service-test-", dir=_cgroup2()))
        self._groups.chmod(0o755)  # a manager of another user has its group far below
        namespaces = ("unshare", "--pid", "--fork", "--kill-child=KILL", "--mount", "--uts", "--ipc", "--net", "--")
        command = (*namespaces, _SCRIPT, "start", str(self._root), str(self._groups))
        with_us = ("setpriv", "--pdeathsig", "KILL", "--")  # also after our SIGKILL
        self._init = subprocess.Popen((*with_us, *self._beside(command)), stdin=subprocess.DEVNULL)
        children = Path(f"/proc/{self._init.pid}/task/{self._init.pid}/children")

        def is_up() -> bool:
            if self._init is None or self._init.poll() is not None:
                raise MachineError("systemd ended while it booted")
            self._pid = int((children.read_text().split() or ["0"])[0])
            return self._pid > 0 and self.attempt("systemctl", "is-system-running").stdout.strip() in (
                b"running",
                b"degraded",
            )

        wait_for("systemd is up", {"machine": is_up}, patience_s=_BOOT_S, since=began, every_s=0.1)
        return time.monotonic() - began

    def power_off(self) -> None:
        """End everything in it at once."""
        if self._init is not None:
            self._init.kill()  # and PID 1 with it, and all that it is the root of
            self._init.wait()
            self._init, self._pid = None, 0
        if self._groups is not None:
            _remove_groups(self._groups)
            self._groups = None

    def attempt(
        self, *command: str, user: str = "root", given: bytes = b"", timeout_s: float = _COMMAND_S
    ) -> "subprocess.CompletedProcess[bytes]":
        """Run a command in the booted machine to its end, however it ends."""
        inside = ("nsenter", "--target", str(self._pid), "--all", "--", *_as(user, command))
        return subprocess.run(inside, input=given, capture_output=True, timeout=timeout_s)

    def octets(self, *command: str, user: str = "root", given: bytes = b"") -> bytes:
        """Return what a command prints; MachineError when it fails."""
        return _checked(self.attempt(*command, user=user, given=given), command)

    def text(self, *command: str, user: str = "root") -> str:
        """Return what a command prints as text without its line end; MachineError when it fails."""
        return self.octets(*command, user=user).decode(errors="replace").strip()

    def shell(self, script: str, *, user: str = "root") -> str:
        """Return what a script prints; MachineError when any of it fails."""
        return self.text("sh", "-euc", script, user=user)

    def _beside(self, command: Sequence[str]) -> tuple[str, ...]:
        return ("nsenter", "--target", str(self._holder.pid), "--mount", "--", *command)


@contextmanager
def a_machine() -> Iterator[Machine]:
    """Yield a machine that is not booted; at the end nothing of it is left. MachineUnavailable with the reason."""
    _need_parts()
    tree = _need_tree()
    changes = Path(tempfile.mkdtemp(prefix="syncd-service-test-", dir="/tmp"))
    holding = ("unshare", "--mount", "--propagation", "private", "--", _SCRIPT, "hold", str(tree), str(changes))
    holder = subprocess.Popen(holding, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with holder:  # which ends it: its standard input is closed
        machine = Machine(holder, changes / "root")
        try:
            if holder.stdout is None or holder.stdout.readline() != "held\n":
                said = holder.communicate()[1].strip().splitlines()
                raise MachineUnavailable(
                    f"its tree cannot be laid over another: {said[-1] if said else 'no reason given'}"
                )
            machine.put("/etc/hostname", b"syncd-service-test\n")
            machine.put("/etc/hosts", b"127.0.0.1 localhost syncd-service-test\n::1 localhost\n")
            machine.put("/etc/resolv.conf", Path("/etc/resolv.conf").read_bytes())
            machine.put("/run/authorities.crt", _AUTHORITIES.read_bytes())
            yield machine
        finally:
            try:
                machine.power_off()
            finally:
                holder.kill()
                holder.wait()
                changes.rmdir()


def _need_parts() -> None:
    if os.getuid() != 0:
        raise MachineUnavailable("namespaces, cgroups and debootstrap need root")
    needed = {"debootstrap": "debootstrap", "unshare": "util-linux", "nsenter": "util-linux", "ip": "iproute2"}
    if missing := [program for program in needed if not shutil.which(program)]:
        packages = " ".join(dict.fromkeys(needed[program] for program in missing))
        raise MachineUnavailable(f"{', '.join(missing)} not installed (Debian: apt-get install {packages})")
    if "\toverlay\n" not in Path("/proc/filesystems").read_text():
        raise MachineUnavailable("the kernel has no overlayfs (modprobe overlay)")
    _cgroup2()


def _cgroup2() -> Path:
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if kind == "cgroup2" and os.access(place, os.W_OK):
            return Path(place)
    raise MachineUnavailable("no hierarchy of cgroup2 is mounted, or it cannot be written to")


def _need_tree() -> Path:
    tree = _STORE / DEBIAN
    if tree.exists():
        return tree
    print("    a Debian with systemd is made by debootstrap, once; this takes two minutes or three", flush=True)
    fresh = _STORE / f"{DEBIAN}.part"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.parent.mkdir(parents=True, exist_ok=True)
    # NOTE: it mounts /proc and /sys in there, which must not be there any more when the rest is removed.
    apart = ("unshare", "--mount", "--propagation", "private", "--")
    command = (*apart, "debootstrap", "--variant=minbase", f"--include={','.join(_PACKAGES)}", DEBIAN, str(fresh))
    made = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_TREE_S)
    if made.returncode != 0:
        raise MachineUnavailable(f"debootstrap failed: {(made.stdout + made.stderr).strip()[-500:]}")
    shutil.rmtree(fresh / "var/cache/apt/archives", ignore_errors=True)
    fresh.rename(tree)
    return tree


def _remove_groups(top: Path) -> None:
    """Remove a cgroup and those below it, once the kernel has taken their processes out."""
    deadline = time.monotonic() + _BOOT_S
    for directory in sorted((path for path in (top, *top.rglob("*")) if path.is_dir()), reverse=True):
        while True:
            try:
                directory.rmdir()
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)


def _as(user: str, command: Sequence[str], **variables: str) -> tuple[str, ...]:
    """Return a command as it is with the variables of a login, or of a login of another user."""
    home = "/root" if user == "root" else f"/home/{user}"
    said = (
        f"HOME={home}",
        f"PATH={_PATH}",
        "LC_ALL=C.UTF-8",
        *(f"{name}={value}" for name, value in variables.items()),
    )
    by = () if user == "root" else ("setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--")
    return ("env", "-i", *said, *by, *command)


def _run(
    command: Sequence[str], *, given: bytes = b"", timeout_s: float = _COMMAND_S
) -> "subprocess.CompletedProcess[bytes]":
    done = subprocess.run(command, input=given, capture_output=True, timeout=timeout_s)
    _checked(done, command)
    return done


def _text(command: Sequence[str], *, timeout_s: float) -> str:
    return _run(command, timeout_s=timeout_s).stdout.decode(errors="replace").strip()


def _checked(done: "subprocess.CompletedProcess[bytes]", command: Sequence[str]) -> bytes:
    if done.returncode != 0:
        said = (done.stdout[-500:] + done.stderr).decode(errors="replace").strip()
        raise MachineError(f"{' '.join(command)} ended with {done.returncode}: {said[-1500:]}")
    return done.stdout
