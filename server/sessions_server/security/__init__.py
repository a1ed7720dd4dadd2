"""Authentication of callers, and encryption of content at rest."""
