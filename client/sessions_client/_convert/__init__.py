"""Conversion between the client's values and the wire: the only modules that build or read protobuf messages.

Input is checked here before anything is sent. A value that the wire cannot carry raises an `InvalidArgument` that names
its path; states, sizes and ids are left to the server.
"""

from __future__ import annotations
