"""What the command-line tools share: what a user did wrong, or stopped, is one line that says what to do."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from msl_store.console import MOST_IDS, ids_of, progress_bar, run
from msl_store.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


def outcome(raised: BaseException, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    app = typer.Typer()

    @app.command()
    def fail() -> None:
        raise raised

    monkeypatch.setattr(sys, "argv", ["tool"])
    with pytest.raises(SystemExit) as left:
        run(app)
    return left.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (UsageError("size 3: allowed is 4"), 2, "error: size 3: allowed is 4\n"),
        (FileNotFoundError(errno.ENOENT, "no", "/a/b.png"), 3, "error: /a/b.png: there is no such file or folder"),
        (PermissionError(errno.EACCES, "Permission denied", "/a"), 4, "error: /a: Permission denied; check the path"),
        (OSError(errno.ENOSPC, "No space left on device"), 4, "error: this machine: No space left on device;"),
        (KeyboardInterrupt(), 130, "stopped; what was written is kept"),
    ],
)
def test_what_goes_wrong_is_one_line_and_an_exit_code(raised, code, said, capsys, monkeypatch):
    left, told = outcome(raised, capsys, monkeypatch)
    assert left == code
    assert told.startswith(said)
    assert told.count("\n") == 1


def test_no_bar_is_shown_before_there_is_progress(capsys):
    with pytest.raises(UsageError, match="wrong"), progress_bar("subset", "instances"):
        raise UsageError("wrong")
    assert capsys.readouterr().err == ""
    with progress_bar("subset", "instances") as update:
        update(1, 2, "3 MB")
        update(2, 2, "6 MB")
    assert "2/2 instances 6 MB" in capsys.readouterr().err


@given(st.integers(0, 10**6), st.integers(0, 50))
def test_a_range_of_ids_names_all_in_it(first: int, more: int) -> None:
    assert ids_of(f"{first}-{first + more}") == list(range(first, first + more + 1))


@pytest.mark.parametrize("text", ["5-1", f"0-{10**30}", f"1-{MOST_IDS},5", "9223372036854775806-1"])
def test_a_range_of_none_or_of_very_many_ids_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"names \d+ ids; allowed are ranges with the lower end first, of 10000000"):
        ids_of(text)


def test_ctrl_c_prints_no_traceback_and_says_how_to_go_on(tmp_path: Path) -> None:
    script = (
        "import time, typer; from msl_store.console import run\napp = typer.Typer()\n"
        "@app.command()\ndef wait():\n    print('waiting', flush=True)\n    time.sleep(60)\nrun(app)"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        env={**os.environ},
    )  # fmt: skip
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "waiting\n"
        time.sleep(0.1)
        child.send_signal(signal.SIGINT)
        _, told = child.communicate(timeout=30)
    finally:
        child.kill()
    assert child.returncode == 130
    assert told.strip() == "stopped; what was written is kept, and the same command goes on from there"
