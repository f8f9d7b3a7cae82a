"""Where arrays live: logical axes, the device mesh they map to, and the plan made beforehand."""

from sharding.mesh import mesh
from sharding.rules import placing

__all__ = ["mesh", "placing"]
