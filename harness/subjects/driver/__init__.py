"""The driver protocol: how to test a pool in any language, through a program that speaks JSON lines on its stdio.

docs/reference/driver.md has the grammar and the rules. `check` tries each of the rules.
"""
