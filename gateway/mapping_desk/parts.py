"""Parts: a configuration's connectors and planner as the gateway would build them, never started.

So that questions about the mapping get the gateway's own answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gateway.config import Config
from gateway.contract import Capabilities, Connector, Context, Destination
from gateway.ids import IdSource
from gateway.log import Silence
from gateway.planner import Planner, PlannerSettings
from mappings.networks.smtp import domain_key
from mappings.table import Table


def connectors_of(config: Config) -> Mapping[str, Connector]:
    """Return the connectors, built and not started; they say nothing."""
    context = Context(config.gateway.name, config.state_dir, config.base_dir, Silence({}), lambda: 0.0)
    return {name: each.cls(name, each.config, context) for name, each in config.connectors.items()}


def capabilities_of(config: Config) -> Mapping[str, Capabilities]:
    return {name: each.capabilities for name, each in connectors_of(config).items()}


def planner_of(
    config: Config, table: Table, clock: Callable[[], float], made: Mapping[str, Connector] | None = None
) -> Planner:
    """Return a planner that says where mail goes; it plans no messages. `made` are `connectors_of` the configuration,
    where there are some already."""
    made = connectors_of(config) if made is None else made
    settings = PlannerSettings(
        hostname=config.gateway.name,
        shared={domain_key(each.domain): each.systems for each in config.mapping.shared},
    )
    destinations = {name: each for name, each in made.items() if isinstance(each, Destination)}
    networks = {name: each.capabilities.header_networks for name, each in made.items()}
    return Planner(settings, table, config.routes, destinations, networks, IdSource(0, clock), clock)
