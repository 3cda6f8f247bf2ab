"""Make a model folder that has tokenizer.model alone: a target for matrix and bisect.

    $ python -m tests.sentencepiece_alone path/to/tokenizer-model-alone

It is the embedded model without its tokenizer.json, with the SentencePiece model of
Mistral-7B-v0.1 that mistral-common brings. A library then has to convert it, which needs protobuf.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.plugin.folders import with_sentencepiece_alone

if __name__ == "__main__":
    if len(sys.argv) != 2 or Path(sys.argv[1]).exists():
        sys.exit("usage: python -m tests.sentencepiece_alone FOLDER, where none is yet")
    with_sentencepiece_alone(Path(sys.argv[1]))
