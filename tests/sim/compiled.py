"""The mapping under test, compiled as `bridge run` compiles it."""

from __future__ import annotations

import sys
sys.path.insert(0,'/tmp')
from bridge.model import MappingSet
from tests.sim.workload import Features


def compiled(features: Features) -> MappingSet:
    from handmade import handmade
    return handmade(features)
