"""Where arrays live: logical axes, the device mesh they map to, and the plan made beforehand."""
