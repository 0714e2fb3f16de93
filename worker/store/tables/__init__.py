"""Every table of Trueup, in their order: told, read, decided, departed, done, scheduled, recorded."""

from worker.store.tables.decided import (
    Baseline,
    Decision,
    Episode,
    Governed,
    GroupBinding,
    Link,
    PersonIdentity,
    PersonRow,
    Pin,
    PolicySeen,
    Waiver,
)
from worker.store.tables.departed import OffboardingRow, OffboardingTarget
from worker.store.tables.done import ChangeRow, Effect, Lease, Pause, Run, StepRow
from worker.store.tables.read import (
    MIRRORED,
    STAGING,
    AccountRow,
    CatalogueRow,
    HoldingRow,
    IdentityRow,
    MembershipRow,
    PartRow,
    Snapshot,
    SourceGroupRow,
)
from worker.store.tables.recorded import Entry, Head, Personal
from worker.store.tables.scheduled import Home, JobRow, NoticeRow, VendorUse
from worker.store.tables.told import ApiRequestRow, HintRow, SubscriptionRow

__all__ = [
    "MIRRORED",
    "STAGING",
    "AccountRow",
    "ApiRequestRow",
    "Baseline",
    "CatalogueRow",
    "ChangeRow",
    "Decision",
    "Effect",
    "Entry",
    "Episode",
    "Governed",
    "GroupBinding",
    "Head",
    "HintRow",
    "HoldingRow",
    "Home",
    "IdentityRow",
    "JobRow",
    "Lease",
    "Link",
    "MembershipRow",
    "NoticeRow",
    "OffboardingRow",
    "OffboardingTarget",
    "PartRow",
    "Pause",
    "PersonIdentity",
    "PersonRow",
    "Personal",
    "Pin",
    "PolicySeen",
    "Run",
    "Snapshot",
    "SourceGroupRow",
    "StepRow",
    "SubscriptionRow",
    "VendorUse",
    "Waiver",
]
