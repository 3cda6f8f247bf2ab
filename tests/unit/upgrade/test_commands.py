"""Both commands from end to end with the real uv.

A made-up package in the place of this one decides a claim by the version of a made-up library.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from probes.errors import UserError
from probes.upgrade.environments import find_uv
from probes.upgrade.package import copy_package, find_package, pack_wheel
from probes.upgrade.releases import list_indexes, list_releases
from tests.support import command
from tests.support.samples import check, header, planned, record

Run = Callable[..., int]

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
SECRET = "planted-credential-0123"

PROBES = """\
import os, sys, time
from pathlib import Path
import made

assert sys.argv[1:3] == ["run", "embedded"] and not os.listdir()
report_dir = Path(sys.argv[sys.argv.index("--report-dir") + 1])
if made.VERSION == "0.5":
    print("ERROR: no target of that name, or 401 for", os.environ["HUB_TOKEN"])
    sys.exit(4)
if made.VERSION == "0.6":
    print(os.environ["HUB_TOKEN"], flush=True)
    Path(report_dir, "pid").write_text(str(os.getpid()))
    time.sleep(60)
if made.VERSION == "0.7":
    assert not {"PYTHONPATH", "PYTEST_ADDOPTS", "VIRTUAL_ENV"} & {*os.environ}
    Path(report_dir, "threads").write_text(os.environ.get("OMP_NUM_THREADS", "all"))
runs = len(list(report_dir.glob("embedded/*")))
folder = report_dir / "embedded" / ("20261123T075120Z" + (f"-{runs + 1}" if runs else ""))
folder.mkdir(parents=True)
text = (Path(__file__).parent / "record.json").read_text(encoding="utf-8")
fails = made.VERSION in ("1.0", "1.1", "2.2")
if fails:
    text = text.replace("holds", "fails")
(folder / "record.json").write_text(text, encoding="utf-8")
sys.exit(int(fails))
"""

VERSIONS = ("0.5", "0.6", "0.7", "0.8", "0.9", "1.0", "1.1", "2.0", "2.1", "2.2", "2.3")
"""Of the made-up library: 0.9 cannot be installed; the claim fails under 1.0, 1.1 and 2.2."""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a made-up library in several versions, and a made-up `probes`."""
    folder = tmp_path_factory.mktemp("wheels")
    for version in VERSIONS:
        needs = "absent" if version == "0.9" else ""
        add_wheel(folder, "made", version, {"made.py": f'VERSION = "{version}"\n'}, needs)
    add_wheel(folder, "apart", "1.0", {"apart.py": ""}, "made<2")
    plan = header(planned("pad-token"))
    template = record([("pad-token", check(values={"pad": "holds", "width": 3}))], plan=plan)
    files = {
        "probes/__init__.py": "",
        "probes/__main__.py": PROBES,
        "probes/record.json": template.model_dump_json(),
    }
    add_wheel(folder, "probes", "0", files)
    return folder


def add_wheel(
    folder: Path, name: str, version: str, files: dict[str, str], requires: str = ""
) -> None:
    info = f"{name}-{version}.dist-info"
    needs = f"Requires-Dist: {requires}\n" if requires else ""
    about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}"
    files = files | {
        f"{info}/METADATA": about,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)


@pytest.fixture(scope="module")
def index(wheels: Path) -> Iterator[str]:
    """The address of an index on this machine that offers the wheels, and files that do not fit."""
    odd = {
        "made-3.0.tar.gz": 'data-yanked="broken"',
        "made-3.1rc1.tar.gz": "",
        "made-3.2.exe": "",
        "made-3.3.tar.gz": 'data-requires-python="&gt;=3.99"',
        "made-0.4.tar.gz": f'data-requires-python="&gt;={PYTHON}.5"',
    }
    for name in ("made", "apart"):
        page = wheels / "simple" / name
        page.mkdir(parents=True)
        files = {f"../../{file.name}": "" for file in wheels.glob(f"{name}-*.whl")}
        files |= odd if name == "made" else {}
        links = [f'<a href="{file}" {more}>{Path(file).name}</a>' for file, more in files.items()]
        (page / "index.html").write_text("\n".join(links), encoding="utf-8")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(wheels))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/simple"
        server.shutdown()


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of uv's cache, and of environments: making one takes longer than a run in it."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def run(
    index: str, wheels: Path, kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Run:
    """Run a command in an empty folder, with the made-up package in the place of this one."""
    try:
        find_uv()
    except UserError as error:
        pytest.skip(str(error))
    package = wheels / "probes-0-py3-none-any.whl"
    monkeypatch.setattr("probes.upgrade.options.find_package", lambda _: package)
    monkeypatch.setenv("UV_CACHE_DIR", str(kept / "uv-cache"))
    monkeypatch.setenv("HUB_TOKEN", SECRET)
    monkeypatch.setenv("COLUMNS", "120")
    for name in ("UV_FIND_LINKS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)

    environments = ("--environments", kept / "environments")
    return lambda name, *arguments: command.run(
        name, "--index-url", index, *environments, *arguments
    )


NEW = ("--environments", "environments")
"""Options of a command that uses no environment of another test."""


def read_log(report_dir: Path, version: str) -> str:
    (log,) = report_dir.glob(f"made-{version}_*/pytest-1.log")
    return log.read_text(encoding="utf-8")


# --- matrix --------------------------------------------------------------------------------------


def test_matrix_shows_each_cell_and_writes_its_pages(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = ["--html", "matrix.html", "--summary", "summary.md", "--page", "page.md"]
    assert run("matrix", "--with", "made==0.5,1.0,9.9,latest", *NEW, *files) == 1
    out, err = capsys.readouterr()
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "│ pad-token │ · │ fails, unexpected │ · │ holds, unexpected flip │" in lines
    assert "made 0.5: refused: no target of that name, or 401 for <secret>" in lines
    assert any(line.startswith("made 9.9: not installed: Because ") for line in lines)
    assert any(line.startswith("made 2.3: Environment made in ") for line in lines)
    assert lines[-2].startswith("Runs that did not finish: 2. Unexpected verdicts: 2.")
    assert lines[-1] == "page: matrix.html"
    assert f"made-2.3_python-{PYTHON}: deciding 1 of 1\n" in err
    html = (tmp_path / "matrix.html").read_text(encoding="utf-8")
    page = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert "made 2.3" in (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert (
        "$ probes matrix --with made==0.5,1.0,9.9,latest --target embedded --page page.md\n" in page
    )
    assert str(tmp_path) not in html + page
    assert SECRET not in read_log(tmp_path / "reports" / "matrix", "0.5")


def test_matrix_resumes_what_was_decided(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("matrix", "--with", "made==2.0") == 0
    capsys.readouterr()
    assert run("matrix", "--with", "made==2.0,2.1", "--resume") == 0
    out, err = capsys.readouterr()
    assert "made-2.0" not in err
    assert "made-2.1" in err
    assert "All cells ran, and nothing is unexpected." in out
    assert run("matrix", "--with", "made==2.0", "--claim", "pad-token", "--resume") == 0
    assert "made-2.0" in capsys.readouterr().err


def test_environment_is_reused_unless_it_is_unfinished(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for made in (True, False, True):
        assert run("matrix", "--with", "made==2.0", *NEW) == 0
        assert ("made 2.0: Environment made in" in capsys.readouterr().out) is made
        if not made:
            (ready,) = tmp_path.glob("environments/*/ready")
            ready.unlink()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--with", "made==2.0", "--with", "apart==1.0"], "apart"),
        (["--with", "made==2.0", "--python", "3.99"], "3.99"),
    ],
)
def test_matrix_reports_uvs_reason_in_one_line(
    options: list[str], reason: str, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("matrix", *options) == 1
    (line,) = [each for each in capsys.readouterr().out.splitlines() if ": not installed: " in each]
    assert reason in line


def test_cell_inherits_no_variable_that_is_the_callers_own(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = tmp_path / "reports" / "matrix" / f"made-0.7_python-{PYTHON}" / "threads"
    for name in ("PYTHONPATH", "PYTEST_ADDOPTS", "VIRTUAL_ENV"):
        monkeypatch.setenv(name, "elsewhere")
    assert run("matrix", "--with", "made==0.7", "--jobs", "1") == 0
    assert threads.read_text(encoding="utf-8") == "all"
    assert run("matrix", "--with", "made==0.7", "--jobs", "2") == 0
    assert int(threads.read_text(encoding="utf-8")) >= 1
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert run("matrix", "--with", "made==0.7", "--jobs", "2") == 0
    assert threads.read_text(encoding="utf-8") == "5"


def test_run_is_ended_after_its_time(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("matrix", "--with", "made==0.6", "--timeout", "0.02") == 1
    assert "made 0.6: timed out: it did not end within 0.02 minutes\n" in capsys.readouterr().out


def test_sigterm_ends_the_started_processes(run: Run, tmp_path: Path) -> None:
    report_dir = tmp_path / "reports" / "matrix"
    file = report_dir / f"made-0.6_python-{PYTHON}" / "pid"

    def end() -> None:
        while not (file.is_file() and file.read_text(encoding="utf-8")):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=end, daemon=True).start()
    assert run("matrix", "--with", "made==0.6") == 130
    with pytest.raises(ProcessLookupError):
        os.kill(int(file.read_text(encoding="utf-8")), 0)
    assert read_log(report_dir, "0.6") == "<secret>\n"


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
        (["--with", "absent==latest"],
         "no package absent in 127.0.0.1: correct its name, or name the index that has it with "
         "--index-url"),
        (["--with", "transformers>=5"],
         "--with 'transformers>=5': expected PACKAGE==VERSION,VERSION,… or a package's name alone"),
        (["--with", "../a==1"],
         "--with '../a==1': expected PACKAGE==VERSION,VERSION,… or a package's name alone"),
        (["--with", "a==5.0,newest"],
         "--with 'a==5.0,newest': Invalid version: 'newest'; give one such as 5.0.0, or latest"),
        (["--with", "a==1", "--with", "A==2"],
         "--with names a twice: list its versions in one, with commas"),
        (["--with", "a==1", "--python", "3.11,pypy"],
         "--python '3.11,pypy': 'pypy' is no version; give one such as 3.12"),
        (["--with", "made==2.0", "--report-dir", "file"],
         "records cannot be written to '<here>/file': Not a directory; name "
         "another folder with --report-dir"),
    ],
)  # fmt: skip
def test_matrix_refuses_bad_options_in_one_line(
    arguments: list[str], line: str, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert run("matrix", *arguments) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.replace(str(tmp_path), "<here>") == f"probes: {line}"


@pytest.mark.parametrize(
    ("module", "options", "line"),
    [
        ("ray", ["--on", "ray"], "--on ray needs Ray, which is not installed: "),
        ("uv", [], "environments are made by uv, which is not installed: "),
        ("pypi_simple", ["--with", "apart==latest"], "releases are listed by pypi-simple: "),
    ],
)
def test_missing_package_is_named_with_its_installation(
    module: str,
    options: list[str],
    line: str,
    run: Run,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setenv("PATH", "")
    assert run("matrix", "--with", "made==1.0", *options) == 2
    assert capsys.readouterr().err.startswith(f"probes: {line}python -m pip install ")


def test_matrix_runs_on_a_local_ray(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
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


# --- bisect --------------------------------------------------------------------------------------


def search(good: str, bad: str, *more: str) -> list[str]:
    return ["bisect", "made", "--good", good, "--bad", bad, *(more or ["--claim", "pad-token"])]


def test_bisect_names_both_releases_and_their_evidence(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*search("2.1", "1.0")) == 0
    out = capsys.readouterr().out
    folder = tmp_path / "reports" / "bisect"
    assert out.startswith(f"4 releases from 2.1 to 1.0; records: {folder}\n1. made 2.1: holds (")
    assert "\npad-token changes between made 2.0 and 1.1.\n" in out
    assert "last good: made 2.0: holds\nfirst bad: made 1.1: fails\n" in out
    assert (
        "4 of the 4 releases from end to end were judged, and they show one change alone.\n" in out
    )
    assert f"record of 2.0: {folder}/made-2.0_" in out
    assert "evidence that differs, 2.0 → 1.1:\n  test_it: pad: holds → fails\n" in out


def test_bisect_uses_earlier_records_unless_fresh(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*search("2.1", "1.1")) == 0
    capsys.readouterr()
    assert run(*search("2.1", "1.0")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "1. made 2.1: holds, from its record"
    assert lines[2].startswith("2. made 1.0: fails (")
    assert run(*search("2.1", "1.1"), "--fresh") == 0
    assert "from its record" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("ends", "options", "code", "text"),
    [
        (("0.8", "1.0"), [], 1,
         "pad-token changes after made 0.8 and not later than 1.0 on the way; between them could "
         "not be judged: 0.9.\n"),
        (("2.3", "1.0"), ["--check-all"], 1,
         "Not the only change: 2.2 is bad, and 2.1 beyond it good. The one named is the one that "
         "this search met.\n"),
        (("1.1", "2.0"), [], 0, "note: pad-token fails at the good end and holds at the bad one"),
    ],
)  # fmt: skip
def test_bisect_states_what_is_odd(
    ends: tuple[str, str],
    options: list[str],
    code: int,
    text: str,
    run: Run,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(*search(*ends, "--claim", "pad-token", *options)) == code
    assert text in capsys.readouterr().out


CLAIM = ["--claim", "pad-token"]
WIDTH = ["--measure", "pad-token.width"]


@pytest.mark.parametrize(
    ("ends", "options", "line"),
    [
        (("2.1", "2.0"), CLAIM,
         "--bad 2.0 is not bad: pad-token has one verdict at both ends: 2.1: holds; 2.0: holds"),
        (("1.0", "1.1"), CLAIM,
         "--good 1.0 is not good: pad-token has one verdict at both ends: 1.0: fails; 1.1: fails"),
        (("2.1", "1.0"), [*WIDTH, "--threshold", "1"],
         "--bad 1.0 is not bad: pad-token.width is on one side at both ends: "
         "2.1: pad-token.width = 3, above 1; 1.0: pad-token.width = 3, above 1"),
        (("2.1", "0.5"), CLAIM,
         "--bad 0.5 cannot be judged by pad-token: refused: no target of that name, or 401 for "
         "<secret>"),
        (("2.1", "1.99"), CLAIM,
         "--bad 1.99: no stable release of made that the index offers and this Python can have; "
         "the nearest are 1.1 and 2.0"),
        (("2.1", "2.1.0"), CLAIM, "--good and --bad are both 2.1: name two releases"),
        (("one", "2.1"), CLAIM, "--good 'one' is no version; give one such as 5.0.0"),
        (("2.1", "1.0"), ["--more", "1"],
         "name what counts: --claim ID, or --measure CLAIM.KEY with --threshold X"),
        (("2.1", "1.0"), [*CLAIM, "--threshold", "1"],
         "--threshold goes with --measure; a claim's verdict needs none"),
        (("2.1", "1.0"), WIDTH,
         "--measure pad-token.width: say with --threshold what to hold it against"),
        (("2.1", "1.0"), ["--measure", "pad-token", "--threshold", "1"],
         "--measure 'pad-token': expected CLAIM.KEY or CLAIM[CHECK].KEY.KEY, as in "
         "collapse.probability"),
        (("2.1", "1.0"), [*CLAIM, "--python", "3.11,3.12"],
         "--python '3.11,3.12': a bisection takes one version"),
        (("2.1", "1.0"), [*CLAIM, "--target", "embeded"],
         "no target 'embeded'; did you mean 'embedded'?"),
        (("2.1", "1.0"), [*CLAIM, "--find-links", "nowhere"],
         "no folder 'nowhere': --find-links takes a folder of wheels, or a URL"),
        (("2.1", "1.0"), [*CLAIM, "--with", "a==1", "--with", "A==2"],
         "--with names a twice: list its versions in one, with commas"),
        *((("2.1", "1.0"), [*CLAIM, "--with", text],
           f"--with {text!r}: a bisection takes one exact version of each other package")
          for text in ("apart==1.0,2.0", "apart==latest", "made==1.0")),
    ],
)  # fmt: skip
def test_bisect_refuses_what_it_cannot_use_in_one_line(
    ends: tuple[str, str],
    options: list[str],
    line: str,
    run: Run,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(*search(*ends, *options)) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"probes: {line}")


# --- the package ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["iniconfig", "pytest-xdist"])
def test_installed_package_is_packed_into_a_wheel(tmp_path: Path, name: str) -> None:
    wheel = pack_wheel(name, tmp_path)
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    module = name.removeprefix("pytest-")
    assert {f"{module}/__init__.py", f"{wheel.name[:-17]}.dist-info/METADATA"} <= {*names}
    assert not [name for name in names if name.startswith("..") or name.endswith(".pyc")]
    assert len(names) == len(set(names))
    before = wheel.read_bytes()
    assert pack_wheel(name, tmp_path).read_bytes() == before


@pytest.mark.parametrize("form", ["source", "wheel"])
def test_copy_of_the_package_can_be_imported_and_installed(form: str, tmp_path: Path) -> None:
    wheel = tmp_path / "probes-0-py3-none-any.whl"
    wheel.touch()
    package = find_package(tmp_path) if form == "source" else wheel
    copy_package(package, copy := tmp_path / "copy")
    assert (copy / "probes" / "upgrade" / "run.py").is_file()
    names = ["pyproject.toml", "tests"] if form == "source" else [wheel.name]
    assert all((copy / name).exists() for name in names)


# --- what an index offers ------------------------------------------------------------------------


def test_releases_are_stable_not_yanked_and_for_this_python(index: str) -> None:
    pytest.importorskip("pypi_simple", reason="needs the extra upgrade")
    offered = [str(version) for version in list_releases("made", PYTHON, [index])]
    assert offered == ["0.4", *VERSIONS]
    assert str(list_releases("made", "3.99", [index])[-1]) == "3.3"


def test_first_index_with_the_package_is_used(index: str) -> None:
    pytest.importorskip("pypi_simple", reason="needs the extra upgrade")
    assert list_releases("apart", PYTHON, [f"{index}/none", index])
    with pytest.raises(UserError, match=r"^the index 127\.0\.0\.1 cannot be asked for apart \("):
        list_releases("apart", PYTHON, ["http://me:secret@127.0.0.1:9/simple"])


def test_indexes_are_those_of_options_then_variables_then_pypi() -> None:
    environ = {"UV_DEFAULT_INDEX": "https://b/", "UV_INDEX": "mine=https://c/ https://d/"}
    assert list_indexes(None, [], environ) == ("https://c/", "https://d/", "https://b/")
    assert list_indexes("https://e/", ["https://f/"], environ) == ("https://f/", "https://e/")
    assert list_indexes(None, [], {}) == ("https://pypi.org/simple/",)
