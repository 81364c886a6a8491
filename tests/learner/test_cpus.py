"""CPUs are those that the process may run on, and that its container pays for."""

import os
from pathlib import Path

import pytest

from innerloop.learner.cpus import usable_cpus

V1 = "4:memory:/pod/box\n3:cpu,cpuacct:/pod/box\n1:name=systemd:/pod\n"


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("", {}, 64),
        ("0::/\n", {}, 64),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 64),
        ("0::/\n", {"cpu.max": "400000 100000\n"}, 4),
        ("0::/pod/box\n", {"pod/box/cpu.max": "300000 100000\n"}, 3),
        ("0::/pod/box\n", {"pod/box/cpu.max": "300000 100000\n", "pod/cpu.max": "200000 100000"}, 2),
        ("0::/pod/box\n", {"pod/box/cpu.max": "max 100000\n", "cpu.max": "500000 100000"}, 5),
        ("0::/host/path\n", {"cpu.max": "250000 50000\n"}, 5),
        ("0::/../../other\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "350000 100000\n"}, 3),
        ("0::/\n", {"cpu.max": "10000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "99900000 100000\n"}, 64),
        ("0::/\n", {"cpu.max": ""}, 64),
        ("0::/\n", {"cpu.max": "100000 0\n"}, 64),
        ("0::/\n", {"cpu.max": "some words"}, 64),
        ("0::/a\n", {"b/cpu.max": "100000 100000\n"}, 64),
        ("no line of the kernel's\n0::/a:b\n", {"a:b/cpu.max": "200000 100000\n"}, 2),
        ("0::/box\n", {"unified/box/cpu.max": "200000 100000\n"}, 2),
        (V1, {"cpu,cpuacct/pod/box/cpu.cfs_quota_us": "-1\n"}, 64),
        (V1, {"cpu,cpuacct/pod/box/cpu.cfs_quota_us": "200000", "cpu,cpuacct/pod/box/cpu.cfs_period_us": "100000"}, 2),
        (V1, {"cpu/pod/cpu.cfs_quota_us": "150000", "cpu/pod/cpu.cfs_period_us": "50000\n"}, 3),
        (V1, {"cpu/cpu.cfs_quota_us": "700000", "cpu/cpu.cfs_period_us": "100000\n"}, 7),
        (V1, {"memory/pod/box/cpu.cfs_quota_us": "100000", "memory/pod/box/cpu.cfs_period_us": "100000"}, 64),
    ],
)
def test_cpus_are_bounded_by_every_control_group_above(
    groups: str, files: dict[str, str], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {*range(64)})
    for name, text in {"proc/self/cgroup": groups, **{f"sys/fs/cgroup/{name}": files[name] for name in files}}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert usable_cpus(tmp_path) == expected


def test_where_the_kernel_tells_nothing_cpus_are_those_of_the_affinity(tmp_path: Path) -> None:
    assert usable_cpus(tmp_path) == len(os.sched_getaffinity(0))
    assert 1 <= usable_cpus() <= len(os.sched_getaffinity(0))
