"""Attempts as Ray jobs: the Jobs API, with what it leaves open closed.

A submission id that exists is attached to, not an error. The job writes its own log into the attempt's folder, so
nothing depends on a log stream staying open, and nothing is lost when the head dies.
"""

from __future__ import annotations

import os
import shlex
import time
from contextlib import suppress
from functools import cached_property
from typing import Any

from pipelines.core.errors import InfraError, first_line
from pipelines.core.storage import place
from pipelines.workflow.backends import Handle, JobState
from pipelines.workflow.backends.given_ray import GivenRay
from pipelines.workflow.backends.local_ray import LocalRay
from pipelines.workflow.execute import Spec

AGENT_MISSING = "No available agent"
"""Ray calls itself up before the agent that takes jobs is; on a busy machine half a minute before."""


class RayJobs:
    """Ray jobs on a :class:`LocalRay` or a :class:`GivenRay`. ``worker`` is the module that runs a spec:
    ``python -m <worker> spec.json``."""

    name = "ray"

    def __init__(self, cluster: LocalRay | GivenRay, worker: str, *, keep: bool = False) -> None:
        self.cluster, self.worker, self.keep = cluster, worker, keep
        cluster.start(keep=keep)  # comes up while this process imports Ray and takes leases

    @cached_property
    def client(self) -> Any:
        """The Jobs client; waits for Ray. Raises InfraError when it cannot be reached."""
        os.environ.update(self.cluster.client_environment)
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        from ray.job_submission import JobSubmissionClient

        state = self.cluster.wait()
        try:
            return JobSubmissionClient(state["dashboard"])
        except Exception as error:
            where, do = state["dashboard"], "cookhouse down, then run again"
            raise InfraError("the Ray dashboard does not answer", where=where, why=first_line(error), do=do) from error

    def submit(self, spec: Spec, submission: str) -> Handle:
        if self.cluster.state() is None:  # it died since; a retry gets a new one
            self.__dict__.pop("client", None)
            self.cluster.start(keep=self.keep)
        handle = Handle(submission, place(spec.attempt))
        environment = dict(self.cluster.job_environment)
        _ = self.client  # waits until the cluster is up and known by its address
        command = ["exec", self.cluster.python, "-m", self.worker, str(handle.attempt / "spec.json")]
        if (state := self.cluster.state()) and "address" in state:
            # Ray tells its jobs an address too, but finds it by looking through the processes of the machine, and takes
            # another Ray's where there are several
            command.append(state["address"])
        deadline = time.monotonic() + self.cluster.start_timeout_s
        while True:
            try:
                self.client.submit_job(
                    entrypoint=shlex.join(command),
                    submission_id=submission,
                    entrypoint_num_cpus=0,
                    runtime_env={"env_vars": environment} if environment else None,
                    metadata={"step": spec.step, "key": spec.key, "attempt": handle.attempt.name},
                )
                return handle
            except Exception as error:
                if self.status(handle) is not JobState.LOST:  # the name is taken: attach to it
                    return handle
                if AGENT_MISSING in str(error) and time.monotonic() < deadline:
                    time.sleep(0.2)
                    continue
                what, do = f"Ray did not take the job of step '{spec.step}'", "run the same command again"
                raise InfraError(what, where=submission, why=first_line(error), do=do) from error

    def status(self, handle: Handle) -> JobState:
        try:
            status = self.client.get_job_status(handle.submission)
        except (RuntimeError, OSError) as error:  # a busy dashboard is no dead job; a dead keeper is
            unknown = isinstance(error, RuntimeError) and ("404" in str(error) or "does not exist" in str(error))
            return JobState.LOST if unknown or not self.cluster.state() else JobState.RUNNING
        if status.is_terminal():
            return JobState.ENDED
        return JobState.PENDING if status.name == "PENDING" else JobState.RUNNING

    def logs(self, handle: Handle) -> str:
        if printed := handle.printed():
            return printed
        try:
            info = self.client.get_job_info(handle.submission)
            return f"{self.client.get_job_logs(handle.submission)}\n{info.message or ''}"
        except Exception as error:  # the head is gone, and with it what it knew
            return f"(no log: {first_line(error)})"

    def cancel(self, handle: Handle) -> None:
        with suppress(Exception):  # it has ended, or its Ray has: both is what was asked for
            self.client.stop_job(handle.submission)

    def describe(self) -> dict[str, Any]:
        _ = self.client
        state = self.cluster.state() or {}
        return {"backend": self.name, **{name: state.get(name) for name in ("address", "dashboard")}}

    def close(self) -> None:
        self.cluster.release()
