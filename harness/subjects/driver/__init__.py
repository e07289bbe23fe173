"""The driver protocol: a pool in any language is a subject by a program that speaks JSON lines on its stdio.

docs/reference/driver.md has the grammar and the rules. `check` tries each of the rules.
"""
