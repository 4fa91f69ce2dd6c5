"""What a profile may say, and how it is written down.

``kinds`` is the closed set of changes, a class each, with the types and limits of ``fields``; ``imported`` are the rows
that an import brings. ``codec`` encodes, decodes and chains them. ``vectors`` say what their author had seen.
"""
