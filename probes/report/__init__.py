"""Reports made from records and comparisons: pages, Markdown, text for a terminal.

`text` writes phrases, console and Markdown; `html` fills the templates of the pages; `pictures` and
`interactive` turn evidence into charts and tools on them; `locale` has the texts in each language;
`visible` makes any text safe to show; `files` writes what a report folder holds.
"""
