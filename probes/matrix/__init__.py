"""The claims under many combinations of library versions, each in an environment of its own.

`cells` says which combinations there are, `releases` what an index offers, `environments` makes
one by uv, `deciding` runs the claims there, `pool` and `cluster` run many, `table` lays verdicts
side by side, `expected` knows which of them are no surprise; `page`, `markdown` and `terminal` show
the table.
"""
