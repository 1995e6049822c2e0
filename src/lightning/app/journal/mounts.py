"""On what kind of file system a folder lies, so that a run is not trusted to a network.

SQLite's write-ahead log needs memory that all its users share, and syncs and locks that mean what they say. Over
a network none of that is sure, so a journal there could lose what it had called durable.
"""

from __future__ import annotations

import os
from pathlib import Path

_NETWORK = frozenset(
    {
        "9p", "afs", "afp", "beegfs", "ceph", "cifs", "coda", "davfs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs",
        "nfs", "nfs3", "nfs4", "ocfs2", "orangefs", "panfs", "pvfs2", "smb2", "smb3", "smbfs", "wekafs",
    }
)  # fmt: skip
_NETWORK_FUSE = frozenset(
    {
        "beegfs", "blobfuse", "blobfuse2", "ceph", "ceph-fuse", "cephfs", "cifs", "curlftpfs", "davfs", "davfs2",
        "gcsfuse", "geesefs", "glusterfs", "goofys", "gvfsd-fuse", "httpfs", "juicefs", "JuiceFS", "kbfs",
        "moosefs", "mfsmount", "mountpoint-s3", "nfs", "ossfs", "quantcast", "rclone", "s3backer", "s3fs", "s3ql",
        "seaweedfs", "smbnetfs", "sshfs", "vmhgfs-fuse", "weed", "wdfs",
    }
)  # fmt: skip


def network_file_system(folder: Path) -> str:
    """The kind of the network file system that ``folder`` lies on; empty where it is on none, or nobody knows."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return ""  # whoever opens a file there will be told why it cannot
    try:
        mount = _mount_of(Path(f"/proc/self/fdinfo/{descriptor}").read_text())
        return network_kind(mount, Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape"))
    except OSError:
        return ""  # no /proc
    finally:
        os.close(descriptor)


def network_kind(mount: str, mountinfo: str) -> str:
    """The kind of the mount with this number in the text of ``mountinfo``, if it is a network's."""
    for line in mountinfo.splitlines():
        if line.partition(" ")[0] == mount:
            kind, source = [*line.partition(" - ")[2].split(" "), "", ""][:2]
            return kind if _is_network(kind, source) else ""
    return ""


def _is_network(kind: str, source: str) -> bool:
    """``fuse`` without a kind of its own says by its source what it is: ``sshfs#me@there:``, ``s3fs``."""
    if kind in _NETWORK:
        return True
    family, _, program = kind.partition(".")
    if family in ("fuse", "fuseblk"):
        return (program or source.partition("#")[0]) in _NETWORK_FUSE
    return False


def _mount_of(fdinfo: str) -> str:
    """The number of the mount that an open file is on, as the kernel tells it."""
    for line in fdinfo.splitlines():
        name, _, value = line.partition(":")
        if name == "mnt_id":
            return value.strip()
    return ""
