"""``kanban web``: the board as a page, for a person with a browser.

Two processes. The one that speaks HTTP opens no database; the reader, its child, opens the boards and makes the pages
(docs/design/readers.md, "The page"). Each module says which of the two it runs in.
"""
