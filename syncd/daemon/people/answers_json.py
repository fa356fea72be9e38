"""Floor 5: what the control socket answers and is asked, as JSON; both ends of the socket use it."""

import json
import re
from typing import TypeVar

from pydantic import TypeAdapter
from pydantic_core import PydanticSerializationError

from syncd.daemon.people.answers import (
    AdoptReport,
    AdoptRequest,
    Decision,
    Event,
    HistoryReport,
    HoldDetail,
    HoldsReport,
    LoginRequest,
    PlanReport,
    PurgeReport,
    PurgeRequest,
    ReloadReport,
    RenameRequest,
    RestoreReport,
    RestoreRequest,
    SyncRequest,
)
from syncd.daemon.people.sync_report import SyncReport
from syncd.daemon.status.status import Status
from syncd.store.people.entries import Entry, Question

T = TypeVar("T")

_SURROGATE = re.compile("[\ud800-\udfff]")

STATUS_JSON = TypeAdapter(Status)
REPORT_JSON = TypeAdapter(SyncReport)
PLAN_JSON = TypeAdapter(PlanReport)
REQUEST_JSON = TypeAdapter(SyncRequest)
HOLDS_JSON = TypeAdapter(HoldsReport)
HISTORY_JSON = TypeAdapter(HistoryReport)
ENTRY_JSON = TypeAdapter(Entry)
EVENT_JSON = TypeAdapter(Event)
QUESTION_JSON = TypeAdapter(Question)
HOLD_JSON = TypeAdapter(HoldDetail)
DECISION_JSON = TypeAdapter(Decision)
RESTORE_JSON = TypeAdapter(RestoreRequest)
RESTORED_JSON = TypeAdapter(RestoreReport)
PURGE_JSON = TypeAdapter(PurgeRequest)
PURGED_JSON = TypeAdapter(PurgeReport)
ADOPT_JSON = TypeAdapter(AdoptRequest)
RENAME_JSON = TypeAdapter(RenameRequest)
LOGIN_JSON = TypeAdapter(LoginRequest)
RELOADED_JSON = TypeAdapter(ReloadReport)
ADOPTED_JSON = TypeAdapter(AdoptReport)


def encoded(adapter: TypeAdapter[T], value: T, *, indent: int | None = None, ensure_ascii: bool = False) -> bytes:
    """Return a value as JSON, in which an octet of a path that is no UTF-8 is told as `\\udcff`, as in the logs."""
    try:
        return adapter.dump_json(value, indent=indent, ensure_ascii=ensure_ascii)
    except PydanticSerializationError:
        text = json.dumps(adapter.dump_python(value, mode="json"), ensure_ascii=False)
        text = _SURROGATE.sub(lambda found: f"\\\\u{ord(found[0]):04x}", text)
        return adapter.dump_json(adapter.validate_json(text), indent=indent, ensure_ascii=ensure_ascii)
