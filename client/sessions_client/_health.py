"""The health check of gRPC, without its generated code: the package that has it is not among the client's
dependencies."""

from __future__ import annotations

from typing import Final

HEALTH_CHECK: Final = "/grpc.health.v1.Health/Check"
"""The path of the method, which takes an empty request."""

SERVING: Final = b"\x08\x01"
"""The response that says so: `HealthCheckResponse(status=SERVING)`."""
