"""The program that made the embedded model: its tokenizer, its text, its training, its figures."""
