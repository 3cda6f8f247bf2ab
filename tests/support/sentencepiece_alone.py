"""Make two model folders that have tokenizer.model in the place of tokenizer.json.

    $ python -m tests.support.sentencepiece_alone path/to

`tokenizer-model` names the class LlamaTokenizer, as published models do; the library chooses the
class for `tokenizer-model-alone`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.support.model_folders import with_sentencepiece_alone, with_sentencepiece_as_published

FOLDERS = {
    "tokenizer-model": with_sentencepiece_as_published,
    "tokenizer-model-alone": with_sentencepiece_alone,
}

if __name__ == "__main__":
    if len(sys.argv) != 2 or any((Path(sys.argv[1]) / name).exists() for name in FOLDERS):
        sys.exit(
            "usage: python -m tests.support.sentencepiece_alone FOLDER, which holds neither yet"
        )
    for name, make in FOLDERS.items():
        print(make(Path(sys.argv[1]) / name))
