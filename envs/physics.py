"""Batches of MuJoCo simulations that move exactly as Gymnasium's single ones do.

A simulation is determined by one row of numbers: positions, velocities, and the accelerations from which MuJoCo's
constraint solver starts (its warm start). A batch is an array of such rows and one `MjData` in which they take turns:
the memory that MuJoCo works on stays in the processor's cache, however many rows there are.

`mujoco.rollout` would advance all rows in one call, a few per cent faster (benchmarks/physics.py). It gives back
neither the warm start nor the contact forces. Without the first, a cheetah under random actions is more than 1e-6 off
Gymnasium's trajectory after 57 to 92 steps, because contacts are chaotic; without the second, the rewards of Ant and
Humanoid cannot be computed.
"""

import copy
import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import mujoco
import numpy as np

from .api import Bools

mj: Any = mujoco
"""Its functions and classes are compiled and come without types."""
Model = Any
"""mujoco.MjModel"""

SPEC = int(
    mj.mjtState.mjSTATE_QPOS | mj.mjtState.mjSTATE_QVEL | mj.mjtState.mjSTATE_WARMSTART | mj.mjtState.mjSTATE_CTRL
)
"""What a row holds, in this order."""
LARGEST = float(mj.mjMAXVAL)
"""MuJoCo itself takes a simulation with larger positions or velocities for broken."""


class Warnings:
    """While entered, MuJoCo's warnings are counted here; otherwise it writes a log into the working directory."""

    count = 0

    def __enter__(self) -> None:
        self._handler, self.count = mj.get_mju_user_warning(), 0
        mj.set_mju_user_warning(self._hear)

    def __exit__(self, *_: object) -> None:
        mj.set_mju_user_warning(self._handler)

    def _hear(self, warning: str) -> None:
        self.count += 1


@functools.cache
def load(xml: str) -> Model:
    """One of Gymnasium's models, such as "ant.xml". It is shared: copy it before changing it."""
    path = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets" / xml
    with Warnings():  # newer versions call some of Gymnasium's settings old
        spec = mj.MjSpec.from_file(str(path))
        spec.compiler.discardvisual = True  # textures: half a megabyte in every copy
        return spec.compile()


def vary(model: Model, factors: Mapping[str, np.ndarray]) -> list[Model]:
    """N models, one for each row of `factors`: the arrays of `model` with these names times the factors, [N, ...].

    What the model derives from the arrays is recomputed. Equal rows share one model.
    """
    made: dict[bytes, Model] = {}
    models = []
    for row in zip(*factors.values(), strict=True):
        key = b"".join(factor.tobytes() for factor in row)
        if key not in made:
            made[key] = copy.copy(model)
            for name, factor in zip(factors, row, strict=True):
                getattr(made[key], name)[:] *= factor
            mj.mj_setConst(made[key], mj.MjData(model))
        models.append(made[key])
    return models


class Simulations:
    """N simulations, each of its own model; the models differ in numbers only, not in structure."""

    def __init__(self, models: Sequence[Model], frame_skip: int, point: str | None) -> None:
        """Args:
        models: one per simulation; the same one may stand for several.
        frame_skip: MuJoCo's steps in one `advance`.
        point: the field of `MjData` that says where a body is ("xpos" or "subtree_com"). Its entry for the root body
            is then measured after every `advance`, and so are the contact forces; without it neither costs anything.
        """
        n, one = len(models), models[0]
        self._models, self._frame_skip = models, frame_skip
        self._data = mj.MjData(one)
        self.step_s = one.opt.timestep * frame_skip
        """Seconds that one `advance` takes."""
        self._row = np.zeros((n, mj.mj_stateSize(one, SPEC)))
        self._rows = list(self._row)
        self.state = self._row[:, : one.nq + one.nv]
        """[N, nq + nv], a view: positions, then velocities, in metres, radians and seconds; at first, at rest."""
        self.qpos, self.qvel = self.state[:, : one.nq], self.state[:, one.nq :]
        """[N, nq] and [N, nv]: its two parts."""
        self._warm_start, self._control = self._row[:, -one.nu - one.nv : -one.nu], self._row[:, -one.nu :]
        self.qpos[:] = one.qpos0
        self.point = np.zeros((n, 2))
        """[N, 2]: x and y in metres. As in Gymnasium, where MuJoCo last evaluated the forces."""
        self.contact = np.zeros((n, one.nbody, 6))
        """[N, bodies, 6]: torque (Nm) and force (N) of the contacts on each body, at the same moment."""
        self._point = None if point is None else getattr(self._data, point)[1, :2]
        self._warnings = Warnings()

    def place(self, rows: Bools, qpos: np.ndarray, qvel: np.ndarray) -> None:
        """Put the simulations whose entry in `rows`, [N], is True into these states, one per True entry."""
        self._row[rows] = 0
        self.qpos[rows], self.qvel[rows] = qpos, qvel
        with self._warnings:
            for index in rows.nonzero()[0].tolist():
                model, row = self._models[index], self._rows[index]
                mj.mj_setState(model, self._data, row, SPEC)
                mj.mj_forward(model, self._data)  # as in Gymnasium: some versions take the warm start from it
                mj.mj_getState(model, self._data, row, SPEC)
                if self._point is not None:
                    self.point[index] = self._point
        if self._warnings.count:
            mj.mj_resetData(self._models[0], self._data)  # or MuJoCo would not repeat itself

    def advance(self, control: np.ndarray) -> Bools:
        """Take `frame_skip` steps under `control`, [N, nu].

        Returns:
            [N]: the simulation broke down: MuJoCo warned of it, or its state is not finite or beyond all bounds. It is
            left where it was before.
        """
        self._control[:] = control
        before, point = self._row.copy(), self.point.copy()
        broken = np.zeros(len(before), np.bool_)
        with self._warnings:
            self._step(range(len(before)))
            if self._warnings.count:
                broken = self._who_warns(before)
        if self._warnings.count or not np.vdot(self._row, self._row) <= LARGEST**2:  # nor is NaN
            broken |= ~(np.abs(self.state) <= LARGEST).all(axis=1)
            self._row[broken], self.point[broken], self.contact[broken] = before[broken], point[broken], 0
            self._warm_start[broken] = 0
        return broken

    def _step(self, rows: Iterable[int]) -> None:
        data, frame_skip, measured = self._data, self._frame_skip, self._point is not None
        set_state, step, get_state = mj.mj_setState, mj.mj_step, mj.mj_getState
        for index in rows:
            model, row = self._models[index], self._rows[index]
            set_state(model, data, row, SPEC)
            step(model, data, frame_skip)
            get_state(model, data, row, SPEC)
            if measured:
                mj.mj_rnePostConstraint(model, data)
                self.point[index], self.contact[index] = self._point, data.cfrc_ext

    def _who_warns(self, before: np.ndarray) -> Bools:
        """Step the rows again, each with MuJoCo's own counters cleared: it warns only when one of them leaves zero."""
        warns = np.zeros(len(before), np.bool_)
        for index in range(len(before)):
            mj.mj_resetData(self._models[index], self._data)
            self._row[index], heard = before[index], self._warnings.count
            self._step([index])
            warns[index] = self._warnings.count > heard
        mj.mj_resetData(self._models[0], self._data)
        return warns
