"""Faults planted in sound connectors: what each is, and which test of the kit finds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Fault:
    """One broken promise. `plant` is what makes it; `test` may name a sample after a colon."""

    side: str
    words: str
    plant: str
    test: str


ENDS_BY_PATIENCE: Final = ("stops-at-bad", "dies", "refuses-for-now", "forgets-refusals", "never-returns")
"""What is found by waiting for what does not come."""

FAULTS: Final = (
    Fault(
        "source",
        "acknowledges before the message is in the spool",
        "acknowledges-early",
        "test_acknowledges_after_the_commit_alone",
    ),
    Fault(
        "source",
        "the same, found by a kill",
        "acknowledges-early",
        "test_source_killed_at_every_step_loses_nothing",
    ),
    Fault(
        "source", "loses what is being accepted when it is stopped", "loses-on-cancel", "test_stops_within_its_bound"
    ),
    Fault("source", "breaks off what is being accepted", "gives-up", "test_a_stop_finishes_what_is_being_accepted"),
    Fault("source", "doubles a message after a crash", "new-key", "test_source_killed_at_every_step_loses_nothing"),
    Fault(
        "source",
        "doubles a message whose receipt was lost",
        "new-key",
        "test_a_lost_receipt_doubles_nothing_that_has_a_key",
    ),
    Fault("source", "alters octets", "changes-content", "test_octets_arrive_as_they_were:dot-lines"),
    Fault("source", "stops at one bad message", "stops-at-bad", "test_octets_arrive_as_they_were:nul"),
    Fault("source", "swallows one bad message", "swallows-bad", "test_octets_arrive_as_they_were:nul"),
    Fault("source", "ends at a fault of one message", "dies", "test_a_fault_loses_nothing"),
    Fault("source", "refuses for good what was not available", "refuses-for-now", "test_unavailable_is_told_as_later"),
    Fault("source", "keeps a refused message nowhere", "forgets-refusals", "test_rejected_is_told_for_good"),
    Fault("source", "ignores back-pressure", "unbounded", "test_back_pressure_is_the_await"),
    Fault("source", "hangs at a stop", "never-ends", "test_stops_within_its_bound"),
    Fault(
        "source",
        "hands over an address that its network cannot read",
        "makes-addresses",
        "test_acknowledges_after_the_commit_alone",
    ),
    Fault("source", "blocks the event loop", "blocks", "test_acknowledges_after_the_commit_alone"),
    Fault("destination", "raises from deliver", "raises", "test_a_broken_next_hop_defers_as_a_whole"),
    Fault("destination", "does not return from deliver", "never-returns", "test_delivers_and_settles_each"),
    Fault(
        "destination",
        "settles a recipient's outcome for another one",
        "wrong-recipient",
        "test_each_recipient_has_its_own_outcome",
    ),
    Fault("destination", "settles what it was not given", "strange-id", "test_delivers_and_settles_each"),
    Fault("destination", "settles all at the end", "settles-late", "test_settles_each_as_soon_as_it_is_known"),
    Fault(
        "destination",
        "says Delivered before the next hop has it",
        "delivered-early",
        "test_destination_killed_at_every_step_loses_nothing",
    ),
    Fault(
        "destination",
        "the same, found by a cancellation",
        "delivered-early",
        "test_destination_cancelled_at_every_await_stays_usable",
    ),
    Fault(
        "destination",
        "sends again after a restart what it had told of",
        "replays",
        "test_destination_killed_at_every_step_loses_nothing",
    ),
    Fault("destination", "sends each message twice", "sends-twice", "test_may_be_called_several_times_at_once"),
    Fault("destination", "fails what is the next hop's trouble", "fails", "test_a_broken_next_hop_defers_as_a_whole"),
    Fault(
        "destination",
        "takes the next hop's trouble for each message's own",
        "narrow-scope",
        "test_a_broken_next_hop_defers_as_a_whole",
    ),
    Fault("destination", "names another lane each time", "random-hop", "test_the_next_hop_is_pure"),
    Fault("destination", "drops octets and does not say so", "strips-nul", "test_carries_what_it_declares:nul"),
    Fault("destination", "denies a capability that it has", "denies-newlines", "test_carries_what_it_declares:bare-lf"),
    Fault("destination", "claims a capability that it lacks", "claims-utf8", "test_carries_utf8_addresses_as_declared"),
    Fault(
        "destination",
        "carries addresses that it says it does not",
        "carries-utf8",
        "test_carries_utf8_addresses_as_declared",
    ),
    Fault(
        "destination", "declares a charset that there is not", "strange-charset", "test_capabilities_and_health_answer"
    ),
    Fault(
        "destination",
        "claims a limit that it does not reach",
        "shorter-lines",
        "test_carries_what_is_at_its_limits",
    ),
    Fault("destination", "asks for reports and refuses them", "refuses-reports", "test_takes_reports_as_it_declares"),
    Fault("any", "does not return from stop", "slow-stop", "test_stop_is_bounded_and_may_be_called_twice"),
    Fault(
        "any",
        "does not say whether it was reconfigured",
        "silent-reconfigure",
        "test_the_same_options_may_be_given_again",
    ),
    Fault("Config", "an option has no description", "Undescribed", "test_every_option_is_described"),
    Fault("Config", "one inside of another has none", "UndescribedInside", "test_every_option_is_described"),
    Fault("Config", "takes keys that it does not know", "Loose", "test_unknown_options_are_errors"),
    Fault("network", "an address does not round-trip", "does-not-round-trip", "test_addresses_round_trip"),
    Fault("network", "raises what is no AddressError", "raises", "test_any_text_is_an_address_or_an_error"),
    Fault("network", "takes control characters", "takes-controls", "test_any_text_is_an_address_or_an_error"),
    Fault(
        "network",
        "cannot read back what it writes for a gateway",
        "one-way",
        "test_what_lies_behind_a_gateway_round_trips",
    ),
    Fault("mailbox store", "leaves a change out", "tokens", "test_changes_tell_everything_and_then_what_changed"),
    Fault(
        "mailbox store",
        "claims flags that it does not hold",
        "flags",
        "test_flags_keywords_and_dates_are_held_as_declared",
    ),
    Fault("mailbox store", "alters octets and says that it is exact", "octets", "test_octets_are_kept_as_declared:nul"),
    Fault("mailbox store", "claims ids that outlive a move", "ids", "test_items_move"),
    Fault(
        "mailbox store",
        "has in memory alone what it says is there",
        "nothing",
        "test_store_killed_at_every_step_of_an_append",
    ),
)
