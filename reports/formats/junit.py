"""A view as JUnit XML: a suite for each pool with a case for each scenario, and a suite for the comparison itself.

Writes nothing. A declared failure is a skipped case with its reason; an undecided case is an error.
"""

from __future__ import annotations

from xml.etree import ElementTree as Xml

from poolproof.bridge.safe_text import printable
from poolproof.harness.model.verdict import Decision
from poolproof.reports.sections.section import Tone
from poolproof.reports.view import Cell, View


def render_junit(view: View) -> str:
    """The report as JUnit XML for CI systems."""
    root = Xml.Element("testsuites", name="poolproof")
    pools = [(row.baseline, row.source.baseline.duration_s) for row in view.rows]
    others = [(row.candidate, row.source.candidate.duration_s) for row in view.rows]
    for side, cells in (("baseline", pools), ("candidate", others)):
        suite = Xml.SubElement(root, "testsuite", timestamp=view.source.created_at)
        pool = view.source.baseline if side == "baseline" else view.source.candidate
        suite.set("name", f"{side} {pool}")
        properties = Xml.SubElement(suite, "properties")
        for name, value in (("pool", pool), ("side", side), *view.facts):
            Xml.SubElement(properties, "property", name=name, value=value)
        for row, (cell, duration_s) in zip(view.rows, cells, strict=True):
            case = Xml.SubElement(
                suite, "testcase", classname=f"poolproof.{pool}", name=row.name, time=f"{duration_s:.3f}"
            )
            _tell(case, cell, (*row.tags,))
            _judge(case, cell)
        _count(suite)
    _add_decision(root, view)
    _count(root)
    for element in root.iter():  # everything here may come from a worker, and XML allows no control character
        element.text = element.text and printable(element.text)
        element.attrib.update({name: printable(value) for name, value in element.items()})
    Xml.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + Xml.tostring(root, encoding="unicode") + "\n"


def _tell(case: Xml.Element, cell: Cell, tags: tuple[str, ...]) -> None:
    properties = Xml.SubElement(case, "properties")
    told = [("shows", " ".join(tags)), ("replay", cell.replay), ("folder", cell.folder), *cell.figures]
    for name, value in told:
        if value:
            Xml.SubElement(properties, "property", name=name, value=value)


def _judge(case: Xml.Element, cell: Cell) -> None:
    evidence = "\n".join(
        f"{found.word}  {found.checker}  {found.claim}" + "".join(f"\n    {example}" for example in found.examples)
        for found in cell.findings
    )
    text = f"{evidence}\nto run it again: {cell.replay}".strip()
    match cell.tone:
        case Tone.BAD:
            Xml.SubElement(case, "failure", message=cell.note, type="finding").text = text
        case Tone.DOUBT:
            Xml.SubElement(case, "error", message=cell.note, type="unknown").text = text
        case Tone.DECLARED:
            Xml.SubElement(case, "skipped", message=f"fails as declared: {cell.note}")
        case Tone.MUTED:
            Xml.SubElement(case, "skipped", message=cell.note)
        case Tone.GOOD:
            return
    Xml.SubElement(case, "system-out").text = text


def _add_decision(root: Xml.Element, view: View) -> None:
    suite = Xml.SubElement(root, "testsuite", name="comparison", timestamp=view.source.created_at)
    case = Xml.SubElement(suite, "testcase", classname="poolproof.comparison", name=view.title, time="0")
    text = "\n".join((*view.reasons, *(f"warning: {warning}" for warning in view.warnings)))
    if view.source.decision is not Decision.SAFE:
        kind = "failure" if view.source.decision is Decision.UNSAFE else "error"
        Xml.SubElement(case, kind, message=f"{view.decision}: {view.headline}", type=view.decision).text = text
    Xml.SubElement(case, "system-out").text = text
    _count(suite)


def _count(element: Xml.Element) -> None:
    cases = element.findall(".//testcase")
    element.set("tests", str(len(cases)))
    for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        element.set(attribute, str(sum(case.find(tag) is not None for case in cases)))
    element.set("time", f"{sum(float(case.get('time', '0')) for case in cases):.3f}")
