"""The pools of this project as subjects: the two pools, and V2 with its workers on nodes. An entry point."""

from __future__ import annotations

from poolproof.bridge import PoolConfig
from poolproof.bridge.config import LOCAL_OPTIONS
from poolproof.harness.run.runner import PoolFactory, Subject
from poolproof.harness.subjects.faces import ALL_FACES
from poolproof.harness.subjects.nodes import on_agents, on_ray
from poolproof.pool_v1 import PoolV1
from poolproof.pool_v1.pool import CALL_TIMEOUT_S as V1_CALL_TIMEOUT_S
from poolproof.pool_v2 import PoolV2
from poolproof.pool_v2.pool import CALL_TIMEOUT_S as V2_CALL_TIMEOUT_S
from poolproof.pool_v2.pool import CHECKOUT_TIMEOUT_S as V2_CHECKOUT_TIMEOUT_S

NODE_FACES = tuple(face for face in ALL_FACES if face.name != "zygote")
"""The faces of a pool whose workers run on other nodes: all faces that need no zygote."""

NODE_OPTIONS = frozenset(PoolConfig.__struct_fields__) - frozenset(LOCAL_OPTIONS)
"""The options that a pool with workers on other nodes takes."""


def _on_nodes(name: str, summary: str, make: PoolFactory) -> Subject:
    return Subject(
        name=name,
        summary=summary,
        make=make,
        capabilities=PoolV2.capabilities,
        call_timeout_s=V2_CALL_TIMEOUT_S,
        checkout_timeout_s=V2_CHECKOUT_TIMEOUT_S,
        faces=NODE_FACES,
        options=NODE_OPTIONS,
        learns=True,
    )


SUBJECTS: dict[str, Subject] = {
    "v1": Subject(
        name="v1",
        summary="the legacy pool: one manager thread does all the I/O",
        make=lambda config, observer: PoolV1(config, observer=observer),
        capabilities=PoolV1.capabilities,
        call_timeout_s=V1_CALL_TIMEOUT_S,
        checkout_timeout_s=V1_CALL_TIMEOUT_S,
    ),
    "v2": Subject(
        name="v2",
        summary="the refactored pool: each client does its own I/O on the worker that it checked out",
        make=lambda config, observer: PoolV2(config, observer=observer),
        capabilities=PoolV2.capabilities,
        call_timeout_s=V2_CALL_TIMEOUT_S,
        checkout_timeout_s=V2_CHECKOUT_TIMEOUT_S,
        faces=ALL_FACES,
    ),
    "nodes": _on_nodes("nodes", "v2 with its workers on two agents, each as on a machine of its own", on_agents),
    "ray": _on_nodes("ray", "v2 with its workers on the Ray cluster of RAY_ADDRESS; needs poolproof[ray]", on_ray),
}
