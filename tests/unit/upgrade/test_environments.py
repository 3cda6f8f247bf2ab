"""Environments by the real uv, without a network: wheels and a project made up on the spot.

The made-up project stands for this one, and a made-up pytest decides a claim by the version of a
made-up library: so the whole of `probes matrix` and `probes bisect` is run in a second or two.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from packaging.version import Version

from probes.cli import main
from probes.errors import UserError
from probes.upgrade.cells import Cell, Pin
from probes.upgrade.environments import READY, NotInstallableError, Sources, find_uv, make
from tests.support.samples import check, header, planned, record

if TYPE_CHECKING:
    from collections.abc import Callable

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"

BACKEND = """\
import zipfile

def build_editable(folder, config_settings=None, metadata_directory=None):
    name = "probes-0-py3-none-any.whl"
    info = "probes-0.dist-info"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as wheel:
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\\nName: probes\\nVersion: 0\\n"
                       "Requires-Dist: pytest\\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nTag: py3-none-any\\n")
        wheel.writestr(f"{info}/RECORD", "")
    return name
"""

PROJECT = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["tests"]
[project]
name = "probes"
version = "0"
dependencies = ["pytest"]
"""

PYTEST = """\
import os, sys, time
from pathlib import Path
import made

words = sys.argv[1:]
if made.VERSION == "0.5":
    print("ERROR: no target of that name")
    sys.exit(4)
if made.VERSION == "0.6":
    Path(words[words.index("--report-dir") + 1], "pid").write_text(str(os.getpid()))
    time.sleep(60)
folder = Path(words[words.index("--report-dir") + 1]) / "embedded" / "20261123T075120Z"
folder.mkdir(parents=True)
text = (Path(__file__).parent / "record.json").read_text(encoding="utf-8")
fails = made.VERSION < "2"
if fails:
    text = text.replace("holds", "fails")
(folder / "record.json").write_text(text, encoding="utf-8")
sys.exit(int(fails))
"""


@pytest.fixture(scope="module")
def uv() -> str:
    """The command of uv, or the tests here are skipped."""
    try:
        return find_uv()
    except UserError as error:
        pytest.skip(str(error))


@pytest.fixture
def offline(uv: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever uv does, it reaches no network, and its cache is new."""
    del uv
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    monkeypatch.delenv("UV_FIND_LINKS", raising=False)


def wheel(folder: Path, name: str, version: str, files: dict[str, str], requires: str = "") -> None:
    info = f"{name}-{version}.dist-info"
    needs = f"Requires-Dist: {requires}\n" if requires else ""
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as file:
        for path, text in files.items():
            file.writestr(path, text)
        file.writestr(
            f"{info}/METADATA",
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        )
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", "")


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """A folder of made-up wheels: a library in several versions, and a pytest of ours."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for version in ("0.5", "0.6", "1.0", "1.1", "2.0", "2.1"):
        wheel(folder, "made", version, {"made.py": f'VERSION = "{version}"\n'})
    wheel(folder, "apart", "1.0", {"apart.py": ""}, requires="made<2")
    plan = header(planned("pad-token"))
    template = record([("pad-token", check(values={"pad": "holds"}))], plan=plan)
    wheel(
        folder,
        "pytest",
        "99.0",
        {
            "pytest/__init__.py": "",
            "pytest/__main__.py": PYTEST,
            "pytest/record.json": template.model_dump_json(),
        },
    )
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "tests" / "claims").mkdir(parents=True)
    (folder / "tests" / "backend.py").write_text(BACKEND, encoding="utf-8")
    (folder / "pyproject.toml").write_text(PROJECT, encoding="utf-8")
    return folder


def cell(version: str, *more: Pin) -> Cell:
    return Cell(python=PYTHON, pins=(Pin(package="made", version=version), *more))


@pytest.mark.usefixtures("offline")
def test_an_environment_is_made_once_and_holds_what_was_asked_for(
    wheels: Path, project: Path, tmp_path: Path
) -> None:
    sources = Sources(find_links=(str(wheels),))
    python, made = make(cell("1.0"), project, sources, tmp_path / "environments")
    assert python.exists()
    assert made.packages == {"made": "1.0", "probes": "0", "pytest": "99.0"}
    assert not made.reused
    assert made.size > 0
    again, found = make(cell("1.0"), project, sources, tmp_path / "environments")
    assert (again, found) == (python, made.model_copy(update={"reused": True}))


@pytest.mark.usefixtures("offline")
def test_an_environment_that_was_not_finished_is_made_anew(
    wheels: Path, project: Path, tmp_path: Path
) -> None:
    sources = Sources(find_links=(str(wheels),))
    python, _ = make(cell("1.0"), project, sources, tmp_path / "environments")
    home = python.parents[2]
    (home / READY).write_text("{", encoding="utf-8")
    _, made = make(cell("1.0"), project, sources, tmp_path / "environments")
    assert not made.reused


@pytest.mark.usefixtures("offline")
def test_a_clone_elsewhere_takes_the_same_environment(
    wheels: Path, project: Path, tmp_path: Path
) -> None:
    sources = Sources(find_links=(str(wheels),))
    python, _ = make(cell("1.0"), project, sources, tmp_path / "environments")
    other = project.rename(tmp_path / "other")
    again, made = make(cell("1.0"), other, sources, tmp_path / "environments")
    assert again == python
    assert made.project == str(other)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("asked", "line"),
    [
        (cell("9.9"), "no version of made==9.9"),
        (cell("2.0", Pin(package="apart")), "apart"),
        (Cell(python="3.99", pins=()), "3.99"),
    ],
)
def test_what_cannot_be_installed_is_told_in_uvs_own_words(
    asked: Cell, line: str, wheels: Path, project: Path, tmp_path: Path
) -> None:
    with pytest.raises(NotInstallableError) as refused:
        make(asked, project, Sources(find_links=(str(wheels),)), tmp_path / "environments")
    assert line in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.fixture
def run(
    project: Path, wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: None
) -> Callable[..., int]:
    """Run a command with the made-up project in the place of this one."""
    versions = [Version(text) for text in ("0.5", "1.0", "1.1", "2.0", "2.1")]
    for name in ("matrix", "bisect"):
        monkeypatch.setattr(f"probes.upgrade.{name}_command.project_folder", lambda: project)
        monkeypatch.setattr(f"probes.upgrade.{name}_command.releases", lambda *_: tuple(versions))
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> int:
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "--find-links", str(wheels), "--environments", "environments"])
        return int(ended.value.code or 0)

    return call


def test_a_matrix_from_end_to_end(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = ["--html", "matrix.html", "--summary", "summary.md", "--page", "page.md"]
    assert run("matrix", "--with", "made==0.5,1.0,9.9,latest", *files) == 1
    out, err = capsys.readouterr()
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "│ pad-token │ · │ fails, unexpected │ · │ holds, unexpected flip │" in lines
    assert "made 0.5: refused: no target of that name" in lines
    assert any(line.startswith("made 9.9: not installed: Because ") for line in lines)
    assert lines[-2].startswith("2 runs did not come to the end; 2 unexpected verdicts; 1 flip")
    assert lines[-1] == "page: matrix.html"
    assert "made-2.1_python" in err
    html = (tmp_path / "matrix.html").read_text(encoding="utf-8")
    assert "unexpected" in html
    assert str(tmp_path) not in html
    assert "made 2.1" in (tmp_path / "summary.md").read_text(encoding="utf-8")
    page = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert "$ probes matrix --with made==0.5,1.0,9.9,latest --target embedded" in page
    assert str(tmp_path) not in page


def test_a_matrix_without_a_surprise_ends_well_and_is_taken_up(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("matrix", "--with", "made==2.0,2.1") == 0
    assert "made-2.0" in capsys.readouterr().err
    assert run("matrix", "--with", "made==2.0,2.1", "--resume") == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "All cells ran; nothing unexpected; 0 flips" in out


def test_a_run_that_does_not_end_is_ended(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("matrix", "--with", "made==0.6", "--timeout", "0.02") == 1
    assert "made 0.6: timed out: it did not end within 0.02 minutes\n" in capsys.readouterr().out


def test_a_matrix_that_is_ended_ends_what_it_started(
    run: Callable[..., int], tmp_path: Path
) -> None:
    file = tmp_path / "reports" / "matrix" / f"made-0.6_python-{PYTHON}" / "pid"

    def end() -> None:
        while not (file.is_file() and file.read_text(encoding="utf-8")):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=end, daemon=True).start()
    assert run("matrix", "--with", "made==0.6") == 130
    with pytest.raises(ProcessLookupError):
        os.kill(int(file.read_text(encoding="utf-8")), 0)


def test_a_bisection_from_end_to_end(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    search = ["bisect", "made", "--claim", "pad-token", "--good"]
    assert run(*search, "2.1", "--bad", "1.0") == 0
    out = capsys.readouterr().out
    assert "pad-token changes between made 2.0 and 1.1.\n" in out
    assert "evidence that differs, 2.0 → 1.1:\n  test_it: pad: holds → fails\n" in out
    assert run(*search, "2.1", "--bad", "2.0") == 2
    assert capsys.readouterr().err == (
        "probes: --bad 2.0 is not bad: the ends are alike, pad-token has one verdict at both: "
        "2.1: holds; 2.0: holds\n"
    )
    assert run(*search, "2.1", "--bad", "0.5") == 2
    assert capsys.readouterr().err == (
        "probes: --bad 0.5 cannot be judged by pad-token: refused: no target of that name\n"
    )


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "nothing to combine: name versions, as in --with transformers==5.0.0,latest"),
        (["--with", "made==1.0", "--on", "cluster"], "--on 'cluster': expected ray, or the "
         "address of a cluster: ray://HOST:PORT"),
        (["--with", "made==1.0", "--claim", "pad-tokem"],
         "no claim 'pad-tokem'; did you mean 'pad-token'?; `probes claims` lists them"),
        (["--with", "made==2.0", "--html", "missing/matrix.html"],
         "the page cannot be written to 'missing/matrix.html': No such file or directory; name "
         "another file with --html"),
    ],
)  # fmt: skip
def test_a_matrix_that_cannot_be_is_refused_in_a_line(
    arguments: list[str],
    line: str,
    run: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("matrix", *arguments) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"probes: {line}"


def test_where_ray_is_missing_a_line_says_how_to_get_it(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert run("matrix", "--with", "made==1.0", "--on", "ray") == 2
    assert capsys.readouterr().err == (
        "probes: --on ray needs Ray, which is not installed: "
        "python -m pip install -e '.[upgrade,ray]'\n"
    )


def test_folders_that_cannot_be_written_to_are_one_line(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    assert run("matrix", "--with", "made==2.0", "--report-dir", "file") == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"probes: records cannot be written to '{tmp_path / 'file'}': Not a directory; name "
        "another folder with --report-dir"
    )


def test_a_matrix_on_a_local_ray_of_two_workers(
    run: Callable[..., int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: it is the extra ray")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    on = ["--on", "ray", "--jobs", "2", "--report-dir", "records"]
    assert run("matrix", "--with", "made==1.0,2.0,9.9", *on) == 1
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "│ pad-token │ fails, unexpected │ holds, unexpected flip │ · │" in lines
    assert any(line.startswith("made 9.9: not installed: Because ") for line in lines)
    for version in ("1.0", "2.0"):
        folder = tmp_path / "records" / f"made-{version}_python-{PYTHON}"
        assert (folder / "cell.json").is_file()
        assert (folder / "embedded" / "20261123T075120Z" / "record.json").is_file()
    assert run("matrix", "--with", "made==1.0", *on, "--num-gpus", "64") == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "probes: no machine of the cluster has 1 CPUs and 64 GPUs: the most are 2 and 0; ask for "
        "less with --num-cpus and --num-gpus"
    )
