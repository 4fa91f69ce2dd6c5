"""The laws of access to files: which may be opened, under which lock, and how they are put in place.

``sqlite`` is the one module that opens a database; ``connections`` is what is done with an open one, ``files`` with
closed ones. ``locks`` are never unlinked; ``filesystems`` knows permissions and which names are durable.
"""
