"""Floor 3: which kind of file system a path is on, and whether inotify hears of every change there."""

import re
from pathlib import Path

from syncd.values import Value

_SHARED = frozenset(
    {
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "gfs2",
        "glusterfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "ocfs2",
        "prl_fs",
        "smb3",
        "smbfs",
        "vboxsf",
        "virtiofs",
    }
)
"""Files here may change without this kernel. So may those of FUSE: SSHFS is one, and nothing tells which is not."""

MOUNTS = Path("/proc/self/mountinfo")

_OCTAL = re.compile(r"\\([0-7]{3})")


class Mount(Value):
    """Describe a mount. kind: the type of its file system."""

    point: str
    kind: str
    id: int
    is_read_only: bool

    @property
    def is_shared(self) -> bool:
        """Tell whether files may change there without an inotify event here."""
        return self.kind in _SHARED or self.kind == "fuse" or self.kind.startswith("fuse.")


def is_shared(path: Path) -> bool:
    """Tell whether files below `path` may change without an inotify event here; no, where there is no /proc."""
    try:
        mountinfo = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return False
    mount = mount_of(str(path.resolve()), mountinfo)
    return mount is not None and mount.is_shared


def mount_of(path: str, mountinfo: str) -> Mount | None:
    """Return the mount that `path` is on, by the text of /proc/self/mountinfo; None when unknown."""
    best, found_mount = -1, None
    for line in mountinfo.splitlines():
        fields, dash, rest = line.partition(" - ")
        columns = fields.split(" ")
        if not dash or len(columns) < 6 or not columns[0].isdigit():
            continue
        mount_point = _OCTAL.sub(lambda found: chr(int(found[1], 8)), columns[4])
        inside = mount_point.rstrip("/") + "/"
        # NOTE: of two mounts on one point the later one is on top.
        if (path + "/").startswith(inside) and len(inside) >= best:
            options = columns[5].split(",")
            best, found_mount = len(inside), Mount(mount_point, rest.split(" ")[0], int(columns[0]), "ro" in options)
    return found_mount
