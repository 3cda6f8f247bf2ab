"""The command line: ``python -m probes.training tokenizer | train | evaluate``."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from transformers.utils import logging

from probes.errors import UserError
from probes.training.card import format_card, format_table
from probes.training.evaluate import evaluate as evaluate_folder
from probes.training.folder import replacing_files, write_model
from probes.training.recipe import EMBEDDED, Recipe
from probes.training.tokenizer import write_tokenizer
from probes.training.train import train as train_model

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)

Folder = Annotated[Path, typer.Option(help="Model folder. Default: the one in the package.")]


@app.command()
def tokenizer(folder: Folder = EMBEDDED) -> None:
    """Convert the SentencePiece model of Mistral-7B-v0.1 into the folder's tokenizer."""
    with replacing_files(folder) as work:
        write_tokenizer(work)
    typer.echo(f"wrote tokenizer.json and tokenizer_config.json to {folder}")


@app.command()
def train(folder: Folder = EMBEDDED) -> None:
    """Train the model, write the whole folder and print the evaluation table."""
    started = time.monotonic()
    with replacing_files(folder) as work:
        write_tokenizer(work)
        model, _ = train_model(Recipe(), work / "tokenizer.json", typer.echo)
        write_model(model, work)
        seconds = time.monotonic() - started
        figures = evaluate_folder(work)
        (work / "README.md").write_text(
            format_card(figures, model.num_parameters()), encoding="utf-8", newline="\n"
        )
    typer.echo(format_table(figures))
    typer.echo(f"trained in {seconds:.0f} s, wrote {folder}")


@app.command()
def evaluate(folder: Folder = EMBEDDED) -> None:
    """Print the evaluation table of a folder."""
    if not (folder / "model.safetensors").is_file():
        raise UserError(f"no model.safetensors in {folder}: train one first")
    typer.echo(format_table(evaluate_folder(folder)))


def main() -> None:
    """Run the command line; a user's mistake ends it with one line and exit code 2."""
    # Loading bars and advice would mix with the lines of the table.
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        app()
    except UserError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
