"""Floor 5: a diagnosis as JSON, whose keys are documented and stay."""

from dataclasses import dataclass

from pydantic import TypeAdapter

from syncd.daemon.doctor.findings import Diagnosis, Level


@dataclass(frozen=True, slots=True)
class FindingAnswer:
    """Tell one finding; level: ok, note, warning or error."""

    level: str
    check: str
    where: str
    what: str
    remedy: str
    line: int | None


@dataclass(frozen=True, slots=True)
class DiagnosisAnswer:
    """Tell all findings. worst: the worst level of them. counts: how many there are of each level."""

    at: float
    config: str
    is_usable: bool
    is_offline: bool
    worst: str
    counts: dict[str, int]
    findings: tuple[FindingAnswer, ...]


DIAGNOSIS_JSON = TypeAdapter(DiagnosisAnswer)


def as_answer(found: Diagnosis) -> DiagnosisAnswer:
    """Return a diagnosis as it is written."""
    levels = [one.level for one in found.findings]
    return DiagnosisAnswer(
        found.at,
        found.config,
        found.is_usable,
        found.is_offline,
        _word(found.worst),
        {_word(level): levels.count(level) for level in Level},
        tuple(
            FindingAnswer(_word(one.level), one.check, one.where, one.what, one.remedy, one.line)
            for one in found.findings
        ),
    )


def _word(level: Level) -> str:
    return level.name.lower()
