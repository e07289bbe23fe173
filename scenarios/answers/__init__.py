"""Scenarios of answers: of any size and kind, in parts, late, duplicated, broken."""
