"""``cookhouse up | down | ui``: the local Ray and MLflow, both on loopback."""

from __future__ import annotations

import contextlib
import os
import sys
import time

import click

from cookhouse.cli import options
from cookhouse.pages.links import runs_table
from cookhouse.project import Project
from pipelines.core.errors import ConfigError
from pipelines.core.storage import Remote
from pipelines.workflow.backends.given_ray import GivenRay
from pipelines.workflow.backends.local_ray import LocalRay
from pipelines.workflow.store import Store

SERVER_WITHIN_S = 120.0


def local_ray(project: Project, store: Store) -> LocalRay:
    """The local Ray of a store, as ``conf/cluster`` describes it."""
    cluster = project.settings.cluster
    return LocalRay(
        store.home,
        cluster.room.whole,
        object_store_mb=cluster.object_store_mb,
        start_timeout_s=cluster.start_timeout_s,
        stop_wait_s=cluster.stop_wait_s,
    )


def ray_of(project: Project, store: Store) -> LocalRay | GivenRay:
    """The Ray that steps run on: the given cluster, else the local one."""
    cluster = project.settings.cluster
    if cluster.address is None:
        return local_ray(project, store)
    if not isinstance(store.root, Remote) and not cluster.shared_root:
        raise ConfigError(
            "a given Ray cluster needs a store that its nodes reach",
            where=f"storage.root = {store.root}",
            why=f"cluster.address is {cluster.address}, and this root is a folder of this machine",
            do="storage.root=s3://bucket/prefix, or cluster.shared_root=true for a file system all nodes mount",
        )
    return GivenRay(cluster.address, python=cluster.python, start_timeout_s=cluster.start_timeout_s)


@click.command()
@options.overrides
@options.verbose
def up(overrides: tuple[str, ...]) -> None:
    """Start the local Ray and leave it running."""
    ray = local_ray(*options.opened(overrides, recipe=False))
    started = ray.start(keep=True)
    state = ray.wait()
    ray.release()
    click.echo(f"{'started' if started else 'already up'}: {state['address']}, dashboard {state['dashboard']}")
    click.echo(f"token: {ray.token_file} (the dashboard asks for it)\nend it with: cookhouse down")


@click.command()
@options.overrides
@options.verbose
def down(overrides: tuple[str, ...]) -> None:
    """End the local Ray that up or run started; other Rays on this machine are not touched."""
    ended = local_ray(*options.opened(overrides, recipe=False)).stop()
    click.echo("ended" if ended else "there is no local Ray of this store")


@click.command()
@options.overrides
@click.option("--port", type=int, default=5000, show_default=True)  # PORT of cookhouse.pages.links
@click.option("--open", "open_page", is_flag=True, help="Open the runs table in a browser.")
@options.verbose
def ui(overrides: tuple[str, ...], port: int, open_page: bool) -> None:
    """Show the tracked runs: MLflow on this machine, and the address of the newest run's table. Ctrl-C ends it."""
    project, store = options.opened(overrides, recipe=False)
    uri = project.tracking_uri
    if uri.startswith(("http://", "https://")):
        _show(f"runs are tracked at {(page := runs_table(store.home, uri))}", page, open_page)
        return
    file = uri.removeprefix("sqlite:///")
    if uri.startswith("sqlite:///") and not os.path.exists(file):
        raise ConfigError("there are no tracked runs yet", where=file, do="cookhouse run recipe=... makes some")
    if _listens(port):
        raise ConfigError(f"port {port} of this machine is taken", why="perhaps by another cookhouse ui", do="--port N")
    click.echo("MLflow starts (some ten seconds; Ctrl-C ends it)", err=True)
    sys.stderr.flush()
    if os.fork() == 0:  # this process becomes the server; the child says where its pages are once there are any
        end = time.monotonic() + SERVER_WITHIN_S
        while not _listens(port) and time.monotonic() < end:
            time.sleep(0.2)
        page = runs_table(store.home, uri, port)
        _show(f"\nthe runs: {page}", page, open_page)
        os._exit(0)
    command, environment = mlflow_server(uri, port)
    os.execve(command[0], command, environment)


def _show(words: str, page: str, open_page: bool) -> None:
    import webbrowser

    click.echo(words)
    if open_page:
        webbrowser.open(page)


def mlflow_server(uri: str, port: int) -> tuple[list[str], dict[str, str]]:
    """Command and environment of MLflow on loopback, telling nobody of its use, without its seven processes for jobs
    of agents. The store goes by the environment: its address may hold a password, and anybody can list arguments."""
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    where = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command = [sys.executable, "-m", "mlflow", "ui", *where]
    return command, {**os.environ, **quiet, "MLFLOW_BACKEND_STORE_URI": uri}


def _listens(port: int) -> bool:
    """Whether a server listens on a port of loopback."""
    import socket

    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
