"""What follows when an account that runs share has no room for a step that was about to begin: the run is stopped.

Nothing was begun: the store refused the intent, and the record says so (`Record.retake`). Never: begins or writes
anything itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.core.accounts import excess_of, no_room
from holdfast.core.events import Address
from holdfast.core.heads import Status

if TYPE_CHECKING:
    from holdfast.runtime.calls import Calls


def is_refused(driver: Calls, address: Address) -> bool:
    """Whether the intent of this step, which was to be written, was refused; then the run stops."""
    refused = driver.record.unpaid.pop(address, None)
    if refused is None:
        return False
    excess = excess_of(refused)
    why = no_room(refused.cap, driver.lease.run_id, excess)
    driver.stop(Status.STOPPED, why, {"limit": excess.name, "account": refused.account})
    return True
