"""The names that we put on items of others' mailboxes: by these our own work is known again. Never to be changed.

Source: MS-OXPROPS §1.3.2 (named properties: a property set and a name).
"""

from __future__ import annotations

from typing import Final

PROPERTY_SET: Final = "7c5c3b0e-2f7e-4d6f-9a53-0b8c1f6b9d21"
"""The property set of ours, made at random."""
DELIVERY: Final = "gatepost-delivery"
"""Name of the string property that holds `<message id>.<recipient's number>` of what we created."""
TAKEN: Final = "Gatepost taken"
"""Category of an item that was taken and is left where it is."""
REFUSED: Final = "Gatepost refused"
"""Category of an item in the folder of those that could not be taken."""
