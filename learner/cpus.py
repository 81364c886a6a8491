"""The CPUs that this process may use: those it may run on, and no more than its container may have."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


def usable_cpus(root: Path = Path("/")) -> int:
    """Whole CPUs, at least 1.

    Args:
        root: of the file system in which the kernel tells of control groups.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min([affinity, *quotas(root)])))


def quotas(root: Path) -> Iterator[float]:
    """What this process' control groups may use, in CPUs: its own and all above, in cgroup v2 and v1; none if free."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = (*line.split(":", 2), "", "")[:3]
            if not controllers:
                mounts = "", "unified"
            elif "cpu" in controllers.split(","):
                mounts = controllers, "cpu"
            else:
                continue
            for mount in mounts:
                # In a container the path may be the host's: what can be seen of it counts, and the top always.
                own = Path(mount, *(part for part in Path(path).parts if part not in ("/", "..")))
                for group in (own, *own.parents):
                    yield from _quota(root / "sys/fs/cgroup" / group)


def _quota(group: Path) -> Iterator[float]:
    """cgroup v2 has "QUOTA PERIOD" in one file, microseconds both; v1 has two files. "max", or -1, is no limit."""
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = (group / "cpu.max").read_text().split()
        yield int(quota) / int(period)
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = ((group / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        if int(quota) > 0:
            yield int(quota) / int(period)
