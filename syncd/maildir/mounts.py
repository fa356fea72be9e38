"""Which kind of file system a path is on, and whether inotify hears of every change there."""

import re
from pathlib import Path

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

_OCTAL = re.compile(r"\\([0-7]{3})")


def is_shared(path: Path) -> bool:
    """Tell whether files below `path` may change without an inotify event here; no, where there is no /proc."""
    try:
        mountinfo = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return False
    kind = file_system_of(str(path.resolve()), mountinfo)
    return kind in _SHARED or kind == "fuse" or kind.startswith("fuse.")


def file_system_of(path: str, mountinfo: str) -> str:
    """Return the type of the file system that `path` is on, by the text of /proc/self/mountinfo; "" when unknown."""
    best, kind = -1, ""
    for line in mountinfo.splitlines():
        fields, dash, rest = line.partition(" - ")
        columns = fields.split(" ")
        if not dash or len(columns) < 5:
            continue
        mount_point = _OCTAL.sub(lambda found: chr(int(found[1], 8)), columns[4])
        inside = mount_point.rstrip("/") + "/"
        # NOTE: of two mounts on one point the later one is on top.
        if (path + "/").startswith(inside) and len(inside) >= best:
            best, kind = len(inside), rest.split(" ")[0]
    return kind
