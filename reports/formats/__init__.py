"""A view as text: HTML, Markdown, JUnit, CTRF, and the output of a GitHub job."""
