"""Floor 5: what the control socket answers and is asked, as JSON; both ends of the socket use it."""

from pydantic import TypeAdapter

from syncd.daemon.answers import (
    AdoptReport,
    AdoptRequest,
    Decision,
    Event,
    HistoryReport,
    HoldDetail,
    HoldsReport,
    PlanReport,
    PurgeReport,
    PurgeRequest,
    ReloadReport,
    RenameRequest,
    RestoreReport,
    RestoreRequest,
    SyncReport,
    SyncRequest,
)
from syncd.daemon.status import Status
from syncd.store.entries import Entry, Question

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
RELOADED_JSON = TypeAdapter(ReloadReport)
ADOPTED_JSON = TypeAdapter(AdoptReport)
