"""The options that `probes matrix` and `probes bisect` share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from packaging.version import Version
from typer import Option

from probes.errors import UserError, did_you_mean
from probes.schema.claim import catalogue
from probes.targets.resolve import resolve
from probes.upgrade.environments import default_folder, find_uv
from probes.upgrade.package import find_package
from probes.upgrade.releases import list_indexes, list_releases
from probes.upgrade.run import Plan

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"

Texts = list[str] | None
File = Path | None


def option(metavar: str, text: str, *names: str, **more: Any) -> Any:
    """Declare an option with its value's name and its help text; the default is in brackets."""
    return Option(*names, metavar=metavar, help=text, **more)


@dataclass(frozen=True)
class Shared:
    """The values of the shared options."""

    packages: Annotated[
        Texts,
        option(
            "PACKAGE==VERSION,…",
            "Versions of a package, `latest` among them; a name alone is any version; repeatable.",
            "--with",
        ),
    ] = None
    python: Annotated[str, option("VERSION,…", "Versions of Python.")] = HERE
    targets_file: Annotated[File, option("FILE", "TOML file with targets of your own.")] = None
    find_links: Annotated[Texts, option("FOLDER|URL", "Passed on to uv; repeatable.")] = None
    index_url: Annotated[str | None, option("URL", "Passed on to uv. [default: uv's own]")] = None
    extra_index_url: Annotated[Texts, option("URL", "Passed on to uv; repeatable.")] = None
    torch_backend: Annotated[str | None, option("NAME", "Passed on to uv: cpu, auto, …")] = None
    environments: Annotated[
        File, option("FOLDER", "Where to keep environments. [default: the user's cache]")
    ] = None
    timeout: Annotated[float, option("MINUTES", "Ends a target's run after that.", min=0.01)] = 60
    report_dir: Annotated[
        File, option("FOLDER", "Where to write records. [default: reports/COMMAND]")
    ] = None

    def make_plan(
        self, command: str, targets: Sequence[str], claims: Sequence[str], resume: bool
    ) -> Plan:
        """Return what all cells share; a value that cannot be used raises UserError."""
        for link in self.find_links or ():
            if "://" not in link and not Path(link).is_dir():
                raise UserError(
                    f"no folder '{link}': --find-links takes a folder of wheels, or a URL"
                )
        for target in targets:
            resolve(target, targets_file=self.targets_file)
        for claim in claims:
            if claim not in catalogue():
                hint = did_you_mean(claim, catalogue())
                raise UserError(f"no claim '{claim}'{hint}; `probes claims` lists them")
        find_uv()
        options = [("--claim", each) for each in claims]
        if self.targets_file is not None:
            options.append(("--targets-file", str(self.targets_file.resolve())))
        uv_options = [
            *(("find-links", _make_absolute(each)) for each in self.find_links or ()),
            *(("extra-index-url", each) for each in self.extra_index_url or ()),
            ("index-url", self.index_url),
            ("torch-backend", self.torch_backend),
        ]
        environments = (self.environments or default_folder()).resolve()
        return Plan(
            targets=tuple(map(_make_absolute, targets)),
            options=tuple(word for option in options for word in option),
            package=find_package(environments),
            environments=environments,
            report_dir=(self.report_dir or Path("reports", command)).resolve(),
            uv_options=tuple(f"--{name}={value}" for name, value in uv_options if value),
            timeout=self.timeout * 60,
            resume=resume,
        )

    def list_releases(self, package: str, python: str) -> tuple[Version, ...]:
        """Return the releases of a package that the index offers, oldest first."""
        urls = list_indexes(self.index_url, self.extra_index_url or ())
        return list_releases(package, python, urls)


def _make_absolute(text: str) -> str:
    """Return the absolute path of a folder; a name or an address as it is."""
    return str(Path(text).resolve()) if Path(text).is_dir() else text


def with_shared_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the shared options to a command, which gets them as its argument `shared`."""

    @wraps(command)
    def run(**values: Any) -> None:
        options = {each.name: values.pop(each.name) for each in _list_parameters(Shared)}
        command(shared=Shared(**options), **values)

    own = [each for each in _list_parameters(command) if each.name != "shared"]
    parameters = [*own, *_list_parameters(Shared)]
    run.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


def _list_parameters(function: Callable[..., object]) -> list[Parameter]:
    hints = get_type_hints(function, include_extras=True)
    return [
        each.replace(annotation=hints[each.name], kind=Parameter.KEYWORD_ONLY)
        for each in signature(function).parameters.values()
    ]
