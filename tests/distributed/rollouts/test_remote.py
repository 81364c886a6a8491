"""What an actor's process is given: plug-ins are found where the driver finds them. Where a run inside Ray plays."""

import os
import sys
import sysconfig
import tempfile
from pathlib import Path

import pytest
from processes import run

import innerloop
from innerloop.distributed.rollouts.remote import environment
from innerloop.learner.checkpoint import Checkpoints

SITE = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
SMALL = (
    "--iterations 1 --trials 4 --parts 1 --episodes 2 --hidden 4 --embedding 0 --learner-threads 1 --evaluation-tasks 0"
)
INSIDE = """
import sys
from pathlib import Path
from innerloop.distributed.launch.local import own_cluster

def train_here(out):
    from innerloop.distributed.config import configure
    from innerloop.distributed.trainer import train
    train(configure(iterations=1, trials=4, parts=1, episodes=2, hidden=4, embedding=0, learner_threads=1), out)

class Trainer:
    def train(self, out):
        train_here(out)

with own_cluster(cpus=1):
    import ray
    out = Path(sys.argv[1])
    for given in ({"num_cpus": 1}, {"num_cpus": 0.5}, {"num_cpus": 0}):
        try:
            ray.get(ray.remote(max_retries=0)(train_here).options(**given).remote(out / f"task{given['num_cpus']}"))
            print("trained")
        except Exception as error:
            print(str(error.cause))
    actor = ray.remote(Trainer).options(num_cpus=1).remote()
    try:
        ray.get(actor.train.remote(out / "actor"))
    except Exception as error:
        print(str(error.cause))
"""


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/x/v-projects", "/x/v-projects"),
        ("/x/v/plugins", "/x/v/plugins"),
        ("/x/v", "/x/v"),
        ("/x", "/x"),
        ("/base-plugins", "/base-plugins"),
        (f"/x/v/{SITE}", ""),
        (f"/x/v/{SITE}/", ""),
        (f"/x/v/{SITE}-mine", f"/x/v/{SITE}-mine"),
        (f"/x/v/{SITE}/mine", f"/x/v/{SITE}/mine"),
        (f"/base/{SITE}", ""),
        (sysconfig.get_paths()["stdlib"], ""),
        (sysconfig.get_paths()["stdlib"] + "/lib-dynload", ""),
        (f"/base/lib/python{sys.version_info.major}{sys.version_info.minor}.zip", ""),
        ("/x/plugins.zip", "/x/plugins.zip"),
        ("plugins", f"{os.getcwd()}/plugins"),
        ("", ""),
    ],
)
def test_an_actor_finds_what_the_driver_finds_and_its_own_installation(
    path: str, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "prefix", "/x/v")
    monkeypatch.setattr(sys, "base_prefix", "/base")
    monkeypatch.setattr(sys, "path", [path])
    assert environment(fresh=True)["PYTHONPATH"] == found
    monkeypatch.setattr(sys, "path", ["/first", path, "/last"])
    assert environment(fresh=True)["PYTHONPATH"] == ":".join(filter(None, ["/first", found, "/last"]))


def test_a_plug_in_beside_the_virtual_environment_is_found_by_actors() -> None:
    """As in /x/v and /x/v-projects."""
    with tempfile.TemporaryDirectory() as name:
        x = Path(name)
        assert run([sys.executable, "-m", "venv", "--without-pip", str(x / "v")]).returncode == 0
        installed = [path for path in sys.path if path.endswith("site-packages")]
        (x / "package").mkdir()
        (x / "package" / "innerloop").symlink_to(Path(innerloop.__file__).parent)
        (x / "v" / SITE / "these.pth").write_text("\n".join([str(x / "package"), *installed]))
        (x / "v-projects").mkdir()
        family = "from innerloop.envs.bandit import BernoulliBandit\n\nfamily = BernoulliBandit(arms=2)\n"
        (x / "v-projects" / "theirs.py").write_text(family)
        command = [str(x / "v" / "bin" / "python"), "-m", "innerloop", "train", "--family", "theirs:family"]
        given = {"env": {**os.environ, "PYTHONPATH": str(x / "v-projects")}, "cwd": x / "v"}
        done = run([*command, *SMALL.split(), "--out", str(x / "run")], **given)
        assert done.returncode == 0, done.stderr
        assert Checkpoints(str(x / "run" / "checkpoints")).newest().numbers["version"] == 1


def test_a_run_inside_a_task_that_holds_the_only_cpu_is_told_so(tmp_path: Path) -> None:
    done = run([sys.executable, "-c", INSIDE, str(tmp_path)])
    assert done.returncode == 0, done.stderr
    task, half, trained, actor = done.stdout.splitlines()
    assert trained == "trained"
    for held, said in (("1", task), ("0.5", half), ("1", actor)):
        assert said == (
            "actor_cpus is 1.0; expected one for which there is room, but the Ray task or actor that trains holds "
            f"{held} of 1 CPUs itself: start it with num_cpus=0."
        )
