"""The command line as a person meets it: exit codes, messages, summaries."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from commands import command, until

from cookhouse.cli.closing import bars

RUN = ("run", "recipe=toy", "--backend", "inprocess")


def test_run_then_rerun(cookhouse) -> None:
    code, out, err = cookhouse(*RUN)
    assert code == 0
    assert "total 20" in out
    assert "time budget" in out
    assert "cookhouse ui" not in out, "nothing is tracked here"
    assert "cookhouse status" in out
    assert "numbers  ok" in err
    code, out, _ = cookhouse(*RUN)
    assert code == 0
    assert out.count(" hit ") == 3
    assert "all from the store" in out


def test_plan_and_its_exit_codes(cookhouse) -> None:
    code, out, _ = cookhouse("plan", "recipe=toy")
    assert code == 0
    assert "first run" in out
    assert "3 of 3 steps to make" in out
    assert cookhouse("plan", "recipe=toy", "--detailed-exitcode")[0] == 3
    cookhouse(*RUN)
    code, out, _ = cookhouse("plan", "recipe=toy", "--detailed-exitcode")
    assert code == 0
    assert "nothing to do: all 3 steps exist" in out
    code, out, _ = cookhouse("plan", "recipe=toy", "steps.squares.power=3", "--json", "--detailed-exitcode")
    steps = {step["step"]: step for step in json.loads(out)["steps"]}
    assert code == 3
    assert steps["squares"]["reasons"] == ["power 2 -> 3"]
    assert steps["numbers"]["decision"] == "HIT"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run",), ["no recipe was given", "toy"]),
        (("run", "recipe=tyo"), ["did you mean 'toy'?"]),
        (("run", "recipe=toy", "steps.numbers.cuont=3"), ["no field 'cuont'", "command line", "did you mean 'count'?"]),
        (
            ("run", "recipe=toy", "source.documents=/no/such/folder"),
            ["does not exist", "/no/such/folder", "command line"],
        ),
        (("run", "recipe=toy", "source.documents=."), ["holds no file"]),
        (("run", "recipe=toy", "--only", "total"), ["cannot be made", "use --until total"]),
        (("run", "recipe=toy", "--limt", "3"), ["--limt", "--limit"]),
        (("run", "recipe=toy", "cluster.num_cpus=lots"), ["cluster.num_cpus = 'lots' does not fit", "command line"]),
        (("run", "recipe=toy", "timeouts.steps.nubers.wall_s=3"), ["command line", "did you mean 'numbers'?"]),
        (("run", "recipe=toy", "storage.root="), ["storage.root = '' does not fit", "command line"]),
        (("run", "recipe=toy", "cluster=ray"), ["cluster.address has no value", "add cluster.address=<value>"]),
        (("rnu",), ["did you mean 'run'?"]),
        (("status",), ["there is no run"]),
        (("ui",), ["no tracked runs yet"]),
    ],
)
def test_wrong_input_is_one_message_and_exit_2(arguments, words, cookhouse, here) -> None:
    (here / "empty").mkdir()
    arguments = tuple(text.replace("documents=.", "documents=empty") for text in arguments)
    code, _, err = cookhouse(*arguments)
    assert code == 2
    assert "Traceback" not in err
    for word in words:
        assert word in err


def test_a_failed_step_names_its_log(cookhouse, here) -> None:
    crash = here / "crash"
    crash.write_text("after-1:bug")
    code, out, err = cookhouse(*RUN, f"steps.numbers.crash={crash}")
    assert code == 1
    assert "ZeroDivisionError" in err
    assert "Traceback" not in err
    assert "traceback: " in err
    assert "cookhouse logs numbers" in out
    assert "waiting" in out
    assert "failed" in cookhouse("status")[1]
    assert "unit 0" in cookhouse("logs", "numbers")[1]
    crash.write_text("after-2:bug")
    code, _, err = cookhouse(*RUN, f"steps.numbers.crash={crash}", "-v")
    assert code == 1
    assert "Traceback" in err
    assert "3 finished units" in cookhouse("plan", "recipe=toy")[1]
    assert cookhouse(*RUN)[0] == 0


def test_an_interrupt_is_130_and_the_next_run_goes_on(cookhouse, here) -> None:
    crash = here / "crash"
    crash.write_text("after-1:interrupt")
    code, _, err = cookhouse(*RUN, f"steps.numbers.crash={crash}")
    assert code == 130
    assert "goes on from what was committed" in err
    assert "stopped" in cookhouse("status")[1]
    code, _, _ = cookhouse(*RUN)
    assert code == 0


def test_a_locked_step_is_5(cookhouse) -> None:
    from pipelines.workflow.lease import Lease

    code, out, _ = cookhouse("plan", "recipe=toy", "--json")
    folder = Path(json.loads(out)["steps"][0]["folder"])
    folder.mkdir(parents=True)
    lease = Lease.acquire(folder, run_id="other", step="numbers")
    code, _, err = cookhouse(*RUN, "--no-wait")
    lease.release()
    assert code == 5
    assert "run other" in err


def test_quiet_says_only_the_end(cookhouse) -> None:
    code, out, err = cookhouse(*RUN, "-q")
    assert code == 0
    assert err == ""
    assert "total 20" in out


def test_targets_are_named_without_an_option(cookhouse) -> None:
    code, out, _ = cookhouse(*RUN, "squares")
    assert code == 0
    assert "cookhouse plan squares recipe=toy" in out
    assert "total" not in cookhouse("plan", "recipe=toy", "squares")[1]
    code, _, err = cookhouse("plan", "recipe=toy", "sqares")
    assert code == 2
    assert "did you mean 'squares'?" in err


def test_a_plan_as_a_graph(cookhouse) -> None:
    code, out, _ = cookhouse("plan", "recipe=toy", "--graph", "mermaid")
    lines = out.splitlines()
    assert code == 0
    assert lines[0] == "flowchart LR"
    assert "  numbers --> squares" in lines
    assert "  squares --> total" in lines


def test_costs_are_told_before_and_a_full_disk_is_refused(cookhouse, monkeypatch) -> None:
    assert "cost unknown" in cookhouse("plan", "recipe=toy")[1]
    cookhouse(*RUN)
    out = cookhouse("plan", "recipe=toy", "steps.numbers.count=8")[1]
    assert "about 0" in out
    assert "free at" in out
    monkeypatch.setattr("cookhouse.cli.costs.free_bytes", lambda root: 3)
    code, _, err = cookhouse(*RUN, "steps.numbers.count=8")
    assert code == 2
    assert "would be written and 3 B are free" in err
    assert cookhouse(*RUN, "steps.numbers.count=8", "--yes")[0] == 0


def test_no_color_means_no_colour(here) -> None:
    from click.testing import CliRunner

    from cookhouse.cli.main import cli

    def coloured(**environment: str) -> bool:
        return "\x1b[" in CliRunner(env=environment).invoke(cli, ["plan", "recipe=toy"], color=True).output

    assert coloured(NO_COLOR="")
    assert not coloured(NO_COLOR="1")


def test_limit_and_force(cookhouse) -> None:
    assert "count 2" in cookhouse(*RUN, "--limit", "2")[1]
    assert "count 4" in cookhouse(*RUN)[1]
    code, out, _ = cookhouse(*RUN, "--force", "squares")
    assert code == 0
    assert out.count(" hit ") == 2
    assert out.count(" ok ") == 1


def test_real_files_and_one_of_them_broken(cookhouse, here) -> None:
    (here / "in").mkdir()
    for name in ("a", "b"):
        (here / "in" / name).write_text(name)
    (here / "in" / "c").symlink_to("nowhere")
    assert "count 3" in cookhouse(*RUN, "source.documents=in")[1], (
        "a file that cannot be read is the stage's to account for"
    )


def test_status_and_config(cookhouse) -> None:
    cookhouse(*RUN)
    code, out, _ = cookhouse("status", "--json")
    assert code == 0
    assert [step["state"] for step in json.loads(out)["steps"]] == ["done"] * 3
    out = cookhouse("config", "show", "recipe=toy", "steps.squares.power=3")[1]
    assert "steps.squares.power = 3  # command line (steps.squares.power=3)" in out
    assert "steps.numbers.count = 4  # conf/recipe/toy.yaml:6" in out
    assert "steps.numbers.workers = 1  # default" in out
    assert "recipe=toy: 3 steps are right" in cookhouse("config", "validate", "recipe=toy")[1]
    assert cookhouse("config", "validate", "recipe=toy", "steps.squares.pwr=1")[0] == 2


@pytest.mark.parametrize(
    "override", ["steps.numbers.crash=http://me:pa55word@host", "steps.numbers.crash=${oc.env:MY_TOKEN}"]
)
def test_a_configuration_with_a_secret_is_refused(override, cookhouse, monkeypatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "hush-hush-4711")
    code, _, err = cookhouse("plan", "recipe=toy", override)
    assert code == 2
    assert "steps.numbers.crash holds a secret" in err
    assert "pa55word" not in err
    assert "hush-hush" not in err


def test_a_bug_of_ours_is_logged(cookhouse, here, monkeypatch) -> None:
    monkeypatch.setattr("cookhouse.project.compose", lambda *_: 1 / 0)
    code, _, err = cookhouse("plan", "recipe=toy")
    assert code == 1
    assert "Traceback" not in err
    assert "this is a bug of cookhouse" in err
    log = Path(next(line for line in err.splitlines() if "log: " in line).partition("log: ")[2])
    assert "ZeroDivisionError" in log.read_text()


def test_help_loads_nothing_heavy(here) -> None:
    code = (
        "import sys, resource; from cookhouse.cli.main import main; main(['--help'])\n"
        "print('seconds', sum(resource.getrusage(resource.RUSAGE_SELF)[:2]))\n"
        "print(sorted({'ray', 'torch', 'mlflow', 'hydra', 'pydantic', 'rich'} & set(sys.modules)))"
    )
    seconds = []
    for _ in range(3):
        shown = subprocess.run(
            [sys.executable, "-c", code], env=command()[1], capture_output=True, text=True, check=True
        )
        assert "plan" in shown.stdout
        assert shown.stdout.rstrip().endswith("[]")
        seconds.append(float(shown.stdout.rpartition("seconds ")[2].split()[0]))
    assert min(seconds) < 0.3, "CPU seconds of the whole process: nobody waits for a help text"


def test_hits_load_neither_ray_nor_torch(cookhouse, here) -> None:
    cookhouse(*RUN)
    code = (
        "import sys; from cookhouse.cli.main import main\n"
        "assert main(['run', 'recipe=toy', 'tracking=none']) == 0\n"
        "print(sorted({'ray', 'torch', 'mlflow'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], env=command()[1], capture_output=True, text=True, check=True)
    assert shown.stdout.rstrip().endswith("[]")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_real_signal_stops_cleanly(number, cookhouse, here, gate) -> None:
    arguments, environment = command(*RUN, "tracking=none", f"steps.numbers.gate={gate}")
    process = subprocess.Popen(arguments, env=environment, stderr=subprocess.PIPE, text=True)
    until(lambda: list(here.glob("artifacts/toy_numbers/*/attempts/*/units/u1.json")), process)
    process.send_signal(number)
    _, err = process.communicate()
    assert process.returncode == 130
    assert "goes on from what was committed" in err
    assert "Traceback" not in err
    assert not list(here.glob("artifacts/*/*/lease.json"))
    assert "ADOPT" in cookhouse("plan", "recipe=toy")[1]


def test_bars_say_what_was_not_shown_and_why() -> None:
    found = [
        {"name": "cer_low", "value": 0.3046, "printed": "0.305", "bar": "<= 0.5", "shown": True, "why": ""},
        {"name": "gain", "value": 0.0004, "printed": "0.000400", "bar": "> 0", "shown": True, "why": ""},
        {
            "name": "lost",
            "value": -0.037,
            "printed": "-0.0370",
            "bar": "> 0",
            "shown": False,
            "why": "-0.0370 is not > 0",
        },
        {"name": "other", "value": None, "printed": "-", "bar": ">= 0.3", "shown": False, "why": "0 low regions"},
    ]
    assert bars(found) == [
        "bars:",
        "  shown      cer_low     0.305  <= 0.5",
        "  shown      gain     0.000400  > 0",
        "  not shown  lost      -0.0370  > 0  (-0.0370 is not > 0)",
        "  not shown  other           -  >= 0.3  (0 low regions)",
    ]
