"""Between the client's values and the wire: the only modules that build or read protobuf messages.

What is given is checked here, before anything is sent. A value that the wire cannot carry is refused with an
`InvalidArgument` that names its path; what the server judges (states, sizes, ids) is left to the server.
"""

from __future__ import annotations
