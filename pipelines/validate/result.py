"""What validate found: one check an expectation, as JSON, as a table, and as the one line that stops a build."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from schemas.errors import CheckFailed

SHOWN = 3
"""Row ids and values in a table cell and in the message."""

KEPT = 10
"""Row ids kept a check in result.json."""


class FailedRow(BaseModel):
    """One catalog row that did not meet an expectation."""

    model_config = ConfigDict(frozen=True)

    image_id: str | None
    source: str | None
    source_row_id: str | None

    def __str__(self) -> str:
        return f"{self.source}/{self.source_row_id} (image {self.image_id})"


class Check(BaseModel):
    """One expectation and what the catalog said to it."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(description="Great Expectations' name of the expectation")
    column: str = Field(description="the column or columns it is about; empty for the table")
    needs: str = Field(description="what it asks, in words")
    critical: bool = Field(description="whether its failure stops the build")
    passed: bool
    unexpected: int = Field(ge=0, description="rows that do not meet it; 0 where it is about a total")
    observed: tuple[str, ...] = Field(description="the total it is about, or the first unexpected values")
    sample_rows: tuple[FailedRow, ...] = Field(description="the first rows that do not meet it")
    why: str
    fix: str

    def joined(self, other: Check) -> Check:
        """Return this check continued on the next batch of rows."""
        return self.model_copy(
            update={
                "passed": self.passed and other.passed,
                "unexpected": self.unexpected + other.unexpected,
                "observed": tuple(dict.fromkeys((*self.observed, *other.observed)))[:SHOWN],
                "sample_rows": (*self.sample_rows, *other.sample_rows)[:KEPT],
            }
        )

    @property
    def finding(self) -> str:
        """What was got and what is needed, e.g. `expect_... on ita_deg: 3 rows, got 181, needs max_value 90`."""
        about = f"{self.name} on {self.column}" if self.column else self.name
        rows = f"{self.unexpected} row{'' if self.unexpected == 1 else 's'}, " if self.unexpected else ""
        return f"{about}: {rows}got {', '.join(self.observed)}, needs {self.needs}"


class ValidationResult(BaseModel):
    """Whether the catalog may be built on, and every check behind that."""

    model_config = ConfigDict(frozen=True)

    passed: bool = Field(description="no critical check failed")
    catalog_rows: int = Field(ge=0)
    quarantine_rows: int = Field(ge=0)
    image_rows: int = Field(ge=0, description="rows of pixels")
    checks: tuple[Check, ...]

    @property
    def failed(self) -> list[Check]:
        """The checks that failed, critical ones first."""
        return sorted((c for c in self.checks if not c.passed), key=lambda c: not c.critical)

    @property
    def summary(self) -> str:
        """The result in one line."""
        critical = sum(c.critical for c in self.failed)
        return (
            f"{self.catalog_rows} catalog rows, {self.quarantine_rows} in quarantine: "
            f"{len(self.checks) - len(self.failed)} of {len(self.checks)} expectations hold, "
            f"{critical} critical failed, {len(self.failed) - critical} others failed"
        )

    def require_passed(self) -> None:
        """Return if every critical expectation holds.

        Raises:
            CheckFailed: one line naming the first that does not, how many rows, the first of them, and the fix.
        """
        if self.passed:
            return
        first, *others = [c for c in self.failed if c.critical]
        rows = f"; first {', '.join(str(r) for r in first.sample_rows[:SHOWN])}" if first.sample_rows else ""
        more = f"; {len(others)} more failed" if others else ""
        raise CheckFailed(f"validate: {first.finding}{rows}; {first.fix}{more}; see data/validation/result.md")

    def markdown(self) -> str:
        """Return the checks as a table, failed ones first, ending in a newline."""
        head = ("expectation", "column", "needs", "result", "unexpected", "got", "first rows", "why")
        lines = [
            f"# The catalog {'may' if self.passed else 'must not'} be built on",
            "",
            self.summary + ".",
            "",
            _line(head),
            _line(["---"] * len(head)),
        ]
        lines += [_line(_cells(c)) for c in (*self.failed, *(c for c in self.checks if c.passed))]
        return "\n".join(lines) + "\n"


def _cells(check: Check) -> list[str]:
    word = "ok" if check.passed else "FAILED" if check.critical else "warning"
    rows = ", ".join(f"{r.source}/{r.source_row_id}" for r in check.sample_rows[:SHOWN])
    count = str(check.unexpected) if check.unexpected else ""
    return [check.name, check.column, check.needs, word, count, ", ".join(check.observed), rows, check.why]


def _line(cells: list[str] | tuple[str, ...]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
