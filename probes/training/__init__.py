"""How the embedded model was made: its tokenizer, its text, its training, its figures."""
