"""Several server processes behind one address: a supervisor starts, watches and stops them, and serves their metrics.

Each worker is a complete replica. The supervisor imports neither gRPC nor SQLAlchemy, and serves no calls itself.
"""
